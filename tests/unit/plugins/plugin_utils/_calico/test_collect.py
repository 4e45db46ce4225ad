# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collecting resources from inventories that ansible-core itself has read."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import collect, inventory, resources
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import site as sites
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import written

HOSTS = """\
all:
  hosts:
    lone:
  children:
    servers:
      children:
        web:
          hosts:
            web-1:
            web-2:
        db:
          hosts:
            db-1:
    empty:
"""
API = "apiVersion: projectcalico.org/v3, "


@pytest.fixture(name="site")
def fixture_site(tmp_path):
    """Hosts web-1, web-2 and db-1 in groups web and db of servers, host lone in none, no host in empty."""
    return sites.Site(tmp_path).write({"inventory/hosts.yml": HOSTS})


def a_set(name: str, nets: str = "") -> str:
    """A network set as one line of YAML."""
    return f"{{{API}kind: GlobalNetworkSet, metadata: {{name: {name}}}, spec: {{nets: [{nets}]}}}}"


def defined(*lines: str, name: str = "netpolicy_resources") -> str:
    """A file of variables with one definition."""
    return f"{name}:\n" + "".join(f"  - {line}\n" for line in lines)


def names(collected: collect.Collected) -> list[str]:
    assert collected.findings == []
    return sorted(resource.name for resource in collected.resources)


def findings(collected: collect.Collected) -> list[tuple[str, str, str, str]]:
    return [(one.kind, one.name, one.path, one.message) for one in collected.findings]


# -- every definition counts -------------------------------------------------------------------------


def test_an_inventory_without_resources(site):
    assert names(site.collect()) == []


def test_every_definition_of_the_same_name_counts(site):
    site.write(
        {
            "inventory/group_vars/all.yml": defined(a_set("all")),
            "inventory/group_vars/servers.yml": defined(a_set("parent")),
            "inventory/group_vars/web.yml": defined(a_set("child")),
            "inventory/group_vars/db/one.yml": defined(a_set("directory")),
            "inventory/group_vars/empty.yml": defined(a_set("empty-group")),
            "inventory/host_vars/web-1.yml": defined(a_set("host")),
            "inventory/host_vars/web-2/any.yml": defined(a_set("host-directory")),
            "playbooks/group_vars/web.yml": defined(a_set("beside-playbook")),
            "playbooks/host_vars/lone.yml": defined(a_set("host-beside-playbook")),
        }
    )
    assert names(site.collect(extra=defined(a_set("extra")))) == [
        "all",
        "beside-playbook",
        "child",
        "directory",
        "empty-group",
        "extra",
        "host",
        "host-beside-playbook",
        "host-directory",
        "parent",
    ]


@pytest.mark.parametrize(
    "directory",
    [
        "inventory/group_vars/all",
        "inventory/group_vars/empty",
        "inventory/host_vars/web-1",
        "playbooks/group_vars/web",
        "playbooks/host_vars/lone",
    ],
)
def test_every_file_of_a_directory_counts(site, directory):
    """ansible-core merges them, and of two definitions keeps the last."""
    site.write(
        {
            f"{directory}/a.yml": defined(a_set("first")),
            f"{directory}/b.yml": defined(a_set("second")),
            f"{directory}/deeper/c.yml": defined(a_set("third")),
            f"{directory}/d.yml": "unrelated: true\n",
            f"{directory}/e.yml": "",
        }
    )
    assert names(site.collect()) == ["first", "second", "third"]


def test_variables_in_the_inventory_itself_count(site):
    site.write(
        {
            "inventory/hosts.yml": f"""\
all:
  vars: {{netpolicy_resources: [{a_set("all")}]}}
  hosts:
    one: {{netpolicy_resources: [{a_set("host")}]}}
  children:
    web:
      vars: {{netpolicy_resources: [{a_set("group")}]}}
      hosts: {{one: }}
"""
        }
    )
    assert names(site.collect()) == ["all", "group", "host"]


