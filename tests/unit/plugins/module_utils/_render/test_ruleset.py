# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from hypothesis import given

from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables, ruleset
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

CLIENTS = ruleset.Set("set4-clients-1", "ipv4_addr", ("10.0.0.0/8", "192.0.2.1/32"))
TIER = ruleset.Chain("tier-1", ('ip saddr @set4-clients-1 counter name "r/0" notrack accept',))
ETH0 = ruleset.Chain("eth0-1", ("jump tier-1",))
MAP = ruleset.InterfaceMap("raw-1", (("eth0", "goto eth0-1"),))
BASE = ruleset.BaseChain("raw-prerouting", "prerouting", "raw", ("iifname vmap @raw-1",))
OLD = ruleset.Ruleset(counters=("r/0",), sets=(CLIENTS,), chains=(TIER, ETH0), maps=(MAP,), bases=(BASE,))

# The same with other clients: their set is another, so is all that mentions it; the counter stays.
NEW = ruleset.Ruleset(
    counters=("r/0", "r/1"),
    sets=(ruleset.Set("set4-clients-2", "ipv4_addr", ("10.0.0.0/8",)),),
    chains=(
        ruleset.Chain("tier-2", ('ip saddr @set4-clients-2 counter name "r/0" notrack accept',)),
        ruleset.Chain("eth0-2", ("jump tier-2",)),
    ),
    maps=(ruleset.InterfaceMap("raw-2", (("eth0", "goto eth0-2"),)),),
    bases=(ruleset.BaseChain("raw-prerouting", "prerouting", "raw", ("iifname vmap @raw-2",)),),
)


def loaded(wanted: ruleset.Ruleset) -> MemoryHost:
    host = MemoryHost()
    host.nft(ruleset.text(wanted))
    return host


def live(host: MemoryHost) -> ruleset.Names | None:
    listing = host.table(ruleset.FAMILY, ruleset.TABLE)
    return None if listing is None else ruleset.names_in(listing.json)


# -- text --------------------------------------------------------------------------------------------


def mark(base: ruleset.BaseChain) -> str:
    return f'comment "{base.mark}"'


TEXT = """\
table inet netpolicy_host {
  counter r/0 {
  }

  set set4-clients-1 {
    type ipv4_addr
    flags interval
    elements = {
      10.0.0.0/8, 192.0.2.1/32
    }
  }

  chain tier-1 {
    ip saddr @set4-clients-1 counter name "r/0" notrack accept
  }

  chain eth0-1 {
    jump tier-1
  }

  map raw-1 {
    type ifname : verdict
    elements = {
      "eth0" : goto eth0-1
    }
  }

  chain raw-prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifname vmap @raw-1 MARK
  }
}
"""


def test_the_text_of_a_ruleset():
    assert ruleset.text(OLD).replace("\t", "  ") == TEXT.replace("MARK", mark(BASE))


def test_a_base_chain_may_have_several_rules_and_bears_one_mark():
    several = ruleset.BaseChain("filter-input", "input", "filter", ("meta mark 1 accept", "drop"))
    first, second = several.statements
    assert first == f"meta mark 1 accept {mark(several)}"
    assert second == "drop"


def test_a_mark_belongs_to_all_that_a_base_chain_is():
    marks = {
        ruleset.BaseChain(name, hook, priority, rules, type_).mark
        for name in ("a", "b")
        for hook in ("input", "output")
        for priority in ("raw", "filter")
        for rules in (("drop",), ("drop", "accept"), ("accept", "drop"))
        for type_ in ("filter", "nat")
    }
    assert len(marks) == 48


def test_the_text_of_an_empty_ruleset_is_an_empty_table():
    assert ruleset.text(ruleset.Ruleset()) == "table inet netpolicy_host {\n}\n"


def test_long_sets_are_broken_into_lines():
    elements = tuple(f"10.0.0.{last}/32" for last in range(20))
    text = ruleset.text(ruleset.Ruleset(sets=(ruleset.Set("many", "ipv4_addr", elements),)))
    assert loaded(ruleset.Ruleset(sets=(ruleset.Set("many", "ipv4_addr", elements),))).ours[
        "many"
    ].members == list(elements)
    assert max(map(len, text.splitlines())) < 200


def test_an_empty_set_has_no_elements():
    assert "elements" not in ruleset.text(ruleset.Ruleset(sets=(ruleset.Set("none", "ipv4_addr", ()),)))


# -- names -------------------------------------------------------------------------------------------


def test_a_content_name_is_readable_and_belongs_to_its_content():
    name = ruleset.content_name("set4", "10.0.0.0/8", "10.0.0.1/32")
    assert name.startswith("set4-")
    assert name == ruleset.content_name("set4", "10.0.0.0/8", "10.0.0.1/32")
    others = {
        ruleset.content_name("set4", "10.0.0.0/8"),
        ruleset.content_name("set4", "10.0.0.1/32", "10.0.0.0/8"),
        ruleset.content_name("set6", "10.0.0.0/8", "10.0.0.1/32"),
        ruleset.content_name("set4"),
    }
    assert len(others) == 4
    assert name not in others


