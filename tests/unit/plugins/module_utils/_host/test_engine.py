# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's requests and answers."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import typing as t

import pytest
from hypothesis import given

from ansible_collections.netpolicy.host.plugins.module_utils._host import (
    engine,
    provenance,
    system,
    tracked_flows,
    transaction,
)
from ansible_collections.netpolicy.host.plugins.module_utils._netlink import conntrack
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import counters, lacks
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

ENGINE = transaction.EngineFile("e1" * 32, b"the engine")
POLICY = samples.untracked_sample()
DIGEST = POLICY.digest
ORIGIN = provenance.Provenance("ansible", provenance.Extent("0" * 16, 3, 2, 2))
RUN = {"provenance": provenance.to_dict(ORIGIN), "takeover": False, "shrink_limit": 100}
"""What a run says of itself; test_guard.py tells what it may do by that."""


def ask(host: MemoryHost, verb: str, **request: object) -> dict[str, t.Any]:
    """One request, with all that must travel as JSON in both directions."""
    return json.loads(
        json.dumps(engine.serve(host, ENGINE, json.loads(json.dumps({"verb": verb, **request}))))
    )


def apply(host: MemoryHost, policy: model.HostPolicy = POLICY, check: bool = False) -> dict[str, t.Any]:
    return ask(host, "apply", digest=policy.digest, policy=model.to_dict(policy), check=check, **RUN)


def probe(host: MemoryHost, digest: str = DIGEST, check: bool = False) -> dict[str, t.Any]:
    """What the action plugin asks before it sends a large policy."""
    return ask(host, "apply", digest=digest, policy=None, check=check, **RUN)


def installed() -> MemoryHost:
    host = MemoryHost()
    assert apply(host)["changed"]
    return host


# -- apply -------------------------------------------------------------------------------------------


def test_apply_answers_what_changed():
    host = MemoryHost()
    answer = apply(host)
    assert set(answer) == {"changed", "before", "after", "notes", "digest", "conntrack_deleted"}
    assert (answer["changed"], answer["digest"], answer["notes"]) == (True, DIGEST, [])
    assert apply(host)["changed"] is False


@given(samples.untracked_policies())
def test_check_mode_answers_the_same_and_does_nothing(policy):
    policy = dataclasses.replace(policy, node=POLICY.node)
    for host in (MemoryHost(), installed()):
        before, effects = host.state(), host.effects
        foretold = apply(host, policy, check=True)
        assert host.state() == before
        assert host.effects == effects
        assert apply(host, policy) == foretold


def test_apply_counts_the_flows_that_connection_tracking_forgets():
    web = samples.host(
        [samples.policy("web", ingress=[samples.rule()], egress=[samples.rule()])], interface="eth0"
    )
    there = conntrack.Tuple(4, model.TCP, 9, 0x0A000001, 1, 80)
    back = conntrack.Tuple(4, model.TCP, 0x0A000001, 9, 80, 1)
    tracked = conntrack.Entry(there, back, status=0, zone=0, key=b"")
    host = MemoryHost()
    host.tracked.flows = [tracked]
    assert apply(host, web, check=True)["conntrack_deleted"] == 0
    assert host.tracked.flows == [tracked]
    assert apply(host, web)["conntrack_deleted"] == 1
    host.tracked.flows = [tracked]
    assert apply(host, web)["conntrack_deleted"] == 0, "the rules in the kernel did not change"
    assert host.tracked.flows == [tracked]


def test_a_clean_up_that_fails_is_a_note():
    host = MemoryHost()
    host.tracked.fail_to_list = True
    answer = apply(host)
    assert (answer["changed"], answer["conntrack_deleted"]) == (True, 0)
    assert "list the tracked connections: Operation not permitted" in answer["notes"][0]


def test_removal_warns_of_a_strict_connection_tracking():
    host = installed()
    host.write(tracked_flows.TCP_LOOSE_FILE, b"0\n", 0o644)
    for check in (True, False):
        answer = ask(host, "remove", check=check, node=None)
        assert answer["conntrack_deleted"] == 0
        assert "nf_conntrack_tcp_loose is 0" in answer["notes"][-1]


