# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site and remove playbooks on hosts of a lab: what they change, leave alone, and refuse."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.lab.lab import Lab
from tests.lab.playbook import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.host import Host
    from tests.lab.playbook import PlaybookRun

SITE, REMOVE = "netpolicy.host.site", "netpolicy.host.remove"
POLICY = "netpolicy.host.policy"
TABLE = ("nft", "--stateless", "list", "table", "inet", "netpolicy_host")
OURS = ("/etc/netpolicy-host", "/usr/local/lib/netpolicy-host", "/run/netpolicy-host.lock")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A server with an endpoint, a second one without, and a bare one for first runs."""
    with Lab.up("server", "peer", "bare") as running:
        yield running


def resources(*, node: str = "server", ports: tuple[int, ...] = (12211,)) -> list[dict[str, Any]]:
    """An endpoint and a policy that takes ports of TCP past connection tracking."""
    return [
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "HostEndpoint",
            "metadata": {"name": "server-eth0", "labels": {"role": "server"}},
            "spec": {"node": node, "interfaceName": "eth0", "expectedIPs": ["192.0.2.10"]},
        },
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": "untracked"},
            "spec": {
                "selector": "role == 'server'",
                "doNotTrack": True,
                "applyOnForward": True,
                "ingress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": list(ports)}}],
                "egress": [{"action": "Allow", "protocol": "TCP", "source": {"ports": list(ports)}}],
            },
        },
    ]


def rule_with(host: Host, text: str) -> tuple[str, str]:
    """The chain and the handle of the first rule that has a text in it."""
    chain = ""
    for line in host.run("nft", "--handle", "list", "table", "inet", "netpolicy_host").stdout.splitlines():
        chain = line.split()[1] if line.startswith("\tchain ") else chain
        if line.startswith("\t\t") and text in line:
            return chain, line.rsplit("# handle ", 1)[1]
    raise AssertionError(f"no rule with {text}")


def inventory(lab: Lab, members: list[dict[str, Any]], **options: Any) -> str:
    # From one test to the next the hosts lose what they like: test_shrink_guard.py tells what else happens.
    variables = {"netpolicy_resources": members, "netpolicy_shrink_limit": 100}
    return str(lab.inventory(group_vars={"all": variables}, **options))


def site(lab: Lab, path: str, *arguments: str, **options: Any) -> PlaybookRun:
    return lab.ansible_playbook("-i", path, SITE, *arguments, **options)


def remove(lab: Lab, path: str) -> PlaybookRun:
    return lab.ansible_playbook("-i", path, REMOVE).check()


def play(lab: Lab, path: str, *tasks: dict[str, Any], **keys: Any) -> PlaybookRun:
    """Run a playbook of these tasks on the server."""
    book: Path = lab.memory / "playbook.yml"
    book.write_text(
        yaml.safe_dump([{"hosts": "server", "gather_facts": False, **keys, "tasks": list(tasks)}])
    )
    return lab.ansible_playbook("-i", path, str(book))


def info(lab: Lab, path: str) -> dict[str, Any]:
    run = play(lab, path, {"netpolicy.host.policy_info": {}}).check()
    return dict(run.of(action="netpolicy.host.policy_info", host="server")[0].result)


def table(host: Host) -> list[str] | None:
    """The lines of our table, sorted: the kernel lists objects in the order in which they came."""
    listing = host.run(*TABLE, check=False)
    return None if listing.returncode else sorted(listing.stdout.splitlines())


def files(host: Host) -> str:
    """All that configures or runs the host, with owners and modes, and the times of files: a directory's
    time changes when something in it comes and goes."""
    found = host.run(
        "sh",
        "-c",
        "find /etc /usr/local /var/lib /run -xdev"
        " '(' -type d -printf '%p %m %u\\n' ')' -o '(' -type f,l -printf '%p %m %u %s %T@\\n' ')' | sort",
    )
    return found.stdout


class TestFirstRun:
    def test_check_mode_predicts_the_change_and_makes_none(self, lab: Lab) -> None:
        path = inventory(lab, resources(node="bare"))
        before = files(lab["bare"])
        run = site(lab, path, "--check", "--diff").check()
        assert run.stats["bare"].changed == 1
        assert "+GlobalNetworkPolicy/untracked ingress: allow TCP to port 12211" in run.stdout
        assert table(lab["bare"]) is None
        assert files(lab["bare"]) == before

    def test_check_mode_works_on_a_host_without_nft_and_says_so(self, lab: Lab) -> None:
        path = inventory(lab, resources(node="bare"))
        lab["bare"].run("mv", "/usr/sbin/nft", "/root/nft")
        try:
            run = site(lab, path, "--check", "--diff").check()
            refused = site(lab, path, "-e", '{"netpolicy_install": false}')
        finally:
            lab["bare"].run("mv", "/root/nft", "/usr/sbin/nft")
        assert run.stats["bare"].changed == 1
        assert "nft is not installed" in run.output
        assert refused.stats["bare"].failures == 1
        assert "nft is not installed" in refused.output
        assert_nothing_of_ours(lab["bare"])


class TestEnforce:
    def test_second_run_changes_nothing_and_writes_nothing(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        before = files(lab["server"])
        again = site(lab, path, "--diff").check()
        assert again.changed == 0
        assert files(lab["server"]) == before

    def test_a_change_touches_only_what_it_names(self, lab: Lab) -> None:
        site(lab, inventory(lab, resources())).check()
        lab.ssh("server", "true")
        counted = counters(lab["server"])["failsafe/inbound"]
        run = site(lab, inventory(lab, resources(ports=(12211, 12212))), "--diff").check()
        assert run.changed == 1
        assert "-GlobalNetworkPolicy/untracked ingress: allow TCP to port 12211\n" in run.stdout
        assert "+GlobalNetworkPolicy/untracked ingress: allow TCP to port 12211:12212\n" in run.stdout
        assert counters(lab["server"])["failsafe/inbound"] >= counted > 0
        chains = [line for line in table(lab["server"]) or [] if "\tchain " in line]
        assert len(chains) == 6, "base, endpoint and tier chain in each direction, none left over"

    def test_hosts_without_an_endpoint_get_nothing(self, lab: Lab) -> None:
        run = site(lab, inventory(lab, resources()), "-vvv").check()
        assert_nothing_of_ours(lab["peer"])
        assert sent(run, lab["peer"]) == 1, "asked once, and given no engine"

    def test_a_host_that_lost_its_endpoint_loses_its_policy(self, lab: Lab) -> None:
        site(lab, inventory(lab, resources(node="peer"))).check()
        assert table(lab["peer"])
        site(lab, inventory(lab, resources())).check()
        assert_nothing_of_ours(lab["peer"])

    def test_an_unprivileged_user_with_become(self, lab: Lab) -> None:
        remove(lab, inventory(lab, resources()))
        path = inventory(lab, resources(), user="ops")
        assert site(lab, path).check().stats["server"].changed == 1
        assert table(lab["server"])
        assert site(lab, path).check().changed == 0

    def test_without_root_it_says_what_is_missing(self, lab: Lab) -> None:
        path = inventory(lab, resources(), user="ops")
        run = play(
            lab,
            path,
            {"netpolicy.host.compile": {}, "register": "compiled"},
            {"netpolicy.host.policy": {"compiled": "{{ compiled }}"}},
        )
        assert run.rc
        assert "become: true" in run.output
        assert "Traceback" not in run.output

    def test_limit_gives_the_policy_of_a_full_run(self, lab: Lab) -> None:
        members = resources()
        other = copy.deepcopy(members[0])
        other["metadata"]["name"], other["spec"]["node"] = "peer-eth0", "peer"
        path = inventory(lab, [*members, other])
        full = compiled(site(lab, path, "--check").check())
        limited = compiled(site(lab, path, "--check", "--limit", "server").check())
        assert (limited["digest"], limited["hosts"]) == (full["digest"], full["hosts"]) == (full["digest"], 2)

    def test_both_releases_of_ansible_core_make_the_same_policy(self, lab: Lab) -> None:
        newest = CHECKOUT / ".venv-2.21" / "bin"
        if not newest.exists():
            pytest.skip("no Python for the newest ansible-core on this machine")
        path = inventory(lab, resources())
        ours = compiled(site(lab, path).check())
        theirs = site(lab, path, binaries=newest).check()
        assert theirs.changed == 0
        assert compiled(theirs)["digest"] == ours["digest"]

    def test_a_policy_of_more_than_64_kb_is_sent_once(self, lab: Lab) -> None:
        many = [f"10.{third}.{fourth}.0/24" for third in range(40) for fourth in range(0, 250, 2)]
        members = resources()
        members.append(
            {
                "apiVersion": "projectcalico.org/v3",
                "kind": "GlobalNetworkSet",
                "metadata": {"name": "many", "labels": {"many": "yes"}},
                "spec": {"nets": many},
            }
        )
        members[1]["spec"]["ingress"][0]["source"] = {"selector": "has(many)"}
        site(lab, inventory(lab, resources())).check()
        path = inventory(lab, members)
        first = site(lab, path, "-vvv").check()
        assert first.stats["server"].changed == 1
        assert sent(first, lab["server"]) == 2, "asked by its digest, then sent"
        listing = lab["server"].run("nft", "list", "ruleset").stdout
        assert all(net in listing for net in (many[0], many[-1]))
        again = site(lab, path, "-vvv").check()
        assert again.changed == 0
        assert sent(again, lab["server"]) == 1, "asked by its digest"


class TestDrift:
    def test_rules_lost_at_a_reboot_come_back_with_the_next_run(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        whole = table(lab["server"])
        lab.restart("server")
        assert info(lab, path)["drift"] == ["the table is missing"]
        assert site(lab, path).check().stats["server"].changed == 1
        assert table(lab["server"]) == whole
        assert info(lab, path)["drift"] == []

    def test_rules_changed_by_hand_are_reported_and_mended(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        whole = table(lab["server"])
        lab["server"].run("nft", "flush", "chain", "inet", "netpolicy_host", "raw-prerouting")
        (drift,) = info(lab, path)["drift"]
        assert re.fullmatch("'iifname vmap @.*' is missing from chain raw-prerouting, or was changed", drift)
        run = site(lab, path, "--diff").check()
        assert run.stats["server"].changed == 1
        assert f"-({drift})" in run.stdout
        assert table(lab["server"]) == whole

    def test_a_rule_taken_out_by_hand_is_named(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        whole = table(lab["server"]) or []
        chain, handle = rule_with(lab["server"], "GlobalNetworkPolicy/untracked/ingress/")
        lab["server"].run("nft", "delete", "rule", "inet", "netpolicy_host", chain, "handle", handle)
        (drift,) = info(lab, path)["drift"]
        assert re.fullmatch(
            rf"GlobalNetworkPolicy/untracked/ingress/\d is missing from chain {chain}, or was changed", drift
        )
        assert site(lab, path).check().stats["server"].changed == 1
        assert table(lab["server"]) == whole

    def test_an_interface_taken_out_of_the_dispatch_is_noticed(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        whole = table(lab["server"]) or []
        name = next(line.split()[1] for line in whole if line.startswith("\tmap raw-ingress"))
        lab["server"].run("nft", "delete", "element", "inet", "netpolicy_host", name, '{ "eth0" }')
        assert info(lab, path)["drift"] == [f"map {name} was changed"]
        assert site(lab, path).check().stats["server"].changed == 1
        assert table(lab["server"]) == whole

    def test_a_set_that_was_emptied_is_noticed_and_mended(self, lab: Lab) -> None:
        members = resources()
        members[1]["spec"]["ingress"].insert(
            0, {"action": "Deny", "source": {"nets": ["198.51.100.0/24"]}, "protocol": "TCP"}
        )
        path = inventory(lab, members)
        site(lab, path).check()
        whole = table(lab["server"]) or []
        name = next(line.split()[1] for line in whole if line.startswith("\tset set4"))
        lab["server"].run("nft", "flush", "set", "inet", "netpolicy_host", name)
        assert info(lab, path)["drift"] == [f"set {name} was changed"]
        assert site(lab, path).check().stats["server"].changed == 1
        assert table(lab["server"]) == whole

    def test_a_table_with_flags_is_replaced(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        remove(lab, path)
        lab["server"].run("nft", "add", "table", "inet", "netpolicy_host", "{ flags dormant; }")
        assert site(lab, path).check().stats["server"].changed == 1
        assert site(lab, path).check().changed == 0

    def test_a_damaged_engine_is_replaced(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        lab["server"].run("sh", "-c", "truncate -s 1000 /usr/local/lib/netpolicy-host/engine-*.pyz")
        assert site(lab, path).check().stats["server"].changed == 1
        assert site(lab, path).check().changed == 0

    def test_a_host_that_cannot_be_written_to_keeps_its_policy(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        whole = table(lab["server"])
        lab["server"].run("mount", "-t", "tmpfs", "-o", "ro", "none", "/etc/netpolicy-host")
        try:
            run = site(lab, inventory(lab, resources(ports=(1,))))
        finally:
            lab["server"].run("umount", "/etc/netpolicy-host")
        assert run.stats["server"].failures == 1
        assert "cannot write /etc/netpolicy-host/policy.json" in run.output
        assert table(lab["server"]) == whole
        assert site(lab, path).check().changed == 0

    def test_a_record_of_a_newer_version_is_not_overwritten(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        change = 's/^ "format": 1,$/ "format": 99,/'
        lab["server"].run("sed", "-i", change, "/etc/netpolicy-host/policy.json")
        before = files(lab["server"])
        try:
            run = site(lab, path)
            assert run.stats["server"].failures == 1
            assert "was written by a newer version of netpolicy.host" in run.output
            assert files(lab["server"]) == before
        finally:
            lab["server"].run("rm", "/etc/netpolicy-host/policy.json")

    def test_a_record_that_cannot_be_read_is_replaced(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        lab["server"].run("sh", "-c", "echo '{' > /etc/netpolicy-host/policy.json")
        run = site(lab, path).check()
        assert run.stats["server"].changed == 1
        assert "/etc/netpolicy-host/policy.json cannot be read" in run.output
        assert site(lab, path).check().changed == 0


class TestRemove:
    def test_absent_leaves_ruleset_and_files_as_found(self, lab: Lab) -> None:
        path = inventory(lab, resources(node="bare"))
        host = lab["bare"]
        ruleset, before = host.run("nft", "list", "ruleset").stdout, files(host)
        site(lab, path).check()
        assert table(host)
        assert remove(lab, path).stats["bare"].changed == 1
        assert host.run("nft", "list", "ruleset").stdout == ruleset
        assert files(host) == before
        assert_nothing_of_ours(host)

    def test_absent_fails_when_nft_that_should_do_it_is_gone(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        site(lab, path).check()
        lab["server"].run("mv", "/usr/sbin/nft", "/root/nft")
        try:
            run = lab.ansible_playbook("-i", path, REMOVE)
        finally:
            lab["server"].run("mv", "/root/nft", "/usr/sbin/nft")
        assert run.stats["server"].failures == 1
        assert table(lab["server"])
        assert site(lab, path).check().changed == 0

    def test_absent_where_nothing_is_changes_nothing(self, lab: Lab) -> None:
        path = inventory(lab, resources(node="bare"))
        remove(lab, path)
        assert remove(lab, path).changed == 0

    def test_absent_needs_no_resources(self, lab: Lab) -> None:
        site(lab, inventory(lab, resources())).check()
        assert remove(lab, str(lab.inventory())).stats["server"].changed == 1


def test_a_foreign_table_and_its_counters_are_left_alone(lab: Lab) -> None:
    host = lab["server"]
    foreign = """
        table inet foreign {
            counter arrivals { }
            set peers { type ipv4_addr; elements = { 192.0.2.1 } }
            chain prerouting { type filter hook prerouting priority raw; counter name "arrivals"; }
            chain output { type filter hook output priority filter; ct state invalid drop; }
        }
    """
    host.run("nft", "-f", "-", stdin=foreign)
    listing = ("nft", "--stateless", "list", "table", "inet", "foreign")
    try:
        before, counted = host.run(*listing).stdout, arrivals(host)
        path = inventory(lab, resources())
        remove(lab, path)
        site(lab, path).check()
        site(lab, inventory(lab, resources(ports=(1, 2)))).check()
        host.run("nft", "flush", "chain", "inet", "netpolicy_host", "raw-prerouting")
        site(lab, path).check()
        remove(lab, path)
        assert host.run(*listing).stdout == before
        assert arrivals(host) > counted
    finally:
        host.run("nft", "delete", "table", "inet", "foreign")


class TestRefusals:
    def test_every_finding_is_reported_and_nothing_is_applied_anywhere(self, lab: Lab) -> None:
        good = inventory(lab, resources())
        remove(lab, good)
        wrong = resources()
        wrong[1]["spec"]["ingress"][0]["destination"]["ports"].append(70000)
        wrong[1]["spec"]["egress"][0]["source"]["nets"] = ["192.0.2.1"]
        wrong[1]["spec"]["preDNAT"] = True
        run = site(lab, inventory(lab, wrong))
        assert run.rc
        for part in (
            "3 findings; nothing was applied anywhere.",
            "untracked: spec.ingress[0].destination.ports[1]: found 70000, allowed: a number from 1 to 65535",
            "untracked: spec.egress[0].source.nets[0]: found '192.0.2.1', a rule needs a CIDR",
            "untracked: spec.preDNAT: a policy is either doNotTrack or preDNAT, not both",
        ):
            assert part in str(compiled(run)["msg"]), part
        assert "group_vars/all" in str(compiled(run)["msg"]), "the finding says in which file it is"
        assert "Traceback" not in run.output
        assert_nothing_of_ours(lab["server"])

    def test_resources_in_play_vars_are_refused(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        run = play(lab, path, {"netpolicy.host.compile": {}}, vars={"netpolicy_resources_more": resources()})
        assert run.rc
        assert "netpolicy_resources_more: defined by the play, a role or a task" in run.output

    def test_variables_that_were_merged_before_they_could_be_read_are_refused(self, lab: Lab) -> None:
        run = site(lab, inventory(lab, resources()), env={"ANSIBLE_RUN_VARS_PLUGINS": "start"})
        assert run.rc
        assert "run_vars_plugins is 'start'" in run.output
        assert "Traceback" not in run.output

    def test_an_inventory_without_resources_is_refused(self, lab: Lab) -> None:
        run = site(lab, str(lab.inventory()))
        assert run.rc
        assert "No resources" in run.output

    def test_a_second_name_of_a_machine_cannot_take_its_policy(self, lab: Lab) -> None:
        site(lab, inventory(lab, resources())).check()
        whole = table(lab["server"])
        address = {"ansible_host": lab["server"].ipv4}
        path = inventory(lab, resources(), host_vars={"peer": address})
        # One after the other: at once, they might meet at the lock.
        run = site(lab, path, "--forks", "1")
        assert run.stats["peer"].failures == 1
        assert "this machine enforces the policy of host server, not of peer" in run.output
        assert table(lab["server"]) == whole

    def test_delegation_is_refused(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        run = play(
            lab,
            path,
            {"netpolicy.host.compile": {}, "register": "compiled"},
            {"netpolicy.host.policy": {"compiled": "{{ compiled }}"}, "delegate_to": "peer"},
        )
        assert "delegated to peer: the policy of server belongs on server" in run.output
        assert_nothing_of_ours(lab["peer"])

    def test_a_host_that_compile_did_not_know_is_not_stripped(self, lab: Lab) -> None:
        site(lab, inventory(lab, resources())).check()
        path = inventory(lab, resources(node="peer"))
        book = [
            {
                "hosts": "peer",
                "gather_facts": False,
                "tasks": [
                    {"netpolicy.host.compile": {}, "register": "compiled"},
                    {"ansible.builtin.add_host": {"name": "late", "ansible_host": lab["server"].ipv4}},
                ],
            },
            {
                "hosts": "late",
                "gather_facts": False,
                "tasks": [{"netpolicy.host.policy": {"compiled": "{{ hostvars.peer.compiled }}"}}],
            },
        ]
        playbook = lab.memory / "late.yml"
        playbook.write_text(yaml.safe_dump(book))
        run = lab.ansible_playbook("-i", path, str(playbook))
        assert "host late was not in the inventory that was compiled" in run.output
        assert table(lab["server"])


class TestInfo:
    def test_rules_are_counted_by_their_names(self, lab: Lab) -> None:
        path = inventory(lab, resources(ports=(22222,)))
        site(lab, path).check()
        for _unused in range(3):
            lab["peer"].run(
                "python3",
                "-c",
                "import socket; s = socket.socket(); s.settimeout(2); "
                f"s.connect_ex(('{lab['server'].ipv4}', 22222))",
            )
        found = info(lab, path)
        assert found["installed"]["node"] == "server"
        assert found["installed"]["endpoints"] == [{"name": "server-eth0", "interface": "eth0"}]
        by_direction = {counter["direction"]: counter for counter in found["counters"]}
        # A SYN in and a RST out each time: nothing listens there.
        assert (by_direction["ingress"]["packets"], by_direction["egress"]["packets"]) == (3, 3)
        assert by_direction["ingress"]["name"] == "untracked"
        assert "group_vars/all" in by_direction["ingress"]["place"]
        assert found["digest"] == found["installed"]["digest"]
        assert found["installed"]["policy"]["node"] == "server"
        failsafes = {
            (counter["direction"], counter["replies"]): counter["packets"]
            for counter in found["failsafe_counters"]
        }
        assert failsafes["inbound", False] > 0, "ssh in"
        assert failsafes["inbound", True] > 0, "ssh's answers"

    def test_a_bare_host_has_nothing_to_tell_and_keeps_nothing(self, lab: Lab) -> None:
        path = inventory(lab, resources())
        remove(lab, path)
        found = info(lab, path)
        assert (found["installed"], found["drift"], found["counters"]) == (None, [], [])
        assert_nothing_of_ours(lab["server"])


def compiled(run: PlaybookRun) -> dict[str, Any]:
    (task,) = run.of(action="netpolicy.host.compile")
    return dict(task.result)


def sent(run: PlaybookRun, host: Host) -> int:
    """How many modules were sent to a host in a run with -vvv."""
    return len(re.findall(rf"^<{re.escape(host.ipv4)}> PUT ", run.stdout, re.MULTILINE))


def counters(host: Host) -> dict[str, int]:
    listing = json.loads(
        host.run("nft", "--json", "list", "counters", "table", "inet", "netpolicy_host").stdout
    )
    return {
        item["counter"]["name"]: item["counter"]["packets"]
        for item in listing["nftables"]
        if "counter" in item
    }


def arrivals(host: Host) -> int:
    listing = json.loads(host.run("nft", "--json", "list", "counter", "inet", "foreign", "arrivals").stdout)
    return int(next(item["counter"]["packets"] for item in listing["nftables"] if "counter" in item))


def assert_nothing_of_ours(host: Host) -> None:
    assert table(host) is None
    for path in OURS:
        assert host.run("test", "-e", path, check=False).returncode == 1, path
