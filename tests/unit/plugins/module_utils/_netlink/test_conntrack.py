# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of connection tracking as bytes; the kernel itself is asked in tests/integration."""

from __future__ import annotations

import errno
import ipaddress
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._netlink import conntrack
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.conntrack import Entry, Tuple
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.messages import (
    Message,
    NetlinkError,
    attribute,
    nested,
    nfnetlink_header,
)

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What Linux 6.18 lists (little-endian) of entries made by conntrack -I.
ESTABLISHED = bytes.fromhex(
    "020000003400018014000180080001000a000009080002000a0000011c0002800500010006000000060002009c4000000600030"
    "02bcb00003400028014000180080001000a000001080002000a0000091c0002800500010006000000060002002bcb0000060003"
    "009c400000080003000000000e080008000000000008000c00f299739508000b0000000001080007000006977f300004802c000"
    "180050001000300000005000200000000000500030000000000060004000a000000060005000a0000001c001880080001000000"
    "000008000200000000000800030000000000"
)
PING6 = bytes.fromhex(
    "0a000000540001802c00018014000300fd00000000000000000000000000000914000400fd0000000000000000000000000000012"
    "4000280050001003a00000006000700004e000005000800800000000500090000000000540002802c00018014000300fd00000000"
    "000000000000000000000114000400fd00000000000000000000000000000924000280050001003a00000006000700004e0000050"
    "008008100000005000900000000000800030000000008080008000000000008000c00646a809708000b0000000001080007000000"
    "001d1c001880080001000000000008000200000000000800030000000000"
)
ORIGINAL_ZONE = bytes.fromhex(
    "020000003c00018014000180080001000a000009080002000a0000011c0002800500010006000000060002009c430000060003000"
    "050000006000300000700003400028014000180080001000a000001080002000a0000091c00028005000100060000000600020000"
    "500000060003009c4300000800030000000008080008000000000008000c005d8a2e4708000b0000000001080007000000001d300"
    "004802c000180050001000300000005000200000000000500030000000000060004000a000000060005000a0000001c0018800800"
    "01000000000008000200000000000800030000000000"
)


def number(address: str) -> int:
    return int(ipaddress.ip_address(address))


def test_an_entry_is_read_as_the_kernel_writes_it():
    assert conntrack.entry(ESTABLISHED) == Entry(
        original=Tuple(4, 6, number("10.0.0.9"), number("10.0.0.1"), 40000, 11211),
        reply=Tuple(4, 6, number("10.0.0.1"), number("10.0.0.9"), 11211, 40000),
        status=0x0E,
        zone=0,
        key=ESTABLISHED[4:56] + bytes.fromhex("08000c00f2997395"),
    )


def test_icmp_has_types_and_no_ports():
    found = conntrack.entry(PING6)
    assert found.original == Tuple(6, 58, number("fd00::9"), number("fd00::1"), icmp_type=128, icmp_code=0)
    assert found.reply == Tuple(6, 58, number("fd00::1"), number("fd00::9"), icmp_type=129, icmp_code=0)


def test_a_zone_of_one_direction_is_a_zone():
    assert conntrack.entry(ORIGINAL_ZONE).zone == 7


def written(way: Tuple) -> bytes:
    """A tuple as the kernel writes it."""
    size = 4 if way.version == 4 else 16
    sides = (
        ((1, way.source), (2, way.destination))
        if way.version == 4
        else ((3, way.source), (4, way.destination))
    )
    values = [(1, way.protocol, 1), (2, way.sport, 2), (3, way.dport, 2)]
    first = 5 if way.protocol == 1 else 8
    values += [(first, way.icmp_type, 1), (first + 1, way.icmp_code, 1)]
    return nested(1, *(attribute(kind, value.to_bytes(size, "big")) for kind, value in sides)) + nested(
        2,
        *(
            attribute(kind, value.to_bytes(length, "big"))
            for kind, value, length in values
            if value is not None
        ),
    )


