# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources in files that variables of the inventory name."""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import (
    collect,
    documents,
    files,
    inventory,
    resources,
)
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import site as sites
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import written

HOSTS = """\
all:
  hosts: {lone: }
  children:
    servers:
      children:
        web: {hosts: {web-1: , web-2: }}
        db: {hosts: {db-1: }}
    empty:
"""
VARIABLE = "netpolicy_resource_files"
API = f"apiVersion: {written.API}"


@pytest.fixture(name="site")
def fixture_site(tmp_path):
    """Hosts web-1, web-2 and db-1 in groups web and db of servers, host lone in none, no host in empty."""
    return sites.Site(tmp_path).write({"inventory/hosts.yml": HOSTS})


def a_set(name: str, nets: str = "") -> str:
    """A document with a network set."""
    return f"---\n{API}\nkind: GlobalNetworkSet\nmetadata: {{name: {name}}}\nspec: {{nets: [{nets}]}}\n"


ENDPOINT = f"{API}\nkind: HostEndpoint\nspec: {{interfaceName: eth0}}\n"


def files_named(*paths: str) -> str:
    """A file of variables that names files."""
    return f"{VARIABLE}: {json.dumps(paths)}\n"


def names(collected: collect.Collected) -> list[str]:
    assert [str(one) for one in collected.findings] == []
    return sorted(resource.name for resource in collected.resources)


def findings(collected: collect.Collected) -> list[tuple[str, str | None]]:
    """Of each finding path and message, and its place."""
    return [(f"{one.path}: {one.message}", one.place) for one in collected.findings]


def of_file(site: sites.Site, content: str) -> list[tuple[str, str | None]]:
    """What is found in a file of this content that all hosts have."""
    site.write({"inventory/group_vars/all.yml": files_named("calico.yml")})
    site.write({"inventory/group_vars/calico.yml": content})
    prefix = f"{site.root}/inventory/group_vars/calico.yml:"
    return [(text, (place or "").removeprefix(prefix)) for text, place in findings(site.collect())]


# -- every definition counts -------------------------------------------------------------------------


def test_every_definition_counts(site):
    """Where precedence would keep one: a parent, a child, a host, beside the playbook, extra vars."""
    site.write(
        {
            "inventory/group_vars/all.yml": files_named("../files/all.yml"),
            "inventory/group_vars/servers.yml": files_named("../files/parent.yml"),
            "inventory/group_vars/web.yml": files_named("../files/child.yml"),
            "inventory/group_vars/db/one.yml": files_named("../../files/directory-one.yml"),
            "inventory/group_vars/db/two.yml": files_named("../../files/directory-two.yml"),
            "inventory/group_vars/empty.yml": files_named("../files/empty.yml"),
            "inventory/host_vars/web-1.yml": files_named("../files/host.yml"),
            "playbooks/group_vars/web.yml": files_named("../../inventory/files/beside-playbook.yml"),
        }
    )
    expected = [
        "all",
        "beside-playbook",
        "child",
        "directory-one",
        "directory-two",
        "empty",
        "extra",
        "host",
        "parent",
    ]
    site.write({f"inventory/files/{name}.yml": a_set(name) for name in expected})
    assert names(site.collect(extra=files_named("inventory/files/extra.yml"))) == expected


def test_several_inventory_sources_count(site):
    site.write(
        {
            "inventory/more.yml": f"all: {{vars: {{{VARIABLE}: one.yml}}}}",
            "other/more.yml": f"all: {{vars: {{{VARIABLE}: two.yml}}}}",
            "inventory/one.yml": a_set("one"),
            "other/two.yml": a_set("two"),
        }
    )
    assert names(site.collect(sources=["inventory/hosts.yml", "inventory/more.yml", "other/more.yml"])) == [
        "one",
        "two",
    ]


def test_resources_of_files_and_of_variables_are_one_policy(site):
    site.write(
        {
            "inventory/group_vars/all.yml": files_named("calico.yaml")
            + f"netpolicy_resources: {json.dumps([written.network_set('a', [])])}\n",
            "inventory/group_vars/calico.yaml": a_set("b"),
        }
    )
    # group_vars/calico.yaml belongs to no group: Ansible does not read it for variables.
    assert names(site.collect()) == ["a", "b"]


