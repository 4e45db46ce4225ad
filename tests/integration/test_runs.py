# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""However a playbook is run, every host gets the policy that the whole inventory gives it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.playbook import PlaybookRun

HOSTS = ("one", "two")
COMPILE, POLICY = "netpolicy.host.compile", "netpolicy.host.policy"
API = {"apiVersion": "projectcalico.org/v3"}
ENDPOINT = {**API, "kind": "HostEndpoint", "spec": {"interfaceName": "eth0"}}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts, each with an endpoint and each other's peer."""
    with Lab.up(*HOSTS) as running:
        yield running


def policy(name: str, port: int, selector: str = "all()") -> dict[str, Any]:
    """Takes a port of TCP between all endpoints past connection tracking."""
    peers = {"selector": "all()"}
    allow = {"action": "Allow", "protocol": "TCP"}
    spec = {
        "selector": selector,
        "doNotTrack": True,
        "applyOnForward": True,
        "ingress": [{**allow, "source": peers, "destination": {"ports": [port]}}],
        "egress": [{**allow, "destination": peers, "source": {"ports": [port]}}],
    }
    return {**API, "kind": "GlobalNetworkPolicy", "metadata": {"name": name}, "spec": spec}


def inventory(lab: Lab, port: int = 12211) -> str:
    members = [ENDPOINT, policy("untracked", port)]
    return str(lab.inventory(group_vars={"all": {"netpolicy_resources": members}}))


def run(lab: Lab, path: str, *arguments: str, name: str = "playbook", **keys: Any) -> PlaybookRun:
    """Run a playbook of the role on all hosts, with these keys of the play."""
    book = lab.memory / f"{name}.yml"
    play = {"hosts": "all", "gather_facts": False, "become": True, **keys}
    play.setdefault("roles", ["netpolicy.host.enforce"])
    book.write_text(yaml.safe_dump([play]))
    return lab.ansible_playbook("-i", path, str(book), *arguments)


def digests(done: PlaybookRun) -> dict[str, str]:
    """The digest of the policy of each host that the run reached."""
    results = [each for each in done.of(action=POLICY) if each.outcome == "ok"]
    return {each.host: each.result["digest"] for each in results}


WAYS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "one host after the other": ((), {"serial": 1}),
    "free": ((), {"strategy": "free"}),
    "host_pinned": ((), {"strategy": "host_pinned"}),
    "by tag": (("--tags", "firewall"), {"roles": [{"role": "netpolicy.host.enforce", "tags": "firewall"}]}),
    "one host alone": (("--limit", "two"), {}),
    "without the first host": ((), {"hosts": "all:!one"}),
    "one fork": (("--forks", "1"), {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_run_gives_the_same_policies(lab: Lab, way: str) -> None:
    path = inventory(lab)
    expected = digests(run(lab, path).check())
    assert set(expected) == set(HOSTS)
    arguments, keys = WAYS[way]
    again = run(lab, path, *arguments, **keys).check()
    assert again.changed == 0
    found = digests(again)
    assert found
    assert found.items() <= expected.items()


def test_other_tags_leave_the_hosts_alone(lab: Lab) -> None:
    roles = [{"role": "netpolicy.host.enforce", "tags": "firewall"}]
    done = run(lab, inventory(lab), "--tags", "other", roles=roles).check()
    assert digests(done) == {}


def test_two_sites_of_one_inventory_keep_to_themselves(lab: Lab) -> None:
    site = {name: f"site_{name}" for name in HOSTS}
    selectors = {name: f"has(netpolicy.host/group.{group})" for name, group in site.items()}
    variables: dict[str, Any] = {
        group: {"netpolicy_resources": [policy(f"of-{name}", 7000, selectors[name])]}
        for name, group in site.items()
    }
    variables["all"] = {"netpolicy_resources": [ENDPOINT]}
    path = lab.inventory(groups={group: [name] for name, group in site.items()}, group_vars=variables)
    run(lab, str(path)).check()
    for name in HOSTS:
        table = lab[name].run("nft", "list", "table", "inet", "netpolicy_host").stdout
        other = next(each for each in HOSTS if each != name)
        assert f"GlobalNetworkPolicy/of-{name}/ingress" in table
        assert f"of-{other}" not in table


def test_two_runs_at_once_leave_one_of_their_policies_whole(lab: Lab) -> None:
    path = inventory(lab)
    run(lab, path).check()
    path = inventory(lab, port=12212)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda name: run(lab, path, name=name), ["run-0", "run-1"]))
    for each in done:
        assert "Traceback" not in each.output
        if each.rc != 0:
            assert "another netpolicy.host run is changing this host" in each.output
    assert any(each.rc == 0 for each in done)
    settled = run(lab, path).check()
    assert settled.changed == 0 or any(each.rc != 0 for each in done)
    assert set(digests(settled)) == set(HOSTS)