@st.composite
def tuples(draw: st.DrawFn, version: int) -> Tuple:
    addresses = st.integers(0, 2 ** (32 if version == 4 else 128) - 1)
    protocol = draw(st.sampled_from((1, 6, 17, 33, 47, 58, 132)))
    is_icmp = protocol in (1, 58)
    ports = st.integers(0, 65535) if protocol not in (1, 33, 58) else st.none()
    types = st.integers(0, 255) if is_icmp else st.none()
    return Tuple(
        version,
        protocol,
        draw(addresses),
        draw(addresses),
        draw(ports),
        draw(ports),
        draw(types),
        draw(types),
    )


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, Entry]:
    """A message and the entry in it, with attributes in any order among others."""
    version = draw(st.sampled_from((4, 6)))
    ways = draw(tuples(version)), draw(tuples(version))
    original, zone, identity = (
        nested(1, written(ways[0])),
        attribute(18, draw(st.binary(min_size=2, max_size=2))) if draw(st.booleans()) else b"",
        attribute(12, draw(st.binary(min_size=4, max_size=4))),
    )
    status = draw(st.integers(0, 2**32 - 1))
    others = [
        zone,
        identity,
        nested(2, written(ways[1])),
        attribute(3, status.to_bytes(4, "big")),
        attribute(7, b"1234"),
    ]
    body = nfnetlink_header(2 if version == 4 else 10) + b"".join([original, *draw(st.permutations(others))])
    order = sorted((zone, identity), key=body.index)
    return body, Entry(*ways, status, int.from_bytes(zone[4:6], "big"), b"".join([original, *order]))


@given(bodies())
def test_whatever_is_written_is_read(case):
    body, expected = case
    assert conntrack.original(body) == expected.original
    assert conntrack.entry(body) == expected


@given(st.binary(min_size=5))
def test_any_bytes_are_an_entry_or_refused(data):
    for read in (conntrack.original, conntrack.entry):
        try:
            read(data)
        except (LookupError, ValueError):
            continue


# -- conversations -----------------------------------------------------------------------------------


class Kernel:
    """See connection.Netlink."""

    def __init__(self, bodies: list[bytes], refusal: int = 0) -> None:
        self._bodies = bodies
        self._refusal = refusal
        self.requests: list[Message] = []

    def dump(self, message: Message, what: str) -> Iterator[bytes]:
        del what
        assert message == Message(0x101, bytes(4))
        yield from self._bodies

    def request(self, message: Message, what: str) -> None:
        self.requests.append(message)
        if self._refusal:
            raise NetlinkError(what, self._refusal)


def listed(kernel: Kernel, wanted: Callable[[Tuple], bool] = lambda _way: True) -> list[Entry]:
    return list(conntrack.entries(kernel, wanted))  # type: ignore[arg-type]  # what it uses of one


def test_only_wanted_entries_of_ip_are_listed():
    other_family = b"\x07" + ESTABLISHED[1:]
    kernel = Kernel([ESTABLISHED, other_family, PING6])
    assert listed(kernel) == [conntrack.entry(ESTABLISHED), conntrack.entry(PING6)]
    assert listed(kernel, lambda way: way.protocol == 6) == [conntrack.entry(ESTABLISHED)]


@pytest.mark.parametrize("body", [ESTABLISHED[:4], ESTABLISHED[:30], ESTABLISHED[:60]])
def test_a_message_that_is_cut_off_is_an_error(body):
    with pytest.raises(NetlinkError, match="list the tracked connections"):
        listed(Kernel([body]))


def test_an_entry_is_deleted_by_tuple_zone_and_identity():
    kernel = Kernel([])
    assert conntrack.delete(kernel, conntrack.entry(ESTABLISHED))  # type: ignore[arg-type]
    (message,) = kernel.requests
    assert message == Message(0x102, bytes([2, 0, 0, 0]) + conntrack.entry(ESTABLISHED).key)


@pytest.mark.parametrize("refusal", [errno.ENOENT, errno.EBUSY])
def test_what_is_gone_or_in_use_is_not_counted(refusal):
    assert not conntrack.delete(Kernel([], refusal), conntrack.entry(ESTABLISHED))  # type: ignore[arg-type]


def test_any_other_refusal_is_an_error():
    with pytest.raises(NetlinkError, match="delete a tracked connection: Operation not permitted"):
        conntrack.delete(Kernel([], errno.EPERM), conntrack.entry(ESTABLISHED))  # type: ignore[arg-type]