def test_every_name_that_begins_so_counts(site):
    site.write(
        {
            "inventory/group_vars/all.yml": "".join(
                defined(a_set(f"set-{index}"), name=name)
                for index, name in enumerate(
                    [
                        "netpolicy_resources",
                        "netpolicy_resources_web",
                        "netpolicy_resources2",
                        "my_netpolicy_resources",
                    ]
                )
            )
        }
    )
    assert names(site.collect()) == ["set-0", "set-1", "set-2"]


def test_several_inventories_count(site):
    site.write(
        {
            "inventory/group_vars/all.yml": defined(a_set("one")),
            "other/hosts.yml": "all: {hosts: {far-1: }}\n",
            "other/group_vars/all.yml": defined(a_set("two")),
            "other/host_vars/far-1.yml": defined(a_set("three")),
        }
    )
    found = site.collect(sources=["inventory/hosts.yml", "other/hosts.yml"])
    assert names(found) == ["one", "three", "two"]


def test_an_inventory_may_be_a_directory(site):
    site.write({"inventory/group_vars/all.yml": defined(a_set("one"))})
    assert names(site.collect(sources=["inventory"])) == ["one"]


@pytest.mark.parametrize("limit", ["web-1", "empty", "!all"])
def test_a_limit_does_not_matter(site, limit):
    site.write(
        {
            "inventory/group_vars/all.yml": defined(a_set("all")),
            "inventory/host_vars/db-1.yml": defined(a_set("host")),
        }
    )
    limited = site.collect(limit=limit)
    assert names(limited) == ["all", "host"]
    assert set(site.read(limit=limit).hosts) == {"lone", "web-1", "web-2", "db-1"}


def test_equal_definitions_in_two_places_are_one_resource(site):
    site.write(
        {
            "inventory/group_vars/web.yml": defined(a_set("same", "10.0.0.0/8")),
            "inventory/group_vars/db.yml": defined(a_set("same", "10.0.0.0/8")),
        }
    )
    assert names(site.collect()) == ["same"]


def test_unequal_definitions_are_refused_with_both_places(site):
    site.write(
        {
            "inventory/group_vars/web.yml": defined(a_set("same", "10.0.0.0/8")),
            "inventory/group_vars/db.yml": "---\n" + defined(a_set("same", "10.0.0.0/9")),
        }
    )
    (finding,) = site.collect().findings
    assert finding.message.startswith("defined twice with different content; the other definition is at ")
    assert finding.place is not None
    both = {finding.place, finding.message.rpartition(" at ")[2]}
    assert both == {
        f"{site.root}/inventory/group_vars/web.yml:2",
        f"{site.root}/inventory/group_vars/db.yml:3",
    }


# -- places ------------------------------------------------------------------------------------------


def test_findings_and_rules_carry_file_and_line(site):
    site.write(
        {
            "inventory/group_vars/web.yml": f"""\
netpolicy_resources:
  - apiVersion: projectcalico.org/v3
    kind: GlobalNetworkPolicy
    metadata:
      name: web
    spec:
      doNotTrack: true
      applyOnForward: true
      ingress:
        - action: Deny
        - action: allow
          protocol: tcp
      egres: []
  - {a_set("s")}
"""
        }
    )
    file = f"{site.root}/inventory/group_vars/web.yml"
    assert [(one.path, one.place) for one in site.collect().findings] == [
        ("spec.ingress[1].action", f"{file}:11"),
        ("spec.ingress[1].protocol", f"{file}:12"),
        ("spec.egres", f"{file}:13"),
    ]


def test_rules_know_where_they_were_written(site):
    rule = "{action: Allow}"
    site.write(
        {
            "inventory/group_vars/all.yml": f"""\
netpolicy_resources:
  - {{{API}kind: GlobalNetworkPolicy, metadata: {{name: web}}, spec: {{doNotTrack: true, applyOnForward: true,
     ingress: [
     {rule},
     {rule}]}}}}
"""
        }
    )
    (policy,) = site.collect().resources
    file = f"{site.root}/inventory/group_vars/all.yml"
    assert [rule.place for rule in policy.ingress] == [f"{file}:4", f"{file}:5"]


