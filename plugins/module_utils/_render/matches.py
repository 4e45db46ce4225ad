# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What a rule asks of a packet, in nft's words.

nft matches addresses by IP version, and knows no "or" but sets. So a rule may become several statements:
one for each IP version, one for ports by number and one for ports by name. A packet that matches any of
them matches the rule.
"""

from __future__ import annotations

import functools
import itertools
import re
import typing as t
from dataclasses import dataclass

from .._policy import model
from . import ruleset

IP = {4: "ip", 6: "ip6"}
ADDRESS_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
SPORT, DPORT = "sport", "dport"
ADDRESSES = {SPORT: "saddr", DPORT: "daddr"}

_WITH_PORTS = f"{{ {', '.join(map(str, sorted(model.PORT_PROTOCOLS)))} }}"
_EITHER_ICMP = f"{{ {model.ICMP}, {model.ICMPV6} }}"


@dataclass(frozen=True)
class Known:
    """What is certain of all packets that come to a rule, so that it need not ask for it.

    `ports` is the range that the port of side `key` (SPORT or DPORT) is in; without it nothing is known.
    `is_later_fragment`: what stands where ports would be is not the beginning of a transport header.
    """

    protocol: int | None = None
    key: str = DPORT
    ports: model.PortRange | None = None
    is_later_fragment: bool = False


ANYTHING = Known()
LATER_FRAGMENT = Known(is_later_fragment=True)


def sides(rule: model.Rule) -> tuple[tuple[str, model.Side], ...]:
    """A rule's sides by the name of their port."""
    return ((SPORT, rule.source), (DPORT, rule.destination))


def asks_for_ports(side: model.Side) -> bool:
    """Whether only certain ports of that side match."""
    return bool(side.ports or side.named_ports)


class Matches:
    """The matches of one policy's rules. Collects the sets that they mention.

    `aliases` has the names of sets in the kernel that have come to hold what another name would say.
    """

    def __init__(self, policy: model.HostPolicy, aliases: t.Mapping[str, str]) -> None:
        self._policy = policy
        self._aliases = aliases
        self.sets: dict[str, ruleset.Set] = {}

    def of(self, rule: model.Rule, known: Known = ANYTHING) -> list[str]:
        """The statements' matches, each to be followed by what is to be done; an empty one always matches.

        None at all where no packet can match.
        """
        if _asks_for_icmp(rule) and rule.protocol not in (None, *model.ICMP_PROTOCOLS):
            # Nothing matches, and nft 0.9.8 dies when it lists a part of a header it knows nothing of.
            return []
        if _asks_for_icmp(rule) and known.is_later_fragment:
            return []
        return [
            " ".join(part for part in (*addresses, *protocol, *_icmp(rule), *ports) if part)
            for family in _families(rule)
            for addresses in self._addresses(rule, family)
            for protocol, shows_ports in _protocols(rule, known)
            for ports in itertools.product(
                *(self._ports(side, key, family, shows_ports, known) for key, side in sides(rule))
            )
        ]

    def _addresses(self, rule: model.Rule, family: int | None) -> t.Iterator[list[str]]:
        """What it asks of a packet of one IP version (None: any); nothing where no such packet matches."""
        if family is None:
            yield []
            return
        if not all(
            self._policy.sets[name].family(family) for name in (*rule.source.sets, *rule.destination.sets)
        ):
            return
        match = []
        for key, side in sides(rule):
            address = f"{IP[family]} {ADDRESSES[key]}"
            match += [f"{address} @{self._set(name, family)}" for name in side.sets]
            match += [
                f"{address} != @{self._set(name, family)}"
                for name in side.not_sets
                if self._policy.sets[name].family(family)
            ]
        yield match or [f"meta nfproto ipv{family}"]

    def _ports(
        self, side: model.Side, key: str, family: int | None, shows_ports: bool, known: Known
    ) -> t.Iterator[str]:
        """What it asks of one port, an alternative each; nothing where no such packet matches."""
        if not shows_ports:
            # Of a set of endpoints' ports such a packet is certainly none.
            if not (side.ports or side.named_ports or side.not_ports):
                yield ""
            return
        if known.is_later_fragment:
            if side == model.Side(side.sets, not_sets=side.not_sets):
                yield ""
            return
        excluded = [_excluded(key, side.not_ports)] if side.not_ports else []
        excluded += [
            f"{self._endpoint(key, family)} != @{self._port_set(name, family)}"
            for name in side.not_named_ports
            if family is not None
        ]
        for wanted in self._wanted_ports(side, key, family, known):
            yield " ".join(part for part in (wanted, *excluded) if part)

    def _wanted_ports(self, side: model.Side, key: str, family: int | None, known: Known) -> t.Iterator[str]:
        if not asks_for_ports(side):
            yield ""
            return
        if known.ports is not None and known.key == key:
            if _covers(side.ports, known.ports):
                yield ""
                return
            if not _meets(side.ports, known.ports):
                yield from self._named_ports(side, key, family)
                return
        ports = side.ports
        if known.ports is not None and known.key == key:
            ports = tuple(one for one in ports if _meets([one], known.ports))
        if ports:
            yield f"th {key} {_port_list(ports)}"
        yield from self._named_ports(side, key, family)

    def _named_ports(self, side: model.Side, key: str, family: int | None) -> t.Iterator[str]:
        for name in side.named_ports:
            if family is not None and self._policy.port_sets[name].family(family):
                yield f"{self._endpoint(key, family)} @{self._port_set(name, family)}"

    @staticmethod
    def _endpoint(key: str, family: int | None) -> str:
        return f"{IP[family or 4]} {ADDRESSES[key]} . meta l4proto . th {key}"

    def _set(self, name: str, family: int) -> str:
        elements = self._policy.sets[name].family(family)
        own = set_name(name, family, elements)
        return self._added(
            ruleset.Set(self._aliases.get(own, own), ADDRESS_TYPES[family], elements, ruleset.INTERVALS)
        )

    def _port_set(self, name: str, family: int) -> str:
        members = self._policy.port_sets[name].family(family)
        elements = tuple(f"{address} . {protocol} . {port}" for address, protocol, port in members)
        kind = f"{ADDRESS_TYPES[family]} . inet_proto . inet_service"
        own = ruleset.content_name(f"ports{family}-{_label(name)}", *elements)
        return self._added(ruleset.Set(own, kind, elements, ()))

    def _added(self, member: ruleset.Set) -> str:
        self.sets[member.name] = member
        return member.name