def test_a_resource_of_a_file_may_stand_in_a_variable_too_if_it_is_equal(site):
    one, other = written.network_set("a", ["10.0.0.0/8"]), "10.0.0.0/9"
    site.write(
        {
            "inventory/group_vars/all.yml": files_named("x.yml")
            + f"netpolicy_resources: {json.dumps([one])}\n",
            "inventory/group_vars/x.yml": a_set("a", "10.0.0.0/8"),
        }
    )
    assert names(site.collect()) == ["a"]
    site.write({"inventory/group_vars/x.yml": a_set("a", other)})
    ((message, _place),) = findings(site.collect())
    assert message.startswith("metadata.name: defined twice with different content")


@pytest.mark.parametrize("value", ["calico.yml", "[calico.yml]", "[calico.yml, calico.yml]"])
def test_a_path_or_a_list_of_paths(site, value):
    site.write({"inventory/group_vars/all.yml": f"{VARIABLE}: {value}\n"})
    site.write({"inventory/group_vars/calico.yml": a_set("a")})
    assert names(site.collect()) == ["a"]


def test_an_empty_list_names_nothing(site):
    site.write({"inventory/group_vars/all.yml": f"{VARIABLE}: []\n"})
    assert names(site.collect()) == []


def test_a_limit_does_not_matter(site):
    site.write({"inventory/host_vars/db-1.yml": files_named("a"), "inventory/host_vars/a": a_set("a")})
    assert names(site.collect(limit="web-1")) == ["a"]


# -- endpoints ---------------------------------------------------------------------------------------


def nodes(collected: collect.Collected) -> dict[str, str]:
    assert [str(one) for one in collected.findings] == []
    return {one.name: one.node for one in collected.resources if isinstance(one, resources.HostEndpoint)}


def test_an_endpoint_without_node_stands_for_one_on_each_host_of_the_holder(site):
    site.write({"inventory/group_vars/web.yml": files_named("e.yml")})
    site.write({"inventory/group_vars/e.yml": ENDPOINT})
    assert nodes(site.collect()) == {"web-1-eth0": "web-1", "web-2-eth0": "web-2"}


def test_one_file_may_be_named_by_several_holders(site):
    """A parent, its child, and one host of another group: their hosts together, each once."""
    site.write(
        {
            "inventory/group_vars/web.yml": files_named("../e.yml"),
            "inventory/host_vars/web-1.yml": files_named("../e.yml"),
            "inventory/host_vars/db-1.yml": files_named("../e.yml"),
            "inventory/e.yml": ENDPOINT + a_set("a"),
        }
    )
    collected = site.collect()
    assert nodes(collected) == {"web-1-eth0": "web-1", "web-2-eth0": "web-2", "db-1-eth0": "db-1"}
    assert len(collected.resources) == 4


def test_an_endpoint_without_node_in_extra_vars_belongs_to_no_host(site):
    named = ENDPOINT.replace("spec", "metadata: {name: mine}\nspec")
    collected = site.write({"e.yml": named}).collect(extra=files_named("e.yml"))
    missing = "spec.node: missing; expected the name of a host in the inventory"
    assert findings(collected) == [(missing, f"{site.root}/e.yml:4")]


# -- where a path starts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "holder, text, beside",
    [
        ("inventory/group_vars/all.yml", f"{VARIABLE}: sub/x.yml\n", "inventory/group_vars/sub"),
        ("inventory/group_vars/all/any.yml", f"{VARIABLE}: [x.yml]\n", "inventory/group_vars/all"),
        ("inventory/group_vars/all.json", f'{{"{VARIABLE}": "x.y"}}', "inventory/group_vars"),
        ("inventory/host_vars/web-1.yml", f"{VARIABLE}: ../x.yml\n", "inventory"),
        ("inventory/hosts.yml", f"all: {{vars: {{{VARIABLE}: x.yml}}, hosts: {{h: }}}}", "inventory"),
        ("playbooks/group_vars/all.yml", f"{VARIABLE}: x.yml\n", "playbooks/group_vars"),
    ],
)
def test_a_path_starts_at_the_file_that_names_it(site, holder, text, beside):
    name = "x.y" if holder.endswith(".json") else "x.yml"
    # Below a directory of variables Ansible reads every file, so that one would be variables as well.
    content = a_set("a").removeprefix("---\n") if "/all/" in holder else a_set("a")
    site.write({holder: text, f"{beside}/{name}": content})
    assert names(site.collect()) == ["a"]


