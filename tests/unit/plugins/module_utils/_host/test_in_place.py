# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._host import (
    drift,
    paths,
    state,
    system,
    transaction,
)
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables, ruleset
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import policy, rule

ENGINE = transaction.EngineFile("e1" * 32, b"the engine")


@pytest.fixture(autouse=True)
def _large_is_small(monkeypatch):
    monkeypatch.setattr(ruleset, "LARGE", 2)


def net(number: int) -> str:
    return f"10.0.{number}.0/24"


def guarded(
    clients: t.Iterable[int], servers: t.Iterable[int], action: str = model.ALLOW
) -> model.HostPolicy:
    sets = {
        name: model.AddressSet(name, tuple(net(number) for number in sorted(numbers)), ("fd00::/64",))
        for name, numbers in (("s:clients", clients), ("s:servers", servers))
    }
    side = model.Side(("s:clients",)), model.Side(("s:servers",))
    rules = [rule(action, source=side[0]), rule(model.DENY, source=side[1]), rule(model.ALLOW)]
    return samples.host([policy("web", rules)], sets=sets)


def enforce(host: MemoryHost, wanted: model.HostPolicy) -> transaction.Plan:
    plan = transaction.plan(state.read_state(host), wanted, ENGINE)
    transaction.apply(host, plan)
    return plan


def meaning(host: MemoryHost) -> t.Any:
    """What packets meet, with the members of a set in place of its name."""

    def told(name: str) -> t.Any:
        one = host.ours[name]
        if one.kind == "set":
            return sorted(one.members)
        return [re.split(r"(\S+)", re.sub(r"-[0-9a-f]{16}(\.\d+)?", "", line)) for line in one.members], [
            told(other) for kind, other in one.mentions() if kind != "counter"
        ]

    return {name: told(name) for name, one in host.ours.items() if one.settings.startswith("type filter")}


def as_installed_at_once(wanted: model.HostPolicy) -> t.Any:
    host = MemoryHost()
    host.nft(nftables.text(wanted))
    return meaning(host)


BASE = guarded(range(10), range(100, 110))


def changes_of(plan: transaction.Plan) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(change.add, change.remove) for step in plan.steps for change in step.changes]


def test_what_changes_in_large_sets_alone_is_changed_where_it_is():
    host = MemoryHost()
    enforce(host, BASE)
    before = set(host.ours)
    host.scripts.clear()
    wanted = guarded([*range(1, 10), 20, 21], range(100, 110))
    plan = enforce(host, wanted)
    assert changes_of(plan) == [((net(20), net(21)), (net(0),))]
    assert len(host.scripts) == 1
    assert set(host.ours) == before
    assert meaning(host) == as_installed_at_once(wanted)
    assert not transaction.plan(state.read_state(host), wanted, ENGINE).steps


def test_several_sets_change_in_one_transaction():
    host = MemoryHost()
    enforce(host, BASE)
    host.scripts.clear()
    plan = enforce(host, guarded(range(11), range(100, 111)))
    assert sorted(changes_of(plan)) == [((net(10),), ()), ((net(110),), ())]
    assert len(host.scripts) == 1


def test_a_set_comes_back_to_what_its_name_says():
    host = MemoryHost()
    for wanted in (BASE, guarded(range(11), range(100, 110)), BASE):
        enforce(host, wanted)
        assert meaning(host) == as_installed_at_once(wanted)
    assert "aliases" not in json.loads(host.contents[paths.POLICY_FILE][0])


def test_a_name_whose_set_holds_something_else_is_not_taken_for_it():
    host = MemoryHost()
    enforce(host, BASE)
    enforce(host, guarded(range(11), range(100, 110)))
    back = guarded(range(10), range(100, 110), model.DENY)
    enforce(host, back)
    assert meaning(host) == as_installed_at_once(back)


OTHERS = {
    "a rule changes, too": guarded(range(11), range(100, 110), model.DENY),
    "a set becomes small": guarded(range(2), range(100, 110)),
    "most of a set changes": guarded(range(50, 60), range(100, 110)),
}


@pytest.mark.parametrize("wanted", OTHERS.values(), ids=OTHERS)
def test_other_changes_go_by_new_sets_that_are_filled_before_packets_meet_them(wanted):
    host = MemoryHost()
    enforce(host, BASE)
    plan = enforce(host, wanted)
    assert changes_of(plan) == []
    assert len(plan.steps) == 3
    assert meaning(host) == as_installed_at_once(wanted)


def test_a_network_that_becomes_two_is_not_changed_where_it_is():
    host = MemoryHost()
    enforce(host, BASE)
    sets = dict(BASE.sets)
    halves = ("10.0.0.0/25", "10.0.0.128/26", *(net(number) for number in range(1, 10)))
    sets["s:clients"] = model.AddressSet("s:clients", halves, ("fd00::/64",))
    wanted = samples.host([BASE.policies["GlobalNetworkPolicy/web"]], sets=sets)
    assert changes_of(enforce(host, wanted)) == []
    assert meaning(host) == as_installed_at_once(wanted)


