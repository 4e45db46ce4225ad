# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rule covers another only where it matches all that the other one does: held against brute force."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import cover, model
from ansible_collections.netpolicy.host.plugins.module_utils._policy import packet as packets
from ansible_collections.netpolicy.host.plugins.module_utils._policy import verdict as evaluator
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import (
    host,
    policy,
    rule,
)

SETS = {
    "all": model.AddressSet("all", ("0.0.0.0/0",), ("::/0",)),
    "half": model.AddressSet("half", ("10.0.0.0/31",), ("fd00::/127",)),
    "one": model.AddressSet("one", ("10.0.0.1/32",), ()),
    "pair": model.AddressSet("pair", ("10.0.0.1/32", "10.0.0.3/32"), ("fd00::1/128",)),
    "none": model.AddressSet("none"),
}
PORT_SETS = {
    "http": model.PortSet("http", (("10.0.0.1", model.TCP, 80), ("10.0.0.2", model.UDP, 80)), ()),
    "dns": model.PortSet("dns", (("10.0.0.1", model.UDP, 53),), (("fd00::1", model.TCP, 53),)),
}
POLICY = model.HostPolicy("node", sets=SETS, port_sets=PORT_SETS)
PORTS = ((), ((80, 80),), ((0, 65535),), ((53, 53), (79, 81)), ((53, 80),))
RULE_PROTOCOLS = (None, model.TCP, model.UDP, model.ICMP, model.ICMPV6)


def packet(protocol: int, src: str, dst: str, **fields: object) -> packets.Packet:
    given_fields = {"direction": "ingress", "interface": "eth0", "protocol": protocol, "src": src, "dst": dst}
    return packets.packet({**given_fields, **fields})


PACKETS = [
    *(
        packet(protocol, src, dst, sport=sport, dport=dport, fragment=fragment)
        for protocol in (model.TCP, model.UDP, model.SCTP)
        for src, dst in (
            ("10.0.0.1", "10.0.0.2"),
            ("10.0.0.2", "10.0.0.1"),
            ("10.0.0.3", "10.0.0.0"),
            ("fd00::1", "fd00::2"),
            ("fd00::2", "fd00::1"),
        )
        for sport, dport in itertools.product((0, 53, 80), (53, 79, 80))
        for fragment in ("none", "later")
    ),
    *(
        packet(protocol, src, dst, icmp_type=number, icmp_code=code, fragment=fragment)
        for protocol in model.ICMP_PROTOCOLS
        for src, dst in (("10.0.0.1", "10.0.0.2"), ("10.0.0.3", "10.0.0.1"), ("fd00::1", "fd00::2"))
        for number, code in itertools.product((0, 3, 8), (0, 4))
        for fragment in ("none", "later")
    ),
    packet(47, "10.0.0.1", "10.0.0.2"),
    packet(47, "fd00::1", "fd00::2"),
]


def some(names: t.Iterable[str]) -> st.SearchStrategy[tuple[str, ...]]:
    names = tuple(names)
    return st.sampled_from(
        [(), (), *itertools.chain(*(itertools.combinations(names, size) for size in (1, 2)))]
    )


@st.composite
def sides(draw: st.DrawFn, with_ports: bool, with_names: bool) -> model.Side:
    return model.Side(
        sets=draw(some(sorted(SETS))),
        ports=draw(st.sampled_from(PORTS)) if with_ports else (),
        not_sets=draw(some(sorted(SETS))),
        not_ports=draw(st.sampled_from(((), *PORTS))) if with_ports else (),
        named_ports=draw(some(sorted(PORT_SETS))) if with_names else (),
        not_named_ports=draw(some(sorted(PORT_SETS))) if with_names else (),
    )


ICMP = st.sampled_from((None, None, model.Icmp(8), model.Icmp(8, 0), model.Icmp(3, 4)))


