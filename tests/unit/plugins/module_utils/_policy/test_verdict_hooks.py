# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a packet on all hooks that it passes: raw, mangle and filter."""

from __future__ import annotations

import dataclasses
import itertools
import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy import packet as packets
from ansible_collections.netpolicy.host.plugins.module_utils._policy import verdict as evaluator
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import (
    KIND,
    policy,
    rule,
)

ALLOW, DENY, PASS, LOG = (rule(action) for action in model.ACTIONS)
IN, OUT, THROUGH = {"direction": "ingress"}, {"direction": "egress"}, {"direction": "forward"}
DEFAULT_DENY = "default deny: no tier of normal policy and no profile allowed it"
Tiers = t.Union[list[model.Policy], tuple[model.Tier, ...]]


def both(name: str, *rules: model.Rule, **fields: t.Any) -> model.Policy:
    """A policy with the same rules for both directions."""
    return policy(name, rules, rules, **fields)


def tier(*members: model.Policy, end: str = model.PASS, name: str = "default") -> model.Tier:
    return model.Tier(name, tuple(one.key for one in members), end)


def endpoint(interface: str | None = "eth0", /, *, name: t.Any = None, **lists: t.Any) -> model.Endpoint:
    """An endpoint; a policy in place of tiers is alone in a tier that passes on."""
    tiers: dict[str, t.Any] = {
        key: (tier(value),) if isinstance(value, model.Policy) else value for key, value in lists.items()
    }
    profiles = tuple(one.key for one in tiers.pop("profiles", ()))
    return model.Endpoint(
        name=f"node-{interface}" if name is None else name, interface=interface, profiles=profiles, **tiers
    )


def host(members: t.Iterable[model.Policy], *endpoints: model.Endpoint, **fields: t.Any) -> model.HostPolicy:
    return model.HostPolicy("node", endpoints, {one.key: one for one in members}, **fields)


def judge(judged: model.HostPolicy, **fields: t.Any) -> evaluator.Verdict:
    """The verdict on a TCP packet from 192.0.2.1 to 192.0.2.2 that arrives on eth0, unless said otherwise."""
    packet = {"interface": "eth0", "protocol": "TCP", "src": "192.0.2.1", "dst": "192.0.2.2", **IN, **fields}
    if packet["direction"] == "forward":
        packet.setdefault("out_interface", "eth1")
    return evaluator.verdict(judged, packets.packet(packet))


def decider(found: evaluator.Verdict) -> model.Origin:
    """The rule that decided."""
    assert found.decided_by is not None, found
    return found.decided_by


def by(found: evaluator.Verdict) -> str:
    """Action, and the name of the policy that decided or, where none did, what the reason begins with."""
    who = found.reason.split(":")[0] if found.decided_by is None else found.decided_by.name
    return f"{found.action} {who}"


OPEN, CLOSED = both("open", ALLOW), both("closed", DENY)
LOCKED = host([CLOSED], endpoint(untracked=CLOSED, pre_dnat=CLOSED, normal=CLOSED, forward=CLOSED))


# -- default deny ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [IN, OUT])
def test_what_no_policy_allows_is_denied_at_the_host(way):
    assert judge(host([], endpoint()), **way) == evaluator.Verdict("deny", True, None, DEFAULT_DENY)


def test_what_no_policy_denies_is_passed_on():
    found = judge(host([], endpoint()), **THROUGH)
    assert found == evaluator.Verdict(
        "allow", True, None, "forwarded: no forward policy of endpoint node-eth0 denied it"
    )


@pytest.mark.parametrize("way", [IN, OUT])
@pytest.mark.parametrize("list_", ["untracked", "pre_dnat", "forward"])
def test_policy_of_other_lists_that_decides_nothing_leaves_default_deny(list_, way):
    member = both("other", rule(protocol=model.UDP))
    assert judge(host([member], endpoint(**{list_: member})), **way).reason == DEFAULT_DENY


def test_an_interface_without_endpoint_lets_everything_through():
    for way in (IN, OUT, THROUGH):
        found = judge(LOCKED, interface="eth7", **way)
        assert found == evaluator.Verdict("allow", True, None, "no host endpoint on interface eth7")


