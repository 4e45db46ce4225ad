# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run may not do to an installed policy unless it is told to, and what the record says of runs."""

from __future__ import annotations

import dataclasses
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._host import (
    engine,
    paths,
    provenance,
    state,
    transaction,
)
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import policy, rule

ENGINE = transaction.EngineFile("e1" * 32, b"the engine")
UPGRADE = transaction.EngineFile("e2" * 32, b"a later engine")
LIMIT = 20
ID = "0123456789abcdef"


def knowing(peers: int) -> model.HostPolicy:
    """A policy that knows so many addresses."""
    addresses = tuple(f"10.0.{one // 100}.{one % 100 * 2}/32" for one in range(peers))
    return samples.host(
        [policy("web", [rule(source=model.Side(("s:clients",)))])],
        sets={"s:clients": model.AddressSet("role == 'client'", addresses)},
    )


WEB = knowing(10)


def run(
    hosts: int = 10, owner: str = "ansible", takeover: bool = False, limit: int = LIMIT, id_: str = ID
) -> dict[str, t.Any]:
    """What a run says of itself: so many hosts with policy, and half as many without."""
    extent = provenance.Extent(id_, hosts + hosts // 2, hosts, hosts)
    return {
        "provenance": provenance.to_dict(provenance.Provenance(owner, extent)),
        "takeover": takeover,
        "shrink_limit": limit,
    }


def ask(
    host: MemoryHost, verb: str, file: transaction.EngineFile = ENGINE, **request: object
) -> dict[str, t.Any]:
    wire = json.loads(json.dumps({"verb": verb, **request}))
    return json.loads(json.dumps(engine.serve(host, file, wire)))


def apply(
    host: MemoryHost,
    wanted: model.HostPolicy,
    said: dict[str, t.Any],
    check: bool = False,
    file: transaction.EngineFile = ENGINE,
) -> dict[str, t.Any]:
    return ask(host, "apply", file, digest=wanted.digest, policy=model.to_dict(wanted), check=check, **said)


def enforcing(wanted: model.HostPolicy = WEB, said: dict[str, t.Any] | None = None) -> MemoryHost:
    host = MemoryHost()
    assert "error" not in apply(host, wanted, said or run())
    return host


def old_record(wanted: model.HostPolicy = WEB) -> MemoryHost:
    """A host whose policy was installed before records told where it came from."""
    host = MemoryHost()
    transaction.apply(host, transaction.plan(state.read_state(host), wanted, ENGINE))
    return host


def recorded(host: MemoryHost) -> dict[str, t.Any]:
    return json.loads(host.contents[paths.POLICY_FILE][0])


def rewrite(host: MemoryHost, **changes: t.Any) -> None:
    content = json.dumps({**recorded(host), **changes})
    host.contents[paths.POLICY_FILE] = (content.encode(), 0o600)


def assert_refused(host: MemoryHost, wanted: model.HostPolicy | None, said: dict[str, t.Any]) -> str:
    """In check mode as well as outside of it, in the same words, and nothing is done."""
    before = host.state()
    answers = []
    for check in (True, False):
        if wanted is None:
            answers.append(ask(host, "remove", node="node", check=check, **said))
        else:
            answers.append(apply(host, wanted, said, check))
        assert host.state() == before
    assert answers[0] == answers[1]
    assert set(answers[0]) == {"error"}
    assert answers[0]["error"].startswith("refused, and nothing was changed. ")
    return str(answers[0]["error"])


# -- hosts with policy -------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 100))
def test_hosts_are_refused_when_more_percent_are_gone_than_the_limit(then, now, limit):
    host = enforcing(said=run(then))
    said = run(now, limit=limit)
    if (then - now) * 100 > limit * then:
        assert_refused(host, WEB, said)
    else:
        assert "error" not in apply(host, WEB, said)


def test_lost_hosts_are_told_with_what_there_was_and_how_to_allow_it():
    host = enforcing(said=run(10))
    applied = recorded(host)["applied"]
    assert assert_refused(host, WEB, run(4)) == (
        f"refused, and nothing was changed. The installed policy was applied {applied} by owner ansible, "
        f"from inventory {ID} with 10 hosts with policy among 15.\n"
        "Hosts with policy: this run found 4 among 6 hosts; 6 of 10 are gone (60 %).\n"
        "Allowed is a loss of 20 %. An inventory of which a part could not be read looks like this: see the "
        "warnings of this run. If the loss is meant, allow it for one run: -e netpolicy_shrink_limit=100 "
        "(shrink_limit of netpolicy.host.policy)."
    )


def test_another_inventory_is_told():
    text = assert_refused(enforcing(), WEB, run(2, id_="f" * 16))
    assert "this run found 2 among 3 hosts, of another inventory, ffffffffffffffff; 8 of 10" in text


def test_one_of_two_hosts_is_a_loss_and_can_be_allowed():
    host = enforcing(said=run(2))
    assert "1 of 2 are gone (50 %)" in assert_refused(host, WEB, run(1))
    assert "error" not in apply(host, WEB, run(1, limit=50))
    assert recorded(host)["provenance"]["inventory"]["hosts_with_policy"] == 1


def test_what_is_just_over_the_limit_does_not_look_equal_to_it():
    text = assert_refused(enforcing(said=run(10000)), WEB, run(7999))
    assert "2001 of 10000 are gone (20.1 %)" in text


@pytest.mark.parametrize("now", [10, 11, 1000])
def test_as_many_hosts_or_more_are_welcome(now):
    assert apply(enforcing(), WEB, run(now))["changed"] is False


# -- peers -------------------------------------------------------------------------------------------


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 100))
def test_peers_are_refused_when_more_percent_are_gone_than_the_limit(then, now, limit):
    host = enforcing(knowing(then))
    said = run(limit=limit)
    if (then - now) * 100 > limit * then:
        assert_refused(host, knowing(now), said)
    else:
        assert "error" not in apply(host, knowing(now), said)