def test_sets_that_no_rule_in_the_table_asks_for_are_not_changed():
    host = MemoryHost()
    wide = {
        number: model.AddressSet(
            "s:clients",
            tuple(net(one) for one in range(number)),
            tuple(f"fd0{one}::/64" for one in range(number)),
        )
        for number in (8, 9)
    }
    four = [rule(ip_version=4, source=model.Side(("s:clients",)))]
    staged = policy("planned", [rule(source=model.Side(("s:planned",)))], staged="set")
    for number in (8, 9):
        sets = {"s:clients": wide[number], "s:planned": wide[number]}
        wanted = samples.host([policy("web", four), staged], sets=sets)
        changed = changes_of(enforce(host, wanted))
        assert meaning(host) == as_installed_at_once(wanted)
        assert changed == ([((net(8),), ())] if number == 9 else [])


def test_a_set_that_serves_as_two_is_not_changed_for_one_of_them():
    host = MemoryHost()
    nets = tuple(net(number) for number in range(8))
    names = ("s:a-name-of-more-than-sixteen-letters", "s:a-name-of-more-than-sixteen-words")
    rules = [rule(source=model.Side((name,))) for name in names]
    sets = {name: model.AddressSet(name, nets) for name in names}
    enforce(host, samples.host([policy("web", rules)], sets=sets))
    sets[names[0]] = model.AddressSet(names[0], (*nets, net(20)))
    wanted = samples.host([policy("web", rules)], sets=sets)
    assert changes_of(enforce(host, wanted)) == []
    assert meaning(host) == as_installed_at_once(wanted)


def test_a_change_of_unknown_outcome_is_mended_by_the_next_run(monkeypatch):
    host = MemoryHost()
    enforce(host, BASE)
    wanted = guarded(range(11), range(100, 110))

    def lost(_table: str, _changes: object) -> None:
        raise system.Uncertain("change sets: answers of the kernel were lost")

    with monkeypatch.context() as patched:
        patched.setattr(host, "change_sets", lost)
        with pytest.raises(system.Uncertain):
            enforce(host, wanted)
    assert state.read_state(host).drift
    enforce(host, wanted)
    assert meaning(host) == as_installed_at_once(wanted)
    assert state.read_state(host).drift == ()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_script_of_unknown_outcome_is_not_taken_back_and_mended_by_the_next_run(monkeypatch, number):
    host = MemoryHost()
    enforce(host, BASE)
    wanted = guarded(range(10), range(100, 110), model.DENY)
    last = len(host.scripts) + number
    nft = host.nft

    def slow(script: str) -> None:
        at = len(host.scripts)
        nft(script)
        if at == last:
            raise system.Uncertain("nft -f -: no answer in 120 seconds")

    with monkeypatch.context() as patched:
        patched.setattr(host, "nft", slow)
        with pytest.raises(system.Uncertain):
            enforce(host, wanted)
    assert len(host.scripts) == last + 1
    assert state.read_state(host).drift
    enforce(host, wanted)
    assert meaning(host) == as_installed_at_once(wanted)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_set_that_cannot_be_filled_leaves_nothing_behind(failing):
    host = MemoryHost()
    enforce(host, guarded([], []))
    before, mark = host.state(), meaning(host)
    host.fail_at = len(host.scripts) + failing
    with pytest.raises(system.HostError, match="busy"):
        enforce(host, BASE)
    assert host.state() == before
    assert meaning(host) == mark


def test_a_change_in_place_that_fails_changes_nothing():
    host = MemoryHost()
    enforce(host, BASE)
    before = host.state()
    host.fail_at = len(host.scripts)
    with pytest.raises(system.HostError, match="change sets: Device or resource busy"):
        enforce(host, guarded(range(11), range(100, 110)))
    assert host.state() == before


def test_what_large_sets_hold_is_told_if_asked_for():
    host = MemoryHost()
    enforce(host, BASE)
    # Sets this small are compared anyway; what is of interest here is how a difference is told.
    table = nftables.render(BASE)
    assert list(drift.of_elements(table, lambda name, _version: host.ours[name].members)) == []
    name = next(name for name in host.ours if name.startswith("set4-sclients"))
    host.ours[name].members[:] = [net(number) for number in range(3, 20)]
    assert list(drift.of_elements(table, lambda name, _version: host.ours[name].members)) == [
        f"set {name} lacks 3 networks: 10.0.0.0/24, 10.0.1.0/24, 10.0.2.0/24",
        (
            f"set {name} has, which are not ours, 10 networks: 10.0.10.0/24, 10.0.11.0/24, 10.0.12.0/24, "
            "10.0.13.0/24, 10.0.14.0/24, ..."
        ),
    ]


NUMBERS = st.one_of(
    st.just(range(10)),
    st.just(range(11)),
    st.just(range(12)),
    st.sets(st.integers(0, 12), max_size=12),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(guarded, NUMBERS, NUMBERS, st.sampled_from((model.ALLOW, model.DENY))),
        min_size=2,
        max_size=6,
    )
)
def test_whatever_came_before_the_host_enforces_what_is_wanted(wanted):
    host = MemoryHost()
    for one in wanted:
        enforce(host, one)
        assert meaning(host) == as_installed_at_once(one)
        assert state.read_state(host).drift == ()
        assert transaction.plan(state.read_state(host), one, ENGINE).is_empty
        # Nothing that the policy does not need stays.
        unused = set(host.ours) - set(host.in_force())
        assert all(host.ours[name].kind == "counter" for name in unused)