# -- the order of the hooks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lists, way, expected",
    [
        ({"normal": OPEN}, IN, "allow open"),
        ({"normal": CLOSED}, OUT, "deny closed"),
        ({"untracked": OPEN, "pre_dnat": CLOSED, "normal": CLOSED}, IN, "allow open"),
        ({"untracked": CLOSED, "pre_dnat": OPEN, "normal": OPEN}, IN, "deny closed"),
        ({"pre_dnat": OPEN, "normal": CLOSED}, IN, "allow open"),
        ({"pre_dnat": CLOSED, "normal": OPEN}, IN, "deny closed"),
        # Pre-DNAT policy is for what arrives.
        ({"pre_dnat": CLOSED, "normal": OPEN}, OUT, "allow open"),
        # Forward policy is not for the host itself, nor normal policy for what passes.
        ({"forward": CLOSED, "normal": OPEN}, IN, "allow open"),
        ({"forward": OPEN, "normal": CLOSED}, THROUGH, "allow open"),
        ({"forward": CLOSED, "normal": OPEN}, THROUGH, "deny closed"),
        ({"pre_dnat": OPEN, "forward": CLOSED}, THROUGH, "allow open"),
        ({"untracked": OPEN, "forward": CLOSED}, THROUGH, "allow open"),
    ],
)
def test_the_first_hook_that_decides_wins(lists, way, expected):
    assert by(judge(host([OPEN, CLOSED], endpoint(**lists)), **way)) == expected


def test_only_untracked_policy_stops_tracking():
    for list_, tracked in (("untracked", False), ("pre_dnat", True), ("normal", True)):
        assert judge(host([OPEN], endpoint(**{list_: OPEN}))).tracked is tracked


# -- failsafes and connection tracking ---------------------------------------------------------------

FAILSAFES = model.Failsafes(
    inbound=(model.Failsafe(model.TCP, 22),), outbound=(model.Failsafe(model.UDP, 53),)
)
GUARDED = dataclasses.replace(LOCKED, failsafes=FAILSAFES)
TRACKED_ONLY = dataclasses.replace(
    host([CLOSED], endpoint(pre_dnat=CLOSED, normal=CLOSED, forward=CLOSED)), failsafes=FAILSAFES
)


@pytest.mark.parametrize("state", packets.CT_STATES)
@pytest.mark.parametrize(
    "fields, reason",
    [
        ({**IN, "dport": 22}, "failsafe: inbound TCP port 22"),
        ({**OUT, "protocol": "UDP", "dport": 53}, "failsafe: outbound UDP port 53"),
    ],
)
def test_failsafes_come_before_the_state_and_before_policy(fields, reason, state):
    found = judge(GUARDED, ct_state=state, **fields)
    assert (found.action, found.decided_by, found.reason) == ("allow", None, reason)


@pytest.mark.parametrize(
    "fields, expected",
    [
        # The reply of a failsafe is known by its connection once there is tracking.
        ({**OUT, "sport": 22, "ct_state": "established"}, "allow connection tracking"),
        ({**OUT, "sport": 22}, "deny closed"),
        # On the way through the host there is no failsafe, but before that there is.
        ({**THROUGH, "dport": 22}, "deny closed"),
        # At the host the destination is the translated one.
        ({**IN, "dport": 22, "pre_nat_dport": 2222}, "deny closed"),
    ],
)
def test_where_failsafes_do_not_reach(fields, expected):
    assert by(judge(GUARDED if "sport" in fields else TRACKED_ONLY, **fields)) == expected


def test_a_failsafe_is_looked_for_before_and_after_translation():
    translated = dataclasses.replace(host([CLOSED], endpoint(normal=CLOSED)), failsafes=FAILSAFES)
    assert by(judge(translated, dport=22, pre_nat_dport=2222)) == "allow failsafe"
    assert by(judge(translated, dport=2222, pre_nat_dport=22)) == "deny closed"


@pytest.mark.parametrize("way", [IN, OUT, THROUGH])
@pytest.mark.parametrize(
    "state, action, reason",
    [
        ("established", "allow", "connection tracking: established"),
        ("related", "allow", "connection tracking: related"),
        ("invalid", "deny", "connection tracking: invalid"),
    ],
)
def test_the_state_of_the_connection_comes_before_tracked_policy(state, action, reason, way):
    for member in (OPEN, CLOSED):
        judged = host([member], endpoint(pre_dnat=member, normal=member, forward=member))
        found = judge(judged, ct_state=state, **way)
        assert found == evaluator.Verdict(action, True, None, reason)


@pytest.mark.parametrize("state", packets.CT_STATES)
def test_untracked_policy_comes_before_any_state(state):
    assert by(judge(LOCKED, ct_state=state)) == "deny closed"
    found = judge(host([OPEN, CLOSED], endpoint(untracked=OPEN, normal=CLOSED)), ct_state=state)
    assert (found.action, found.tracked) == ("allow", False)