@pytest.mark.parametrize("value", ["text", "{}", "5", "null"])
def test_what_is_no_list_is_refused_with_its_holder_and_place(site, value):
    site.write({"inventory/group_vars/web.yml": f"other: 1\nnetpolicy_resources: {value}\n"})
    (finding,) = site.collect().findings
    assert (finding.kind, finding.name, finding.path) == ("variable", "netpolicy_resources", "group web")
    assert finding.message.endswith("expected a list of resources")
    if value in ("text", "{}", "5"):
        assert finding.place == f"{site.root}/inventory/group_vars/web.yml:2"


# -- templates and vault -----------------------------------------------------------------------------

TEMPLATED = """\
netpolicy_resources:
  - apiVersion: projectcalico.org/v3
    kind: GlobalNetworkSet
    metadata: {name: "net-{{ inventory_hostname }}"}
    spec: {nets: ["{{ my_net }}"]}
"""


def test_a_template_is_rendered_for_each_host_that_has_it(site):
    site.write(
        {
            "inventory/group_vars/web.yml": TEMPLATED,
            "inventory/host_vars/web-1.yml": "my_net: 10.0.0.0/8\n",
            "inventory/host_vars/web-2.yml": "my_net: 'fd00::/8'\n",
        }
    )
    found = site.collect()
    assert names(found) == ["net-web-1", "net-web-2"]
    assert {str(net) for one in found.resources for net in one.nets} == {"10.0.0.0/8", "fd00::/8"}


def test_a_whole_list_may_be_a_template(site):
    site.write(
        {
            "inventory/group_vars/all.yml": "netpolicy_resources: '{{ sets }}'\n",
            "inventory/group_vars/web.yml": f"sets: [{a_set('web')}]\n",
            "inventory/group_vars/db.yml": f"sets: [{a_set('db')}]\n",
            "inventory/host_vars/lone.yml": "sets: []\n",
        }
    )
    assert names(site.collect()) == ["db", "web"]


def test_a_template_can_see_other_hosts(site):
    site.write(
        {
            "inventory/host_vars/web-1.yml": TEMPLATED.replace("my_net", "hostvars['db-1'].my_net"),
            "inventory/host_vars/db-1.yml": "my_net: 10.0.0.0/8\n",
        }
    )
    (found,) = site.collect().resources
    assert [str(net) for net in found.nets] == ["10.0.0.0/8"]


def test_a_template_that_cannot_be_rendered_is_a_finding(site):
    site.write(
        {"inventory/group_vars/web.yml": TEMPLATED, "inventory/host_vars/web-1.yml": "my_net: 10.0.0.0/8\n"}
    )
    ((kind, name, path, message),) = findings(site.collect())
    assert (kind, name, path) == ("variable", "netpolicy_resources", "group web")
    assert message.startswith("cannot be rendered for host web-2: ")
    assert "my_net" in message


@pytest.mark.parametrize("where", ["inventory/group_vars/empty.yml", None])
def test_a_template_without_a_host_is_a_finding(site, where):
    if where is None:
        found = site.collect(extra=TEMPLATED)
        holder = "extra vars"
    else:
        found = site.write({where: TEMPLATED}).collect()
        holder = "group empty"
    message = "holds a template or a vaulted value, and there is no host to render it for"
    assert findings(found) == [("variable", "netpolicy_resources", holder, message)]


