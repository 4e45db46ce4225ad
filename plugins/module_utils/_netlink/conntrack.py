# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The entries of connection tracking: listed one by one, and deleted one by one.

Names and numbers are those of linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h; what the
kernel does with them is in net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import errno
import socket
import struct
import typing as t

from .messages import (
    NFNETLINK_HEADER_SIZE,
    NFNL_SUBSYS_CTNETLINK,
    Message,
    NetlinkError,
    attribute,
    attributes,
    nested,
    nfnetlink_header,
    nfnetlink_kind,
    parse,
)

if t.TYPE_CHECKING:
    from .connection import Netlink

COUNT_FILE = "/proc/sys/net/netfilter/nf_conntrack_count"

IPS_OFFLOAD = 1 << 14
IPS_HW_OFFLOAD = 1 << 15

_GET, _DELETE = (nfnetlink_kind(NFNL_SUBSYS_CTNETLINK, message) for message in (1, 2))  # IPCTNL_MSG_CT_…
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_STATUS, _CTA_ID, _CTA_ZONE = 1, 2, 3, 12, 18
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO, _CTA_TUPLE_ZONE = 1, 2, 3
_CTA_PROTO_NUM = 1
_ADDRESSES = {4: (1, 2), 6: (3, 4)}  # CTA_IP_V4_SRC, _DST; CTA_IP_V6_SRC, _DST
_PORTS = (2, 3)  # CTA_PROTO_SRC_PORT, _DST_PORT
_ICMP = {1: (5, 6), 58: (8, 9)}  # CTA_PROTO_ICMP_TYPE, _CODE; CTA_PROTO_ICMPV6_TYPE, _CODE

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_VERSIONS: t.Mapping[int, int] = {family: version for version, family in _FAMILIES.items()}


class Tuple(t.NamedTuple):
    """What the packets of one direction have alike, as they come in that direction: before any NAT of it.

    Addresses are numbers. Ports are None where the protocol has none that connection tracking knows; type and
    code, those of ICMP, with any other protocol.
    """

    version: int
    protocol: int
    source: int
    destination: int
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


class Entry(t.NamedTuple):
    """A tracked flow."""

    original: Tuple
    """Of the direction in which the first packet went."""
    reply: Tuple
    """Of the other direction, as whoever answers sends it: NAT has not been taken back yet."""
    status: int
    """Bits IPS_…"""
    zone: int
    """Not 0 where an address may belong to several hosts; of zones for each direction the first such."""
    key: bytes
    """What identifies it, as attributes: its original tuple, its zone, and the kernel's number for it, which
    a later entry shares only if it has the same tuple and the same place in memory (nf_ct_get_id)."""


def is_empty() -> bool:
    """Whether this network namespace tracks no flow. Answered without making the kernel load any module."""
    try:
        with open(COUNT_FILE, encoding="ascii") as file:
            return int(file.read()) == 0
    except FileNotFoundError:
        return True


def entries(kernel: Netlink, wanted: t.Callable[[Tuple], bool]) -> t.Iterator[Entry]:
    """The entries of both IP versions whose original tuple is wanted; `kernel` speaks NETLINK_NETFILTER.

    They are read as they are yielded: of a table of a million no more than a part is in memory. One that
    comes or goes meanwhile may be missing, and any if the table is resized. Raises NetlinkError.
    """
    what = "list the tracked connections"
    for body in kernel.dump(Message(_GET, nfnetlink_header(socket.AF_UNSPEC)), what):
        try:
            first = original(body)
            found = entry(body) if first is not None and wanted(first) else None
        except (LookupError, ValueError, struct.error) as error:
            raise NetlinkError(what, errno.EBADMSG, str(error)) from None
        if found is not None:
            yield found


def delete(kernel: Netlink, one: Entry) -> bool:
    """Delete an entry; False where it is gone already, or the kernel does not part with it.

    One that has come in its place stays, as far as the kernel's numbers tell: see Entry. Raises NetlinkError.
    """
    header = nfnetlink_header(_FAMILIES[one.original.version])
    try:
        kernel.request(Message(_DELETE, header + one.key), "delete a tracked connection")
    except NetlinkError as error:
        # EBUSY: a flow table has taken it over (ctnetlink_del_conntrack).
        if error.errno in (errno.ENOENT, errno.EBUSY):
            return False
        raise
    return True


# -- messages ----------------------------------------------------------------------------------------


