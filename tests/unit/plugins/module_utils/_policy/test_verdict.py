# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What untracked policy does in raw, and what rules match. The hooks after raw: test_verdict_hooks."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy import packet as packets
from ansible_collections.netpolicy.host.plugins.module_utils._policy import verdict as evaluator
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import (
    host,
    policy,
    rule,
)

Outcome = tuple[str, bool, t.Optional[str]]
ALLOW, DENY, PASS = rule(model.ALLOW), rule(model.DENY), rule(model.PASS)
DENY_ALL = host([policy("deny", [DENY], [DENY])])
FELL_THROUGH = "no untracked policy decided: continues, tracked"


def judge(judged: model.HostPolicy, **fields: object) -> evaluator.Verdict:
    """Raw's verdict on a TCP packet that arrives on eth0 from 192.0.2.1, unless said otherwise."""
    packet = {"direction": "ingress", "interface": "eth0", "protocol": "TCP", **fields}
    version = 6 if any(":" in str(fields.get(key)) for key in ("src", "dst")) else 4
    defaults = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}[version]
    packet = {"src": defaults[0], "dst": defaults[1], **packet}
    return evaluator.raw(judged, packets.packet(packet))


def outcome(judged: model.HostPolicy, **fields: object) -> Outcome:
    """Action, tracked, and the rule that decided."""
    found = judge(judged, **fields)
    return found.action, found.tracked, None if found.decided_by is None else found.decided_by.path


TRACKED: Outcome = ("allow", True, None)


def allowed_by(path: str) -> Outcome:
    return "allow", False, f"GlobalNetworkPolicy/{path}"


def denied_by(path: str) -> Outcome:
    return "deny", False, f"GlobalNetworkPolicy/{path}"


# -- endpoints and directions ------------------------------------------------------------------------


@pytest.mark.parametrize("direction", packets.DIRECTIONS)
def test_an_interface_without_endpoint_has_no_policy(direction):
    found = judge(DENY_ALL, direction=direction, interface="eth1", out_interface="eth0")
    assert found == evaluator.Verdict("allow", True, None, "no host endpoint on interface eth1")


def test_each_interface_has_the_policy_of_its_own_endpoint():
    both = model.HostPolicy(
        node="node",
        endpoints=(
            model.Endpoint("a", "eth0", (model.Tier("default", ("GlobalNetworkPolicy/allow",)),)),
            model.Endpoint("b", "eth1", (model.Tier("default", ("GlobalNetworkPolicy/deny",)),)),
        ),
        policies={one.key: one for one in (policy("allow", [ALLOW]), policy("deny", [DENY]))},
    )
    assert outcome(both, interface="eth0") == allowed_by("allow/ingress/0")
    assert outcome(both, interface="eth1") == denied_by("deny/ingress/0")


@pytest.mark.parametrize(
    "direction, decided",
    [
        ("ingress", "mixed/ingress/0"),
        ("egress", "mixed/egress/0"),
        # Raw has no hook for what leaves forwarded: such a packet was judged where it came in.
        ("forward", "mixed/ingress/0"),
    ],
)
def test_the_direction_decides_which_rules_count(direction, decided):
    mixed = host([policy("mixed", [DENY], [DENY])])
    assert outcome(mixed, direction=direction, out_interface="eth1") == denied_by(decided)


def test_a_forwarded_packet_meets_no_policy_of_the_interface_it_leaves_by():
    assert outcome(DENY_ALL, direction="forward", interface="eth1", out_interface="eth0") == TRACKED


def test_an_endpoint_without_policy_lets_everything_through():
    assert judge(host()).reason == FELL_THROUGH


# -- neighbour discovery -----------------------------------------------------------------------------

DISCOVERY_TYPES = (130, 131, 132, 133, 134, 135, 136, 137, 143)


