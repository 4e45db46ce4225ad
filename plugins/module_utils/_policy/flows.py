# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Which flows untracked policy takes past connection tracking, asked for a million of them.

`verdict.raw` says the same of one packet, and why; it looks at every member of every set for that. Here rules
are numbered in the order in which they are evaluated, and each is one bit. What a packet shows of itself (its
kind, its ports, its addresses) gives the rules that this may match, and the lowest bit that all of them have
in common is the rule that decides. A rule more costs next to nothing, and a member more nothing.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import typing as t
from dataclasses import dataclass

from . import model
from .segments import Segments, network_edges, range_edges

Way = tuple[int, int, int, int, t.Optional[int], t.Optional[int], t.Optional[int], t.Optional[int]]
"""One direction of a flow, as its packets show it: IP version, protocol number, addresses of source and
destination as numbers, ports of source and destination, type and code of ICMP; None where there is none."""

_TRACKED = "tracked"  # a rule's action here: what it matches goes on to connection tracking
_ANY_PORT = [0, 65536]
_NET = "\0"  # before a failsafe's net where the name of a set stands: no set of a policy is called so
# RFC 4861, RFC 2710 and RFC 3810; a flow does not tell of hop limits, which a router would have let arrive
# with less than 255 for messages that nobody forwards.
_DISCOVERY_TYPES = (*range(130, 138), 143)
_ORIGIN = model.Origin("", "", "", 0)


class UntrackedPolicy:
    """The untracked policy of a host's endpoints."""

    def __init__(self, policy: model.HostPolicy, interfaces: t.Mapping[str, t.Iterable[str]]) -> None:
        """`interfaces` has the names and the addresses of the host's interfaces."""
        self._policy = policy
        self._interfaces = {
            name: frozenset(map(ipaddress.ip_address, known)) for name, known in interfaces.items()
        }
        self._sets = _Sets(policy)
        self._judges: dict[tuple[tuple[model.Tier, ...], str], Judge] = {}
        self.on = functools.lru_cache(maxsize=4096)(self._on)
        """on(interface, direction): the judge of packets there; None where no endpoint governs them."""

    def might_take(self, way: Way) -> bool:
        """Whether any endpoint, in any direction, takes such packets past connection tracking."""
        for judge in self._all_judges:  # noqa: SIM110  # a million times, and any() takes half as long again
            if judge.takes(way):
                return True
        return False

    @property
    def takes_anything(self) -> bool:
        """Whether there are any packets that it takes past connection tracking."""
        return bool(self._all_judges)

    @functools.cached_property
    def _all_judges(self) -> tuple[Judge, ...]:
        pairs = itertools.product(self._policy.endpoints, (model.INGRESS, model.EGRESS))
        found = dict.fromkeys(itertools.starmap(self._judge, pairs))
        return tuple(judge for judge in found if judge.takes_anything)

    def _on(self, interface: str, direction: str) -> Judge | None:
        endpoint = endpoint_on(
            self._policy.endpoints, interface, self._interfaces.get(interface, frozenset())
        )
        return None if endpoint is None else self._judge(endpoint, direction)

    def _judge(self, endpoint: model.Endpoint, direction: str) -> Judge:
        # Endpoints of one host mostly have the same policy.
        key = endpoint.untracked, direction
        if key not in self._judges:
            self._judges[key] = Judge(self._sets, list(_numbered(self._policy, endpoint, direction)))
        return self._judges[key]


