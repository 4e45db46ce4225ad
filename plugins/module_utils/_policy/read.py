# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Reads a serialised HostPolicy, and takes nothing on trust.

What is read here may come from a filter's user as well as from our own compiler, and becomes rules that root
loads: every value is checked, and what is not known is refused, so that an older engine never takes a newer
policy for a wider one.
"""

from __future__ import annotations

import json
import re
import socket
import typing as t

from .model import (
    ACTIONS,
    EGRESS,
    FORMAT,
    INGRESS,
    PORT_PROTOCOLS,
    AddressSet,
    Endpoint,
    Failsafe,
    Failsafes,
    HostPolicy,
    Icmp,
    Origin,
    Policy,
    PortRange,
    Rule,
    Side,
    Tier,
)
from .shown import name, shown

_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_TIER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SET_NAME = re.compile(r"[A-Za-z0-9:_-]{1,128}")
_LENGTH = re.compile(r"[0-9]{1,3}")
_FAMILIES = {4: (socket.AF_INET, 32), 6: (socket.AF_INET6, 128)}


class PolicyFormatError(ValueError):
    """The serialised policy is not one that this code can read; the message says where and why."""


def loads(text: str) -> HostPolicy:
    """Read canonical or any other JSON of a HostPolicy. Raises PolicyFormatError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyFormatError(f"HostPolicy: not JSON: {error}") from error
    return from_dict(value)


def from_dict(value: t.Any) -> HostPolicy:
    """Read a policy from plain data. Raises PolicyFormatError naming the path of what is wrong."""
    at = _At("HostPolicy")
    if not isinstance(value, t.Mapping):
        raise at.error(f"found {type(value).__name__}, expected a mapping")
    found = value.get("format")
    if found is True or found != FORMAT:
        raise at.to("format").error(f"found {shown(found)}, this version reads {FORMAT}")
    data = at.mapping(
        value, ("format", "node", "endpoints", "policies", "sets", "failsafes"), optional=("places",)
    )
    failsafes = at.to("failsafes").mapping(data["failsafes"], ("inbound", "outbound"))
    policy = HostPolicy(
        node=at.to("node").text(data["node"]),
        endpoints=tuple(_endpoint(raw, here) for here, raw in at.to("endpoints").items(data["endpoints"])),
        policies={key: _policy(raw, here) for here, key, raw in at.to("policies").members(data["policies"])},
        sets={
            here.pattern(key, _SET_NAME): _set(raw, here)
            for here, key, raw in at.to("sets").members(data["sets"])
        },
        failsafes=Failsafes(
            inbound=_failsafes(failsafes["inbound"], at.to("failsafes").to("inbound")),
            outbound=_failsafes(failsafes["outbound"], at.to("failsafes").to("outbound")),
        ),
        places={
            path: here.text(place) for here, path, place in at.to("places").members(data.get("places", {}))
        },
    )
    _check_references(policy, at)
    return policy


def _check_references(policy: HostPolicy, at: _At) -> None:
    for endpoint in policy.endpoints:
        for tier in endpoint.untracked:
            for key in tier.policies:
                if key not in policy.policies:
                    raise at.to("policies").error(f"{key!r} is missing")
    for key, member in policy.policies.items():
        if key != member.key:
            raise at.to("policies").to(key).error(f"found the policy {member.key!r}")
        for rule in member.all_rules:
            for member_set in rule.all_sets:
                if member_set not in policy.sets:
                    raise at.to("sets").error(f"{shown(member_set)} is missing")


def _endpoint(raw: t.Any, at: _At) -> Endpoint:
    data = at.mapping(raw, ("name", "interface", "untracked"))
    return Endpoint(
        name=at.to("name").text(data["name"]),
        interface=at.to("interface").pattern(data["interface"], _INTERFACE),
        untracked=tuple(_tier(tier, here) for here, tier in at.to("untracked").items(data["untracked"])),
    )


def _tier(raw: t.Any, at: _At) -> Tier:
    data = at.mapping(raw, ("name", "policies"))
    return Tier(
        name=at.to("name").pattern(data["name"], _TIER), policies=at.to("policies").texts(data["policies"])
    )


def _policy(raw: t.Any, at: _At) -> Policy:
    data = at.mapping(raw, ("kind", "name", INGRESS, EGRESS))
    kind, named = at.to("kind").pattern(data["kind"], _NAME), at.to("name").pattern(data["name"], _NAME)
    rules = {
        direction: None
        if data[direction] is None
        else tuple(
            _rule(rule, here, Origin(kind, named, direction, index))
            for index, (here, rule) in enumerate(at.to(direction).items(data[direction]))
        )
        for direction in (INGRESS, EGRESS)
    }
    return Policy(kind=kind, name=named, ingress=rules[INGRESS], egress=rules[EGRESS])


def _rule(raw: t.Any, at: _At, origin: Origin) -> Rule:
    fields = ("action", "protocol", "ip_version", "source", "destination", "not_protocol", "icmp", "not_icmp")
    data = at.mapping(raw, fields)
    rule = Rule(
        origin=origin,
        action=at.to("action").choice(data["action"], ACTIONS),
        protocol=_number_or_none(data["protocol"], at.to("protocol")),
        ip_version=at.to("ip_version").choice(data["ip_version"], (None, 4, 6)),
        source=_side(data["source"], at.to("source")),
        destination=_side(data["destination"], at.to("destination")),
        not_protocol=_number_or_none(data["not_protocol"], at.to("not_protocol")),
        icmp=_icmp(data["icmp"], at.to("icmp")),
        not_icmp=_icmp(data["not_icmp"], at.to("not_icmp")),
    )
    sides = (rule.source, rule.destination)
    if rule.protocol not in PORT_PROTOCOLS and any(side.ports or side.not_ports for side in sides):
        raise at.error(f"found ports and the protocol {shown(rule.protocol)}, which has none")
    return rule


