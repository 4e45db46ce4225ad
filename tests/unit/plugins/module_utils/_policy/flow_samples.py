# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows to judge, near what a policy speaks of, and policies that decide much of them."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import typing as t

from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import flows, model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import Packet
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

if t.TYPE_CHECKING:
    from random import Random

PROTOCOLS = (*model.PROTOCOL_NAMES, *model.PORT_PROTOCOLS, 33, 47, 51)
TYPES = (0, 3, 8, 128, 129, 133, 137, 138, 143)


def packet(interface: str, direction: str, way: flows.Way) -> Packet:
    """A packet of a flow, as the reference takes it."""
    version, protocol, source, destination, sport, dport, icmp_type, icmp_code = way
    address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return Packet(
        direction=direction,
        interface=interface,
        protocol=protocol,
        src=address(source),
        dst=address(destination),
        pre_nat_dst=address(destination),
        sport=sport,
        dport=dport,
        pre_nat_dport=dport,
        icmp_type=icmp_type,
        icmp_code=icmp_code,
    )


# -- flows near what a policy speaks of --------------------------------------------------------------


def _numbers(policy: model.HostPolicy, version: int) -> list[int]:
    """Addresses at both sides of each edge."""
    nets = [net for one in policy.sets.values() for net in one.family(version)]
    nets += [f"{place[0]}" for one in policy.port_sets.values() for place in one.family(version)]
    nets += [one.net for one in (*policy.failsafes.inbound, *policy.failsafes.outbound) if one.net]
    last = 2 ** (32 if version == 4 else 128) - 1
    found = {0, last}
    for net in map(ipaddress.ip_network, nets):
        if net.version == version:
            ends = int(net.network_address), int(net.broadcast_address)
            found.update((ends[0] - 1, *ends, ends[1] + 1))
    return sorted(number for number in found if 0 <= number <= last)


def _pick(chance: Random, aim: t.Mapping[str, t.Any], name: str, pool: t.Sequence[int]) -> int:
    return chance.choice(pool) if aim.get(name) is None else aim[name]


def _ports(policy: model.HostPolicy) -> list[int]:
    rules = [rule for member in policy.policies.values() for rule in member.all_rules]
    ranges = [one for rule in rules for side in (rule.source, rule.destination) for one in side.ports]
    ranges += [one for rule in rules for side in (rule.source, rule.destination) for one in side.not_ports]
    entries = (*policy.failsafes.inbound, *policy.failsafes.outbound)
    ends = [*(port for one in ranges for port in one), *(entry.port for entry in entries), 22, 53, 80]
    found = {0, 65535, *(end + step for end in ends for step in (-1, 0, 1))}
    return sorted(port for port in found if 0 <= port <= 65535)


def ways(policy: model.HostPolicy, chance: Random) -> t.Iterator[flows.Way]:
    """Flows without end; the same ones for the same chance. Most are aimed at something in the policy."""
    numbers = {version: _numbers(policy, version) for version in (4, 6)}
    ports = _ports(policy)
    targets = list(_targets(policy))
    while True:
        aim = dict(chance.choice(targets)) if chance.random() < 0.8 else {}
        version = aim.get("version") or chance.choice((4, 6))
        protocol = aim.get("protocol") or chance.choice(PROTOCOLS)
        has_ports, is_icmp = protocol in model.PORT_PROTOCOLS, protocol in model.ICMP_PROTOCOLS

        pick = functools.partial(_pick, chance, aim)

        yield (
            version,
            protocol,
            pick("source", numbers[version]),
            pick("destination", numbers[version]),
            pick("sport", ports) if has_ports else None,
            pick("dport", ports) if has_ports else None,
            pick("type", TYPES) if is_icmp else None,
            chance.choice((0, 4)) if is_icmp else None,
        )


def _targets(policy: model.HostPolicy) -> t.Iterator[dict[str, t.Any]]:
    """What flows must be like to meet a rule, a failsafe port, a named port, or nothing."""
    yield {}
    for rule in (rule for member in policy.policies.values() for rule in member.all_rules):
        icmp = rule.icmp or rule.not_icmp
        meant = model.ICMP if icmp and rule.protocol is None else rule.protocol
        yield {
            "version": rule.ip_version,
            "protocol": meant,
            "sport": rule.source.ports[-1][1] if rule.source.ports else None,
            "dport": rule.destination.ports[0][0] if rule.destination.ports else None,
            "type": icmp.type if icmp else None,
        }
    for entry in (*policy.failsafes.inbound, *policy.failsafes.outbound):
        for side in ("sport", "dport"):
            yield {"protocol": entry.protocol, side: entry.port}
    for address, protocol, port in (
        place for one in policy.port_sets.values() for version in (4, 6) for place in one.family(version)
    ):
        parsed = ipaddress.ip_address(address)
        for side, of_side in (("source", "sport"), ("destination", "dport")):
            yield {"version": parsed.version, "protocol": protocol, side: int(parsed), of_side: port}


