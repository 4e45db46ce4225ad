# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Half an inventory, or somebody else's: what is in force stays, until a run is told otherwise."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lab.playbook import PlaybookRun

SITE, REMOVE = "netpolicy.host.site", "netpolicy.host.remove"
COMPILE, POLICY, INFO = (f"netpolicy.host.{name}" for name in ("compile", "policy", "policy_info"))
HOSTS = ("server", "client-1", "client-2")
ALLOW_ALL = ("-e", "netpolicy_shrink_limit=100")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A server and its clients."""
    with Lab.up(*HOSTS) as running:
        yield running


def resource(kind: str, name: str | None, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    metadata = {"labels": labels} | ({} if name is None else {"name": name})
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


RULES = {
    "ingress": [{"action": "Allow", "protocol": "TCP", "source": {"selector": "role == 'client'"}}],
    "egress": [{"action": "Allow", "protocol": "TCP", "destination": {"selector": "role == 'client'"}}],
}
VARIABLES = {
    "all": [
        resource("HostEndpoint", "server", {"node": "server", "interfaceName": "eth0"}, role="server"),
        resource(
            "GlobalNetworkPolicy",
            "untracked",
            {"selector": "role == 'server'", "doNotTrack": True, "applyOnForward": True, **RULES},
        ),
    ],
    "clients": [resource("HostEndpoint", None, {"interfaceName": "eth0"}, role="client")],
}


class Site:
    """An inventory of two sources. The second one says who the clients are, and is the only one to know of
    `client-2`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        variables = {group: {f"netpolicy_resources_{group}": found} for group, found in VARIABLES.items()}
        self.main = lab.inventory(group_vars=variables)
        self.clients = self.main.with_name(f"{self.main.name}-clients")
        hosts = yaml.safe_load((self.main / "hosts.yml").read_text())
        del hosts["all"]["hosts"]["client-2"]
        (self.main / "hosts.yml").write_text(yaml.safe_dump(hosts))
        self.mend()

    def mend(self) -> None:
        """Let an inventory script be the second source."""
        group = {"hosts": ["client-1", "client-2"]}
        addresses = {"client-2": {"ansible_host": self.lab["client-2"].ipv4}}
        content = {"clients": group, "_meta": {"hostvars": addresses}}
        self.clients.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(content)}\nEND\n")
        self.clients.chmod(0o755)

    def run(self, *arguments: str) -> PlaybookRun:
        return self.lab.ansible_playbook("-i", str(self.main), "-i", str(self.clients), *arguments)

    def site(self, *arguments: str) -> PlaybookRun:
        return self.run(SITE, *arguments)

    def remove(self) -> PlaybookRun:
        return self.run(REMOVE)

    def info(self, host: str = "server") -> dict[str, Any]:
        book: Path = self.lab.memory / "info.yml"
        book.write_text(yaml.safe_dump([{"hosts": host, "gather_facts": False, "tasks": [{INFO: {}}]}]))
        (task,) = self.run(str(book)).check().of(action=INFO, host=host)
        return dict(task.result["installed"])


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """The inventory, enforced whole; and nothing left of it afterwards."""
    found = Site(lab)
    assert found.site().check().changed == 3
    yield found
    found.mend()
    found.remove().check()
    shutil.rmtree(found.main)


def in_force(lab: Lab) -> dict[str, str]:
    """What packets meet on each host, and what the host knows of it."""
    script = "nft --stateless list table inet netpolicy_host; cat /etc/netpolicy-host/policy.json"
    return {name: lab[name].run("sh", "-c", script).stdout for name in HOSTS}


def refusals(run: PlaybookRun) -> dict[str, str]:
    """Why hosts refused, by host; no host may have done anything else."""
    assert run.rc
    assert run.changed == 0
    assert "Traceback" not in run.output
    found = {one.host: str(one.result["msg"]) for one in run.of(action=POLICY)}
    assert all(text.startswith("refused, and nothing was changed. ") for text in found.values()), found
    return found


def fails(path: Path) -> None:
    path.write_text("#!/bin/sh\necho 'no route to the inventory' >&2\nexit 1\n")