def test_a_policy_with_another_digest_is_refused_before_any_change():
    host = MemoryHost()
    answer = ask(host, "apply", digest="0" * 64, policy=model.to_dict(POLICY), check=False)
    assert answer == {"error": f"the policy arrived with digest {DIGEST}, expected {'0' * 64}"}
    assert host.effects == 0


@pytest.mark.parametrize("data", ["", [], {"format": 99}, {**model.to_dict(POLICY), "later": 1}], ids=str)
def test_a_policy_that_cannot_be_read_is_refused_before_any_change(data):
    host = MemoryHost()
    answer = ask(host, "apply", digest=DIGEST, policy=data, check=False)
    assert set(answer) == {"error"}
    assert answer["error"].startswith("HostPolicy")
    assert host.effects == 0


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("has_nft", [False, True])
def test_a_policy_that_could_be_enforced_in_part_only_is_refused_before_any_change(has_nft, check):
    whole = samples.sample()
    found = lacks.unenforced(whole)
    for host in (MemoryHost(), installed()):
        host.has_nft = has_nft
        before, effects = host.state(), host.effects
        assert apply(host, whole, check=check) == {
            "error": "this version enforces untracked policy only; nothing was changed: it cannot enforce "
            f"{'; '.join(map(str, found))}"
        }
        assert (host.state(), host.effects, host.locked) == (before, effects, False)


def test_a_policy_beyond_this_version_that_a_newer_one_installed_is_told_and_can_be_removed():
    host = installed()
    whole = samples.sample()
    content, mode = host.contents["/etc/netpolicy-host/policy.json"]
    record = {
        **json.loads(content),
        "policy": model.to_dict(whole),
        "digest": whole.digest,
        "nft": "a newer nft",
        "fingerprint": "0" * 64,
    }
    host.contents["/etc/netpolicy-host/policy.json"] = (json.dumps(record).encode(), mode)
    assert probe(host, whole.digest)["error"].startswith("this version enforces untracked policy only; ")
    assert ask(host, "info")["drift"] == ["the table was changed by something else"]
    assert ask(host, "remove", node=None, check=False)["changed"]
    assert host.is_clean()


def test_policy_that_is_only_planned_is_no_reason_to_refuse():
    staged = samples.policy("planned", [samples.rule(model.LOG)], staged="set")
    planned = samples.host([samples.policy("web", [samples.rule()]), staged])
    assert apply(MemoryHost(), planned)["changed"]


# -- a policy that may be there already --------------------------------------------------------------


@pytest.mark.parametrize("check", [False, True])
def test_a_policy_that_the_host_lacks_has_to_be_sent(check):
    other = samples.host([samples.policy("other", [samples.rule()])])
    for host in (MemoryHost(), installed()):
        before = host.state()
        assert probe(host, other.digest, check) == {"policy_missing": True}
        assert host.state() == before


@pytest.mark.parametrize("check", [False, True])
def test_a_policy_that_the_host_has_need_not_be_sent(check):
    host = installed()
    answer = probe(host, check=check)
    assert (answer["changed"], answer["digest"]) == (False, DIGEST)


def test_a_policy_that_the_host_has_is_repaired_without_sending_it():
    host = installed()
    host.nft("delete table inet netpolicy_host\n")
    assert probe(host)["changed"]
    assert not apply(host)["changed"]


def test_a_recorded_policy_that_somebody_edited_has_to_be_sent():
    host = installed()
    content, mode = host.contents["/etc/netpolicy-host/policy.json"]
    record = json.loads(content)
    record["policy"]["sets"]["s:clients"]["v4"] = ["0.0.0.0/0"]
    host.contents["/etc/netpolicy-host/policy.json"] = (json.dumps(record).encode(), mode)
    assert probe(host) == {"policy_missing": True}


# -- without nft -------------------------------------------------------------------------------------


def test_without_nft_check_mode_tells_what_would_change():
    host = MemoryHost()
    host.has_nft = False
    answer = apply(host, check=True)
    assert answer["changed"]
    assert answer["notes"] == ["nft is not installed on this host; install the package nftables"]
    assert host.effects == 0