@pytest.mark.parametrize("text", [f"{VARIABLE}=x.yml", f"{VARIABLE}=['x.yml', 'y.yml']"])
def test_a_path_in_an_inventory_of_the_other_format(site, text):
    site.write({"ini/hosts": f"[web]\nweb-1\n[web:vars]\n{text}\n"})
    site.write({"ini/x.yml": a_set("x"), "ini/y.yml": a_set("y")})
    assert names(site.collect(sources=["ini/hosts"])) == (["x", "y"] if "y.yml" in text else ["x"])


@pytest.mark.parametrize("value", ["x.yml", ["x.yml"]])
def test_without_a_file_that_names_it_a_path_starts_at_the_playbook(site, value):
    site.write({"playbooks/x.yml": a_set("x")})
    hostvars = site.hostvars()
    hostvars._variable_manager._extra_vars = {VARIABLE: value}
    found = inventory.Inventory(hostvars)
    assert names(collect.collect(found, collect.definitions(found))) == ["x"]


def test_absolute_paths_and_the_home_directory(site, monkeypatch):
    monkeypatch.setenv("HOME", str(site.root / "home"))
    site.write({"inventory/group_vars/all.yml": files_named(f"{site.root}/far/x.yml", "~/y.yml")})
    site.write({"far/x.yml": a_set("x"), "home/y.yml": a_set("y")})
    assert names(site.collect()) == ["x", "y"]


# -- templates and vault -----------------------------------------------------------------------------


def test_a_templated_path_is_rendered_for_each_host(site):
    site.write(
        {
            "inventory/group_vars/servers.yml": f"{VARIABLE}: ['{{{{ inventory_hostname }}}}.yml']\n",
            **{f"inventory/group_vars/{host}.yml": ENDPOINT for host in ("web-1", "web-2", "db-1")},
        }
    )
    assert set(nodes(site.collect())) == {"web-1-eth0", "web-2-eth0", "db-1-eth0"}


def test_a_template_with_the_same_result_for_all_hosts_is_one_file_for_all(site):
    site.write({"inventory/group_vars/web.yml": f'{VARIABLE}: \'{{{{ "e" ~ ".yml" }}}}\'\n'})
    site.write({"inventory/group_vars/e.yml": ENDPOINT + a_set("a")})
    collected = site.collect()
    assert set(nodes(collected)) == {"web-1-eth0", "web-2-eth0"}
    assert len(collected.resources) == 3


@pytest.mark.parametrize(
    "template, start",
    [
        ("'{{ [base ~ \"/x.yml\"] }}'", "inventory/group_vars/sub"),
        ("['{{ base }}/x.yml']", "inventory/group_vars/sub"),
        ("'{{ complete }}'", "inventory/host_vars/sub"),
        ("'{{ several }}'", "inventory/host_vars/sub"),
    ],
)
def test_a_templated_path_starts_where_its_text_is_written(site, template, start):
    site.write(
        {
            "inventory/group_vars/web.yml": f"{VARIABLE}: {template}\n",
            "inventory/host_vars/web-1.yml": "base: sub\ncomplete: sub/x.yml\nseveral: [sub/x.yml]\n",
            "inventory/host_vars/web-2.yml": "base: sub\ncomplete: sub/x.yml\nseveral: [sub/x.yml]\n",
            f"{start}/x.yml": a_set("a"),
        }
    )
    assert names(site.collect()) == ["a"]


def test_a_template_that_cannot_be_rendered_is_a_finding(site):
    site.write({"inventory/group_vars/web.yml": f"{VARIABLE}: '{{{{ nothing }}}}'\n"})
    ((message, place),) = findings(site.collect())
    assert message.startswith("group web: cannot be rendered for host web-1: ")
    assert place == f"{site.root}/inventory/group_vars/web.yml:1"


def test_a_vaulted_path_is_read(site):
    site.write({"inventory/group_vars/web.yml": f"{VARIABLE}: {sites.vaulted_value('x.yml', 2)}"})
    site.write({"inventory/group_vars/x.yml": a_set("x")})
    assert names(site.collect()) == ["x"]