@pytest.mark.parametrize("member", [OPEN, CLOSED])
@pytest.mark.parametrize("way", [IN, OUT, THROUGH])
def test_what_is_invalid_meets_policy_where_it_is_not_dropped(way, member):
    judged = host(
        [member], endpoint(normal=member, forward=member), settings=model.Settings(drop_invalid=False)
    )
    assert decider(judge(judged, ct_state="invalid", **way)).name == member.name


# -- translated destinations -------------------------------------------------------------------------

SETS = {
    "public": model.AddressSet("public", ("203.0.113.1/32",)),
    "inner": model.AddressSet("inner", ("10.0.0.1/32",)),
}


@pytest.mark.parametrize(
    "list_, way, sees",
    [
        ("untracked", IN, "before"),
        ("pre_dnat", IN, "before"),
        ("normal", IN, "after"),
        ("forward", THROUGH, "after"),
        ("pre_dnat", THROUGH, "before"),
    ],
)
def test_which_destination_a_hook_sees(list_, way, sees):
    packet = {"dst": "10.0.0.1", "dport": 8080, "pre_nat_dst": "203.0.113.1", "pre_nat_dport": 80, **way}
    for name, number, when in (
        ("public", 80, "before"),
        ("inner", 8080, "after"),
        ("public", 8080, ""),
        ("inner", 80, ""),
    ):
        asked = rule(model.DENY, protocol=model.TCP, destination=model.Side((name,), ((number, number),)))
        member = both("asked", asked)
        found = judge(host([member], endpoint(**{list_: member}), sets=SETS), **packet)
        assert (found.decided_by is not None) == (when == sees)


# -- forwarding --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arriving, leaving, expected",
    [
        # Both endpoints' forward policy, in their directions.
        ({}, {}, "allow forwarded"),
        ({"forward": OPEN}, {}, "allow open"),
        ({}, {"forward": OPEN}, "allow open"),
        ({"forward": OPEN}, {"forward": CLOSED}, "deny closed"),
        ({"forward": CLOSED}, {"forward": OPEN}, "deny closed"),
        ({"forward": policy("out", None, [DENY])}, {"forward": policy("in", [DENY])}, "allow forwarded"),
        ({"forward": policy("in", [DENY])}, {}, "deny in"),
        ({}, {"forward": policy("out", None, [DENY])}, "deny out"),
        # Only what arrives meets untracked and pre-DNAT policy.
        ({}, {"untracked": CLOSED, "pre_dnat": CLOSED, "normal": CLOSED}, "allow forwarded"),
        # What pre-DNAT policy allows skips forward policy of the interface it arrived on, not of the other.
        ({"pre_dnat": OPEN, "forward": CLOSED}, {}, "allow open"),
        ({"pre_dnat": OPEN}, {"forward": CLOSED}, "deny closed"),
        ({"pre_dnat": CLOSED}, {"forward": OPEN}, "deny closed"),
        # So does what untracked policy allows.
        ({"untracked": OPEN, "forward": CLOSED}, {}, "allow open"),
        ({"untracked": OPEN}, {"forward": CLOSED}, "deny closed"),
        ({"untracked": CLOSED}, {"forward": OPEN}, "deny closed"),
        # And it is accepted already: untracked policy for what leaves does not judge it again.
        ({"untracked": OPEN}, {"untracked": CLOSED}, "allow open"),
        ({"untracked": OPEN}, {"untracked": policy("out", None, [ALLOW]), "forward": CLOSED}, "deny closed"),
        # One of the interfaces has no endpoint.
        (None, {"forward": CLOSED}, "deny closed"),
        (None, {"forward": OPEN}, "allow open"),
        (None, {}, "allow forwarded"),
        ({"forward": CLOSED}, None, "deny closed"),
        ({"forward": OPEN}, None, "allow open"),
        (None, None, "allow no host endpoint on interface eth0"),
    ],
)
def test_a_packet_on_its_way_is_judged_by_both_endpoints(arriving, leaving, expected):
    listed = [*(arriving or {}).values(), *(leaving or {}).values()]
    found = [
        endpoint(name, **lists)
        for name, lists in (("eth0", arriving), ("eth1", leaving))
        if lists is not None
    ]
    assert by(judge(host(listed, *found), **THROUGH)) == expected


@pytest.mark.parametrize("leaving", [{}, {"forward": OPEN}, {"forward": CLOSED}, None])
def test_what_untracked_policy_lets_through_stays_untracked(leaving):
    found = [endpoint(untracked=both("fast", ALLOW))]
    found += [] if leaving is None else [endpoint("eth1", **leaving)]
    assert judge(host([both("fast", ALLOW), OPEN, CLOSED], *found), **THROUGH).tracked is False