def test_a_vaulted_value_is_read(site):
    nets = sites.vaulted_value("10.0.0.0/8", 10)
    site.write(
        {
            "inventory/group_vars/web.yml": f"""\
netpolicy_resources:
  - apiVersion: projectcalico.org/v3
    kind: GlobalNetworkSet
    metadata: {{name: secret}}
    spec:
      nets:
        - {nets}
"""
        }
    )
    collected = site.collect()
    assert findings(collected) == []
    (found,) = collected.resources
    assert [str(net) for net in found.nets] == ["10.0.0.0/8"]


def test_a_vaulted_file_is_read(site):
    site.write({"inventory/group_vars/web.yml": sites.vaulted(defined(a_set("secret")))})
    assert names(site.collect()) == ["secret"]


@pytest.mark.parametrize(
    "value, holds",
    [
        ("plain: [1, two, null]", False),
        ("braces: ['{', '}}', '{ {']", False),
        ("text: 'a {{ b }}'", True),
        ("statement: '{% if x %}{% endif %}'", True),
        ("comment: '{# x #}'", True),
        ("deep: [[{a: [{b: '{{ c }}'}]}]]", True),
        ("'{{ key }}': 1", True),
        ("unsafe: !unsafe '{{ b }}'", False),
    ],
)
def test_what_holds_a_template(site, value, holds):
    site.write({"inventory/host_vars/lone.yml": f"x: {{{value}}}\n"})
    assert inventory.holds_template(site.read().variable("lone", "x")) == holds


# -- endpoints ---------------------------------------------------------------------------------------

ENDPOINT = f"{{{API}kind: HostEndpoint, spec: {{interfaceName: eth0}}}}"


def endpoints(collected: collect.Collected) -> dict[str, resources.HostEndpoint]:
    assert collected.findings == []
    return {one.name: one for one in collected.resources if isinstance(one, resources.HostEndpoint)}


def test_an_endpoint_without_node_stands_for_one_on_each_host(site):
    site.write({"inventory/group_vars/servers.yml": defined(ENDPOINT)})
    found = endpoints(site.collect())
    assert {name: one.node for name, one in found.items()} == {
        "web-1-eth0": "web-1",
        "web-2-eth0": "web-2",
        "db-1-eth0": "db-1",
    }


def test_a_templated_endpoint_without_node_stands_for_one_on_each_host(site):
    templated = ENDPOINT.replace("eth0", "'{{ interface }}'")
    site.write(
        {
            "inventory/group_vars/web.yml": defined(templated),
            "inventory/host_vars/web-1.yml": "interface: eth1\n",
            "inventory/host_vars/web-2.yml": "interface: eth2\n",
        }
    )
    assert set(endpoints(site.collect())) == {"web-1-eth1", "web-2-eth2"}


def test_an_endpoint_without_node_may_have_a_name_where_there_is_one_host(site):
    named = ENDPOINT.replace("spec", "metadata: {name: mine}, spec")
    site.write({"inventory/host_vars/web-1.yml": defined(named)})
    assert {name: one.node for name, one in endpoints(site.collect()).items()} == {"mine": "web-1"}


def test_one_name_for_the_endpoints_of_several_hosts_is_refused(site):
    named = ENDPOINT.replace("spec", "metadata: {name: mine}, spec")
    site.write({"inventory/group_vars/web.yml": defined(named)})
    (finding,) = site.collect().findings
    assert finding.message.startswith("defined twice with different content")


def test_what_is_filled_in_is_compared_filled_in(site):
    full = ENDPOINT.replace("spec: {", "metadata: {name: web-1-eth0}, spec: {node: web-1, ")
    site.write(
        {
            "inventory/group_vars/web.yml": defined(ENDPOINT),
            "inventory/host_vars/web-1.yml": defined(full),
        }
    )
    assert set(endpoints(site.collect())) == {"web-1-eth0", "web-2-eth0"}


def test_a_name_is_filled_in_beside_labels(site):
    labelled = ENDPOINT.replace("spec", "metadata: {labels: {role: web}}, spec")
    site.write({"inventory/host_vars/web-1.yml": defined(labelled)})
    assert endpoints(site.collect())["web-1-eth0"].labels["role"] == "web"


