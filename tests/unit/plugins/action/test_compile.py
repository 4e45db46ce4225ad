# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.netpolicy.host.plugins.action import compile as plugin
from ansible_collections.netpolicy.host.plugins.module_utils._host.provenance import Extent
from ansible_collections.netpolicy.host.plugins.module_utils._policy import read
from ansible_collections.netpolicy.host.plugins.plugin_utils import _artefact
from ansible_collections.netpolicy.host.tests.unit.plugins.action import tasks
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import written
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico.site import Site

HOSTS = "all: {hosts: {web-1: , web-2: , lone: }, children: {web: {hosts: {web-1: , web-2: }}}}\n"
ENDPOINT = written.endpoint()
del ENDPOINT["metadata"], ENDPOINT["spec"]["node"]
ANSWERS = [{"action": "Allow"}]
RULES = [{"action": "Allow", "source": {"selector": "has(client)"}}]
CLIENTS = written.network_set("clients", ["10.0.0.0/8"], {"client": ""})


def variables(*resources: written.Written) -> str:
    # Not JSON alone, which ansible-core reads without lines.
    return "---\n" + json.dumps({"netpolicy_resources": resources})


@pytest.fixture(name="site")
def fixture_site(tmp_path):
    return Site(tmp_path).write({"inventory/hosts.yml": HOSTS})


def run(
    site: Site,
    host: str = "web-1",
    check: bool = False,
    play: dict[str, t.Any] | None = None,
    **options: t.Any,
) -> dict[str, t.Any]:
    hostvars = site.hostvars(**options)
    seen = {**hostvars.raw_get(host), "hostvars": hostvars, **(play or {})}
    action = tasks.action(plugin.ActionModule, dest=str(site.root / "compiled"), check=check)
    return action.run(task_vars=seen)


@pytest.mark.parametrize("check", [False, True])
def test_every_host_with_an_endpoint_gets_its_policy(site, check):
    site.write(
        {
            "inventory/group_vars/web.yml": variables(ENDPOINT),
            "inventory/group_vars/all.yml": variables(written.policy(ingress=RULES, egress=ANSWERS), CLIENTS),
        }
    )
    result = run(site, check=check)
    assert set(result) == {"changed", "directory", "digest", "hosts", "findings"}
    assert (result["changed"], result["hosts"], result["findings"]) == (False, 2, [])
    directory = Path(result["directory"])
    assert directory == site.root / "compiled"
    for host in ("web-1", "web-2"):
        artefact = _artefact.read(directory, host)
        policy = read.from_dict(artefact.policy)
        assert policy.digest == artefact.digest
        assert [endpoint.name for endpoint in policy.endpoints] == [f"{host}-eth0"]
        assert list(policy.policies) == ["GlobalNetworkPolicy/web"]
        place = policy.places["GlobalNetworkPolicy/web/ingress/0"]
        assert place == f"{site.root}/inventory/group_vars/all.yml:2"
    assert _artefact.read(directory, "lone").policy is None


def test_the_extent_of_the_inventory_goes_with_the_policies(site):
    second = {**ENDPOINT, "spec": {**ENDPOINT["spec"], "interfaceName": "eth1"}}
    site.write(
        {
            "inventory/group_vars/web.yml": variables(ENDPOINT),
            "inventory/host_vars/web-1.yml": variables(second),
        }
    )
    for limit in (None, "lone"):
        directory = Path(run(site, limit=limit)["directory"])
        for host in ("web-1", "lone"):
            found = _artefact.read(directory, host).inventory
            assert found == Extent(site.read().id, hosts=3, hosts_with_policy=2, endpoints=3)


def test_equal_inventories_have_equal_digests_whatever_the_limit(site):
    site.write({"inventory/group_vars/web.yml": variables(ENDPOINT)})
    results = [run(site, limit=limit) for limit in (None, "web-1", "lone")]
    assert results[0] == results[1] == results[2]
    site.write({"inventory/group_vars/web.yml": variables(ENDPOINT, written.policy())})
    assert run(site)["digest"] != results[0]["digest"]


def test_warnings_are_findings_of_the_result(site):
    site.write(
        {
            "inventory/group_vars/web.yml": variables(
                ENDPOINT, written.policy(ingress=RULES, egress=ANSWERS)
            ),
            "inventory/group_vars/all.yml": variables(written.endpoint("far", node="nowhere")),
        }
    )
    found = run(site)["findings"]
    assert [(one["kind"], one["name"], one["path"]) for one in found] == [
        ("HostEndpoint", "far", "spec.node"),
        ("GlobalNetworkPolicy", "web", "spec.ingress[0].source.selector"),
    ]
    assert [one["place"] for one in found] == [
        f"{site.root}/inventory/group_vars/{group}.yml:2" for group in ("all", "web")
    ]


def test_an_inventory_without_resources_is_refused(site):
    with pytest.raises(AnsibleActionFail, match=r"^No resources: .*Looked at 3 hosts\."):
        run(site)