@pytest.mark.parametrize(
    "arriving, expected",
    [
        ({"pre_dnat": OPEN}, "allow open"),
        ({"forward": OPEN}, "deny closed"),
        ({}, "deny closed"),
        (None, "deny closed"),
    ],
)
def test_what_something_else_has_made_untracked_is_judged_again_unless_it_was_accepted(arriving, expected):
    found = [endpoint("eth1", untracked=CLOSED)]
    found += [] if arriving is None else [endpoint(**arriving)]
    assert by(judge(host([OPEN, CLOSED], *found), **THROUGH, ct_state="untracked")) == expected


def test_a_packet_whose_way_out_is_not_told_is_judged_by_the_endpoint_it_arrives_on():
    judged = host([OPEN, CLOSED], endpoint(forward=OPEN), endpoint("eth1", forward=CLOSED))
    assert by(judge(judged, direction="forward", out_interface=None)) == "allow open"


# -- tiers -------------------------------------------------------------------------------------------

UDP_ONLY = both("udp", rule(model.DENY, protocol=model.UDP))
EMPTY = both("empty")
STAGED = {word: both(f"staged-{word}", DENY, staged=word) for word in model.STAGED_ACTIONS}
END = model.DENY


@pytest.mark.parametrize("list_, way", [("normal", IN), ("normal", OUT), ("forward", THROUGH)])
@pytest.mark.parametrize(
    "tiers, expected",
    [
        # The end of a tier: deny, or on to the next one.
        ([([UDP_ONLY], END), ([OPEN], END)], "deny end of tier t0"),
        ([([UDP_ONLY], PASS), ([OPEN], END)], "allow open"),
        ([([EMPTY], END), ([OPEN], END)], "deny end of tier t0"),
        ([([UDP_ONLY], PASS), ([UDP_ONLY], END)], "deny end of tier t1"),
        # Without policy for the packet there is no end of a tier.
        ([([], END), ([OPEN], END)], "allow open"),
        ([([STAGED["set"]], END), ([OPEN], END)], "allow open"),
        ([([STAGED["set"], STAGED["learn"]], END), ([OPEN], END)], "allow open"),
        # Staged policy decides nothing where other policy does.
        *(([([member, OPEN], END)], "allow open") for member in STAGED.values()),
        ([([STAGED["delete"], UDP_ONLY], END), ([OPEN], END)], "deny end of tier t0"),
        # Pass leaves the tier, also past a deny at its end; a Log rule decides nothing.
        ([([both("p", PASS), CLOSED], END), ([OPEN], END)], "allow open"),
        ([([both("p", PASS, DENY)], END), ([OPEN], END)], "allow open"),
        ([([both("l", LOG), OPEN], END)], "allow open"),
        ([([both("l", LOG, DENY), OPEN], END)], "deny l"),
        ([([both("l", LOG)], END), ([OPEN], END)], "deny end of tier t0"),
        ([([both("l", LOG)], PASS), ([OPEN], END)], "allow open"),
        # The order of policies, not of names.
        ([([OPEN, CLOSED], END)], "allow open"),
        ([([CLOSED, OPEN], END)], "deny closed"),
    ],
)
def test_what_a_list_of_tiers_decides(tiers, expected, list_, way):
    listed = tuple(
        tier(*members, end=end if isinstance(end, str) else model.PASS, name=f"t{index}")
        for index, (members, end) in enumerate(tiers)
    )
    members = [one for some, _end in tiers for one in some]
    found = judge(host(members, endpoint(**{list_: listed})), **way)
    if expected.startswith("deny end"):
        assert found.decided_by is None
        assert found.reason == f"{list_} policy: {expected[5:]}, none of its rules matched"
    else:
        assert by(found) == expected


@pytest.mark.parametrize("governed, way", [("ingress", OUT), ("egress", IN)])
def test_a_tier_that_does_not_govern_the_direction_is_skipped(governed, way):
    rules: dict[str, t.Any] = {governed: [DENY]}
    one_way = policy("one-way", **rules)
    listed = (tier(one_way, end=END, name="first"), tier(OPEN, end=END))
    assert by(judge(host([one_way, OPEN], endpoint(normal=listed)), **way)) == "allow open"
    rules = {"ingress": [], "egress": [], governed: [DENY]}
    empty = policy("one-way", **rules)
    found = judge(host([empty, OPEN], endpoint(normal=listed)), **way)
    assert found.reason == "normal policy: end of tier first, none of its rules matched"


