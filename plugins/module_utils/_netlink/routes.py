# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Which way the kernel would send a packet, and which addresses are the host's own.

Names and numbers are those of linux/rtnetlink.h and linux/if_addr.h; numbers in these messages have the
host's byte order, addresses that of the network.
"""

from __future__ import annotations

import socket
import struct
import typing as t

from .messages import Message, NetlinkError, attribute, parse

if t.TYPE_CHECKING:
    from .connection import Netlink

_RTM_GETADDR, _RTM_GETROUTE = 22, 26
_RTMSG = struct.Struct("=8BI")  # struct rtmsg: family, bits of both addresses, …, type; flags
_TYPE_AT = 7
_RTA_DST, _RTA_SRC, _RTA_OIF = 1, 2, 4
_RTN_UNICAST, _RTN_LOCAL = 1, 2
# The route as it is written, not the path that was chosen: of several paths none is "the" interface then.
_RTM_F_FIB_MATCH = 0x2000
_IFADDRMSG = struct.Struct("=4BI")  # struct ifaddrmsg: family, …, index of the interface
_IFA_ADDRESS, _IFA_LOCAL = 1, 2

_FAMILIES = {4: (socket.AF_INET, 32), 6: (socket.AF_INET6, 128)}
_VERSIONS: t.Mapping[int, int] = {family: version for version, (family, _bits) in _FAMILIES.items()}


class Route(t.NamedTuple):
    """Where packets to an address go: to the host itself, or out of an interface."""

    is_local: bool
    link: int | None
    """Index of the interface; None where they may go by several."""


class Address(t.NamedTuple):
    """An address of the host, as a number, and the index of its interface."""

    version: int
    number: int
    link: int


def route(kernel: Netlink, version: int, destination: int, source: int | None = None) -> Route | None:
    """The route to an address, from one of the host's own or (None) any; `kernel` speaks NETLINK_ROUTE.

    None where there is none, or it leads to no single host.
    """
    family, bits = _FAMILIES[version]
    asked = attribute(_RTA_DST, destination.to_bytes(bits // 8, "big"))
    if source is not None:
        asked += attribute(_RTA_SRC, source.to_bytes(bits // 8, "big"))
    source_bits = 0 if source is None else bits
    header = _RTMSG.pack(family, bits, source_bits, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
    try:
        body = kernel.ask(Message(_RTM_GETROUTE, header + asked), "look up a route")
    except NetlinkError:
        return None
    if body[_TYPE_AT] not in (_RTN_UNICAST, _RTN_LOCAL):
        return None
    link = parse(body[_RTMSG.size :]).get(_RTA_OIF)
    return Route(body[_TYPE_AT] == _RTN_LOCAL, None if link is None else struct.unpack("=I", link)[0])


def addresses(kernel: Netlink) -> t.Iterator[Address]:
    """The host's addresses. Raises NetlinkError."""
    what = "list the addresses of this host"
    for body in kernel.dump(Message(_RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0)), what):
        version = _VERSIONS.get(body[0])
        if version is None:
            continue
        found = parse(body[_IFADDRMSG.size :])
        # At a point-to-point interface the other one is the peer's.
        address = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
        yield Address(version, int.from_bytes(address, "big"), _IFADDRMSG.unpack_from(body)[4])