@pytest.mark.parametrize("direction", packets.DIRECTIONS)
def test_discovery_passes_whatever_policy_says_and_nothing_else_does(direction):
    accepted = []
    for icmp_type in range(256):
        found = judge(DENY_ALL, direction=direction, protocol="ICMPv6", src="fe80::1", icmp_type=icmp_type)
        if found.action == "allow":
            assert found.tracked
            assert found.reason == "neighbour discovery: accepted before policy"
            accepted.append(icmp_type)
    assert tuple(accepted) == DISCOVERY_TYPES


@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": "ICMP"},
        {"protocol": "ICMPv6"},  # a protocol number like any other under IPv4
        {"protocol": "ICMP", "src": "fe80::1"},
        {"protocol": "UDP", "src": "fe80::1"},
        {"protocol": "ICMPv6", "src": "fe80::1", "fragment": "later"},
        {"protocol": "ICMPv6", "src": "fe80::1", "icmp_type": None},
    ],
    ids=str,
)
def test_what_is_not_neighbour_discovery_meets_policy(fields):
    assert judge(DENY_ALL, **{"icmp_type": 135, **fields}).action == "deny"


@pytest.mark.parametrize("fragment", ["none", "first"])
def test_a_first_fragment_shows_what_it_is(fragment):
    found = judge(DENY_ALL, protocol="ICMPv6", src="fe80::1", icmp_type=135, fragment=fragment)
    assert found.action == "allow"


# -- failsafes ---------------------------------------------------------------------------------------

FAILSAFES = model.Failsafes(
    inbound=(model.Failsafe(model.TCP, 22), model.Failsafe(model.TCP, 179, "198.51.100.0/24")),
    outbound=(model.Failsafe(model.UDP, 53, "2001:db8:53::/48"), model.Failsafe(model.UDP, 67)),
)
GUARDED = dataclasses.replace(DENY_ALL, failsafes=FAILSAFES)
IN, OUT = {"direction": "ingress"}, {"direction": "egress"}
BGP_PEER, STRANGER = "198.51.100.7", "203.0.113.7"
RESOLVER = "2001:db8:53::1"


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({**IN, "dport": 22}, "failsafe: inbound TCP port 22"),
        ({**OUT, "sport": 22}, "failsafe: reply from inbound TCP port 22"),
        ({"direction": "forward", "dport": 22}, "failsafe: inbound TCP port 22"),
        ({**IN, "dport": 22, "fragment": "first"}, "failsafe: inbound TCP port 22"),
        ({**IN, "dport": 22, "src": "2001:db8::9"}, "failsafe: inbound TCP port 22"),
        ({**IN, "dport": 179, "src": BGP_PEER}, "failsafe: inbound TCP port 179"),
        ({**OUT, "sport": 179, "dst": BGP_PEER}, "failsafe: reply from inbound TCP port 179"),
        ({**OUT, "protocol": "UDP", "dport": 67}, "failsafe: outbound UDP port 67"),
        ({**IN, "protocol": "UDP", "sport": 67}, "failsafe: reply from outbound UDP port 67"),
        ({**OUT, "protocol": "UDP", "dport": 53, "dst": RESOLVER}, "failsafe: outbound UDP port 53"),
        (
            {**IN, "protocol": "UDP", "sport": 53, "src": RESOLVER},
            "failsafe: reply from outbound UDP port 53",
        ),
        # Before the host's own DNAT, which is where raw sits.
        ({**IN, "dport": 2222, "pre_nat_dport": 22}, "failsafe: inbound TCP port 22"),
        (
            {**OUT, "protocol": "UDP", "dport": 53, "dst": "2001:db8::9", "pre_nat_dst": RESOLVER},
            "failsafe: outbound UDP port 53",
        ),
    ],
    ids=str,
)
def test_failsafes_pass_tracked_in_both_directions(fields, reason):
    assert judge(GUARDED, **fields) == evaluator.Verdict("allow", True, None, reason)