# What nft 1.0.6 wrote (`nft --json --terse list table`) for a table of ours, one of each kind, with objects
# that it does not have today.
LISTING = json.loads("""
{"nftables": [
 {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
 {"table": {"family": "inet", "name": "netpolicy_host", "handle": 1}},
 {"counter": {"family": "inet", "name": "failsafe/inbound", "table": "netpolicy_host", "handle": 7,
   "packets": 3, "bytes": 180}},
 {"counter": {"family": "inet", "name": "GlobalNetworkPolicy/web/ingress/0", "table": "netpolicy_host",
   "handle": 9, "packets": 0, "bytes": 0}},
 {"set": {"family": "inet", "name": "set4-sclients-93997fe8a8", "table": "netpolicy_host",
   "type": "ipv4_addr", "handle": 15, "flags": ["interval"]}},
 {"map": {"family": "inet", "name": "raw-ingress-f5a2140fed", "table": "netpolicy_host", "type": "ifname",
   "handle": 18, "map": "verdict"}},
 {"flowtable": {"family": "inet", "name": "fast", "table": "netpolicy_host", "handle": 90}},
 {"element": {"family": "inet", "table": "netpolicy_host", "name": "some", "elem": []}},
 {"chain": {"family": "inet", "table": "netpolicy_host", "name": "raw-ingress-eth0-9b90ca0239", "handle": 2}},
 {"chain": {"family": "inet", "table": "netpolicy_host", "name": "raw-prerouting", "handle": 5,
   "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}},
 {"chain": {"family": "inet", "table": "netpolicy_host", "name": "raw-output", "handle": 6,
   "type": "filter", "hook": "output", "prio": -300, "policy": "accept"}},
 {"rule": {"family": "inet", "table": "netpolicy_host", "chain": "raw-ingress-eth0-9b90ca0239",
   "handle": 27, "comment": "not a map", "expr": [{"accept": null}]}},
 {"rule": {"family": "inet", "table": "netpolicy_host", "chain": "raw-prerouting", "handle": 47,
   "comment": "raw-prerouting-0123456789",
   "expr": [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@raw-ingress-f5a2140fed"}}]}},
 {"rule": {"family": "inet", "table": "netpolicy_host", "chain": "raw-prerouting", "handle": 48,
   "comment": "of a later rule", "expr": [{"drop": null}]}}
]}
""")


def test_names_in_a_real_listing():
    assert ruleset.names_in(LISTING) == ruleset.Names(
        counters=frozenset({"failsafe/inbound", "GlobalNetworkPolicy/web/ingress/0"}),
        sets=frozenset({"set4-sclients-93997fe8a8"}),
        chains=frozenset({"raw-ingress-eth0-9b90ca0239"}),
        maps=frozenset({"raw-ingress-f5a2140fed"}),
        bases=(("raw-output", None), ("raw-prerouting", "raw-prerouting-0123456789")),
    )


def test_counters_in_a_real_listing():
    assert ruleset.counters_in(LISTING) == {
        "failsafe/inbound": (3, 180),
        "GlobalNetworkPolicy/web/ingress/0": (0, 0),
    }


def test_the_version_in_a_real_listing():
    assert ruleset.nft_version(LISTING) == "1.0.6"


@pytest.mark.parametrize("listing", [{}, {"nftables": []}, {"nftables": [{"metainfo": {}}]}], ids=str)
def test_an_empty_listing_has_no_names(listing):
    assert ruleset.names_in(listing) == ruleset.Names()
    assert ruleset.counters_in(listing) == {}
    assert ruleset.nft_version(listing) == ""


@pytest.mark.parametrize("wanted", [OLD, NEW, ruleset.Ruleset()])
def test_a_loaded_ruleset_is_listed_with_its_names(wanted):
    assert live(loaded(wanted)) == ruleset.names(wanted)


# -- change ------------------------------------------------------------------------------------------

TABLE = "inet netpolicy_host"


def scripts(live: ruleset.Names | None, wanted: ruleset.Ruleset) -> list[str]:
    return [step.script for step in ruleset.plan(live, wanted)]


@pytest.mark.parametrize("wanted", [OLD, NEW, ruleset.Ruleset()])
def test_nothing_changes_where_the_names_are_the_same(wanted):
    assert ruleset.plan(ruleset.names(wanted), wanted) == ()