def test_lost_peers_are_told_by_their_selector():
    text = assert_refused(enforcing(), knowing(3), run())
    assert text.splitlines()[1] == (
        "Peers of this host: its policy knows 10 addresses and networks, and would know 7 fewer (70 %): "
        "[role == 'client'] loses 10.0.0.6/32, 10.0.0.8/32, 10.0.0.10/32, 10.0.0.12/32, 10.0.0.14/32, "
        "and 2 more."
    )


def test_of_many_sets_a_few_are_told():
    sets = {f"s:{one}": model.AddressSet(f"set {one}", (f"10.0.{one}.1/32",)) for one in range(5)}
    text = assert_refused(enforcing(dataclasses.replace(WEB, sets={**WEB.sets, **sets})), knowing(0), run())
    assert text.count("loses") == 3
    assert "; and 3 more.\n" in text


def test_all_reasons_are_told_at_once():
    text = assert_refused(enforcing(said=run(owner="team-a")), knowing(0), run(1))
    assert [line.partition(" ")[0] for line in text.splitlines()] == [
        "refused,",
        "It",
        "Hosts",
        "Peers",
        "Allowed",
    ]


def test_the_limit_of_100_allows_everything():
    host = enforcing()
    assert apply(host, knowing(0), run(0, limit=100))["changed"]
    assert_after(host, knowing(0))


def assert_after(host: MemoryHost, wanted: model.HostPolicy) -> None:
    record = state.read_state(host).record
    assert record is not None
    assert record.policy == wanted


def test_a_policy_that_the_host_has_already_loses_nothing():
    host = enforcing()
    host.nft("delete table inet netpolicy_host\n")
    assert ask(host, "apply", digest=WEB.digest, policy=None, check=False, **run(limit=0))["changed"]


def test_what_is_missing_is_asked_for_before_it_is_judged():
    wanted = knowing(0)
    answer = ask(enforcing(), "apply", digest=wanted.digest, policy=None, check=False, **run())
    assert answer == {"policy_missing": True}


def test_a_loss_is_refused_on_a_host_that_lacks_nft_too():
    host = enforcing()
    host.has_nft = False
    assert_refused(host, knowing(0), run())


