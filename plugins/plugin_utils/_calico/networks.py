# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Networks by the million: read, made disjoint and written as plain numbers.

A network set may hold a deny list of a million entries. Objects of `ipaddress` or `netaddr` cost some ten
times as much for each as inet_pton and an integer do, which is the difference between seconds and a minute.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterable

_FAMILIES = {4: (socket.AF_INET, 32), 6: (socket.AF_INET6, 128)}
_LENGTH = re.compile(r"[0-9]{1,3}")
_MAPPED = 0xFFFF  # RFC 4291, 2.5.5.2: the upper 96 bits of an IPv4 address written as IPv6


class Network(t.NamedTuple):
    """A network: its IP version, its first address as a number, and the length of its prefix."""

    version: int
    first: int
    length: int

    def __str__(self) -> str:
        return _text(self.version, self.first, self.length)

    @property
    def is_mapped(self) -> bool:
        """Whether it is a part of IPv4 written as IPv6."""
        return self.version == 6 and self.length >= 96 and self.first >> 32 == _MAPPED


def parse(text: str) -> Network | None:
    """Read a CIDR, whose host bits do not count, or an address; None where the text is neither."""
    address, slash, written = text.partition("/")
    version = 6 if ":" in address else 4
    family, bits = _FAMILIES[version]
    try:
        number = int.from_bytes(socket.inet_pton(family, address), "big")
    except (OSError, ValueError):
        return None
    if not slash:
        return Network(version, number, bits)
    if not _LENGTH.fullmatch(written) or int(written) > bits:
        return None
    length = int(written)
    return Network(version, number >> (bits - length) << (bits - length), length)


def of(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Network:
    """The same network, as a network of this module."""
    return Network(network.version, int(network.network_address), network.prefixlen)


def collapsed(networks: Iterable[Network], version: int) -> tuple[str, ...]:
    """The networks of one IP version as the fewest disjoint CIDRs, sorted."""
    bits = _FAMILIES[version][1]
    # One number each, which sorts as the pair of the two does, and several times as fast.
    numbers = sorted({first << 8 | length for of_version, first, length in networks if of_version == version})
    kept: list[int] = []
    end = -1  # behind the last network that was kept
    for number in numbers:
        first, length = number >> 8, number & 0xFF
        if first < end:
            continue  # inside of the one before it
        end = first + (1 << (bits - length))
        # Two halves are one whole, and that may be the other half of a larger one.
        while kept and kept[-1] == (first ^ 1 << (bits - length)) << 8 | length:
            first, length = kept.pop() >> 8, length - 1
        kept.append(first << 8 | length)
    return tuple(_text(version, number >> 8, number & 0xFF) for number in kept)


def _text(version: int, first: int, length: int) -> str:
    family, bits = _FAMILIES[version]
    if version == 6 and first >> 32 in (0, _MAPPED):
        # The C library writes a part of these as IPv4.
        return f"{ipaddress.IPv6Address(first)}/{length}"
    return f"{socket.inet_ntop(family, first.to_bytes(bits // 8, 'big'))}/{length}"
