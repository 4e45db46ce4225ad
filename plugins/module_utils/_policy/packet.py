# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The packet that a verdict is asked for: read from a plain dict, checked, as one value."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

from . import model
from .shown import name, shown

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

DIRECTIONS = ("ingress", "egress", "forward")
FRAGMENTS = ("none", "first", "later")
CT_STATES = ("new", "established", "related", "invalid", "untracked")
PROTOCOL_NUMBERS = {name.lower(): number for number, name in model.PROTOCOL_NAMES.items()}


class PacketError(ValueError):
    """The packet cannot be judged as given; the message says which field, what was found, what is allowed."""


@dataclass(frozen=True)
class Packet:
    """A packet as a host sees it.

    Ports are None where the packet shows none: another protocol, or a later fragment. So are type and code of
    ICMP in a later fragment. `pre_nat_dst` and
    `pre_nat_dport` are the destination before the host's own DNAT; without NAT they equal `dst`, `dport`.
    `quoted` is the packet that an ICMP error is about, as the error quotes it.
    """

    direction: str
    interface: str
    protocol: int
    src: Address
    dst: Address
    pre_nat_dst: Address
    sport: int | None = None
    dport: int | None = None
    pre_nat_dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    hop_limit: int | None = None
    out_interface: str | None = None
    fragment: str = "none"
    ct_state: str = "new"
    quoted: Packet | None = None

    @property
    def ip_version(self) -> int:
        """4 or 6."""
        return self.src.version


FIELDS = (
    "direction",
    "interface",
    "out_interface",
    "protocol",
    "src",
    "dst",
    "sport",
    "dport",
    "icmp_type",
    "icmp_code",
    "hop_limit",
    "fragment",
    "pre_nat_dst",
    "pre_nat_dport",
    "ct_state",
    "quoted",
)
QUOTED_FIELDS = ("protocol", "src", "dst", "sport", "dport")


def packet(fields: t.Any) -> Packet:
    """Read a packet from a dict with the keys of FIELDS. Raises PacketError.

    `direction`, `interface`, `protocol`, `src` and `dst` are required. A missing port of a protocol that
    has ports is 0.
    """
    _check_fields("packet", fields, FIELDS, required=("direction", "interface", "protocol", "src", "dst"))
    protocol = _protocol(fields["protocol"])
    fragment = _choice(fields, "fragment", FRAGMENTS, "none")
    src, dst = _address(fields, "src"), _address(fields, "dst")
    pre_nat_dst = dst if fields.get("pre_nat_dst") is None else _address(fields, "pre_nat_dst")
    if not src.version == dst.version == pre_nat_dst.version:
        raise PacketError("packet: src, dst and pre_nat_dst are of different IP versions")
    ports = {key: _number(fields, key, 65535) for key in ("sport", "dport", "pre_nat_dport")}
    if protocol not in model.PORT_PROTOCOLS or fragment == "later":
        ports = dict.fromkeys(ports)
    else:
        ports = {
            "sport": ports["sport"] or 0,
            "dport": ports["dport"] or 0,
            "pre_nat_dport": (ports["dport"] or 0)
            if ports["pre_nat_dport"] is None
            else ports["pre_nat_dport"],
        }
    icmp = {key: _number(fields, key, 255) for key in ("icmp_type", "icmp_code")}
    if fragment == "later":
        icmp = dict.fromkeys(icmp)
    return Packet(
        direction=_choice(fields, "direction", DIRECTIONS),
        interface=_text(fields, "interface"),
        out_interface=None if fields.get("out_interface") is None else _text(fields, "out_interface"),
        protocol=protocol,
        src=src,
        dst=dst,
        pre_nat_dst=pre_nat_dst,
        hop_limit=_number(fields, "hop_limit", 255),
        fragment=fragment,
        ct_state=_choice(fields, "ct_state", CT_STATES, "new"),
        quoted=None if fields.get("quoted") is None else _quoted(fields, src.version),
        **ports,
        **icmp,
    )


def _check_fields(path: str, fields: t.Any, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> None:
    if not isinstance(fields, t.Mapping):
        raise PacketError(f"{path}: found {shown(fields)}, expected a mapping")
    for key in fields:
        if key not in allowed:
            text = name(key) if isinstance(key, str) else shown(key)
            raise PacketError(f"{path}.{text}: unknown field, allowed: {', '.join(allowed)}")
    for key in required:
        if fields.get(key) is None:
            raise PacketError(f"{path}.{key}: missing")


def _quoted(fields: t.Mapping[str, t.Any], version: int) -> Packet:
    """The packet that an error quotes: it went the other way, through the same interfaces."""
    _check_fields("packet.quoted", fields["quoted"], QUOTED_FIELDS)
    other_way = {"ingress": "egress", "egress": "ingress", "forward": "forward"}
    direction = other_way.get(str(fields["direction"]), "")
    interface = fields["interface"]
    if direction == "forward":
        interface = fields.get("out_interface") or ""
    try:
        read = packet({**fields["quoted"], "direction": direction, "interface": interface})
    except PacketError as error:
        raise PacketError(str(error).replace("packet", "packet.quoted", 1)) from None
    if read.ip_version != version:
        raise PacketError("packet.quoted: of another IP version than the packet")
    return read


def _protocol(value: t.Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
        return int(value)
    if isinstance(value, str):
        if value.lower() in PROTOCOL_NUMBERS:
            return PROTOCOL_NUMBERS[value.lower()]
        if _is_number(value) and int(value) <= 255:
            return int(value)
    raise PacketError(
        f"packet.protocol: found {shown(value)}, allowed: a number from 0 to 255 or one of "
        + ", ".join(model.PROTOCOL_NAMES.values())
    )


def _is_number(text: str) -> bool:
    # Longer ones are out of every range, and Python refuses to read the longest.
    return text.isdecimal() and len(text) <= 9


def _text(fields: t.Mapping[str, t.Any], key: str) -> str:
    if not isinstance(fields[key], str):
        raise PacketError(f"packet.{key}: found {shown(fields[key])}, expected a string")
    return str(fields[key])


def _address(fields: t.Mapping[str, t.Any], key: str) -> Address:
    value = fields[key]
    try:
        if isinstance(value, str) and "%" not in value:  # a zone is no part of an address in a packet
            return ipaddress.ip_address(str(value))
    except ValueError:
        pass
    raise PacketError(f"packet.{key}: found {shown(value)}, expected an IP address")


def _number(fields: t.Mapping[str, t.Any], key: str, last: int) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, str) and _is_number(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= last:
        return int(value)
    raise PacketError(f"packet.{key}: found {shown(value)}, allowed: a number from 0 to {last}")


def _choice(
    fields: t.Mapping[str, t.Any], key: str, allowed: tuple[str, ...], default: str | None = None
) -> str:
    value = default if fields.get(key) is None else fields[key]
    if value not in allowed:
        raise PacketError(f"packet.{key}: found {shown(value)}, allowed: {', '.join(allowed)}")
    return str(value)