@pytest.mark.parametrize(
    "fields",
    [
        {**IN, "sport": 22},  # the source port is the peer's choice
        {**OUT, "dport": 22},
        {**IN, "protocol": "UDP", "dport": 22},
        {**IN, "protocol": "SCTP", "dport": 22},
        {**IN, "dport": 22, "fragment": "later"},
        {**IN, "dport": 23},
        {**IN, "dport": 22, "pre_nat_dport": 2222},
        {**IN, "dport": 179, "src": STRANGER},
        {**IN, "dport": 179, "src": STRANGER, "dst": BGP_PEER},  # the net limits the peer, not the host
        {**OUT, "sport": 179, "dst": STRANGER, "src": BGP_PEER},
        {**IN, "dport": 179, "src": "2001:db8::1"},
        {**OUT, "protocol": "UDP", "dport": 53},
        {**OUT, "protocol": "UDP", "sport": 53, "dst": RESOLVER},
        {**OUT, "protocol": "UDP", "dport": 53, "dst": RESOLVER, "pre_nat_dst": "2001:db8::9"},
    ],
    ids=str,
)
def test_what_is_no_failsafe_meets_policy(fields):
    assert judge(GUARDED, **fields).action == "deny"


def test_failsafes_come_before_an_allowing_rule():
    allowing = dataclasses.replace(host([policy("allow", [ALLOW])]), failsafes=FAILSAFES)
    assert outcome(allowing, dport=22) == TRACKED
    assert outcome(allowing, dport=23) == allowed_by("allow/ingress/0")


# -- tiers, policies, rules --------------------------------------------------------------------------

NEVER = rule(model.DENY, protocol=model.UDP)


@pytest.mark.parametrize(
    "tiers, expected",
    [
        ([[policy("a", [ALLOW])]], allowed_by("a/ingress/0")),
        ([[policy("a", [DENY])]], denied_by("a/ingress/0")),
        ([[policy("a", [PASS])]], TRACKED),
        ([[policy("a", [NEVER])]], TRACKED),
        ([[policy("a", [NEVER, ALLOW, DENY])]], allowed_by("a/ingress/1")),
        ([[policy("a", [NEVER]), policy("b", [DENY])]], denied_by("b/ingress/0")),
        ([[policy("b", [DENY]), policy("a", [ALLOW])]], denied_by("b/ingress/0")),
        ([[policy("a", [PASS]), policy("b", [DENY])]], TRACKED),
        ([[policy("a", [PASS, DENY])], [policy("b", [ALLOW])]], allowed_by("b/ingress/0")),
        ([[policy("a", [NEVER])], [policy("b", [DENY])]], denied_by("b/ingress/0")),
        ([[policy("a", [DENY])], [policy("b", [ALLOW])]], denied_by("a/ingress/0")),
        ([[], [policy("b", [ALLOW])]], allowed_by("b/ingress/0")),
        ([[policy("a", [], [DENY])]], TRACKED),
    ],
)
def test_the_first_rule_that_decides_wins(tiers, expected):
    assert outcome(host(*tiers)) == expected


def test_reasons_name_the_rule():
    assert judge(host([policy("a", [ALLOW])])).reason == (
        "untracked policy: allowed by rule 0 of GlobalNetworkPolicy a"
    )
    assert judge(host([policy("a", [NEVER, DENY])])).reason == (
        "untracked policy: denied by rule 1 of GlobalNetworkPolicy a"
    )
    assert judge(host([policy("a", [PASS])])).reason == FELL_THROUGH


@pytest.mark.parametrize("state", packets.CT_STATES)
def test_the_state_of_the_connection_does_not_matter(state):
    assert outcome(DENY_ALL, ct_state=state) == denied_by("deny/ingress/0")


# -- what a rule asks for ----------------------------------------------------------------------------

SETS = {
    "clients": model.AddressSet("clients", ("192.0.2.0/24", "198.51.100.7/32"), ("2001:db8::/64",)),
    "hosts": model.AddressSet("hosts", ("192.0.2.0/28",), ()),
    "nobody": model.AddressSet("nobody"),
}