@pytest.mark.parametrize("list_", ["untracked", "pre_dnat"])
def test_staged_policy_decides_nothing_before_tracking_and_translation(list_):
    for member in STAGED.values():
        judged = host([member, OPEN], endpoint(normal=OPEN, **{list_: member}))
        assert by(judge(judged)) == "allow open"


# -- profiles ----------------------------------------------------------------------------------------


def profile(name: str, *rules: model.Rule, **fields: t.Any) -> model.Policy:
    return both(name, *rules, kind=model.PROFILE, **fields)


YES, NO = profile("yes", ALLOW), profile("no", DENY)
OTHER = profile("other", rule(model.DENY, protocol=model.UDP))


@pytest.mark.parametrize("way", [IN, OUT])
@pytest.mark.parametrize(
    "normal, profiles, expected",
    [
        ((), [YES], "allow yes"),
        ((), [NO, YES], "deny no"),
        ((), [OTHER, YES, NO], "allow yes"),
        ((), [OTHER], "deny default deny"),
        ((), [profile("logging", LOG), YES], "allow yes"),
        ((), [profile("passing", PASS), YES], "deny passing"),
        ((), [profile("planned", DENY, staged="set"), YES], "allow yes"),
        # Only for what the tiers have not decided.
        (OPEN, [NO], "allow open"),
        (CLOSED, [YES], "deny closed"),
        (both("passing", PASS), [YES], "allow yes"),
        (UDP_ONLY, [YES], "allow yes"),
        ((tier(UDP_ONLY, end=END),), [YES], "deny normal policy"),
    ],
)
def test_profiles_judge_what_no_tier_decided(normal, profiles, expected, way):
    members = [*profiles, OPEN, CLOSED, UDP_ONLY, both("passing", PASS)]
    assert by(judge(host(members, endpoint(normal=normal, profiles=profiles)), **way)) == expected


def test_a_pass_in_a_profile_says_that_there_is_nothing_behind():
    member = profile("passing", PASS)
    found = judge(host([member], endpoint(profiles=[member])))
    assert found.reason == "profile: passed on to nothing"
    assert found.decided_by == model.Origin("Profile", "passing", "ingress", 0)


def test_profiles_are_not_for_what_passes():
    assert by(judge(host([NO], endpoint(profiles=[NO])), **THROUGH)) == "allow forwarded"


# -- endpoints ---------------------------------------------------------------------------------------

A, B, C = both("a", ALLOW), both("b", ALLOW), both("c", ALLOW)
NONE = "no endpoint"


@pytest.mark.parametrize(
    "endpoints, decided",
    [
        # Every interface but lo, and those that have their own.
        ([endpoint("*", normal=A)], {"eth0": "a", "eth7": "a", "lo": NONE}),
        ([endpoint("*", normal=A), endpoint("eth0", normal=B)], {"eth0": "b", "eth1": "a", "lo": NONE}),
        ([endpoint("*", normal=A), endpoint("lo", normal=B)], {"eth0": "a", "lo": "b"}),
        (
            [endpoint("eth0", name="z", normal=B), endpoint("*", name="a", normal=A)],
            {"eth0": "b", "eth1": "a"},
        ),
        # By addresses.
        (
            [endpoint(None, name="x", normal=A, addresses=("10.0.0.2",))],
            {"eth0": NONE, "eth1": "a", "eth2": NONE, "eth9": NONE},
        ),
        (
            [endpoint(None, name="x", normal=A, addresses=("10.9.9.9", "10.0.0.1", "fd00:0:0::2"))],
            {"eth0": "a", "eth1": "a"},
        ),
        (
            [endpoint("*", normal=B), endpoint(None, name="x", normal=A, addresses=("10.0.0.1",))],
            {"eth0": "a", "eth1": "b"},
        ),
        # An endpoint with an interface is not found by addresses.
        ([endpoint("eth5", normal=A, addresses=("10.0.0.1",))], {"eth0": NONE, "eth5": "a"}),
        # Of several the first by name.
        ([endpoint(name="y", normal=A), endpoint(name="x", normal=B)], {"eth0": "b"}),
        ([endpoint("*", name="y", normal=A), endpoint("*", name="x", normal=B)], {"eth0": "b"}),
        (
            [endpoint(name="y", normal=A), endpoint(None, name="x", normal=B, addresses=("10.0.0.1",))],
            {"eth0": "b"},
        ),
        (
            [endpoint(name="x", normal=A), endpoint(None, name="y", normal=B, addresses=("10.0.0.1",))],
            {"eth0": "a"},
        ),
    ],
)
def test_which_endpoint_governs_an_interface(endpoints, decided):
    known = {"eth0": ("10.0.0.1",), "eth1": ("10.0.0.2", "fd00::2"), "eth2": ()}
    judged = host([A, B, C], *endpoints, interfaces=known)
    for way in (IN, OUT):
        for interface, expected in decided.items():
            found = judge(judged, interface=interface, **way)
            name = NONE if found.reason.startswith("no host endpoint") else decider(found).name
            assert (interface, name) == (interface, expected)


