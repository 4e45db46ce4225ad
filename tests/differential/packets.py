# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets to send: what the reference is told about one, and its bytes on the wire.

A packet may be sent whole, in fragments, or as one fragment alone. Where connections are tracked, the kernel
puts fragments together before raw sees them; there they are sent all, and are one packet. Where it does not,
raw sees each as it is; there one of them is sent.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import Address, Packet, packet
from tests.differential.checksums import internet_checksum
from tests.differential.transport import SOUND, upper_layer

if TYPE_CHECKING:
    from collections.abc import Sequence

HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
# Numbers that are not an upper layer's in IPv6.
EXTENSION_HEADERS: Final = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION)

PLAIN: Final = "none"
_IPV4_OPTIONS: Final = {
    PLAIN: b"",
    "no-operation": bytes([1, 1, 1, 0]),
    "router-alert": bytes([148, 4, 0, 0]),
    "record-route": bytes([7, 39, 4, *bytes(36), 0]),  # as long as an IPv4 header can be
    "loose-source-route": bytes([131, 7, 4, 192, 0, 2, 9, 0]),
    "nonsense": bytes([0x7E, 0xFF, 0xFF, 0xFF]),
}
# A fragment header in a packet that is sent whole is an atomic fragment (RFC 6946).
_IPV6_CHAINS: Final[dict[str, tuple[int, ...]]] = {
    PLAIN: (),
    "hop-by-hop": (HOP_BY_HOP,),
    "destination": (DESTINATION,),
    "routing": (ROUTING,),
    "all": (HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION),
    "twice": (DESTINATION, DESTINATION),
    "misplaced hop-by-hop": (DESTINATION, HOP_BY_HOP),
    "atomic": (FRAGMENT,),
    "routing, atomic": (ROUTING, FRAGMENT),
    "atomic, destination": (FRAGMENT, DESTINATION),
    "all, atomic": (HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, DESTINATION),
}
EXTENSIONS: Final = {4: tuple(_IPV4_OPTIONS), 6: tuple(_IPV6_CHAINS)}
# Of IPv6: without fragment header; and those where a later fragment begins with its upper layer.
UNFRAGMENTED: Final = tuple(name for name, chain in _IPV6_CHAINS.items() if FRAGMENT not in chain)
SHOWN_IN_FRAGMENTS: Final = tuple(
    name for name, chain in _IPV6_CHAINS.items() if FRAGMENT not in chain or chain[-1] == FRAGMENT
)