def test_nothing_in_a_file_is_a_template(site):
    """Neither a text that looks like one, nor one that would do harm."""
    site.write({"inventory/group_vars/all.yml": files_named("x.yml")})
    harm = site.root / "harm"
    content = a_set("x").replace(
        "{name: x}", "{name: x, labels: {a: \"{{ lookup('pipe', 'touch HARM') }}\"}}"
    )
    content = content.replace("HARM", str(harm))
    site.write({"inventory/group_vars/x.yml": content})
    ((message, _place),) = findings(site.collect())
    assert message.startswith("metadata.labels: label a: found \"{{ lookup('pipe', ")
    assert not harm.exists()
    ((content,), _none) = documents.read(content.encode(), "/x.yml")
    assert not inventory.holds_template(content)


def test_a_vaulted_file_is_read_and_its_findings_tell_the_line(site):
    site.write({"inventory/group_vars/all.yml": files_named("x.yml")})
    wrong = a_set("y").replace("nets", "net")
    site.write({"inventory/group_vars/x.yml": sites.vaulted(a_set("x") + wrong)})
    ((message, place),) = findings(site.collect())
    assert message.startswith("spec.net: unknown field")
    assert place == f"{site.root}/inventory/group_vars/x.yml:10"
    site.write({"inventory/group_vars/x.yml": sites.vaulted(a_set("x"))})
    assert names(site.collect()) == ["x"]


@pytest.mark.parametrize("secrets", [None, [], [("default", VaultSecret(b"another one"))]])
def test_a_vaulted_file_without_its_password_is_a_finding(site, secrets):
    site.write(
        {"inventory/group_vars/all.yml": files_named("x.yml"), "inventory/group_vars/x.yml": a_set("x")}
    )
    site.write({"inventory/group_vars/x.yml": sites.vaulted(a_set("x"))})
    hostvars = site.hostvars()
    hostvars._loader.set_vault_secrets(secrets)
    found = inventory.Inventory(hostvars)
    ((message, place),) = findings(collect.collect(found, collect.definitions(found)))
    assert message.startswith(f"group all: {site.root}/inventory/group_vars/x.yml: cannot be decrypted: ")
    assert place == f"{site.root}/inventory/group_vars/all.yml:1"


def test_a_damaged_vaulted_file_is_a_finding(site):
    damaged = VaultLib(sites.SECRETS).encrypt(b"x").decode()[:-9]
    ((message, _place),) = of_file(site, damaged)
    assert "cannot be decrypted" in message


# -- documents ---------------------------------------------------------------------------------------


def a_list(kind: str, *members: str) -> str:
    """A List of resources as calicoctl writes it: keys in the order of the alphabet."""
    return json.dumps(
        {
            "apiVersion": written.API,
            "items": [written.network_set(name, []) for name in members],
            "kind": kind,
            "metadata": {"resourceVersion": "12"},
        }
    )


@pytest.mark.parametrize(
    "content, expected",
    [
        ("", []),
        ("# nothing\n", []),
        ("---\n---\n...\n---\n# nothing\n", []),
        (a_set("a"), ["a"]),
        (a_set("a") + a_set("b") + "---\n" + a_set("c") + "---\n", ["a", "b", "c"]),
        ("\ufeff" + a_set("a"), ["a"]),
        (a_list("List", "a", "b"), ["a", "b"]),
        (a_list("GlobalNetworkSetList", "a", "b"), ["a", "b"]),
        (a_list("HostEndpointList"), []),
        (f"{API}\nkind: HostEndpointList\nitems: null\n", []),
        (f"{a_set('a')}---\n{a_list('List', 'b')}\n---\n", ["a", "b"]),
        (json.dumps(written.network_set("a", []), indent="\t"), ["a"]),
        (json.dumps([written.network_set("a", []), written.network_set("b", [])]), ["a", "b"]),
        (f"[{a_list('List', 'a')}, {json.dumps(written.network_set('b', []))}]", ["a", "b"]),
    ],
)
def test_what_a_file_may_hold(site, content, expected):
    site.write({"inventory/group_vars/all.yml": files_named("x"), "inventory/group_vars/x": content})
    assert names(site.collect()) == expected