def test_an_endpoint_with_node_gets_its_name_from_it(site):
    given_node = ENDPOINT.replace("spec: {", "spec: {node: db-1, ")
    site.write({"inventory/group_vars/all.yml": defined(given_node)})
    assert {name: one.node for name, one in endpoints(site.collect()).items()} == {"db-1-eth0": "db-1"}


def test_an_endpoint_without_node_in_extra_vars_is_refused(site):
    ((kind, _name, path, message),) = findings(
        site.collect(extra=defined(ENDPOINT.replace("spec", "metadata: {name: mine}, spec")))
    )
    assert (kind, path, message) == (
        "HostEndpoint",
        "spec.node",
        "missing; expected the name of a host in the inventory",
    )


def test_findings_of_filled_in_endpoints_keep_their_place(site):
    site.write({"inventory/host_vars/web-1.yml": defined(ENDPOINT.replace("eth0", "'e*'"))})
    found = {one.path: one.place for one in site.collect().findings}
    assert found == {"spec.interfaceName": f"{site.root}/inventory/host_vars/web-1.yml:2"}


# -- group labels ------------------------------------------------------------------------------------


def test_endpoints_carry_the_groups_of_their_host(site):
    site.write({"inventory/group_vars/all.yml": defined(ENDPOINT)})
    found = endpoints(site.collect())
    prefix = "netpolicy.host/group."
    assert found["web-1-eth0"].labels == {f"{prefix}all": "", f"{prefix}servers": "", f"{prefix}web": ""}
    assert found["lone-eth0"].labels == {f"{prefix}all": "", f"{prefix}ungrouped": ""}


def test_a_group_whose_name_is_no_label_is_left_out(site):
    site.write(
        {
            "inventory/hosts.yml": f"""\
all:
  children:
    web_: {{hosts: {{one: }}}}
    {"x" * 64}: {{hosts: {{one: }}}}
""",
            "inventory/host_vars/one.yml": defined(ENDPOINT),
        }
    )
    assert endpoints(site.collect())["one-eth0"].labels == {"netpolicy.host/group.all": ""}


def test_own_labels_come_first(site):
    own = ENDPOINT.replace("spec", "metadata: {labels: {netpolicy.host/group.web: own, role: web}}, spec")
    site.write({"inventory/host_vars/web-1.yml": defined(own)})
    labels = endpoints(site.collect())["web-1-eth0"].labels
    assert labels["netpolicy.host/group.web"] == "own"
    assert labels["role"] == "web"
    assert labels["netpolicy.host/group.servers"] == ""


# -- nodes -------------------------------------------------------------------------------------------

CALLED = ENDPOINT.replace("spec: {", "spec: {node: node-7.example.org, ")


def test_a_node_may_be_a_hosts_netpolicy_node(site):
    site.write(
        {
            "inventory/group_vars/all.yml": defined(CALLED),
            "inventory/host_vars/web-1.yml": "netpolicy_node: 'node-{{ 3 + 4 }}.example.org'\n",
        }
    )
    found = site.collect()
    assert found.warnings == []
    (only,) = endpoints(found).values()
    assert (only.name, only.node) == ("web-1-eth0", "web-1")
    assert "netpolicy.host/group.web" in only.labels


def test_two_names_of_a_host_are_one_host(site):
    both = CALLED, CALLED.replace("node-7.example.org", "web-1")
    site.write(
        {
            "inventory/group_vars/all.yml": defined(*both),
            "inventory/host_vars/web-1.yml": "netpolicy_node: node-7.example.org\n",
        }
    )
    assert list(endpoints(site.collect())) == ["web-1-eth0"]


def test_a_node_that_no_host_has_is_a_warning(site):
    site.write({"inventory/group_vars/all.yml": defined(CALLED)})
    found = site.collect()
    assert found.findings == []
    (warning,) = found.warnings
    assert (warning.kind, warning.path) == ("HostEndpoint", "spec.node")
    assert "no host of the inventory has that name or netpolicy_node" in warning.message
    assert warning.place == f"{site.root}/inventory/group_vars/all.yml:2"