def side(*sets: str, ports: tuple[model.PortRange, ...] = ()) -> model.Side:
    return model.Side(sets, ports)


TCP = {"protocol": model.TCP}


@pytest.mark.parametrize(
    "asked, fields, matches",
    [
        ({}, {}, True),
        ({}, {"protocol": "ICMPv6", "src": "::1", "icmp_type": 128}, True),
        # Protocol and IP version.
        ({"protocol": model.TCP}, {}, True),
        ({"protocol": model.UDP}, {}, False),
        ({"protocol": 47}, {"protocol": 47}, True),
        ({"ip_version": 4}, {}, True),
        ({"ip_version": 6}, {}, False),
        ({"ip_version": 6}, {"src": "::1"}, True),
        ({"ip_version": 4}, {"src": "::1"}, False),
        ({"protocol": model.ICMP, "ip_version": 4}, {"protocol": "ICMP"}, True),
        # Sets, of the packet's own IP version.
        ({"source": side("clients")}, {"src": "192.0.2.255"}, True),
        ({"source": side("clients")}, {"src": "192.0.3.0"}, False),
        ({"source": side("clients")}, {"src": "198.51.100.7"}, True),
        ({"source": side("clients")}, {"src": "198.51.100.8"}, False),
        ({"source": side("clients")}, {"src": "2001:db8::1:2"}, True),
        ({"source": side("clients")}, {"src": "2001:db8:0:1::2"}, False),
        ({"source": side("hosts")}, {"src": "2001:db8::1"}, False),
        ({"source": side("nobody")}, {}, False),
        ({"destination": side("clients")}, {"dst": "198.51.100.7"}, True),
        ({"destination": side("clients")}, {"src": "192.0.2.1", "dst": "198.51.100.8"}, False),
        # Several sets of a side, and both sides, must all hold.
        ({"source": side("clients", "hosts")}, {"src": "192.0.2.15"}, True),
        ({"source": side("clients", "hosts")}, {"src": "192.0.2.16"}, False),
        ({"source": side("clients", "nobody")}, {"src": "192.0.2.15"}, False),
        ({"source": side("clients"), "destination": side("hosts")}, {"dst": "192.0.2.2"}, True),
        ({"source": side("clients"), "destination": side("hosts")}, {"dst": "192.0.2.20"}, False),
        # Ports, both ends included.
        ({**TCP, "destination": side(ports=((80, 80),))}, {"dport": 80}, True),
        ({**TCP, "destination": side(ports=((80, 80),))}, {"sport": 80}, False),
        ({**TCP, "source": side(ports=((80, 80),))}, {"sport": 80}, True),
        ({**TCP, "destination": side(ports=((10, 20), (30, 40)))}, {"dport": 10}, True),
        ({**TCP, "destination": side(ports=((10, 20), (30, 40)))}, {"dport": 20}, True),
        ({**TCP, "destination": side(ports=((10, 20), (30, 40)))}, {"dport": 21}, False),
        ({**TCP, "destination": side(ports=((10, 20), (30, 40)))}, {"dport": 40}, True),
        ({**TCP, "destination": side(ports=((10, 20), (30, 40)))}, {"dport": 41}, False),
        ({**TCP, "destination": side("hosts", ports=((80, 80),))}, {"dport": 80, "dst": "10.0.0.1"}, False),
        # No ports to see: a rule that asks for one does not match, any other does.
        ({**TCP, "destination": side(ports=((0, 65535),))}, {"fragment": "later", "dport": 80}, False),
        ({**TCP, "destination": side(ports=((80, 80),))}, {"fragment": "first", "dport": 80}, True),
        (TCP, {"fragment": "later"}, True),
        ({"destination": side(ports=((0, 65535),))}, {"protocol": "ICMP"}, False),
        # Before the host's own DNAT.
        ({"destination": side("hosts")}, {"dst": "10.0.0.1", "pre_nat_dst": "192.0.2.2"}, True),
        ({"destination": side("hosts")}, {"dst": "192.0.2.2", "pre_nat_dst": "10.0.0.1"}, False),
        ({**TCP, "destination": side(ports=((80, 80),))}, {"dport": 8080, "pre_nat_dport": 80}, True),
        ({**TCP, "destination": side(ports=((80, 80),))}, {"dport": 80, "pre_nat_dport": 8080}, False),
    ],
)
def test_a_rule_matches_when_all_that_it_asks_for_holds(asked, fields, matches):
    for direction in packets.DIRECTIONS:
        judged = host([policy("a", [rule(model.DENY, **asked)], [rule(model.DENY, **asked)])], sets=SETS)
        assert (judge(judged, direction=direction, **fields).action == "deny") == matches