AS_CALICOCTL_WRITES = """\
apiVersion: projectcalico.org/v3
items:
- apiVersion: projectcalico.org/v3
  kind: HostEndpoint
  metadata:
    creationTimestamp: 2024-05-02T09:41:00Z
    labels:
      role: web
    name: web-1-eth0
    resourceVersion: "1187"
    uid: 6a1f0c0e-0b1f-4f6e-9a3b-0e6f3c1d2e4f
  spec:
    expectedIPs:
    - 192.0.2.1
    interfaceName: eth0
    node: web-1
kind: HostEndpointList
metadata:
  resourceVersion: "1190"
"""


def test_what_calicoctl_writes(site):
    site.write({"x.yml": AS_CALICOCTL_WRITES})
    assert names(site.collect(extra=files_named("x.yml"))) == ["web-1-eth0"]


NO_RESOURCE = "expected a resource (a mapping)"
NO_VALUE = "and it is none; quote it if it is a text"
WRONG = {
    "text\n": f"1 document 1: found 'text', {NO_RESOURCE}",
    "---\n---\n5\n": f"3 document 2: found 5, {NO_RESOURCE}",
    "- a\n": f"1 document 1[0]: found 'a', {NO_RESOURCE}",
    "-\n": f"1 document 1[0]: found null, {NO_RESOURCE}",
    "kind: List\n": "1 document 1.items: missing",
    "kind: List\nitems: {}\n": "2 document 1.items: found a mapping, expected a list of resources",
    "kind: List\nitems: [x]\n": f"2 document 1.items[0]: found 'x', {NO_RESOURCE}",
    "kind: List\nitems:\n- kind: TierList\n  items: []\n": (
        "3 document 1.items[0]: found a TierList inside of a list; put its items here"
    ),
    "a: 1\nb: 2\n\na: 3\n": "4 document 1: found the key 'a' a second time; it is also in line 1",
    "x: {a: 1, a: 2}\n": "1 document 1: found the key 'a' a second time; it is also in line 1",
    "\nports:\n- 10:20\n": (
        "3 document 1: found '10:20': YAML reads 10:20 as a number in base 60; quote it: '10:20'"
    ),
    "\nports:\n- +0_443\n": (
        "3 document 1: found '+0_443': YAML reads +0_443, for its leading 0, in base 8; write 443"
    ),
    "\na: &a {k: v}\nb: &b {<<: *a}\nc: {<<: *b}\n": (
        "4 document 1: found a merge (<<) of what merges something itself; write the fields out"
    ),
    "\nports:\n- 0443\n": (
        "3 document 1: found '0443': YAML reads 0443, for its leading 0, in base 8; write 443"
    ),
    "a: 2024-13-45\n": (
        f"1 document 1: found '2024-13-45', which YAML takes for a value of type timestamp, {NO_VALUE}"
    ),
    "a: !!int ''\n": f"1 document 1: found '', which YAML takes for a value of type int, {NO_VALUE}",
    "? [b]\n: 1\n": "1 document 1: is not YAML: while constructing a mapping: found unhashable key",
    "a:\n  b: [1,\n": (
        "3 document 1: is not YAML: while parsing a flow node: did not find expected node content"
    ),
    "a: 1\nb\n": "3 document 1: is not YAML: while scanning a simple key: could not find expected ':'",
    "a: 1\nb: \x01\n": "2 document 1: is not YAML: control characters are not allowed",
    "a:\n  "
    + "[" * 70
    + "]" * 70: "2 YAML: found more than 64 levels of lists and mappings inside each other",
}