def test_without_nft_nothing_is_applied():
    host = MemoryHost()
    host.has_nft = False
    assert apply(host) == {
        "error": "nft is not installed on this host; install the package nftables",
        "nft_missing": True,
    }
    assert host.contents == {}


def test_without_nft_a_missing_policy_is_still_asked_for():
    host = MemoryHost()
    host.has_nft = False
    assert probe(host) == {"policy_missing": True}


# -- remove ------------------------------------------------------------------------------------------


def test_remove():
    host = installed()
    before, effects = host.state(), host.effects
    foretold = ask(host, "remove", node=None, check=True)
    assert (host.state(), host.effects) == (before, effects)
    answer = ask(host, "remove", node=None, check=False)
    assert answer == foretold
    assert answer["changed"]
    assert answer["digest"] is None
    assert "endpoint node-1-eth0" in answer["before"]
    assert answer["after"] == ""
    assert host.is_clean()
    assert ask(host, "remove", node=None, check=False)["changed"] is False


def test_a_policy_cannot_be_removed_without_nft():
    host = installed()
    host.has_nft = False
    before = host.state()
    answer = ask(host, "remove", node=None, check=False)
    assert answer == {
        "error": "a policy is installed, and nft, which could remove it from the kernel, is not"
    }
    assert host.state() == before


def test_where_nothing_is_installed_nothing_needs_nft():
    host = MemoryHost()
    host.has_nft = False
    answer = ask(host, "remove", node=None, check=False)
    assert answer["changed"] is False
    assert "error" not in answer


# -- two names of one machine ------------------------------------------------------------------------


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("verb", ["apply", "remove"])
def test_the_policy_of_another_host_of_the_inventory_is_not_touched(verb, check):
    host = installed()
    before = host.state()
    other = dataclasses.replace(POLICY, node="node-2")
    request = (
        {"node": "node-2"} if verb == "remove" else {"digest": other.digest, "policy": model.to_dict(other)}
    )
    answer = ask(host, verb, check=check, **RUN, **request)
    assert answer["error"].startswith("this machine enforces the policy of host node-1, not of node-2: ")
    assert host.state() == before


def test_a_host_may_remove_its_own_policy_and_anybody_one_that_is_meant():
    for node in ("node-1", None):
        host = installed()
        assert ask(host, "remove", node=node, check=False)["changed"]
        assert host.is_clean()


# -- what goes wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["apply", "remove"])
def test_two_runs_at_once_do_not_meet(verb):
    host = installed()
    host.nft("delete table inet netpolicy_host\n")
    before = host.state()
    with host.lock():
        answer = ask(host, verb, node=None, digest=DIGEST, policy=model.to_dict(POLICY), check=False, **RUN)
    assert answer == {"error": "another netpolicy.host run is changing this host"}
    assert host.state() == before


@pytest.mark.parametrize("verb", ["apply", "remove"])
def test_check_mode_and_information_wait_for_nobody(verb):
    host = installed()
    with host.lock():
        assert "error" not in ask(
            host, verb, node=None, digest=DIGEST, policy=model.to_dict(POLICY), check=True, **RUN
        )
        assert "error" not in ask(host, "info")


def test_the_lock_is_given_back_after_a_failure():
    host = MemoryHost()
    host.fail_at = 0
    assert apply(host) == {"error": "nft -f -: Error: Device or resource busy"}
    assert not host.locked
    host.fail_at = None
    assert apply(host)["changed"]


@pytest.mark.parametrize("request_", [{}, {"verb": "launch"}, {"verb": None}], ids=str)
def test_an_unknown_verb_is_refused(request_):
    host = MemoryHost()
    answer = engine.serve(host, ENGINE, request_)
    assert answer == {"error": f"verb: found {request_.get('verb')!r}, allowed: apply, remove, info"}
    assert host.effects == 0


def test_a_defect_of_ours_is_told_in_a_line():
    answer = engine.serve(MemoryHost(), ENGINE, {"verb": "apply"})
    assert set(answer) == {"error"}
    assert re.fullmatch(
        r"a defect in netpolicy.host \(apply, engine.py:\d+\): KeyError\('policy'\); please report it",
        answer["error"],
    )