def test_everything_wrong_is_told_and_nothing_written(site):
    site.write(
        {
            "inventory/group_vars/web.yml": variables(ENDPOINT, written.policy(order="first")),
            "inventory/host_vars/lone.yml": variables(written.network_set("A", [])),
        }
    )
    with pytest.raises(AnsibleActionFail) as error:
        run(site)
    head, *lines = str(error.value).splitlines()
    assert head == "2 findings; nothing was applied anywhere."
    assert lines[0].startswith(
        f"{site.root}/inventory/group_vars/web.yml:2: GlobalNetworkPolicy web: spec.order"
    )
    assert lines[1].startswith(
        f"{site.root}/inventory/host_vars/lone.yml:2: GlobalNetworkSet A: metadata.name"
    )
    assert not (site.root / "compiled").exists()


def test_an_inventory_of_empty_lists_is_refused_with_a_hint(site):
    site.write({"inventory/group_vars/web.yml": variables()})
    with pytest.raises(
        AnsibleActionFail, match=r"^No resources: defined, but empty: netpolicy_resources of group web"
    ):
        run(site)


def test_resources_may_stand_in_files(site):
    site.write(
        {
            "inventory/group_vars/web.yml": "netpolicy_resource_files: ../../calico/all.yml\n",
            "calico/all.yml": "\n---\n".join(json.dumps(one) for one in (ENDPOINT, CLIENTS)),
        }
    )
    assert run(site)["hosts"] == 2


def test_a_file_that_is_not_there_fails_the_task(site):
    site.write({"inventory/group_vars/web.yml": "netpolicy_resource_files: none.yml\n"})
    with pytest.raises(AnsibleActionFail) as failure:
        run(site)
    lines = str(failure.value).splitlines()
    assert lines[0].startswith("1 finding; nothing was applied anywhere")
    group_vars = f"{site.root}/inventory/group_vars"
    assert lines[1] == (
        f"{group_vars}/web.yml:1: variable netpolicy_resource_files: group web: "
        f"{group_vars}/none.yml: there is no such file"
    )


def test_without_dest_the_policies_live_in_the_runs_own_directory(site, monkeypatch):
    monkeypatch.setattr("ansible.constants.DEFAULT_LOCAL_TMP", str(site.root / "own"))
    site.write({"inventory/group_vars/web.yml": variables(ENDPOINT)})
    hostvars = site.hostvars()
    result = tasks.action(plugin.ActionModule).run(
        task_vars={"hostvars": hostvars, **hostvars.raw_get("web-1")}
    )
    directory = Path(result["directory"])
    assert directory.parent == site.root / "own"
    assert _artefact.read(directory, "web-1").policy is not None


@pytest.mark.parametrize(
    "name", ["netpolicy_resources", "netpolicy_resources_of_role", "netpolicy_resource_files"]
)
def test_resources_of_a_play_are_refused_by_name(site, name):
    site.write({"inventory/group_vars/web.yml": variables(ENDPOINT)})
    with pytest.raises(AnsibleActionFail, match=f"^{name}: defined by the play, a role or a task"):
        run(site, play={name: [CLIENTS]})


def test_a_run_without_an_own_endpoint_compiles_too(site):
    site.write({"inventory/group_vars/web.yml": variables(ENDPOINT)})
    assert run(site, host="lone")["hosts"] == 2


def test_a_directory_that_cannot_be_written_is_told(site):
    site.write({"inventory/group_vars/web.yml": variables(ENDPOINT), "compiled": ""})
    with pytest.raises(AnsibleActionFail, match=r"^cannot write the compiled policies to"):
        run(site)


def test_an_unknown_option_is_refused(site):
    site.write({"inventory/group_vars/web.yml": variables(ENDPOINT)})
    action = tasks.action(plugin.ActionModule, destination="x")
    with pytest.raises(AnsibleActionFail, match="Unsupported parameters"):
        action.run(task_vars={"hostvars": site.hostvars()})


def test_what_cannot_be_enforced_yet_is_compiled_and_told(site):
    tracked = written.resource("GlobalNetworkPolicy", "tracked", {"ingress": RULES})
    every = {**ENDPOINT, "spec": {"interfaceName": "*"}}
    site.write(
        {
            "inventory/group_vars/web.yml": variables(ENDPOINT, every),
            "inventory/group_vars/all.yml": variables(tracked, CLIENTS),
        }
    )
    result = run(site)
    assert [(one["kind"], one["name"], one["path"]) for one in result["findings"]] == [
        ("GlobalNetworkPolicy", "tracked", "spec.doNotTrack"),
    ]
    policy = read.from_dict(_artefact.read(Path(result["directory"]), "web-1").policy)
    assert [endpoint.interface for endpoint in policy.endpoints] == ["*", "eth0"]
    assert [tier.policies for tier in policy.endpoints[0].normal] == [("GlobalNetworkPolicy/tracked",)]