def original(body: bytes) -> Tuple | None:
    """The original tuple of the entry that a message tells of; None where it is of another family than IP.

    Raises ValueError, LookupError or struct.error where the message makes no sense, as `entry` does.
    """
    version = _VERSIONS.get(body[0])
    if version is None:
        return None
    for kind, start, end in attributes(body, NFNETLINK_HEADER_SIZE):
        if kind == _CTA_TUPLE_ORIG:
            return _tuple(body[start:end], version)
    raise ValueError("an entry without its original tuple")


def entry(body: bytes) -> Entry:
    """The entry that a message tells of; it must be one of IP."""
    version = _VERSIONS[body[0]]
    values, key = {}, []
    for kind, start, end in attributes(body, NFNETLINK_HEADER_SIZE):
        if kind in _READ:
            values[kind] = body[start:end]
        if kind in _KEY:
            # In the kernel's own words: with its header, and padded as all attributes are.
            key.append(body[start - 4 : end] + bytes(-end % 4))
    ways = values[_CTA_TUPLE_ORIG], values[_CTA_TUPLE_REPLY]
    zones = values.get(_CTA_ZONE, b""), *(_own_zone(way, version) for way in ways)
    ours, theirs = (_tuple(way, version) for way in ways)
    return Entry(
        original=ours,
        reply=theirs,
        status=_number(values.get(_CTA_STATUS, b"")),
        zone=next((zone for zone in map(_number, zones) if zone), 0),
        key=b"".join(key),
    )


_KEY = (_CTA_TUPLE_ORIG, _CTA_ZONE, _CTA_ID)
_READ = frozenset((*_KEY, _CTA_TUPLE_REPLY, _CTA_STATUS))


def _own_zone(way: bytes, version: int) -> bytes:
    """The zone that a tuple has by itself: one with ports and nothing else has none."""
    return b"" if len(way) == _LAYOUTS[version].size else parse(way).get(_CTA_TUPLE_ZONE, b"")


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


class _Layout:
    """The one way in which the kernel writes a tuple with ports: read at once, not attribute by attribute."""

    def __init__(self, version: int, values: str) -> None:
        def written(fill: bytes) -> bytes:
            source, destination = (attribute(kind, fill * size) for kind in _ADDRESSES[version])
            sport, dport = (attribute(kind, fill * 2) for kind in _PORTS)
            number = attribute(_CTA_PROTO_NUM, fill)
            return nested(_CTA_TUPLE_IP, source, destination) + nested(_CTA_TUPLE_PROTO, number, sport, dport)

        size = 4 if version == 4 else 16
        empty, full = written(b"\0"), written(b"\xff")
        self.size = len(empty)
        self._frame = _number(empty)
        self._frame_bits = ~(_number(empty) ^ _number(full))
        self._values = struct.Struct(values)

    def read(self, data: bytes) -> tuple[t.Any, ...] | None:
        """Source, destination, protocol, and both ports; None where it is written in another way."""
        return self._values.unpack(data) if _number(data) & self._frame_bits == self._frame else None


# Headers of attributes and padding lie between the values.
_LAYOUTS = {4: _Layout(4, ">8xI4xI8xB7xH6xH2x"), 6: _Layout(6, ">8x16s4x16s8xB7xH6xH2x")}


def _tuple(data: bytes, version: int) -> Tuple:
    layout = _LAYOUTS[version]
    read = layout.read(data) if len(data) == layout.size else None
    if read is None:
        return _any_tuple(data, version)
    source, destination, protocol, sport, dport = read
    if version == 6:
        source, destination = _number(source), _number(destination)
    return Tuple(version, protocol, source, destination, sport, dport)


def _any_tuple(data: bytes, version: int) -> Tuple:
    parts = parse(data)
    addresses, layer4 = parse(parts[_CTA_TUPLE_IP]), parse(parts[_CTA_TUPLE_PROTO])
    protocol = layer4[_CTA_PROTO_NUM][0]
    numbers = {kind: _number(value) for kind, value in layer4.items()}
    source, destination = (_number(addresses[kind]) for kind in _ADDRESSES[version])
    sport, dport = (numbers.get(kind) for kind in _PORTS)
    icmp_type, icmp_code = (numbers.get(kind) for kind in _ICMP.get(protocol, (0, 0)))
    return Tuple(version, protocol, source, destination, sport, dport, icmp_type, icmp_code)