def test_what_is_not_known_of_an_interface_is_told():
    judged = host([A], endpoint(None, name="x", normal=A, addresses=("10.0.0.2",)), interfaces={"eth1": ()})
    assert judge(judged, interface="eth1").reason == "no host endpoint on interface eth1"
    assert judge(judged, interface="eth0").reason == (
        "no host endpoint on interface eth0 (its addresses are not known, and x is found by addresses)"
    )


# -- untracked packets and errors --------------------------------------------------------------------

REPLY = {"protocol": "UDP", "sport": 53, "ct_state": "untracked", **IN}


def test_a_reply_of_a_failsafe_that_is_untracked_is_judged_again():
    """Raw takes it for an answer, which it may not be; tracking, which could tell, has not seen it."""
    assert (
        evaluator.raw(
            GUARDED, packets.packet({**REPLY, "interface": "eth0", "src": "192.0.2.1", "dst": "192.0.2.2"})
        ).action
        == "allow"
    )
    found = judge(GUARDED, **REPLY)
    assert (found.action, found.tracked) == ("deny", False)
    assert found.reason == f"judged again: untracked policy: denied by rule 0 of {KIND} closed"
    fast = both("fast", ALLOW)
    judged = host([fast, CLOSED], endpoint(untracked=fast, normal=CLOSED), failsafes=FAILSAFES)
    found = judge(judged, **REPLY)
    assert (found.action, found.tracked, decider(found).name) == ("allow", False, "fast")


def test_an_untracked_packet_that_untracked_policy_does_not_decide_meets_the_other_hooks():
    judged = host([UDP_ONLY, OPEN], endpoint(untracked=UDP_ONLY, normal=OPEN))
    found = judge(judged, ct_state="untracked")
    assert (by(found), found.tracked) == ("allow open", False)
    found = judge(host([], endpoint()), ct_state="untracked")
    assert (found.action, found.tracked, found.reason) == ("deny", False, DEFAULT_DENY)


MEMCACHED = {"protocol": "TCP", "src": "192.0.2.2", "dst": "192.0.2.1", "sport": 11211, "dport": 40000}
ANSWERS = policy(
    "fast",
    [rule(protocol=model.TCP, destination=model.Side((), ((11211, 11211),)))],
    [rule(protocol=model.TCP, source=model.Side((), ((11211, 11211),)))],
)
FAST = host([ANSWERS, CLOSED], endpoint(untracked=ANSWERS, pre_dnat=CLOSED, normal=CLOSED, forward=CLOSED))
UNREACHABLE = {"protocol": "ICMP", "icmp_type": 3, "icmp_code": 4}


@pytest.mark.parametrize("state", ["invalid", "untracked"])
@pytest.mark.parametrize("icmp_type", [3, 11, 12])
def test_an_error_about_a_packet_that_untracked_policy_allows_is_accepted(icmp_type, state):
    found = judge(FAST, **{**UNREACHABLE, "icmp_type": icmp_type}, ct_state=state, quoted=MEMCACHED)
    assert (found.action, found.tracked, decider(found).path) == ("allow", False, f"{KIND}/fast/egress/0")
    assert found.reason.startswith("an ICMP error about a packet: untracked policy: allowed by rule 0")


def test_the_host_s_own_error_about_a_packet_that_untracked_policy_allows_is_accepted():
    arrived = {**MEMCACHED, "src": "192.0.2.1", "dst": "192.0.2.2", "sport": 40000, "dport": 11211}
    found = judge(FAST, **UNREACHABLE, **OUT, ct_state="invalid", quoted=arrived)
    assert (found.action, decider(found).path) == ("allow", f"{KIND}/fast/ingress/0")