# -- endpoints that are found by their addresses ------------------------------------------------------


def by_address(address: str, **known: tuple[str, ...]) -> model.HostPolicy:
    """A policy for the interface with an address; `known` is what the inventory says of interfaces."""
    located = dataclasses.replace(POLICY.endpoints[0], interface=None, addresses=(address,))
    return dataclasses.replace(POLICY, endpoints=(located,), interfaces=known)


def dispatched(host: MemoryHost) -> set[str]:
    """The interfaces whose packets meet policy."""
    maps = [one for one in host.in_force().values() if one.kind == "map"]
    return {member.split('"')[1] for one in maps for member in one.members}


def test_the_host_itself_knows_which_interface_has_an_address():
    host = MemoryHost()
    wanted = by_address("10.0.0.1", eth1=("10.0.0.1",))
    assert apply(host, wanted)["changed"]
    assert dispatched(host) == {"eth0"}
    assert not apply(host, wanted)["changed"]
    assert ask(host, "info")["drift"] == []


def test_policy_follows_an_address_with_the_next_run_and_other_addresses_are_no_change():
    host = MemoryHost()
    wanted = by_address("10.0.0.1")
    apply(host, wanted)
    host.tracked.own["eth1"] = ["192.0.2.7"]
    assert not apply(host, wanted)["changed"]
    host.tracked.own = {"eth0": [], "eth1": ["192.0.2.7", "10.0.0.1"]}
    assert apply(host, wanted)["changed"]
    assert dispatched(host) == {"eth1"}
    host.nft_version = "1.1.3"
    assert ask(host, "info")["drift"] == []


def test_an_address_that_the_host_does_not_have_leads_nowhere():
    host = MemoryHost()
    apply(host, by_address("10.9.9.9", eth0=("10.9.9.9",)))
    assert dispatched(host) == set()


# -- the program -------------------------------------------------------------------------------------


@pytest.fixture(name="run")
def fixture_run(monkeypatch, capsys, tmp_path):
    """The engine as a program without nft: with a request on its standard input, as a user."""

    def run(request: dict[str, t.Any], user: int = 0) -> t.Any:
        archive = tmp_path / "engine.pyz"
        archive.write_bytes(b"the engine")
        monkeypatch.setattr(system, "SEARCH_PATH", str(tmp_path))
        monkeypatch.setattr("os.geteuid", lambda: user)
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request)))
        assert engine.main(str(archive), ENGINE.digest) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("verb", ["apply", "remove", "info"])
def test_without_root_nothing_is_done(run, verb):
    answer = run({"verb": verb}, user=1000)
    assert answer == {"error": "this needs root on the managed host; set become: true"}


def test_a_host_that_is_no_linux_is_skipped(run, monkeypatch):
    monkeypatch.setattr("sys.platform", "freebsd14")
    assert run({"verb": "info"}, user=1000) == {"skipped": "not a Linux host: freebsd14"}


def test_with_root_the_request_is_answered(run):
    request = {"verb": "apply", "digest": "0" * 64, "policy": model.to_dict(POLICY), "check": True}
    answer = run(request)
    assert answer == {"error": f"the policy arrived with digest {DIGEST}, expected {'0' * 64}"}


# -- info --------------------------------------------------------------------------------------------


def test_information_of_a_host_without_policy():
    host = MemoryHost()
    assert ask(host, "info") == {
        "installed": None,
        "drift": [],
        "counters": [],
        "policy_counters": [],
        "endpoint_counters": [],
        "failsafe_counters": [],
        "notes": [],
        "digest": None,
    }
    assert host.effects == 0


def counter(policy: model.HostPolicy, name: str, index: int) -> str:
    names = counters.of_rules(policy.policies[f"GlobalNetworkPolicy/{name}"])
    return names[f"GlobalNetworkPolicy/{name}/ingress/{index}"]