def endpoint_on(
    endpoints: t.Iterable[model.Endpoint],
    interface: str,
    addresses: t.AbstractSet[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> model.Endpoint | None:
    """The endpoint that governs an interface with these addresses."""
    own, every = [], []
    for endpoint in endpoints:
        known = map(ipaddress.ip_address, endpoint.addresses) if endpoint.interface is None else ()
        if endpoint.interface == model.EVERY_INTERFACE:
            every.append(endpoint)
        elif endpoint.interface == interface or not addresses.isdisjoint(known):
            own.append(endpoint)
    if not own and interface == "lo":
        return None
    return min(own or every, key=lambda endpoint: endpoint.name, default=None)


# -- rules in their order ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Numbered:
    """A rule, and how many rules there are up to the end of its tier: where Pass goes on."""

    rule: model.Rule
    tier_end: int


def _numbered(policy: model.HostPolicy, endpoint: model.Endpoint, direction: str) -> t.Iterator[_Numbered]:
    """All that raw asks at an endpoint, as rules in their order."""
    end = 0
    for rules in (_exempt(policy.failsafes, direction), *_tiers(policy, endpoint, direction)):
        end += len(rules)
        for rule in rules:
            yield _Numbered(rule, end)


def _tiers(
    policy: model.HostPolicy, endpoint: model.Endpoint, direction: str
) -> t.Iterator[list[model.Rule]]:
    for tier in endpoint.untracked:
        rules = [rule for rule in policy.tier_rules(tier, direction) if rule.action != model.LOG]
        members = (policy.policies[key] for key in tier.policies)
        is_met = any(member.staged is None and member.governs(direction) for member in members)
        if is_met and tier.default_action == model.DENY:
            rules.append(model.Rule(_ORIGIN, model.DENY))
        yield rules


def _exempt(failsafes: model.Failsafes, direction: str) -> list[model.Rule]:
    """What goes on to connection tracking before policy is asked: discovery, failsafes and their replies."""
    sides = failsafes.inbound, failsafes.outbound
    first, replies = sides if direction == model.INGRESS else sides[::-1]
    return [
        *(
            model.Rule(_ORIGIN, _TRACKED, model.ICMPV6, 6, icmp=model.Icmp(number))
            for number in _DISCOVERY_TYPES
        ),
        *(_failsafe(entry, direction, port_of="destination") for entry in first),
        *(_failsafe(entry, direction, port_of="source") for entry in replies),
    ]


def _failsafe(entry: model.Failsafe, direction: str, port_of: str) -> model.Rule:
    """`port_of` is the side that has the port: the destination, or of a reply the source."""
    peer = "source" if direction == model.INGRESS else "destination"
    asked: dict[str, dict[str, t.Any]] = {"source": {}, "destination": {}}
    asked[port_of]["ports"] = ((entry.port, entry.port),)
    if entry.net is not None:
        asked[peer]["sets"] = (_NET + entry.net,)
    source, destination = (model.Side(**fields) for fields in asked.values())
    return model.Rule(_ORIGIN, _TRACKED, entry.protocol, source=source, destination=destination)


# -- one endpoint, one direction ---------------------------------------------------------------------


class Judge:
    """Judges the packets of one direction at one endpoint."""

    def __init__(self, sets: _Sets, numbered: t.Sequence[_Numbered]) -> None:
        self._sets = sets
        self._numbered = numbered
        rules = [each.rule for each in numbered]
        self._allows = _bits(rule.action == model.ALLOW for rule in rules)
        self._asks_names = _bits(bool(rule.all_port_sets) for rule in rules)
        self._source = _Sides(sets, [rule.source for rule in rules])
        self._destination = _Sides(sets, [rule.destination for rule in rules])
        self._kinds: dict[tuple[int, int, int | None, int | None], int] = {}

    @property
    def takes_anything(self) -> bool:
        """Whether there are any packets that it takes past connection tracking, as far as actions tell."""
        return self._allows != 0

    def takes(self, way: Way) -> bool:
        """Whether such packets are allowed past connection tracking."""
        version, protocol, source, destination, sport, dport, icmp_type, icmp_code = way
        # There are as many kinds as protocols, and types of ICMP.
        found = self._kinds.get((version, protocol, icmp_type, icmp_code))
        if found is None:
            found = self._kind(version, protocol, icmp_type, icmp_code)
        if protocol in model.PORT_PROTOCOLS:
            found &= self._destination.with_port(dport or 0) & self._source.with_port(sport or 0)
        # Most flows of most hosts end here: no rule that allows anything is about their ports.
        if not found & self._allows:
            return False
        found &= self._source.with_address(version, source)
        found &= self._destination.with_address(version, destination)
        return self._decide(found, way) == model.ALLOW

    def _decide(self, found: int, way: Way) -> str:
        """The action of the first of these rules that decides."""
        while found & self._allows:
            first = found & -found
            number = first.bit_length() - 1
            rule, end = self._numbered[number].rule, self._numbered[number].tier_end
            if first & self._asks_names and not self._sets.has_named_ports(rule, way):
                found ^= first
            elif rule.action == model.PASS:
                found = found >> end << end
            else:
                return rule.action
        return _TRACKED

    def _kind(self, version: int, protocol: int, icmp_type: int | None, icmp_code: int | None) -> int:
        """The rules that match packets of a kind. A rule about ports matches none without ports."""
        has_ports = protocol in model.PORT_PROTOCOLS
        found = _bits(
            rule.protocol in (None, protocol)
            and rule.not_protocol != protocol
            and rule.ip_version in (None, version)
            and (rule.icmp is None or _icmp_is(rule.icmp, protocol, icmp_type, icmp_code) is True)
            and (rule.not_icmp is None or _icmp_is(rule.not_icmp, protocol, icmp_type, icmp_code) is False)
            and (has_ports or not (_asks_ports(rule.source) or _asks_ports(rule.destination)))
            for rule in (each.rule for each in self._numbered)
        )
        self._kinds[version, protocol, icmp_type, icmp_code] = found
        return found


def _bits(flags: t.Iterable[bool]) -> int:
    return sum(1 << number for number, flag in enumerate(flags) if flag)


def _icmp_is(icmp: model.Icmp, protocol: int, icmp_type: int | None, icmp_code: int | None) -> bool | None:
    """Whether it is that type and code; None where there is none."""
    if protocol not in model.ICMP_PROTOCOLS or icmp_type is None:
        return None
    return icmp.type == icmp_type and icmp.code in (None, icmp_code)


def _asks_ports(side: model.Side) -> bool:
    """Whether packets without ports do not match. That they have none of some names they do fulfil."""
    return bool(side.ports or side.named_ports or side.not_ports)


class _Sides:
    """What all rules of a judge ask of the source, or of the destination; answers are rules as bits."""

    def __init__(self, sets: _Sets, sides: t.Sequence[model.Side]) -> None:
        self._sides = sides
        self._ports = _port_segments(sides)
        names = tuple(sorted({name for side in sides for name in side.all_sets}))
        self._bits = {name: 1 << number for number, name in enumerate(names)}
        self._segments = {version: sets.segments(names, version) for version in (4, 6)}
        self._by_members: dict[int, int] = {}

    def with_port(self, port: int) -> int:
        """The rules that a port suits. Of named ports the judge asks itself."""
        return self._ports.at(port)

    def with_address(self, version: int, address: int) -> int:
        """The rules that an address suits."""
        members = self._segments[version].at(address)
        found = self._by_members.get(members)
        if found is None:
            found = self._by_members[members] = _bits(
                all(members & self._bits[name] for name in side.sets)
                and not any(members & self._bits[name] for name in side.not_sets)
                for side in self._sides
            )
        return found


def _port_segments(sides: t.Sequence[model.Side]) -> Segments:
    edges: dict[int, list[int]] = {}
    common = 0  # the rules that any port suits, most of them as a rule, cost one bit between them
    for number, side in enumerate(sides):
        suited = ((0, 65535),) if side.named_ports or not side.ports else side.ports
        wanted, unwanted = list(range_edges(suited)), list(range_edges(side.not_ports))
        if wanted == _ANY_PORT and not unwanted:
            common |= 1 << number
        else:
            edges[1 << number] = _without(wanted, unwanted)
    edges[common] = _ANY_PORT
    return Segments(edges)


def _without(wanted: t.Sequence[int], unwanted: t.Sequence[int]) -> list[int]:
    """The edges of what lies in the one and not in the other."""
    line = Segments({1: wanted, 2: unwanted})
    edges = []
    inside = False
    for at in sorted({*wanted, *unwanted}):
        if (line.at(at) == 1) is not inside:
            inside = not inside
            edges.append(at)
    return edges


# -- sets --------------------------------------------------------------------------------------------


class _Sets:
    """The sets of a policy, prepared once for all of its endpoints."""

    def __init__(self, policy: model.HostPolicy) -> None:
        self._policy = policy
        self.segments = functools.lru_cache(maxsize=None)(self._segments)
        """segments(names, version): the line of addresses, on which the first name's set is the bit 1."""
        self._edges = functools.lru_cache(maxsize=None)(self._read_edges)
        self._named = {
            name: {
                version: frozenset(
                    (int(ipaddress.ip_address(address)), protocol, port)
                    for address, protocol, port in members.family(version)
                )
                for version in (4, 6)
            }
            for name, members in policy.port_sets.items()
        }

    def _segments(self, names: tuple[str, ...], version: int) -> Segments:
        return Segments({1 << number: self._edges(name, version) for number, name in enumerate(names)})

    def _read_edges(self, name: str, version: int) -> t.Sequence[int]:
        if name.startswith(_NET):
            net = name[len(_NET) :]
            return network_edges((net,) if (6 if ":" in net else 4) == version else (), version)
        return network_edges(self._policy.sets[name].family(version), version)

    def has_named_ports(self, rule: model.Rule, way: Way) -> bool:
        """Whether a way suits what a rule asks of named ports, its other ports and the way's protocol."""
        version, protocol, source, destination, sport, dport, _type, _code = way
        return self._suits(rule.source, version, (source, protocol, sport or 0)) and self._suits(
            rule.destination, version, (destination, protocol, dport or 0)
        )

    def _suits(self, side: model.Side, version: int, place: tuple[int, int, int]) -> bool:
        def is_in(names: t.Iterable[str]) -> bool:
            return any(place in self._named[name][version] for name in names)

        port = place[2]
        wanted = not side.named_ports or any(low <= port <= high for low, high in side.ports)
        return (wanted or is_in(side.named_ports)) and not is_in(side.not_named_ports)