@pytest.mark.parametrize("icmp_type", [1, 2, 3, 4])
def test_an_error_of_ipv6_is_accepted_too(icmp_type):
    addresses = {"src": "fd00::1", "dst": "fd00::2"}
    found = judge(
        FAST,
        **{"protocol": "ICMPv6", "icmp_type": icmp_type, "ct_state": "invalid", **addresses},
        quoted={**MEMCACHED, "src": "fd00::2", "dst": "fd00::1"},
    )
    assert (found.action, found.tracked) == ("allow", False)


def test_an_error_on_its_way_quotes_a_packet_that_went_the_other_way():
    judged = host([ANSWERS, CLOSED], endpoint(forward=CLOSED), endpoint("eth1", untracked=ANSWERS))
    arrived = {**MEMCACHED, "sport": 40000, "dport": 11211}
    for state in ("invalid", "untracked"):
        found = judge(judged, **UNREACHABLE, **THROUGH, ct_state=state, quoted=arrived)
        assert (found.action, found.tracked) == ("allow", False)
    assert (
        judge(
            judged, **UNREACHABLE, direction="forward", out_interface=None, ct_state="invalid", quoted=arrived
        ).action
        == "deny"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"quoted": None},
        {"quoted": {**MEMCACHED, "sport": 80}},  # not what the policy allows
        {"quoted": {**MEMCACHED, "protocol": "UDP"}},
        {"quoted": {**MEMCACHED, "sport": 40000, "dport": 11211}},  # it went the other way
        {"icmp_type": 8},  # no error
        {"icmp_type": 0},
        {"icmp_type": 5},  # a redirect
        {"protocol": "TCP"},
        {"ct_state": "new"},  # tracking knows it
    ],
    ids=str,
)
def test_any_other_error_meets_the_state_and_policy(fields):
    packet = {**UNREACHABLE, "ct_state": "invalid", "quoted": MEMCACHED, **fields}
    assert judge(FAST, **packet).action == "deny"


def test_an_error_about_a_packet_that_is_tracked_is_no_exception():
    judged = host([ANSWERS, CLOSED], endpoint(normal=ANSWERS))
    assert (
        by(judge(judged, **UNREACHABLE, ct_state="invalid", quoted=MEMCACHED)) == "deny connection tracking"
    )


def test_an_error_about_a_failsafe_is_no_exception():
    judged = dataclasses.replace(FAST, failsafes=model.Failsafes(inbound=(model.Failsafe(model.TCP, 11211),)))
    assert judge(judged, **UNREACHABLE, ct_state="invalid", quoted=MEMCACHED).action == "deny"


# -- neighbour discovery -----------------------------------------------------------------------------

LINK = {"protocol": "ICMPv6", "src": "fe80::1", "dst": "fe80::2"}


@pytest.mark.parametrize("state", packets.CT_STATES)
@pytest.mark.parametrize("list_", model.LISTS)
@pytest.mark.parametrize("way", [IN, OUT, THROUGH])
def test_neighbour_discovery_passes_a_lock_down_on_every_hook(way, list_, state):
    lists: dict[str, t.Any] = {list_: (tier(CLOSED),)}
    locked = host([CLOSED], endpoint(**lists))
    for icmp_type in (*range(130, 138), 143):
        found = judge(locked, **LINK, icmp_type=icmp_type, ct_state=state, **way)
        assert (found.action, found.decided_by) == ("allow", None)
        assert found.reason == "neighbour discovery: accepted before policy"


@pytest.mark.parametrize("way", [IN, OUT])
def test_discovery_from_beyond_the_link_meets_policy(way):
    assert judge(LOCKED, **LINK, icmp_type=135, hop_limit=254, **way).action == "deny"
    assert judge(LOCKED, **LINK, icmp_type=128, **way).action == "deny"


# -- named ports -------------------------------------------------------------------------------------

PORT_SETS = {
    "http": model.PortSet("http", (("192.0.2.2", 6, 80), ("192.0.2.2", 17, 8080)), (("fd00::2", 6, 80),)),
    "dns": model.PortSet("dns", (("192.0.2.2", 6, 53), ("192.0.2.1", 6, 53)), ()),
    "nobody": model.PortSet("nobody"),
}
TCP = {"protocol": model.TCP}
SIX = {"src": "fd00::1", "dst": "fd00:0:0::2"}
LATER = {"fragment": "later"}
ECHO = {"protocol": "ICMP", "icmp_type": 8}


def to(
    *named: str, ports: tuple[model.PortRange, ...] = (), without: tuple[str, ...] = (), **more: t.Any
) -> t.Any:
    side = model.Side(named_ports=named, ports=ports, not_named_ports=without, **more)
    return {"destination": side}