def test_information_of_a_host_with_policy():
    host = installed()
    deny, failsafe = host.ours[counter(POLICY, "web", 1)], host.ours["failsafe/inbound/reply"]
    deny.packets, deny.bytes = 3, 180
    allow, arrived = host.ours[counter(POLICY, "web", 0)], host.ours["endpoint/node-1-eth0/ingress"]
    allow.packets, allow.bytes = 1, 40
    arrived.packets, arrived.bytes = 9, 900
    failsafe.packets, failsafe.bytes = 2, 120
    effects = host.effects
    answer = ask(host, "info")
    assert host.effects == effects
    assert (answer["digest"], answer["drift"]) == (DIGEST, [])
    assert answer["installed"].pop("applied").endswith("+00:00")
    assert answer["installed"] == {
        "digest": DIGEST,
        "engine": ENGINE.digest,
        "owner": "ansible",
        "inventory": {"id": "0" * 16, "hosts": 3, "hosts_with_policy": 2, "endpoints": 2},
        "node": "node-1",
        "endpoints": [
            {"name": "node-1-eth0", "interface": "eth0"},
            {"name": "node-1-eth1", "interface": "eth1"},
        ],
        "policy": model.to_dict(POLICY),
    }
    by_path = {f"{one['name']}/{one['direction']}/{one['rule']}": one for one in answer["counters"]}
    assert set(by_path) == {"web/ingress/0", "web/ingress/1", "web/egress/0", "base/ingress/0"}
    assert by_path["web/ingress/1"] == {
        "kind": "GlobalNetworkPolicy",
        "name": "web",
        "direction": "ingress",
        "rule": 1,
        "action": "deny",
        "place": None,
        "packets": 3,
        "bytes": 180,
    }
    assert by_path["web/ingress/0"]["place"] == "group_vars/all.yml:7"
    assert answer["policy_counters"] == [
        {"kind": "GlobalNetworkPolicy", "name": "base", "packets": 0, "bytes": 0},
        {"kind": "GlobalNetworkPolicy", "name": "web", "packets": 4, "bytes": 220},
    ]
    assert answer["endpoint_counters"] == [
        {"name": "node-1-eth0", "direction": "ingress", "packets": 9, "bytes": 900},
        {"name": "node-1-eth0", "direction": "egress", "packets": 0, "bytes": 0},
        {"name": "node-1-eth1", "direction": "ingress", "packets": 0, "bytes": 0},
        {"name": "node-1-eth1", "direction": "egress", "packets": 0, "bytes": 0},
    ]
    assert answer["failsafe_counters"] == [
        {"direction": "inbound", "replies": False, "packets": 0, "bytes": 0},
        {"direction": "inbound", "replies": True, "packets": 2, "bytes": 120},
        {"direction": "outbound", "replies": False, "packets": 0, "bytes": 0},
        {"direction": "outbound", "replies": True, "packets": 0, "bytes": 0},
    ]


def test_information_counts_rules_with_long_names():
    name = "x" * 253
    host = MemoryHost()
    apply(host, samples.host([samples.policy(name, [samples.rule()])]))
    (counter,) = (one for key, one in host.ours.items() if key.startswith("GlobalNetworkPolicy"))
    counter.packets = 5
    assert [one["packets"] for one in ask(host, "info")["counters"]] == [5]


def test_information_tells_of_drift_and_has_no_counters_then():
    host = installed()
    host.nft("delete table inet netpolicy_host\n")
    answer = ask(host, "info")
    assert answer["drift"] == ["the table is missing"]
    assert {one["packets"] for one in answer["counters"]} == {0}
    assert {one["packets"] for one in answer["failsafe_counters"]} == {0}


def test_information_of_a_policy_of_another_version():
    host = installed()
    content, mode = host.contents["/etc/netpolicy-host/policy.json"]
    record = json.loads(content)
    record["policy"] = {"format": 0}
    host.contents["/etc/netpolicy-host/policy.json"] = (json.dumps(record).encode(), mode)
    answer = ask(host, "info")
    assert answer["digest"] == DIGEST
    assert (answer["installed"]["policy"], answer["installed"]["node"]) == (None, None)
    assert (answer["counters"], answer["drift"]) == ([], [])