# -- owners ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [WEB, knowing(20), None], ids=["the same", "another", "none"])
def test_the_policy_of_another_owner_is_refused(wanted):
    text = assert_refused(enforcing(said=run(owner="team-a")), wanted, run(owner="team-b"))
    assert text.splitlines()[1].startswith("It belongs to owner team-a, and this is a run of owner team-b: ")
    assert "-e netpolicy_takeover=true" in text


@pytest.mark.parametrize("check", [True, False])
def test_a_host_can_be_taken_over_which_is_a_change(check):
    host = enforcing(said=run(owner="team-a"))
    answer = apply(host, WEB, run(owner="team-b", takeover=True), check)
    assert answer["changed"]
    assert "owner team-a\n" in answer["before"]
    assert "owner team-b\n" in answer["after"]
    owner = "team-a" if check else "team-b"
    assert ask(host, "info")["installed"]["owner"] == owner
    assert not apply(host, WEB, run(owner=owner), check)["changed"]


def test_to_take_a_host_over_is_not_to_shrink_it():
    host = enforcing(said=run(owner="team-a"))
    said = run(2, owner="team-b", takeover=True)
    assert "8 of 10 are gone" in assert_refused(host, WEB, said)
    assert apply(host, WEB, {**said, "shrink_limit": 100})["changed"]


def test_takeover_where_there_is_nothing_to_take_changes_nothing():
    assert not apply(enforcing(), WEB, run(takeover=True))["changed"]


def test_a_foreign_policy_can_be_removed_for_want_of_an_endpoint_by_taking_it_over():
    host = enforcing(said=run(owner="team-a"))
    answer = ask(host, "remove", node="node", check=False, **run(owner="team-b", takeover=True))
    assert answer["changed"]
    assert host.is_clean()


# -- removal -----------------------------------------------------------------------------------------


def test_a_host_without_endpoint_keeps_its_policy_when_too_many_hosts_have_lost_theirs():
    host = enforcing()
    assert "6 of 10 are gone" in assert_refused(host, None, run(4))
    assert ask(host, "remove", node="node", check=False, **run(9))["changed"]
    assert host.is_clean()


@pytest.mark.parametrize("node", ["node", None])
def test_removal_on_command_is_never_refused(node):
    host = enforcing(said=run(owner="team-a"))
    assert ask(host, "remove", node=node, check=False)["changed"]
    assert host.is_clean()


def test_where_nothing_is_installed_nothing_is_refused():
    host = MemoryHost()
    assert "error" not in ask(host, "remove", node="node", check=False, **run(0, limit=0))
    assert apply(host, knowing(0), run(0, limit=0))["changed"]


# -- the record --------------------------------------------------------------------------------------


def test_the_record_tells_where_the_policy_comes_from():
    host = enforcing(said=run(10, owner="team-a"))
    inventory = {"id": ID, "hosts": 15, "hosts_with_policy": 10, "endpoints": 10}
    assert recorded(host)["provenance"] == {"owner": "team-a", "inventory": inventory}
    installed = ask(host, "info")["installed"]
    assert (installed["owner"], installed["inventory"]) == ("team-a", inventory)


def test_a_second_run_writes_nothing():
    host = enforcing()
    effects, before = host.effects, host.state()
    assert not apply(host, WEB, run())["changed"]
    assert host.state() == before
    assert host.effects == effects + 1, "the lock"


def test_the_same_inventory_in_another_place_writes_nothing():
    host = enforcing()
    before = host.state()
    assert not apply(host, WEB, run(id_="f" * 16))["changed"]
    assert host.state() == before
    apply(host, knowing(11), run(id_="f" * 16))
    assert recorded(host)["provenance"]["inventory"]["id"] == "f" * 16


@pytest.mark.parametrize("count", ["hosts", "hosts_with_policy", "endpoints"])
def test_other_counts_are_recorded_and_are_no_change(count):
    host = enforcing()
    said = run()
    said["provenance"]["inventory"][count] += 1
    scripts = len(host.scripts)
    foretold = apply(host, WEB, said, check=True)
    answer = apply(host, WEB, said)
    assert answer == foretold
    assert answer["changed"] is False
    assert len(host.scripts) == scripts
    assert recorded(host)["provenance"] == said["provenance"]
    before = host.state()
    apply(host, WEB, said)
    assert host.state() == before