@pytest.mark.parametrize("list_", ["untracked", "pre_dnat", "normal"])
@pytest.mark.parametrize(
    "asked, fields, matches",
    [
        # Address, protocol and port, all of one member.
        (to("http"), {"dport": 80}, True),
        (to("http"), {"dport": 81}, False),
        (to("http"), {"dport": 80, "dst": "192.0.2.3"}, False),
        (to("http"), {"dport": 80, "protocol": "UDP"}, False),
        (to("http"), {"dport": 8080, "protocol": "UDP"}, True),
        (to("http"), {"dport": 8080}, False),
        (to("http"), {"dport": 80, **SIX}, True),
        (to("http"), {"dport": 8080, "protocol": "UDP", **SIX}, False),
        (to("http"), {"sport": 80}, False),
        (to("nobody"), {"dport": 80}, False),
        ({"source": model.Side(named_ports=("dns",))}, {"sport": 53}, True),
        ({"source": model.Side(named_ports=("http",))}, {"sport": 80}, False),
        # With a protocol.
        ({**TCP, **to("http")}, {"dport": 80}, True),
        ({**TCP, **to("http")}, {"dport": 8080, "protocol": "UDP"}, False),
        # One of the names, or one of the numbers.
        (to("http", "dns"), {"dport": 53}, True),
        ({**TCP, **to("http", ports=((443, 445),))}, {"dport": 80}, True),
        ({**TCP, **to("http", ports=((443, 445),))}, {"dport": 444, "dst": "192.0.2.9"}, True),
        ({**TCP, **to("http", ports=((443, 445),))}, {"dport": 53}, False),
        # And the address must be in the sets as well.
        (to("http", sets=("inner",)), {"dport": 80}, False),
        # Negated: anything but those.
        (to(without=("http",)), {"dport": 80}, False),
        (to(without=("http",)), {"dport": 81}, True),
        (to(without=("http",)), {"dport": 80, "dst": "192.0.2.3"}, True),
        (to(without=("http",)), {"dport": 80, "protocol": "UDP"}, True),
        (to(without=("http", "dns")), {"dport": 53}, False),
        (to(without=("nobody",)), {"dport": 80}, True),
        (to("http", without=("http",)), {"dport": 80}, False),
        (to("http", "dns", without=("dns",)), {"dport": 80}, True),
        ({**TCP, **to(without=("http",))}, {"dport": 80}, False),
        ({**TCP, **to(without=("http",))}, {"dport": 443}, True),
        ({**TCP, **to(without=("http",), ports=((80, 90),))}, {"dport": 80}, False),
        ({**TCP, **to(without=("http",), ports=((80, 90),))}, {"dport": 81}, True),
        # A later fragment shows no port: it is in no set, and may be in each.
        (to("http"), {"dport": 80, **LATER}, False),
        ({**TCP, **to("http")}, {"dport": 80, **LATER}, False),
        (to(without=("http",)), {"dport": 81, **LATER}, False),
        ({**TCP, **to(without=("http",))}, {"dport": 81, **LATER}, False),
        # What has no ports is in no set for certain.
        (to("http"), ECHO, False),
        (to(without=("http",)), ECHO, True),
        (to(without=("http",)), {**ECHO, **LATER}, True),
        (to(without=("http",)), {"protocol": 47}, True),
        (to("http", without=("dns",)), ECHO, False),
    ],
)
def test_named_ports(asked, fields, matches, list_):
    member = both("asked", rule(model.DENY, **asked))
    judged = host([member], endpoint(**{list_: member}), sets=SETS, port_sets=PORT_SETS)
    assert (judge(judged, **fields).decided_by is not None) == matches


# -- reasons -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "list_, way, word",
    [
        ("untracked", IN, "untracked policy"),
        ("pre_dnat", IN, "pre-DNAT policy"),
        ("normal", OUT, "normal policy"),
        ("forward", THROUGH, "forward policy"),
    ],
)
def test_a_reason_names_the_list_and_the_rule(list_, way, word):
    for member, done in ((OPEN, "allowed"), (CLOSED, "denied")):
        found = judge(host([member], endpoint(**{list_: member})), **way)
        assert found.reason == f"{word}: {done} by rule 0 of {KIND} {member.name}"


def test_hooks_do_not_matter_where_they_have_no_policy():
    """What normal policy decides it decides with any empty list beside it."""
    for lists in itertools.product([(), (tier(),), (tier(end=END),)], repeat=2):
        judged = host([OPEN], endpoint(normal=(*lists[0], tier(OPEN)), forward=lists[1]))
        assert by(judge(judged)) == "allow open"