@pytest.mark.parametrize(
    "nodes", [{"web-1": "node-7", "web-2": "node-7"}, {"web-1": "web-2"}], ids=["twice", "another host"]
)
def test_two_hosts_cannot_be_one_node(site, nodes):
    site.write(
        {f"inventory/host_vars/{host}.yml": f"netpolicy_node: {node}\n" for host, node in nodes.items()}
    )
    ((kind, name, path, message),) = findings(site.collect())
    assert (kind, name) == ("variable", "netpolicy_node")
    assert path.startswith("host web-")
    assert re.fullmatch("found '.*', which host web-[12] is already called", message)


@pytest.mark.parametrize("node", ["5", "[a]", "' '", "'{{ nowhere }}'"])
def test_a_node_that_cannot_be_read_is_a_finding_with_its_place(site, node):
    site.write({"inventory/host_vars/web-1.yml": f"other: 1\nnetpolicy_node: {node}\n"})
    (finding,) = site.collect().findings
    assert (finding.name, finding.path) == ("netpolicy_node", "host web-1")
    assert finding.place == f"{site.root}/inventory/host_vars/web-1.yml:2"


@pytest.mark.parametrize(
    "files, node",
    [
        ({"inventory/group_vars/all.yml": "one", "inventory/group_vars/web.yml": "two"}, "two"),
        ({"inventory/group_vars/servers.yml": "one", "inventory/host_vars/web-1.yml": "two"}, "two"),
        ({"inventory/group_vars/web.yml": "one", "playbooks/group_vars/web.yml": "two"}, "two"),
        ({"inventory/host_vars/web-1/a.yml": "one", "inventory/host_vars/web-1/b.yml": "two"}, "two"),
    ],
    ids=["groups", "group and host", "beside the playbook", "files of a directory"],
)
def test_variables_of_a_host_obey_precedence(site, files, node):
    site.write({file: f"netpolicy_node: {value}\n" for file, value in files.items()})
    found = site.read()
    assert found.variable("web-1", "netpolicy_node") == node
    assert found.variable("web-1", "netpolicy_node") == site.hostvars().raw_get("web-1")["netpolicy_node"]
    assert found.variable("web-1", "nothing") is None


def test_extra_vars_come_first(site):
    site.write({"inventory/host_vars/web-1.yml": "netpolicy_node: one\n"})
    assert site.read(extra="netpolicy_node: two\n").variable("web-1", "netpolicy_node") == "two"


# -- addresses ---------------------------------------------------------------------------------------


def addresses(collected: collect.Collected) -> dict[str, list[str]]:
    assert collected.findings == []
    return {name: [str(one) for one in ones] for name, ones in collected.addresses.items()}


@pytest.mark.parametrize(
    "variables, known",
    [
        ("netpolicy_addresses: {eth0: [192.0.2.1, 'fd00::1'], eth1: [192.0.2.9]}", ["192.0.2.1", "fd00::1"]),
        ("netpolicy_addresses: {eth0: 192.0.2.1}", ["192.0.2.1"]),
        ("netpolicy_addresses: {eth0: ['192.0.2.{{ 1 + 1 }}']}", ["192.0.2.2"]),
        ("netpolicy_addresses: {eth1: [192.0.2.9]}", []),
        ("netpolicy_addresses: {}", []),
        ("netpolicy_addresses: {eth0: [192.0.2.1]}\nansible_host: 192.0.2.7", ["192.0.2.1"]),
        ("netpolicy_addresses: {}\nansible_host: 192.0.2.7", []),
        ("ansible_host: 192.0.2.7", ["192.0.2.7"]),
        ("ansible_host: 'fd00::7'", ["fd00::7"]),
        ("ansible_host: '{{ ip }}'\nip: 192.0.2.8", ["192.0.2.8"]),
        ("ansible_host: web-1.example.org", []),
        ("ansible_host: 'fe80::1%eth0'", []),
        ("ansible_host: '::ffff:192.0.2.7'", []),
        ("other: 1", []),
    ],
)
def test_addresses_of_an_endpoint(site, variables, known):
    site.write({"inventory/host_vars/web-1.yml": f"{defined(ENDPOINT)}{variables}\n"})
    assert addresses(site.collect()).get("web-1-eth0", []) == known