def test_a_change_adds_what_is_missing_switches_and_removes_what_is_left():
    add, switch, remove = scripts(ruleset.names(OLD), NEW)
    assert add.splitlines() == [
        f"add counter {TABLE} r/1",
        f"add set {TABLE} set4-clients-2 {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/8 }}; }}",
        f"add chain {TABLE} tier-2",
        f"add chain {TABLE} eth0-2",
        f'add rule {TABLE} tier-2 ip saddr @set4-clients-2 counter name "r/0" notrack accept',
        f"add rule {TABLE} eth0-2 jump tier-2",
        f'add map {TABLE} raw-2 {{ type ifname : verdict; elements = {{ "eth0" : goto eth0-2 }}; }}',
    ]
    assert switch.splitlines() == [
        f"add chain {TABLE} raw-prerouting {{ type filter hook prerouting priority raw; policy accept; }}",
        f"flush chain {TABLE} raw-prerouting",
        f"add rule {TABLE} raw-prerouting iifname vmap @raw-2 {mark(NEW.bases[0])}",
    ]
    assert remove.splitlines() == [
        f"delete map {TABLE} raw-1",
        f"flush chain {TABLE} eth0-1",
        f"flush chain {TABLE} tier-1",
        f"delete chain {TABLE} eth0-1",
        f"delete chain {TABLE} tier-1",
        f"delete set {TABLE} set4-clients-1",
    ]


def test_a_hook_that_is_not_wanted_any_more_goes():
    host = loaded(OLD)
    for script in scripts(live(host), ruleset.Ruleset()):
        host.nft(script)
    assert host.ours == {}
    assert host.tables


def test_only_the_hook_that_differs_is_switched():
    output = ruleset.BaseChain("raw-output", "output", "raw", ("oifname vmap @raw-1",))
    have = ruleset.Ruleset(OLD.counters, OLD.sets, OLD.chains, OLD.maps, (BASE, output))
    switched = ruleset.BaseChain("raw-output", "output", "raw", ("oifname vmap @raw-2",))
    more = ruleset.InterfaceMap("raw-2", (("eth1", "goto eth0-1"),))
    want = ruleset.Ruleset(OLD.counters, OLD.sets, OLD.chains, (MAP, more), (BASE, switched))
    _add, switch = scripts(ruleset.names(have), want)
    assert "raw-prerouting" not in switch
    assert "raw-output" in switch


def test_a_hook_of_unknown_content_is_switched():
    have = ruleset.names(OLD)
    unknown = ruleset.Names(have.counters, have.sets, have.chains, have.maps, (("raw-prerouting", None),))
    (switch,) = scripts(unknown, OLD)
    assert f"flush chain {TABLE} raw-prerouting" in switch


def test_from_nothing_the_steps_make_the_whole_table():
    host = MemoryHost()
    add, switch = scripts(None, OLD)
    assert add.startswith(f"add table {TABLE}\n")
    host.nft(add)
    assert host.in_force() == {}
    host.nft(switch)
    assert host.ours == loaded(OLD).ours


def test_taking_the_first_step_back_from_nothing_leaves_nothing():
    host = MemoryHost()
    first = ruleset.plan(None, OLD)[0]
    host.nft(first.script)
    host.nft(first.undo)
    assert host.tables == {}


@given(samples.untracked_policies(), samples.untracked_policies())
def test_a_change_step_by_step(old, new):
    before, after = nftables.render(old), nftables.render(new)
    host = loaded(before)
    for step in ruleset.plan(live(host), after):
        untouched, in_force = host.state(), host.in_force()
        host.nft(step.script)
        if step.undo:
            # What is added meets no packet, and can be taken back without a trace.
            assert host.in_force() == in_force
            added = host.tables
            host.nft(step.undo)
            assert host.state() == untouched
            host.tables = added
        else:
            # From the switch on packets meet the new ruleset, whole.
            assert host.in_force() == loaded(after).in_force()
    assert live(host) == ruleset.names(after)
    assert {name: one.members for name, one in host.ours.items()} == {
        name: one.members for name, one in loaded(after).ours.items()
    }


@given(samples.untracked_policies(), samples.untracked_policies())
def test_what_two_rulesets_share_is_not_touched(old, new):
    before, after = nftables.render(old), nftables.render(new)
    shared = {one.name for one in before.chains + before.sets + before.maps} & {
        one.name for one in after.chains + after.sets + after.maps
    }
    shared |= set(before.counters) & set(after.counters)
    commands = [line.split(" ") for line in "".join(scripts(ruleset.names(before), after)).splitlines()]
    assert not shared & {words[4] for words in commands if len(words) > 4}


# -- repair and removal ------------------------------------------------------------------------------


def test_a_repair_builds_the_table_anew_in_one_script():
    host = loaded(OLD)
    host.nft(f"add rule {TABLE} raw-prerouting accept\n")
    (step,) = ruleset.repair(NEW)
    host.nft(step.script)
    assert host.ours == loaded(NEW).ours


def test_a_removal_removes_our_table_and_no_other():
    host = loaded(OLD)
    host.nft("add table inet other\n")
    (step,) = ruleset.removal()
    host.nft(step.script)
    assert list(host.tables) == [("inet", "other")]
