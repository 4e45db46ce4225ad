# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets to try a given policy with: each is aimed at a rule, a failsafe or nothing, and may just miss it.

Random packets would nearly all fall through. An aim says what a packet has to be like to be matched; a sample
takes the edges and the inside of that, and every other sample goes astray in one respect.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, verdict
from tests.differential.kernel import INTERFACES
from tests.differential.packets import EXTENSION_HEADERS, EXTENSIONS, Sample
from tests.differential.policies import BASES, PORTS, PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import Address

_DIRECTIONS: Final = (model.INGRESS, model.EGRESS)
_DISCOVERY: Final = (*verdict.NEIGHBOUR_DISCOVERY_TYPES, *verdict.LISTENER_DISCOVERY_TYPES)
_OTHER_TYPES: Final = {4: (8, 0, 3, 11, 12, 133, 143), 6: (128, 129, 1, 2, 3, 132 + 7, 144, 8)}
# What IPv6 takes for no upper layer's protocol would need a body of its own shape.
_ANY_PROTOCOL: Final = {
    4: tuple(range(256)),
    6: tuple(number for number in range(256) if number not in EXTENSION_HEADERS),
}
# Sent instead of an address that Linux would not let come as far as the hooks.
_INSTEAD: Final = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:ffff::1")}
_TCP_FLAGS: Final = (0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x00, 0x29, 0xFF)


@dataclass(frozen=True)
class Aim:
    """What a packet must be like to meet its target. Empty means anything."""

    direction: str
    interface: str
    version: int
    protocol: int | None = None
    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    sports: tuple[model.PortRange, ...] = ()
    dports: tuple[model.PortRange, ...] = ()
    icmp_types: tuple[int, ...] = ()
    icmp_codes: tuple[int, ...] = ()
    hop_limit: int = 64


def samples(policy: model.HostPolicy, chance: Random) -> Iterator[Sample]:
    """Packets without end; the same ones for the same chance."""
    groups = _targets(policy)
    while True:
        yield _sample(policy, chance.choice(chance.choice(groups)), chance)


def _sample(policy: model.HostPolicy, aim: Aim, chance: Random) -> Sample:
    astray = chance.choice(_WAYS) if chance.random() < 0.6 else None
    direction = _other(_DIRECTIONS, aim.direction) if astray == "direction" else aim.direction
    version = 10 - aim.version if astray == "version" else aim.version
    protocol = aim.protocol
    if protocol is None or astray == "protocol":
        protocol = chance.choice((chance.choice(PROTOCOLS), chance.choice(_ANY_PROTOCOL[version])))
    src, dst = (
        _address(policy, version, nets, chance, beside=astray == side)
        for side, nets in (("source", aim.sources), ("destination", aim.destinations))
    )
    types = aim.icmp_types if aim.icmp_types and astray != "type" else (*_OTHER_TYPES[version], *_DISCOVERY)
    return Sample(
        direction=direction,
        interface=chance.choice(INTERFACES) if astray == "interface" else aim.interface,
        protocol=protocol,
        src=_sendable(src, direction, "source"),
        dst=_sendable(dst, direction, "destination"),
        sport=_port(aim.sports, chance, beside=astray == "sport"),
        dport=_port(aim.dports, chance, beside=astray == "dport"),
        icmp_type=chance.choice(types),
        icmp_code=chance.choice(aim.icmp_codes if aim.icmp_codes and astray != "code" else (0, 0, 1, 4)),
        hop_limit=chance.choice((1, 64, 254, 255)) if astray == "hops" else aim.hop_limit,
        tcp_flags=chance.choice(_TCP_FLAGS),
        extension=chance.choice(EXTENSIONS[version]),
        payload=chance.choice((0, 1, 5, 100, 1200)),
    )


_WAYS: Final = (
    "direction",
    "interface",
    "version",
    "protocol",
    "source",
    "source",
    "destination",
    "destination",
    "sport",
    "dport",
    "type",
    "code",
    "hops",
)


# -- aims ----------------------------------------------------------------------------------------------


def _targets(policy: model.HostPolicy) -> list[tuple[Aim, ...]]:
    """The aims, in groups of the same weight."""
    groups = [
        *[tuple(_at_rules(policy))] * 6,
        *[tuple(_at_failsafes(policy))] * 2,
        tuple(_at_discovery(policy)),
        tuple(Aim(way, name, version) for way in _DIRECTIONS for name in INTERFACES for version in (4, 6)),
    ]
    return [group for group in groups if group]


def _interface(endpoint: model.Endpoint) -> str:
    assert endpoint.interface is not None, (
        "this version enforces no endpoint without the name of an interface"
    )
    return endpoint.interface