def test_an_endpoint_for_every_interface_has_the_addresses_of_all_but_the_loopback(site):
    every = ENDPOINT.replace("eth0", "'*'")
    known = "netpolicy_addresses: {eth0: 192.0.2.1, lo: 127.0.0.1, eth1: ['fd00::1']}"
    site.write({"inventory/host_vars/web-1.yml": f"{defined(every)}{known}\n"})
    assert addresses(site.collect()) == {"web-1-*": ["192.0.2.1", "fd00::1"]}


def test_expected_ips_need_no_addresses(site):
    expecting = ENDPOINT.replace("eth0}", "eth0, expectedIPs: [192.0.2.1]}")
    site.write({"inventory/host_vars/web-1.yml": f"{defined(expecting)}netpolicy_addresses: garbage\n"})
    assert addresses(site.collect()) == {}


@pytest.mark.parametrize("other_node", ["web-1", "node-7.example.org"])
def test_ansible_host_is_the_address_of_a_hosts_only_endpoint(site, other_node):
    """With two of them nobody knows which one has it, whatever name of the host they use."""
    second = ENDPOINT.replace("eth0", "eth1").replace("spec: {", f"spec: {{node: {other_node}, ")
    site.write(
        {
            "inventory/host_vars/web-1.yml": defined(ENDPOINT, second)
            + "ansible_host: 192.0.2.7\nnetpolicy_node: node-7.example.org\n"
        }
    )
    collected = site.collect()
    assert len(endpoints(collected)) == 2
    assert [one for ones in addresses(collected).values() for one in ones] == []


def test_facts_are_no_addresses_and_templates_do_not_see_them(site):
    site.write({"inventory/host_vars/web-1.yml": f"{defined(ENDPOINT)}ansible_host: '{{{{ ip }}}}'\n"})
    hostvars = site.hostvars()
    hostvars._variable_manager.set_host_facts("web-1", {"ip": "192.0.2.7"})
    found = inventory.Inventory(hostvars)
    ((_kind, name, path, message),) = findings(collect.collect(found, collect.definitions(found)))
    assert (name, path) == ("ansible_host", "host web-1")
    assert message.startswith("cannot be rendered: ")


@pytest.mark.parametrize(
    "value, message",
    [
        ("garbage", "found 'garbage', expected a mapping of interface to addresses"),
        ("{eth0: 5}", "eth0: found 5, expected a list of addresses"),
        ("{eth0: [192.0.2.0/24]}", "eth0: found '192.0.2.0/24', expected an IP address without mask"),
        ("{eth0: [5]}", "eth0: found 5, expected a string (quote it)"),
    ],
)
def test_addresses_that_cannot_be_read_are_findings(site, value, message):
    site.write({"inventory/host_vars/web-1.yml": f"{defined(ENDPOINT)}netpolicy_addresses: {value}\n"})
    (finding,) = site.collect().findings
    assert (finding.kind, finding.name, finding.path) == ("variable", "netpolicy_addresses", "host web-1")
    assert finding.message == message


# -- what no host or group defines -------------------------------------------------------------------


def unseen(site: sites.Site, host: str = "web-1", **play: t.Any) -> list[str]:
    hostvars = site.hostvars()
    found = inventory.Inventory(hostvars)
    variables = {**hostvars.raw_get(host), **play}
    return collect.unseen_variables(found, collect.definitions(found), variables)