def _number_or_none(value: t.Any, at: _At) -> int | None:
    return None if value is None else at.number(value, 255)


def _icmp(raw: t.Any, at: _At) -> Icmp | None:
    if raw is None:
        return None
    data = at.mapping(raw, ("type", "code"))
    return Icmp(
        type=at.to("type").number(data["type"], 255), code=_number_or_none(data["code"], at.to("code"))
    )


def _side(raw: t.Any, at: _At) -> Side:
    data = at.mapping(raw, ("sets", "ports", "not_sets", "not_ports"))
    return Side(
        sets=at.to("sets").texts(data["sets"]),
        ports=_ports(data["ports"], at.to("ports")),
        not_sets=at.to("not_sets").texts(data["not_sets"]),
        not_ports=_ports(data["not_ports"], at.to("not_ports")),
    )


def _ports(raw: t.Any, at: _At) -> tuple[PortRange, ...]:
    ports = []
    for here, pair in at.items(raw):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise here.error(f"found {shown(pair)}, expected [first, last]")
        first, last = here.number(pair[0], 65535), here.number(pair[1], 65535)
        if first > last:
            raise here.error(f"found {shown(pair)}, expected [first, last]")
        ports.append((first, last))
    return tuple(ports)


def _set(raw: t.Any, at: _At) -> AddressSet:
    data = at.mapping(raw, ("text", "v4", "v6"))
    return AddressSet(
        text=at.to("text").text(data["text"]),
        v4=tuple(here.network(net, 4) for here, net in at.to("v4").items(data["v4"])),
        v6=tuple(here.network(net, 6) for here, net in at.to("v6").items(data["v6"])),
    )


def _failsafes(raw: t.Any, at: _At) -> tuple[Failsafe, ...]:
    found = []
    for here, entry in at.items(raw):
        data = here.mapping(entry, ("protocol", "port", "net"))
        net = data["net"]
        if net is not None:
            net = here.to("net").network(net, 6 if ":" in here.to("net").text(net) else 4)
        found.append(
            Failsafe(
                protocol=here.to("protocol").choice(data["protocol"], PORT_PROTOCOLS),
                port=here.to("port").number(data["port"], 65535),
                net=net,
            )
        )
    return tuple(found)


class _At:
    """A place in the data, by its path, and the checks of what stands there."""

    def __init__(self, path: str) -> None:
        self._path = path

    def to(self, step: str | int) -> _At:
        return _At(f"{self._path}[{step}]" if isinstance(step, int) else f"{self._path}.{name(step)}")

    def error(self, message: str) -> PolicyFormatError:
        return PolicyFormatError(f"{self._path}: {message}")

    def mapping(
        self, value: t.Any, fields: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> t.Mapping[str, t.Any]:
        found = {key: item for _here, key, item in self.members(value)}
        for key in fields:
            if key not in found:
                raise self.to(key).error("missing")
        for key in found:
            if key not in fields and key not in optional:
                raise self.to(key).error("unknown, perhaps from a newer version")
        return found

    def members(self, value: t.Any) -> t.Iterator[tuple[_At, str, t.Any]]:
        if not isinstance(value, t.Mapping):
            raise self.error(f"found {type(value).__name__}, expected a mapping")
        for key, item in value.items():
            if not isinstance(key, str):
                raise self.error(f"found the key {shown(key)}, expected strings as keys")
            yield self.to(str(key)), str(key), item

    def items(self, value: t.Any) -> t.Iterator[tuple[_At, t.Any]]:
        if not isinstance(value, (list, tuple)):
            raise self.error(f"found {shown(value)}, expected a list")
        for index, item in enumerate(value):
            yield self.to(index), item

    def text(self, value: t.Any) -> str:
        if not isinstance(value, str):
            raise self.error(f"found {shown(value)}, expected a string")
        return str(value)

    def texts(self, value: t.Any) -> tuple[str, ...]:
        return tuple(here.text(item) for here, item in self.items(value))

    def pattern(self, value: t.Any, pattern: re.Pattern[str]) -> str:
        if not pattern.fullmatch(self.text(value)):
            raise self.error(f"found {shown(value)}, allowed: {pattern.pattern}")
        return str(value)

    def number(self, value: t.Any, last: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= last:
            raise self.error(f"found {shown(value)}, expected a number from 0 to {last}")
        return int(value)

    def choice(self, value: t.Any, allowed: tuple[t.Any, ...]) -> t.Any:
        for one in allowed:
            if not isinstance(value, bool) and value == one:
                return one
        raise self.error(f"found {shown(value)}, allowed: {', '.join(map(str, allowed))}")

    def network(self, value: t.Any, version: int) -> str:
        """A CIDR of one IP version. By inet_pton: a large set is read at every run on the host."""
        family, bits = _FAMILIES[version]
        address, _slash, length = self.text(value).partition("/")
        try:
            number = int.from_bytes(socket.inet_pton(family, address), "big")
            host_bits = bits - int(length) if _LENGTH.fullmatch(length) else -1
            if host_bits >= 0 and number % (1 << host_bits) == 0:
                return str(value)
        except (OSError, ValueError):
            pass
        raise self.error(
            f"found {shown(value)}, expected an IPv{version} network in CIDR notation, without host bits"
        )