def _at_rules(policy: model.HostPolicy) -> Iterator[Aim]:
    for endpoint in policy.endpoints:
        for direction in _DIRECTIONS:
            for tier in endpoint.untracked:
                for rule in policy.tier_rules(tier, direction):
                    icmp = rule.icmp or rule.not_icmp
                    for version in (4, 6) if rule.ip_version is None else (rule.ip_version,):
                        protocol = rule.protocol
                        if protocol is None and icmp is not None:
                            protocol = model.ICMP_PROTOCOLS[version == 6]
                        yield Aim(
                            direction=direction,
                            interface=_interface(endpoint),
                            version=version,
                            protocol=protocol,
                            icmp_types=() if icmp is None else (icmp.type,),
                            icmp_codes=() if icmp is None or icmp.code is None else (icmp.code,),
                            sources=_common(policy, rule.source, version),
                            destinations=_common(policy, rule.destination, version),
                            sports=rule.source.ports or rule.source.not_ports,
                            dports=rule.destination.ports or rule.destination.not_ports,
                        )


def _common(policy: model.HostPolicy, side: model.Side, version: int) -> tuple[str, ...]:
    """What all sets of a side have in common; if that is nothing, all that any of them has."""
    listed = [policy.sets[name].family(version) for name in side.sets or side.not_sets]
    if len(listed) != 2:
        return tuple(member for members in listed for member in members)
    common = tuple(
        str(ip_network(one if ip_network(one).prefixlen >= ip_network(other).prefixlen else other))
        for one in listed[0]
        for other in listed[1]
        if ip_network(one).overlaps(ip_network(other))
    )
    return common or listed[0] + listed[1]


def _at_failsafes(policy: model.HostPolicy) -> Iterator[Aim]:
    interfaces = [_interface(endpoint) for endpoint in policy.endpoints]
    for inbound, entries in ((True, policy.failsafes.inbound), (False, policy.failsafes.outbound)):
        for entry in entries:
            for reply in (False, True):
                ingress = inbound is not reply
                ports = ((entry.port, entry.port),)
                nets = () if entry.net is None else (entry.net,)
                for version in (4, 6) if entry.net is None else (ip_network(entry.net).version,):
                    for interface in interfaces:
                        yield Aim(
                            direction=model.INGRESS if ingress else model.EGRESS,
                            interface=interface,
                            version=version,
                            protocol=entry.protocol,
                            sources=nets if ingress else (),
                            destinations=() if ingress else nets,
                            sports=ports if reply else (),
                            dports=() if reply else ports,
                        )


def _at_discovery(policy: model.HostPolicy) -> Iterator[Aim]:
    for direction in _DIRECTIONS:
        for interface in map(_interface, policy.endpoints):
            for types, hops in (
                (tuple(verdict.NEIGHBOUR_DISCOVERY_TYPES), 255),
                (tuple(verdict.NEIGHBOUR_DISCOVERY_TYPES), 254),
                (verdict.LISTENER_DISCOVERY_TYPES, 1),
            ):
                yield Aim(direction, interface, 6, protocol=model.ICMPV6, icmp_types=types, hop_limit=hops)


# -- values near an aim --------------------------------------------------------------------------------


def _address(
    policy: model.HostPolicy, version: int, networks: Sequence[str], chance: Random, *, beside: bool
) -> Address:
    """An address in one of the networks, or just beside one."""
    near = [network for network in networks if ip_network(network).version == version]
    if not near:
        near = [member for each in policy.sets.values() for member in each.family(version)]
        near += BASES[version]
    network = ip_network(chance.choice(near))
    first, last = int(network[0]), int(network[-1])
    if beside:
        value = chance.choice((first - 1, last + 1))
    else:
        value = chance.choice((first, last, chance.randint(first, last)))
    kind = IPv4Address if version == 4 else IPv6Address
    return kind(value % 2**network.max_prefixlen)


def _port(ranges: Sequence[model.PortRange], chance: Random, *, beside: bool) -> int:
    """A port in one of the ranges, or just beside one."""
    if not ranges:
        return chance.choice(PORTS)
    first, last = chance.choice(ranges)
    if beside:
        return chance.choice((first - 1, last + 1)) % 65536
    return chance.choice((first, last, chance.randint(first, last)))


def _sendable(address: Address, direction: str, side: str) -> Address:
    """The address, or another where Linux drops such a packet before the hooks or sends it by lo."""
    if _never_comes(address, side) or (direction == model.EGRESS and address.is_unspecified):
        return _INSTEAD[address.version]
    return address


def _never_comes(address: Address, side: str) -> bool:
    if isinstance(address, IPv4Address):
        return False
    if address.is_multicast:
        # Nothing is sent by a group; scopes 0 and 1 do not leave a host (RFC 4291 section 2.7).
        return side == "source" or (address.packed[1] & 0xF) <= 1
    return address.is_loopback or address.ipv4_mapped is not None


def _other(pair: tuple[str, str], one: str) -> str:
    return pair[1] if one == pair[0] else pair[0]