@pytest.mark.parametrize("content", WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_with_a_file_is_found_at_its_line(site, content):
    assert [f"{line} {message}" for message, line in of_file(site, content)] == [WRONG[content]]


def test_nesting_that_would_crash_the_parser_is_found(site):
    """Some releases of libyaml refuse it themselves, and some overflow the stack."""
    (finding,) = of_file(site, "[" * 200_000 + "]" * 200_000)
    assert "depth" in finding[0] or "levels" in finding[0]
    assert finding[1] == "1"


@pytest.mark.parametrize("tag", ["!vault", "!unsafe", "!!binary", "!!python/object:os.system", "!x"])
def test_tags_are_refused(site, tag):
    ((message, place),) = of_file(site, f"a:\n- b\n- {tag} c\n")
    assert message.startswith(f"document 1: found the tag '{tag}'; a resource file is YAML without tags, and")
    assert place == "3"


def test_a_document_that_is_wrong_does_not_hide_the_others(site):
    """All of a file is reported at once; what stands before a syntax error, too."""
    content = (
        a_set("a").replace("nets", "net") + "---\na: 1\na: 2\n" + a_set("b").replace("nets", "net") + "---\n}"
    )
    found = of_file(site, content)
    assert sorted(str(place) for _message, place in found) == ["13", "15", "5", "8"]


def test_aliases_are_what_they_stand_for(site):
    content = a_set("a", "&net 10.0.0.0/8, *net")
    site.write({"inventory/group_vars/all.yml": files_named("x"), "inventory/group_vars/x": content})
    (found,) = site.collect().resources
    assert {str(net) for net in found.nets} == {"10.0.0.0/8"}


def test_a_structure_inside_itself_is_refused(site):
    ((message, _place),) = of_file(site, a_set("a", "&a [*a]"))
    assert message == "spec.nets[0]: found a list, expected a string"


# -- files that cannot be read -----------------------------------------------------------------------


def problem(site: sites.Site, path: str) -> str:
    """What is said of a path, after the file that it names."""
    site.write({"inventory/group_vars/web.yml": f"\n{files_named(path)}"})
    ((message, place),) = findings(site.collect())
    assert place == f"{site.root}/inventory/group_vars/web.yml:2"
    start = f"group web: {site.root}/inventory/group_vars/{path}: "
    assert message.startswith(start)
    return message.removeprefix(start)


def test_a_file_that_is_not_there(site):
    assert problem(site, "none.yml") == "there is no such file"


def test_a_directory(site):
    (site.root / "inventory/group_vars/directory").mkdir(parents=True)
    assert problem(site, "directory") == "is a directory, expected a file; name each file in it"


def test_a_pipe_is_not_waited_for(site):
    (site.root / "inventory/group_vars").mkdir()
    os.mkfifo(site.root / "inventory/group_vars/pipe")
    assert problem(site, "pipe") == "is not a regular file"


def test_a_file_in_a_file(site):
    assert problem(site, "web.yml/x") == "cannot be read: Not a directory"


def test_a_file_that_may_not_be_read(site, monkeypatch):
    site.write({"inventory/group_vars/x": a_set("x")})

    def refuse(path: str) -> t.NoReturn:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(files, "Path", refuse)  # root, who runs these tests, may read everything
    assert problem(site, "x") == "cannot be read: Permission denied"


def test_a_file_that_is_not_utf_8(site, capsys):
    site.write({"inventory/group_vars/x": ""})
    (site.root / "inventory/group_vars/x").write_bytes(b"a: 1\nb: \xe4\n")
    assert problem(site, "x") == "is not UTF-8: found the byte 0xe4 in line 2"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "value, found", [("null", "null"), ("5", "5"), ("{a: b}", "a mapping"), ("' '", "' '")]
)
def test_what_is_no_path_is_refused(site, value, found):
    site.write({"inventory/group_vars/all.yml": f"a: 1\n{VARIABLE}: {value}\n"})
    ((message, place),) = findings(site.collect())
    assert message == f"group all: found {found}, expected the path of a file, or a list of paths"
    assert place == (None if value == "null" else f"{site.root}/inventory/group_vars/all.yml:2")


def test_each_wrong_member_of_a_list_is_refused(site):
    site.write({"inventory/group_vars/all.yml": f'{VARIABLE}:\n- [x]\n- none.yml\n- 5\n- "\\0"\n'})
    lines = [(place or "").rpartition(":")[2] for _message, place in findings(site.collect())]
    assert sorted(lines) == ["2", "3", "4", "5"]


def test_each_holder_of_a_missing_file_hears_of_it_and_all_findings_come_at_once(site):
    site.write(
        {
            "inventory/group_vars/web.yml": files_named("none.yml", "bad.yml"),
            "inventory/group_vars/db.yml": files_named("none.yml", "bad.yml"),
            "inventory/group_vars/bad.yml": "}",
            "inventory/host_vars/lone.yml": "netpolicy_resources: 5\n",
        }
    )
    found = [message for message, _place in findings(site.collect())]
    assert sorted(message.partition(": ")[0] for message in found) == [
        "document 1",  # what is wrong inside of a file is told once
        "group db",
        "group web",
        "host lone",
    ]