# -- properties --------------------------------------------------------------------------------------

PACKETS = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(packets.DIRECTIONS),
        "interface": st.sampled_from(samples.INTERFACES),
        "protocol": st.sampled_from((*model.PROTOCOL_NAMES, 47)),
        "fragment": st.sampled_from(packets.FRAGMENTS),
        "sport": st.sampled_from((0, 22, 53, 80, 65535)),
        "dport": st.sampled_from((0, 22, 53, 80, 65535)),
        "icmp_type": st.sampled_from((None, 0, 8, 128, 135)),
    }
).flatmap(
    lambda fields: st.sampled_from(
        [
            packets.packet({**fields, "src": src, "dst": dst})
            for src, dst in (("192.0.2.1", "10.0.0.1"), ("10.0.0.1", "192.0.2.1"), ("fd00::1", "fd00::2"))
        ]
    )
)


@given(samples.untracked_policies(), PACKETS)
def test_only_a_rule_of_the_endpoint_denies_or_stops_tracking(judged, packet):
    found = evaluator.raw(judged, packet)
    assert found.tracked == (found.decided_by is None)
    if found.decided_by is None:
        assert found.action == "allow"
        return
    direction = "egress" if packet.direction == "egress" else "ingress"
    endpoint = next(one for one in judged.endpoints if one.interface == packet.interface)
    rules = [one for tier in endpoint.untracked for one in judged.tier_rules(tier, direction)]
    decisive = next(one for one in rules if one.origin == found.decided_by)
    assert decisive.action == found.action


@pytest.mark.parametrize("judge_by", [evaluator.raw, evaluator.verdict], ids=["raw", "all hooks"])
@given(samples.host_policies(), PACKETS)
def test_without_the_deciding_rule_there_is_another_decision(judge_by, judged, packet):
    """The rule that is said to decide does: where it is not, something later decides."""
    found = judge_by(judged, packet)
    if found.decided_by is None:
        return
    key = f"{found.decided_by.kind}/{found.decided_by.name}"

    def rest(direction: str) -> tuple[model.Rule, ...]:
        return tuple(one for one in member.rules(direction) if one.origin != found.decided_by)

    member = judged.policies[key]
    reduced = dataclasses.replace(member, ingress=rest(model.INGRESS), egress=rest(model.EGRESS))
    other = judge_by(dataclasses.replace(judged, policies={**judged.policies, key: reduced}), packet)
    assert other.decided_by != found.decided_by


@pytest.mark.parametrize("judge_by", [evaluator.raw, evaluator.verdict], ids=["raw", "all hooks"])
@given(samples.host_policies(), PACKETS)
def test_the_plain_form_has_the_public_shape(judge_by, judged, packet):
    data = judge_by(judged, packet).to_dict()
    assert set(data) == {"action", "tracked", "decided_by", "reason"}
    assert data["action"] in ("allow", "deny")
    assert isinstance(data["tracked"], bool)
    assert data["reason"]
    if data["decided_by"] is not None:
        assert set(data["decided_by"]) == {"kind", "name", "direction", "rule"}