def test_variables_of_the_inventory_are_seen(site):
    site.write(
        {
            "inventory/group_vars/all.yml": defined(a_set("all"))
            + "netpolicy_node: '{{ inventory_hostname }}'\n",
            "inventory/group_vars/web.yml": defined(a_set("web"))
            + "netpolicy_addresses: {eth0: 192.0.2.1}\n",
            "inventory/host_vars/web-1.yml": defined(a_set("host"), name="netpolicy_resources_more"),
            "playbooks/group_vars/web.yml": defined(a_set("play"), name="netpolicy_resources_play"),
        }
    )
    for host in ("web-1", "db-1", "lone"):
        assert unseen(site, host) == []


def test_variables_of_a_play_or_a_role_are_not(site):
    site.write({"inventory/group_vars/all.yml": defined(a_set("all"))})
    own = [written.network_set("own", [])]
    assert unseen(site, netpolicy_resources_role=own, unrelated=own) == ["netpolicy_resources_role"]
    assert unseen(site, netpolicy_resources=own) == ["netpolicy_resources"]
    assert unseen(site, netpolicy_node="a", netpolicy_addresses={}) == [
        "netpolicy_addresses",
        "netpolicy_node",
    ]


@pytest.mark.parametrize(
    "name", ["netpolicy_resources", "netpolicy_resources_x", "netpolicy_node", "netpolicy_addresses"]
)
def test_what_tasks_have_set_for_any_host_is_not_seen(site, name):
    """Another run, or another host's --limit, would not have it."""
    site.write({"inventory/group_vars/all.yml": defined(a_set("all"))})
    for store in ("set_nonpersistent_facts", "set_host_facts"):
        hostvars = site.hostvars()
        getattr(hostvars._variable_manager, store)("db-1", {name: ["set by a task"]})
        found = inventory.Inventory(hostvars)
        variables = hostvars.raw_get("web-1")
        assert collect.unseen_variables(found, collect.definitions(found), variables) == [name]


# -- definitions -------------------------------------------------------------------------------------


def test_every_object_is_read_once(site):
    """A shared list is one definition for each holder, not one for each host."""
    site.write({"inventory/group_vars/all.yml": defined(a_set("all"))})
    (definition,) = collect.definitions(site.read())
    assert (definition.variable, definition.holder) == ("netpolicy_resources", "group all")
    assert set(definition.hosts) == {"lone", "web-1", "web-2", "db-1"}
    assert [dict(one) for one in definition.value] == [written.network_set("all", [])]


def test_what_is_merged_and_read_file_by_file_counts_once(site):
    site.write(
        {
            "inventory/group_vars/all/a.yml": defined(a_set("a")),
            "inventory/group_vars/all/b.yml": defined(a_set("b"), name="netpolicy_resources_b"),
        }
    )
    found = [one.variable for one in collect.definitions(site.read())]
    assert sorted(found) == ["netpolicy_resources", "netpolicy_resources_b"]


@pytest.mark.parametrize(
    "ports, refused", [("[10:20]", True), ("['10:20']", False), ("[20]", False), ("[0x50]", False)]
)
def test_a_range_that_yaml_reads_as_a_number_in_base_60_is_refused(site, ports, refused):
    rule = f"{{action: Allow, protocol: TCP, destination: {{ports: {ports}}}}}"
    spec = f"{{doNotTrack: true, applyOnForward: true, ingress: [{rule}]}}"
    site.write(
        {
            "inventory/group_vars/all.yml": defined(
                f"{{{API}kind: GlobalNetworkPolicy, metadata: {{name: web}}, spec: {spec}}}"
            )
        }
    )
    found = [(path, message) for _kind, _name, path, message in findings(site.collect())]
    message = "found 620: YAML reads 10:20 as a number in base 60; quote it: '10:20'"
    assert found == ([("spec.ingress[0].destination.ports[0]", message)] if refused else [])