# -- policies that decide much -------------------------------------------------------------------------

SETS = {
    "n:wide": model.AddressSet("", ("10.0.0.0/8", "192.0.2.0/31"), ("fd00::/8",)),
    "n:inner": model.AddressSet("", ("10.0.0.0/9", "10.128.0.1/32"), ("fd00::/64", "fd00:1::/64")),
    "n:four": model.AddressSet("", ("0.0.0.0/1", "128.0.0.0/1")),
    "n:nobody": model.AddressSet(""),
}
PORT_SETS = {
    "p:one": model.PortSet("", (("10.0.0.0", model.TCP, 22), ("192.0.2.1", model.UDP, 53))),
    "p:two": model.PortSet("", (("10.0.0.0", model.TCP, 80),), (("fd00::", model.SCTP, 53),)),
}


def rarely(draw: st.DrawFn, values: t.Sequence[t.Any], otherwise: t.Any) -> t.Any:
    """One of the values, or mostly the other: a rule that asks for much matches nothing."""
    return draw(st.sampled_from((otherwise, *values, *(otherwise,) * 3 * len(values))))


@st.composite
def sides(draw: st.DrawFn, has_ports: bool) -> model.Side:
    some_ports = (((22, 22),), ((0, 53), (80, 80)), ((53, 65535),)) if has_ports else ()
    some_names = tuple((name,) for name in PORT_SETS) if has_ports else ()
    return model.Side(
        sets=rarely(draw, (*((name,) for name in SETS), ("n:inner", "n:wide")), ()),
        not_sets=rarely(draw, tuple((name,) for name in SETS), ()),
        ports=rarely(draw, some_ports, ()),
        not_ports=rarely(draw, some_ports, ()),
        named_ports=rarely(draw, some_names, ()),
        not_named_ports=rarely(draw, some_names, ()),
    )


@st.composite
def rules(draw: st.DrawFn) -> model.Rule:
    protocol = rarely(draw, PROTOCOLS, None)
    has_ports = protocol in (None, *model.PORT_PROTOCOLS)
    some_icmp = tuple(model.Icmp(number, code) for number in TYPES[:4] for code in (None, 4))
    return samples.rule(
        action=draw(st.sampled_from((model.ALLOW, *model.ACTIONS))),
        protocol=protocol,
        ip_version=rarely(draw, (4, 6), None),
        not_protocol=rarely(draw, (model.TCP, model.ICMP), None),
        source=draw(sides(has_ports)),
        destination=draw(sides(has_ports)),
        icmp=rarely(draw, some_icmp, None),
        not_icmp=rarely(draw, some_icmp, None),
    )


@st.composite
def deciding_policies(draw: st.DrawFn) -> model.HostPolicy:
    """Tiers of rules that ask for little, on one interface or on every."""
    some_rules = st.one_of(st.none(), *(st.lists(rules(), max_size=4),) * 4)
    some_staged = st.sampled_from(((None,), ("set",), ("set", None), (None, None)))
    tiers = [
        [
            samples.policy(f"{tier}-{number}", draw(some_rules), draw(some_rules), staged=staged)
            for number, staged in enumerate(draw(some_staged))
        ]
        for tier in range(2)
    ]
    one_failsafe = st.builds(model.Failsafe, st.just(model.TCP), st.sampled_from((22, 53)), NETS)
    entries = st.lists(one_failsafe, max_size=2).map(tuple)
    failsafes = model.Failsafes(draw(entries), draw(entries))
    host = samples.host(*tiers, sets=SETS, failsafes=failsafes)
    (endpoint,) = host.endpoints
    endpoint = dataclasses.replace(
        endpoint,
        interface=draw(st.sampled_from(("eth0", "eth0", model.EVERY_INTERFACE))),
        untracked=tuple(
            dataclasses.replace(tier, default_action=rarely(draw, (model.DENY,), model.PASS))
            for tier in endpoint.untracked
        ),
    )
    return dataclasses.replace(host, endpoints=(endpoint,), port_sets=PORT_SETS)


NETS = st.sampled_from((None, "10.0.0.0/8", "fd00::/8"))
