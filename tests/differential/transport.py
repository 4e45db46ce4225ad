# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows the IP header of a sample: segments, datagrams and messages, sound or with a flaw."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.checksums import crc32c, internet_checksum
from tests.differential.pools import AH

if TYPE_CHECKING:
    from tests.differential.packets import Sample

SOUND: Final = "sound"
WRONG_CHECKSUM: Final = "wrong checksum"
# What is written over a header, and at which byte, by flaw and protocol. None of it hides the ports.
_FLAWS: Final[dict[str, dict[int, tuple[int, bytes]]]] = {
    SOUND: {},
    "length of 0": {
        model.TCP: (12, b"\x00"),
        model.UDP: (4, b"\x00\x00"),
        model.UDPLITE: (4, b"\x00\x01"),
        model.SCTP: (14, b"\x00\x00"),
    },
    "length beyond the end": {
        model.TCP: (12, b"\xf0"),
        model.UDP: (4, b"\xff\xff"),
        model.UDPLITE: (4, b"\xff\xff"),
        model.SCTP: (14, b"\xff\xff"),
    },
    WRONG_CHECKSUM: {
        model.TCP: (16, b"\xab\xcd"),
        model.UDP: (6, b"\xab\xcd"),
        model.UDPLITE: (6, b"\xab\xcd"),
        model.SCTP: (8, b"\xab\xcd\xef\x01"),
        model.ICMP: (2, b"\xab\xcd"),
        model.ICMPV6: (2, b"\xab\xcd"),
    },
}
FLAWS: Final = tuple(flaw for flaw in _FLAWS if flaw != SOUND)


def upper_layer(sample: Sample) -> bytes:
    """All bytes of the sample that come after its IP header and extension headers."""
    whole = _sound(sample)
    if sample.protocol in _FLAWS[sample.flaw]:
        at, wrong = _FLAWS[sample.flaw][sample.protocol]
        whole = whole[:at] + wrong + whole[at + len(wrong) :]
    return whole if sample.shown is None else whole[: sample.shown]


def _sound(sample: Sample) -> bytes:
    payload = bytes(sample.payload)
    if sample.protocol == AH and sample.version == 6:
        # What follows the authentication header has ports, but nobody may look at them.
        follower = _with_checksum(sample, model.TCP, _tcp(sample) + payload, 16)
        return struct.pack("!BBHIIIII", model.TCP, 4, 0, 1, 1, 0, 0, 0) + follower
    if sample.protocol == model.TCP:
        return _with_checksum(sample, model.TCP, _tcp(sample) + payload, 16)
    if sample.protocol in (model.UDP, model.UDPLITE):
        length = 8 + len(payload)
        segment = struct.pack("!HHHH", sample.sport, sample.dport, length, 0) + payload
        return _with_checksum(sample, sample.protocol, segment, 6)
    if sample.protocol == model.SCTP:
        return _sctp(sample)
    if sample.protocol == model.ICMPV6:
        # Twenty bytes suffice for a neighbour solicitation's target.
        message = struct.pack("!BBHI", sample.icmp_type, sample.icmp_code, 0, 0) + bytes(16) + payload
        return _with_checksum(sample, model.ICMPV6, message, 2)
    if sample.protocol == model.ICMP:
        message = struct.pack("!BBHHH", sample.icmp_type, sample.icmp_code, 0, 1, 1) + payload
        return message[:2] + struct.pack("!H", internet_checksum(message)) + message[4:]
    return struct.pack("!HHHH", sample.sport, sample.dport, 0, 0) + payload


def _tcp(sample: Sample) -> bytes:
    return struct.pack("!HHIIBBHHH", sample.sport, sample.dport, 1, 1, 0x50, sample.tcp_flags, 65535, 0, 0)


def _sctp(sample: Sample) -> bytes:
    """An INIT chunk, and a DATA chunk for a payload."""
    chunks = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)
    if sample.payload:
        padded = -(-sample.payload // 4) * 4
        chunks += struct.pack("!BBHIHHI", 0, 3, 16 + sample.payload, 1, 1, 1, 0) + bytes(padded)
    head = struct.pack("!HHI", sample.sport, sample.dport, 0)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunks)) + chunks


def _with_checksum(sample: Sample, protocol: int, segment: bytes, at: int) -> bytes:
    """The segment with the checksum over itself and the pseudo header written at offset `at`."""
    pseudo = sample.src.packed + sample.dst.packed + struct.pack("!II", len(segment), protocol)
    # A sum of zero means "no checksum" to UDP, and says the same as all ones to everybody else.
    value = internet_checksum(pseudo + segment) or 0xFFFF
    return segment[:at] + struct.pack("!H", value) + segment[at + 2 :]