@functools.lru_cache(
    maxsize=256
)  # hashing a million networks takes its time, and it is asked again and again
def set_name(name: str, family: int, elements: tuple[str, ...]) -> str:
    """What the policy's address set of that name is called in our table, by IP version."""
    return ruleset.content_name(f"set{family}-{_label(name)}", *elements)


def _label(name: str) -> str:
    return re.sub("[^A-Za-z0-9]", "", name)[:16]


def _families(rule: model.Rule) -> tuple[int | None, ...]:
    if rule.ip_version is None and (rule.all_sets or rule.all_port_sets):
        return (4, 6)
    return (rule.ip_version,)


def _protocols(rule: model.Rule, known: Known) -> t.Iterator[tuple[list[str], bool]]:
    """What it asks of the protocol, and whether packets that match show ports; an alternative each."""
    if known.protocol is not None:
        yield [], known.protocol in model.PORT_PROTOCOLS
        return
    excluded = [] if rule.not_protocol is None else [f"meta l4proto != {rule.not_protocol}"]
    if rule.protocol is not None:
        yield [f"meta l4proto {rule.protocol}", *excluded], rule.protocol in model.PORT_PROTOCOLS
    elif any(side != model.Side(side.sets, not_sets=side.not_sets) for _key, side in sides(rule)):
        # By number and by name: some protocols have something else where ports would be.
        yield [f"meta l4proto {_WITH_PORTS}", *excluded], True
        yield [f"meta l4proto != {_WITH_PORTS}", *excluded], False
    else:
        yield excluded, False


def _asks_for_icmp(rule: model.Rule) -> bool:
    return rule.icmp is not None or rule.not_icmp is not None


def _icmp(rule: model.Rule) -> t.Iterator[str]:
    if _asks_for_icmp(rule) and rule.protocol not in model.ICMP_PROTOCOLS:
        # By offset, for both protocols and both IP versions: nft's own `icmp type` asks for IPv4, and its
        # negation of type and code is that of each, not of both.
        yield f"meta l4proto {_EITHER_ICMP}"
    for icmp, operator in ((rule.icmp, ""), (rule.not_icmp, "!= ")):
        if icmp is not None:
            code = icmp.code
            yield (
                f"@th,0,8 {operator}{icmp.type}"
                if code is None
                else f"@th,0,16 {operator}{icmp.type << 8 | code}"
            )


def port_text(ports: model.PortRange) -> str:
    """A range of ports as nft reads it."""
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def _excluded(key: str, ports: tuple[model.PortRange, ...]) -> str:
    if len(ports) == 1 and ports[0][0] == ports[0][1]:
        # nft makes one comparison of two of single ports, and that excludes only those that have both.
        return f"th {key} & 0xffff != {ports[0][0]}"
    return f"th {key} != {_port_list(ports)}"


def _port_list(ports: t.Iterable[model.PortRange]) -> str:
    return f"{{ {', '.join(map(port_text, ports))} }}"


def _covers(ranges: t.Iterable[model.PortRange], ports: model.PortRange) -> bool:
    return any(first <= ports[0] and ports[1] <= last for first, last in ranges)


def _meets(ranges: t.Iterable[model.PortRange], ports: model.PortRange) -> bool:
    return any(first <= ports[1] and ports[0] <= last for first, last in ranges)
