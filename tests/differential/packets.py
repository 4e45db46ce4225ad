# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets to send: what the reference is told about one, and its bytes on the wire."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import Address, Packet, packet

AH = 51
# Numbers that are not an upper layer's in IPv6: hop-by-hop options, routing, fragment, destination options.
EXTENSION_HEADERS = (0, 43, 44, 60)

PLAIN = "none"
EXTENSIONS = {
    4: (PLAIN, "no-operation", "router-alert"),
    6: (PLAIN, "hop-by-hop", "destination", "routing", "all"),
}
_IPV4_OPTIONS = {PLAIN: b"", "no-operation": bytes([1, 1, 1, 0]), "router-alert": bytes([148, 4, 0, 0])}
_IPV6_CHAINS = {
    PLAIN: (),
    "hop-by-hop": (0,),
    "destination": (60,),
    "routing": (43,),
    "all": (0, 60, 43, 60),
}


@dataclass(frozen=True)
class Sample:
    """A packet to send.

    Ports are also given where the protocol has none: they are then written where ports would stand, which no
    rule may take for ports.
    """

    direction: str
    interface: str
    protocol: int
    src: Address
    dst: Address
    sport: int
    dport: int
    icmp_type: int = 8
    icmp_code: int = 0
    hop_limit: int = 64
    tcp_flags: int = 0x02
    extension: str = PLAIN
    payload: int = 0

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.src.version

    @property
    def described(self) -> Packet:
        """The packet as the reference takes it."""
        fields = {
            "direction": self.direction,
            "interface": self.interface,
            "protocol": self.protocol,
            "src": str(self.src),
            "dst": str(self.dst),
            "sport": self.sport,
            "dport": self.dport,
        }
        if self.protocol in model.ICMP_PROTOCOLS:
            fields |= {"icmp_type": self.icmp_type, "icmp_code": self.icmp_code}
        return packet({**fields, "hop_limit": self.hop_limit})


def ip_packet(sample: Sample, key: int) -> bytes:
    """The packet from its IP header on, with `key` where the observer reads it: 16 bits.

    IPv4 carries it as identification, IPv6 in the lower bits of the flow label.
    """
    upper = _upper_layer(sample)
    if sample.version == 4:
        return _ipv4(sample, key, upper)
    first, headers = _extension_headers(sample)
    head = struct.pack("!IHBB", 0x60000000 | key, len(headers) + len(upper), first, sample.hop_limit)
    return head + sample.src.packed + sample.dst.packed + headers + upper


def _ipv4(sample: Sample, key: int, upper: bytes) -> bytes:
    options = _IPV4_OPTIONS[sample.extension]
    words = 5 + len(options) // 4
    total = words * 4 + len(upper)

    def head(checksum: int) -> bytes:
        fixed = (0x40 | words, 0, total, key, 0, sample.hop_limit, sample.protocol, checksum)
        return struct.pack("!BBHHHBBH", *fixed) + sample.src.packed + sample.dst.packed + options

    return head(_checksum(head(0))) + upper


def _extension_headers(sample: Sample) -> tuple[int, bytes]:
    """The number of the first header after IPv6's own, and the extension headers."""
    chain = (*_IPV6_CHAINS[sample.extension], sample.protocol)
    headers = b""
    for number, following in itertools.pairwise(chain):
        # Options: one PadN that fills the eight bytes. Routing: type 4, no segment left.
        body = bytes([0, 4, 0, 0, 0, 0, 0]) if number == 43 else bytes([0, 1, 4, 0, 0, 0, 0])
        headers += bytes([following]) + body
    return chain[0], headers


def _upper_layer(sample: Sample) -> bytes:
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
        return message[:2] + struct.pack("!H", _checksum(message)) + message[4:]
    return struct.pack("!HHHH", sample.sport, sample.dport, 0, 0) + payload


def _tcp(sample: Sample) -> bytes:
    return struct.pack("!HHIIBBHHH", sample.sport, sample.dport, 1, 1, 0x50, sample.tcp_flags, 65535, 0, 0)


def _sctp(sample: Sample) -> bytes:
    """An INIT chunk."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)
    head = struct.pack("!HHI", sample.sport, sample.dport, 0)
    checksum = struct.pack("<I", _crc32c(head + bytes(4) + chunk))
    return head + checksum + chunk


def _with_checksum(sample: Sample, protocol: int, segment: bytes, at: int) -> bytes:
    """The segment with the checksum over itself and the pseudo header written at offset `at`."""
    pseudo = sample.src.packed + sample.dst.packed + struct.pack("!II", len(segment), protocol)
    # A sum of zero means "no checksum" to UDP, and says the same as all ones to everybody else.
    value = _checksum(pseudo + segment) or 0xFFFF
    return segment[:at] + struct.pack("!H", value) + segment[at + 2 :]


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A), bit by bit: packets here are short."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _unused in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