def test_small_losses_one_after_the_other_are_each_compared_with_the_last():
    host = enforcing()
    for hosts in (9, 8, 7, 6):
        assert "error" not in apply(host, WEB, run(hosts))
    assert_refused(host, WEB, run(4))


def test_a_refused_run_leaves_what_later_ones_are_compared_with():
    host = enforcing()
    for _again in range(2):
        assert_refused(host, WEB, run(4))


def test_a_change_that_fails_leaves_the_provenance_of_what_is_in_force():
    host = enforcing()
    host.fail_at = len(host.scripts)
    assert apply(host, knowing(20), run(20))["error"].endswith("busy")
    assert recorded(host)["provenance"] == run(10)["provenance"]


# -- records of other versions -----------------------------------------------------------------------


@pytest.mark.parametrize("said", [run(0), run(owner="team-b"), run(1000)], ids=["fewer", "other", "more"])
def test_what_an_old_record_does_not_say_is_not_compared_and_gets_written(said):
    host = old_record()
    assert ask(host, "info")["installed"]["owner"] is None
    assert ask(host, "info")["installed"]["inventory"] is None
    assert apply(host, WEB, said)["changed"] is False
    assert recorded(host)["provenance"] == said["provenance"]


def test_an_old_record_knows_its_peers():
    host = old_record()
    applied = recorded(host)["applied"]
    first, second, _hint = assert_refused(host, knowing(3), run()).splitlines()
    assert first == f"refused, and nothing was changed. The installed policy was applied {applied}."
    assert "would know 7 fewer (70 %)" in second


def test_an_old_policy_may_be_removed_for_want_of_an_endpoint():
    host = old_record()
    assert ask(host, "remove", node="node", check=False, **run(0))["changed"]


def test_a_record_whose_policy_cannot_be_read_still_knows_its_owner_and_its_hosts():
    host = enforcing()
    rewrite(host, policy={"format": 0})
    text = assert_refused(host, knowing(0), run(4, owner="team-b"))
    assert "belongs to owner ansible" in text
    assert "6 of 10 are gone" in text
    assert "Peers" not in text
    assert apply(host, knowing(0), run())["changed"]


def test_what_a_later_version_adds_is_passed_over():
    host = enforcing()
    origin = recorded(host)["provenance"]
    rewrite(host, provenance={**origin, "more": 1, "inventory": {**origin["inventory"], "more": 1}})
    assert "6 of 10 are gone" in assert_refused(host, WEB, run(4))


PROVENANCE = run()["provenance"]
INSIDE = [steps for steps in samples.positions(PROVENANCE) if steps]
JUNK: tuple[t.Any, ...] = (None, -1, True, 1.5, [])
UNREADABLE = [
    *(None, [], "text", {}),
    *(samples.without(PROVENANCE, steps) for steps in INSIDE),
    *(samples.replaced(PROVENANCE, steps, value) for steps in INSIDE for value in JUNK),
]


@pytest.mark.parametrize("value", UNREADABLE, ids=repr)
def test_a_provenance_that_cannot_be_read_makes_the_record_count_as_none(value):
    host = enforcing()
    rewrite(host, provenance=value)
    current = state.read_state(host)
    assert current.record is None
    assert "policy.json cannot be read and counts as absent: " in current.notes[0]
    assert apply(host, WEB, run())["changed"]
    assert recorded(host)["provenance"] == PROVENANCE


@given(
    st.text(min_size=1, max_size=200), st.text(max_size=200), st.text(max_size=20), st.integers(0, 10**400)
)
def test_whatever_a_record_says_the_refusal_is_text(owner, id_, applied, hosts):
    host = enforcing()
    extent = {"id": id_, "hosts": hosts, "hosts_with_policy": 10, "endpoints": 0}
    rewrite(host, provenance={"owner": f"other {owner}", "inventory": extent}, applied=applied)
    text = assert_refused(host, WEB, run(4))
    assert len(text.splitlines()) == 4


def test_an_upgrade_of_the_engine_is_subject_to_it_too():
    host = enforcing()
    answer = apply(host, WEB, run(4), file=UPGRADE)
    assert "6 of 10 are gone" in answer["error"]
