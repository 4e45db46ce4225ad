# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets to try a given policy with: each is aimed at something, and may just miss it.

A sample takes the edges and the inside of what its aim allows; every other sample goes astray in one respect.
And some are odd: in fragments, cut short, with headers that few have seen.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.aims import DIRECTIONS, DISCOVERY, aims
from tests.differential.packets import (
    EXTENSION_HEADERS,
    EXTENSIONS,
    PLAIN,
    SHOWN_IN_FRAGMENTS,
    UNFRAGMENTED,
    Sample,
)
from tests.differential.pools import AH, BASES, INTERFACES, PORTS, PROTOCOLS, SERVERS
from tests.differential.transport import FLAWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import Address
    from tests.differential.aims import Aim

_OTHER_TYPES: Final = {4: (8, 0, 3, 11, 12, 133, 143), 6: (128, 129, 1, 2, 3, 132 + 7, 144, 8)}
# What IPv6 takes for no upper layer's protocol would need a body of its own shape.
_ANY_PROTOCOL: Final = {
    4: tuple(range(256)),
    6: tuple(number for number in range(256) if number not in EXTENSION_HEADERS),
}
# Sent instead of an address that Linux would not let come as far as the hooks.
_INSTEAD: Final = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:ffff::1")}
_TCP_FLAGS: Final = (0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x00, 0x29, 0xFF)
_PAYLOADS: Final = (0, 1, 5, 100, 1200)
# Cut after the first eight bytes, in the middle, or nearly at the end of the shortest datagram that is cut.
_CUTS: Final = ((1,), (2,), (13,), (2, 3), (3, 12))
# An IPv6 datagram whose first fragment does not hold all headers is not put together (RFC 8200 section 4.5):
# the kernel lets that fragment through as it is, and keeps the others until they are too old.
_LATE_CUTS: Final = ((7,), (13,), (7, 8), (8, 12))
_LONG: Final = 100
# Nothing, half a port, one port, one and a half, both ports, and one byte less than some whole headers.
_SHOWN: Final = (0, 1, 2, 3, 4, 5, 7, 8, 19)


def samples(policy: model.HostPolicy, chance: Random, *, reassembled: bool = True) -> Iterator[Sample]:
    """Packets without end; the same ones for the same chance.

    `reassembled`: for a kernel that puts fragments together, so that all of them are sent; else one.
    """
    aim = aims(policy)
    while True:
        yield _odd(_sample(policy, aim(chance), chance), chance, reassembled=reassembled)


def _sample(policy: model.HostPolicy, aim: Aim, chance: Random) -> Sample:
    astray = chance.choice(_ways(aim)) if chance.random() < 0.6 else None
    direction = _other(DIRECTIONS, aim.direction) if astray == "direction" else aim.direction
    version = 10 - aim.version if astray == "version" else aim.version
    protocol = aim.protocol
    if protocol is None or astray == "protocol" or (version == 6 and protocol in EXTENSION_HEADERS):
        protocol = chance.choice((chance.choice(PROTOCOLS), chance.choice(_ANY_PROTOCOL[version])))
        if aim.sports or aim.dports:
            protocol = chance.choice((protocol, *model.PORT_PROTOCOLS))
    src, dst = (
        _address(policy, version, nets, chance, beside=astray == side)
        for side, nets in (("source", aim.sources), ("destination", aim.destinations))
    )
    types = aim.icmp_types if aim.icmp_types and astray != "type" else (*_OTHER_TYPES[version], *DISCOVERY)
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
        extension=chance.choice((PLAIN, *EXTENSIONS[version])),
        payload=chance.choice(_PAYLOADS),
        aimed_at=aim.at,
    )


def _ways(aim: Aim) -> list[str]:
    """In which respects a packet may miss the aim: there is no missing what it does not ask for."""
    ways = ["direction", "interface", "version"]
    asked = {
        "version": aim.other_version_misses,
        "protocol": aim.protocol is not None,
        "source": aim.sources,
        "destination": aim.destinations,
        "sport": aim.sports,
        "dport": aim.dports,
        "type": aim.icmp_types,
        "code": aim.icmp_codes,
        "hops": aim.hop_limit != _USUAL_HOPS,
    }
    ways += 3 * [way for way, is_asked in asked.items() if is_asked]
    # Where it is asked for at all, many other things are, too.
    return [*ways, *3 * ["code"]] if aim.icmp_codes else ways


_USUAL_HOPS: Final = 64


# -- odd ones --------------------------------------------------------------------------------------------


def _odd(sample: Sample, chance: Random, *, reassembled: bool) -> Sample:
    """The packet as it is, or in fragments, or cut short, or with a flaw."""
    kind = chance.random()
    if kind < 0.1:
        return replace(sample, flaw=chance.choice(FLAWS))
    if kind < 0.2:
        return _cut_short(sample, chance)
    if kind < 0.35:
        return _in_fragments(sample, chance) if reassembled else _one_fragment(sample, chance)
    if kind < 0.6 and not reassembled:
        return _one_fragment(sample, chance)
    return sample


def _in_fragments(sample: Sample, chance: Random) -> Sample:
    cuts = chance.choice(_CUTS if sample.version == 4 else _LATE_CUTS)
    return replace(sample, payload=max(sample.payload, _LONG), cuts=cuts)


def _one_fragment(sample: Sample, chance: Random) -> Sample:
    # Behind the one extension header that may be part of what is cut, the first fragment shows ports.
    cuts = chance.choice(_CUTS if sample.version == 4 else _CUTS[1:])
    piece = chance.choice((0, 1, len(cuts)))
    if piece and sample.version == 6:
        # Else a later fragment does not say what protocol it is of; see test_unreadable.
        if sample.protocol in _WALKED:
            piece = 0
        else:
            sample = replace(sample, extension=chance.choice(SHOWN_IN_FRAGMENTS))
    return replace(sample, payload=max(sample.payload, _LONG), cuts=cuts, piece=piece)


def _cut_short(sample: Sample, chance: Random) -> Sample:
    shown = chance.choice(_SHOWN)
    if sample.version == 6:
        # An atomic fragment that does not hold all headers stays one.
        sample = replace(sample, extension=chance.choice(UNFRAGMENTED))
        if sample.protocol in _WALKED:
            shown = max(shown, 2)
    if sample.protocol in model.ICMP_PROTOCOLS and shown == 1:
        shown = 0  # a type without a code has no description
    return replace(sample, shown=shown)


# Netfilter walks IPv6's headers by their first two bytes, also of these that it then takes for upper layers.
_WALKED: Final = (AH, 59)


# -- values near an aim --------------------------------------------------------------------------------


def _address(
    policy: model.HostPolicy, version: int, networks: Sequence[str], chance: Random, *, beside: bool
) -> Address:
    """An address in one of the networks, or just beside one."""
    near = [network for network in networks if ip_network(network).version == version]
    if not near:
        near = [member for each in policy.sets.values() for member in each.family(version)]
        near += (*BASES[version], *SERVERS[version])
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