# -- once --------------------------------------------------------------------------------------------


def test_a_file_is_read_and_parsed_once(site, monkeypatch):
    site.write(
        {
            "inventory/group_vars/all.yml": files_named("../x.yml"),
            "inventory/group_vars/web.yml": f"{VARIABLE}: '{{{{ \"..\" }}}}/x.yml'\n",
            "inventory/host_vars/db-1.yml": files_named("../x.yml", "../../inventory/x.yml"),
            "inventory/x.yml": a_set("x") + a_set("wrong").replace("nets", "net"),
        }
    )
    read: list[str] = []
    real = documents.read

    def counted(content: bytes, path: str) -> t.Any:
        read.append(path)
        return real(content, path)

    monkeypatch.setattr(documents, "read", counted)
    assert len(site.collect().findings) == 1
    assert read == [f"{site.root}/inventory/x.yml"]


# -- what no host or group defines -------------------------------------------------------------------


def unseen(site: sites.Site, host: str = "web-1", **play: t.Any) -> list[str]:
    hostvars = site.hostvars()
    found = inventory.Inventory(hostvars)
    return collect.unseen_variables(found, collect.definitions(found), {**hostvars.raw_get(host), **play})


def test_the_variable_of_the_inventory_is_seen(site):
    site.write(
        {
            "inventory/group_vars/all.yml": files_named("x.yml"),
            "inventory/group_vars/web.yml": f"{VARIABLE}: '{{{{ inventory_hostname }}}}.yml'\n",
        }
    )
    for host in ("web-1", "db-1", "lone"):
        assert unseen(site, host) == []


def test_the_variable_of_a_play_is_not(site):
    site.write({"inventory/group_vars/all.yml": files_named("x.yml")})
    assert unseen(site, netpolicy_resource_files="y.yml") == [VARIABLE]


def test_the_variable_that_a_task_has_set_for_any_host_is_not(site):
    for store in ("set_nonpersistent_facts", "set_host_facts"):
        hostvars = site.hostvars()
        getattr(hostvars._variable_manager, store)("db-1", {VARIABLE: ["set by a task"]})
        found = inventory.Inventory(hostvars)
        variables = hostvars.raw_get("web-1")
        assert collect.unseen_variables(found, collect.definitions(found), variables) == [VARIABLE]


# -- anything ----------------------------------------------------------------------------------------

PIECES = (
    *"[]{}:,-?&*!|>'\"%@`#~=. \t\n\r\\ax01",
    *("\n- ", "\n  ", ": ", "---\n", "<<: ", "*a", "&a ", "\0", "\u2028", "\ufeff", "{{ x }}"),
    *("!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!set ", "!!omap ", "!vault ", "!unsafe "),
    *("2024-99-01", "0b_", "1:2", "kind: List\n", "items: ", "kind: HostEndpoint\nspec: {}\n"),
)
YAML_LIKE = st.lists(st.sampled_from(PIECES)).map("".join)


@given(
    st.one_of(
        st.binary(),
        YAML_LIKE.map(str.encode),
        st.binary().map(b"$ANSIBLE_VAULT;1.1;AES256\n".__add__),
        st.text("0123456789abcdef\n").map(lambda text: b"$ANSIBLE_VAULT;1.2;AES256;x\n" + text.encode()),
        st.text("$;\n1.2AESx", max_size=20).map(lambda text: b"$ANSIBLE_VAULT" + text.encode()),
    )
)
def test_no_content_raises(tmp_path_factory, content):
    site = sites.Site(tmp_path_factory.mktemp("site")).write({"inventory/hosts.yml": HOSTS})
    site.write({"inventory/group_vars/all.yml": files_named("x")})
    (site.root / "inventory/group_vars/x").write_bytes(content)
    collected = site.collect()
    assert collected.findings or all(one.place for one in collected.resources)


@given(st.one_of(st.text(), st.lists(st.one_of(st.text(), st.none(), st.integers()))))
def test_no_path_raises(tmp_path_factory, value):
    site = sites.Site(tmp_path_factory.mktemp("site")).write({"inventory/hosts.yml": HOSTS})
    site.write({"inventory/group_vars/all.yml": json.dumps({VARIABLE: value})})
    assert site.collect().findings or not value