@dataclass(frozen=True)
class Sample:
    """A packet to send.

    Ports are also given where the protocol has none: they are then written where ports would stand, which no
    rule may take for ports. Of what follows the IP headers only so many bytes are there as are `shown`; None
    for all. `cuts` are where it is cut into fragments, in units of 8 bytes, and `piece` is the one of them
    that is sent alone. `aimed_at` is whatever the packet was made to meet, or to miss.
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
    flaw: str = SOUND
    shown: int | None = None
    cuts: tuple[int, ...] = ()
    piece: int | None = None
    aimed_at: model.Origin | model.Failsafe | None = field(default=None, compare=False)

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.src.version

    @property
    def fragment(self) -> str:
        """What the reference calls it: none, first or later."""
        if self.piece is None:
            return "none"
        return "later" if self.piece else "first"

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
            "fragment": self.fragment,
        }
        if self.protocol in model.ICMP_PROTOCOLS:
            fields |= {"icmp_type": self.icmp_type, "icmp_code": self.icmp_code}
        described = packet({**fields, "hop_limit": self.hop_limit})
        if self.shown is None:
            return described
        # Nobody asks the reference about half a header; but it judges what is there, and that has to hold.
        if self.shown < 1:
            described = replace(described, icmp_type=None, icmp_code=None)
        if self.shown < 2:
            described = replace(described, sport=None)
        if self.shown < 4:
            described = replace(described, dport=None, pre_nat_dport=None)
        return described


def ip_packets(sample: Sample, key: int) -> list[bytes]:
    """What is sent, each from its IP header on, with `key` where the observer reads it: 16 bits.

    IPv4 carries it as identification, IPv6 in the lower bits of the flow label.
    """
    pieces = _ipv4_pieces(sample, key) if sample.version == 4 else _ipv6_pieces(sample, key)
    return pieces if sample.piece is None else [pieces[sample.piece]]


def ip_packet(sample: Sample, key: int) -> bytes:
    """The one packet that is sent of a sample without cuts."""
    (data,) = ip_packets(sample, key)
    return data


def judged_size(sample: Sample, *, reassembled: bool) -> int:
    """Bytes of the one packet that raw sees. `reassembled`: the kernel puts fragments together before."""
    if not reassembled:
        return len(ip_packets(sample, 0)[0])
    whole = ip_packets(replace(sample, cuts=(), piece=None), 0)[0]
    # With the fragments the header goes that makes them fragments, also that of an atomic one.
    gone = 8 if sample.version == 6 and FRAGMENT in _IPV6_CHAINS[sample.extension] else 0
    return len(whole) - gone


def _slices(sample: Sample, data: bytes) -> list[tuple[int, bytes]]:
    """The data cut, each piece with its offset."""
    if not sample.cuts:
        return [(0, data)]
    ends = [0, *(8 * cut for cut in sample.cuts), len(data)]
    assert ends == sorted(set(ends)), f"too short to be cut: {sample}"
    return [(start, data[start:end]) for start, end in itertools.pairwise(ends)]


def _ipv4_pieces(sample: Sample, key: int) -> list[bytes]:
    upper = upper_layer(sample)
    if not sample.cuts:
        return [_ipv4(sample, key, 0, upper)]
    return [
        _ipv4(sample, key, start // 8 | (0x2000 if start + len(data) < len(upper) else 0), data)
        for start, data in _slices(sample, upper)
    ]


def _ipv4(sample: Sample, key: int, fragment: int, data: bytes) -> bytes:
    options = _IPV4_OPTIONS[sample.extension]
    words = 5 + len(options) // 4
    total = words * 4 + len(data)

    def head(checksum: int) -> bytes:
        fixed = (0x40 | words, 0, total, key, fragment, sample.hop_limit, sample.protocol, checksum)
        return struct.pack("!BBHHHBBH", *fixed) + sample.src.packed + sample.dst.packed + options

    return head(internet_checksum(head(0))) + data


def _ipv6_pieces(sample: Sample, key: int) -> list[bytes]:
    chain = _IPV6_CHAINS[sample.extension]
    if sample.cuts and FRAGMENT not in chain:
        chain = (*chain, FRAGMENT)
    if FRAGMENT not in chain:
        return [_ipv6(sample, key, _headers(chain, sample.protocol) + upper_layer(sample), chain)]
    at = chain.index(FRAGMENT)
    before, after = chain[:at], chain[at + 1 :]
    data = _headers(after, sample.protocol) + upper_layer(sample)
    following = (*after, sample.protocol)[0]
    pieces = []
    for start, part in _slices(sample, data):
        more = start + len(part) < len(data)
        header = struct.pack("!BBHI", following, 0, start | more, key)
        pieces.append(_ipv6(sample, key, _headers(before, FRAGMENT) + header + part, chain))
    return pieces


def _ipv6(sample: Sample, key: int, rest: bytes, chain: Sequence[int]) -> bytes:
    first = (*chain, sample.protocol)[0]
    head = struct.pack("!IHBB", 0x60000000 | key, len(rest), first, sample.hop_limit)
    return head + sample.src.packed + sample.dst.packed + rest


def _headers(chain: Sequence[int], following: int) -> bytes:
    """Extension headers, of which the last says what follows. Fragment headers come from elsewhere."""
    headers = b""
    for number, next_header in itertools.pairwise((*chain, following)):
        # Options: one PadN that fills the eight bytes. Routing: type 4, no segment left.
        body = bytes([0, 4, 0, 0, 0, 0, 0]) if number == ROUTING else bytes([0, 1, 4, 0, 0, 0, 0])
        headers += bytes([next_header]) + body
    return headers