def is_nonsense(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("clients: [\n")


def says_nothing(path: Path) -> None:
    path.write_text("#!/bin/sh\necho '{}'\n")


def is_lost(path: Path) -> None:
    path.unlink()


class TestHalfAnInventory:
    @pytest.mark.parametrize(
        "source",
        [fails, says_nothing, is_nonsense, is_lost],
        ids=lambda one: one.__name__,
    )
    def test_no_host_loses_anything_and_each_says_what_it_would_lose(
        self, lab: Lab, site: Site, source: Callable[[Path], None]
    ) -> None:
        before = in_force(lab)
        source(site.clients)
        for arguments in (("--check", "--diff"), ()):
            said = refusals(site.site(*arguments))
            assert set(said) == {"server", "client-1"}, "of client-2 the run knows nothing"
            for text in said.values():
                assert "by owner ansible, from inventory " in text
                assert " with 3 hosts with policy among 3." in text
                assert "this run found 1 among 2 hosts; 2 of 3 are gone (66.7 %)." in text
                assert "-e netpolicy_shrink_limit=100" in text
            assert "Peers of this host: " in said["server"]
            assert "(100 %)" in said["server"]
            for name in ("client-1", "client-2"):
                assert f"{lab[name].ipv4}/32" in said["server"]
            assert "Peers" not in said["client-1"], "it would lose its policy, whatever that knows"
            assert in_force(lab) == before

    def test_ansible_itself_only_warns(self, site: Site) -> None:
        fails(site.clients)
        run = site.site()
        assert "no route to the inventory" in run.output
        assert [one.outcome for one in run.of(action=COMPILE)] == ["ok"]
        assert "see the warnings of this run" in refusals(run)["server"]

    def test_the_loss_can_be_allowed_for_one_run(self, lab: Lab, site: Site) -> None:
        fails(site.clients)
        run = site.site(*ALLOW_ALL).check()
        assert (run.stats["server"].changed, run.stats["client-1"].changed) == (1, 1)
        assert lab["client-1"].run("test", "-e", "/etc/netpolicy-host", check=False).returncode == 1
        assert site.info()["inventory"]["hosts_with_policy"] == 1
        again = site.site().check()
        assert again.changed == 0, "what is installed now is what the next run is compared with"
        site.mend()
        assert site.site().check().changed == 2, "server and client-1; growth needs no leave"

    def test_another_limit_can_be_set_for_good(self, site: Site) -> None:
        fails(site.clients)
        file = site.main / "group_vars" / "all" / "limit.yml"
        for limit, rc in ((67, 2), (100, 0)):
            file.write_text(yaml.safe_dump({"netpolicy_shrink_limit": limit}))
            run = site.site("--check")
            # Of the hosts 66.7 % are gone, which is all that counts for client-1; of the server's peers, all.
            assert (run.rc, run.stats["client-1"].changed) == (rc, 1)

    def test_what_may_be_lost_is_lost_without_a_word(self, lab: Lab, site: Site) -> None:
        fails(site.clients)
        run = site.site("-e", "netpolicy_shrink_limit=67", "--limit", "client-1").check()
        assert run.changed == 1
        assert lab["client-1"].run("test", "-e", "/etc/netpolicy-host", check=False).returncode == 1

    def test_removal_is_never_refused(self, site: Site) -> None:
        fails(site.clients)
        run = site.run(REMOVE, "-e", "netpolicy_owner=somebody").check()
        assert run.changed == 2

    @pytest.mark.parametrize(
        "variable, value, message",
        [
            ("netpolicy_shrink_limit", "101", "shrink_limit: found 101, allowed: a percentage from 0 to 100"),
            ("netpolicy_owner", "", "owner: found '', allowed: 1 to 64 printable characters"),
            ("netpolicy_shrink_limit", "half", "netpolicy_shrink_limit"),
            ("netpolicy_takeover", "perhaps", "netpolicy_takeover"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(
        self, lab: Lab, site: Site, variable: str, value: str, message: str
    ) -> None:
        before = in_force(lab)
        run = site.site("-e", json.dumps({variable: value}))
        assert run.rc
        assert message in run.output
        assert "Traceback" not in run.output
        assert in_force(lab) == before


class TestProvenance:
    def test_a_host_knows_whose_its_policy_is_and_what_it_was_made_of(self, site: Site) -> None:
        installed = site.info()
        inventory = installed["inventory"]
        assert installed["owner"] == "ansible"
        assert len(inventory.pop("id")) == 16
        assert inventory == {"hosts": 3, "hosts_with_policy": 3, "endpoints": 3}

    def test_a_host_more_is_recorded_and_is_no_change(self, lab: Lab, site: Site) -> None:
        run = site.site("-i", "stranger,", "--limit", "server").check()
        assert run.changed == 0
        assert site.info()["inventory"]["hosts"] == 4
        before = in_force(lab)
        again = site.site("-i", "stranger,", "--limit", "server").check()
        assert again.changed == 0
        assert in_force(lab) == before

    def test_the_same_inventory_in_another_place_is_no_change_and_writes_nothing(
        self, lab: Lab, site: Site
    ) -> None:
        before = in_force(lab)
        # Not the one with resources: a record says in which files these stand.
        site.clients = site.clients.rename(site.clients.with_name("elsewhere"))
        assert site.site().check().changed == 0
        assert in_force(lab) == before


class TestOwners:
    def test_a_host_of_another_owner_is_left_alone_until_it_is_taken_over(self, lab: Lab, site: Site) -> None:
        before = in_force(lab)
        second = ("-e", "netpolicy_owner=team-b")
        for arguments in (("--check",), ()):
            said = refusals(site.site(*second, *arguments))
            assert set(said) == set(HOSTS)
            for text in said.values():
                assert "It belongs to owner ansible, and this is a run of owner team-b: " in text
                assert "-e netpolicy_takeover=true" in text
            assert in_force(lab) == before
        takeover = (*second, "-e", "netpolicy_takeover=true")
        foretold = site.site(*takeover, "--check", "--diff").check()
        assert foretold.changed == 3
        assert "-owner ansible\n" in foretold.stdout
        assert "+owner team-b\n" in foretold.stdout
        assert in_force(lab) == before
        assert site.site(*takeover).check().changed == 3
        assert site.site(*takeover).check().changed == 0
        assert site.site(*second).check().changed == 0
        assert site.info()["owner"] == "team-b"
        assert set(refusals(site.site())) == set(HOSTS)

    def test_who_has_no_endpoint_for_a_host_does_not_clear_it_of_anothers_policy(
        self, lab: Lab, site: Site
    ) -> None:
        before = in_force(lab)
        fails(site.clients)
        said = refusals(site.site("-e", "netpolicy_owner=team-b", *ALLOW_ALL))
        assert "It belongs to owner ansible" in said["client-1"]
        assert in_force(lab) == before