@st.composite
def rules(draw: st.DrawFn) -> model.Rule:
    protocol = draw(st.sampled_from(RULE_PROTOCOLS))
    with_ports = protocol in model.PORT_PROTOCOLS
    with_names = with_ports or protocol is None
    return rule(
        protocol=protocol,
        ip_version=draw(st.sampled_from((None, None, 4, 6))),
        source=draw(sides(with_ports, with_names)),
        destination=draw(sides(with_ports, with_names)),
        not_protocol=draw(st.sampled_from((None, None, model.TCP, model.ICMP))),
        icmp=draw(ICMP),
        not_icmp=draw(ICMP),
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[model.Rule, model.Rule]:
    """Two rules that share much: the second is the first with a few fields of another one."""
    wide, other = draw(rules()), draw(rules())
    fields = ("ip_version", "source", "destination", "not_protocol", "icmp", "not_icmp")
    taken = draw(st.lists(st.sampled_from(fields), unique=True, max_size=2))
    narrow: dict[str, t.Any] = {name: getattr(other if name in taken else wide, name) for name in fields}
    protocol = wide.protocol
    if protocol is None and draw(st.booleans()):
        protocol = draw(st.sampled_from((None, model.TCP)))
    ports = any(side.ports or side.not_ports for side in (narrow["source"], narrow["destination"]))
    if ports and protocol not in model.PORT_PROTOCOLS:
        protocol = model.UDP
    return wide, rule(protocol=protocol, **narrow)


def matches(one: model.Rule, judged: packets.Packet) -> bool:
    return evaluator._matches(POLICY, one, judged)


@settings(max_examples=1500)
@given(pairs() | st.tuples(rules(), rules()))
def test_what_covers_matches_all_that_the_other_matches(both):
    wide, narrow = both
    if cover.Covers(POLICY).covers(wide, narrow):
        missed = [one for one in PACKETS if matches(narrow, one) and not matches(wide, one)]
        assert missed == []


def test_its_matching_is_that_of_the_verdict():
    """What the property above asks is what decides."""
    asked = rule(model.DENY, protocol=model.TCP, source=model.Side(("one",)))
    judged = host([policy("a", [asked])], sets=SETS)
    for one in PACKETS:
        assert (evaluator.raw(judged, one).action == model.DENY) == matches(asked, one)


@given(rules())
def test_every_rule_covers_itself_and_is_covered_by_one_that_asks_nothing(one):
    covers = cover.Covers(POLICY).covers
    assert covers(one, one)
    assert covers(rule(), one)


TCP: dict[str, t.Any] = {"protocol": model.TCP}


def to_ports(*ranges: model.PortRange, **more: t.Any) -> dict[str, t.Any]:
    return {**TCP, "destination": model.Side(ports=ranges, **more)}


@pytest.mark.parametrize(
    "wide, narrow, expected",
    [
        ({}, TCP, True),
        (TCP, {}, False),
        ({"ip_version": 4}, {}, False),
        ({"not_protocol": model.UDP}, TCP, True),
        ({"not_protocol": model.TCP}, TCP, False),
        ({"not_protocol": model.UDP}, {}, False),
        ({"source": model.Side(("half",))}, {"source": model.Side(("one",))}, True),
        ({"source": model.Side(("one",))}, {"source": model.Side(("half",))}, False),
        ({"source": model.Side(("all",))}, {"source": model.Side(("pair",))}, True),
        ({"source": model.Side(("half",))}, {"source": model.Side(("pair",))}, False),
        ({"source": model.Side(("half",))}, {"source": model.Side(("pair", "one"))}, True),
        ({"source": model.Side(("one",))}, {"source": model.Side(("none",))}, False),
        ({}, {"source": model.Side(("none",))}, True),
        ({"source": model.Side(("one",))}, {"destination": model.Side(("one",))}, False),
        ({"source": model.Side(not_sets=("one",))}, {"source": model.Side(not_sets=("one", "half"))}, True),
        ({"source": model.Side(not_sets=("one", "half"))}, {"source": model.Side(not_sets=("one",))}, False),
        (to_ports((1, 100)), to_ports((80, 90)), True),
        (to_ports((1, 100)), to_ports((80, 101)), False),
        (to_ports((1, 9), (80, 90)), to_ports((80, 80), (5, 5)), True),
        (to_ports((80, 90)), TCP, False),
        (to_ports(not_ports=((80, 80),)), to_ports((443, 443)), False),  # it does, but is not told
        (to_ports(not_ports=((80, 80),)), TCP, False),
        (TCP, to_ports(not_ports=((80, 80),)), True),
        (to_ports((80, 80), named_ports=("http",)), to_ports((80, 80)), True),
        (to_ports((80, 80)), to_ports((80, 80), named_ports=("http",)), False),
        (to_ports(named_ports=("http", "dns")), to_ports(named_ports=("http",)), True),
        (to_ports(not_named_ports=("http",)), to_ports(not_named_ports=("http", "dns")), True),
        (to_ports(not_named_ports=("http",)), TCP, False),
        ({"icmp": model.Icmp(8)}, {"icmp": model.Icmp(8, 0)}, True),
        ({"icmp": model.Icmp(8, 0)}, {"icmp": model.Icmp(8)}, False),
        ({"not_icmp": model.Icmp(8)}, {}, False),
        ({}, {"not_icmp": model.Icmp(8)}, True),
    ],
)
def test_what_is_told(wide, narrow, expected):
    assert cover.Covers(POLICY).covers(rule(**wide), rule(**narrow)) is expected
