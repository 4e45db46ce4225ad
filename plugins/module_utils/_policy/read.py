# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Reads a serialised HostPolicy, and takes nothing on trust.

What is read here may come from a filter's user as well as from our own compiler, and becomes rules that root
loads: every value is checked, and what is not known is refused, so that an older engine never takes a newer
policy for a wider one.
"""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import typing as t

from .model import (
    ACTIONS,
    EGRESS,
    ENDINGS,
    EVERY_INTERFACE,
    FORMAT,
    INGRESS,
    LISTS,
    PORT_PROTOCOLS,
    PROFILE,
    STAGED_ACTIONS,
    AddressSet,
    Endpoint,
    Failsafe,
    Failsafes,
    HostPolicy,
    Icmp,
    NamedPort,
    Origin,
    Policy,
    PortRange,
    PortSet,
    Rule,
    Settings,
    Side,
    Tier,
)
from .shown import name, shown

_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_TIER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SET_NAME = re.compile(r"[A-Za-z0-9:_-]{1,128}")
_LENGTH = re.compile(r"[0-9]{1,3}")
_RATE = re.compile(r"[1-9][0-9]{0,3}/(second|minute|hour|day)")
_LOG_PREFIX = re.compile(r"[a-zA-Z0-9%: /_-]{0,100}")
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
    fields = (
        "format", "node", "endpoints", "policies", "sets", "port_sets", "failsafes", "settings", "interfaces",
    )  # fmt: skip
    data = at.mapping(value, fields, optional=("places",))
    failsafes = at.to("failsafes").mapping(data["failsafes"], ("inbound", "outbound"))
    policy = HostPolicy(
        node=at.to("node").text(data["node"]),
        endpoints=tuple(_endpoint(raw, here) for here, raw in at.to("endpoints").items(data["endpoints"])),
        policies={key: _policy(raw, here) for here, key, raw in at.to("policies").members(data["policies"])},
        sets={
            here.pattern(key, _SET_NAME): _set(raw, here)
            for here, key, raw in at.to("sets").members(data["sets"])
        },
        port_sets={
            here.pattern(key, _SET_NAME): _port_set(raw, here)
            for here, key, raw in at.to("port_sets").members(data["port_sets"])
        },
        settings=_settings(data["settings"], at.to("settings")),
        interfaces={
            here.pattern(key, _INTERFACE): _addresses(raw, here)
            for here, key, raw in at.to("interfaces").members(data["interfaces"])
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
    anywhere = (None, EVERY_INTERFACE)
    named = [one.interface for one in policy.endpoints if one.interface not in anywhere]
    for interface in named:
        if named.count(interface) > 1:
            raise at.to("endpoints").error(f"found the interface {interface} twice; one endpoint governs it")
    for endpoint in policy.endpoints:
        for key in endpoint.policy_keys:
            if key not in policy.policies:
                raise at.to("policies").error(f"{key!r} is missing")
        for key in endpoint.profiles:
            if policy.policies[key].kind != PROFILE:
                raise at.to("endpoints").error(f"found {key!r} among the profiles, which is none")
    for key, member in policy.policies.items():
        if key != member.key:
            raise at.to("policies").to(key).error(f"found the policy {member.key!r}")
    _check_sets(policy, at)


def _check_sets(policy: HostPolicy, at: _At) -> None:
    for member in policy.policies.values():
        for rule in member.all_rules:
            for name_of_set in rule.all_sets:
                if name_of_set not in policy.sets:
                    raise at.to("sets").error(f"{shown(name_of_set)} is missing")
            for name_of_set in rule.all_port_sets:
                if name_of_set not in policy.port_sets:
                    raise at.to("port_sets").error(f"{shown(name_of_set)} is missing")


def _endpoint(raw: t.Any, at: _At) -> Endpoint:
    data = at.mapping(raw, ("name", "interface", "addresses", "profiles", *LISTS))
    interface = data["interface"]
    if interface not in (None, EVERY_INTERFACE):
        interface = at.to("interface").pattern(interface, _INTERFACE)
    addresses = _addresses(data["addresses"], at.to("addresses"))
    if interface is None and not addresses:
        raise at.to("interface").error("found null, and no addresses to find interfaces by")
    lists = {
        name: tuple(_tier(tier, here, ENDINGS[name]) for here, tier in at.to(name).items(data[name]))
        for name in LISTS
    }
    return Endpoint(
        name=at.to("name").text(data["name"]),
        interface=None if interface is None else str(interface),
        addresses=addresses,
        profiles=at.to("profiles").texts(data["profiles"]),
        **lists,
    )


def _addresses(raw: t.Any, at: _At) -> tuple[str, ...]:
    return tuple(here.address(item) for here, item in at.items(raw))


def _tier(raw: t.Any, at: _At, endings: tuple[str, ...]) -> Tier:
    data = at.mapping(raw, ("name", "policies", "default_action"))
    return Tier(
        name=at.to("name").pattern(data["name"], _TIER),
        policies=at.to("policies").texts(data["policies"]),
        default_action=at.to("default_action").choice(data["default_action"], endings),
    )


def _settings(raw: t.Any, at: _At) -> Settings:
    data = at.mapping(raw, tuple(field.name for field in dataclasses.fields(Settings)))
    rate = data["log_rate"]
    return Settings(
        drop_invalid=at.to("drop_invalid").truth(data["drop_invalid"]),
        log_prefix=at.to("log_prefix").pattern(data["log_prefix"], _LOG_PREFIX),
        log_rate=None if rate is None else at.to("log_rate").pattern(rate, _RATE),
        log_burst=at.to("log_burst").number(data["log_burst"], 9999),
        mark_mask=at.to("mark_mask").number(data["mark_mask"], 0xFFFFFFFF),
        insert_first=at.to("insert_first").truth(data["insert_first"]),
    )


def _policy(raw: t.Any, at: _At) -> Policy:
    data = at.mapping(raw, ("kind", "name", "staged", INGRESS, EGRESS))
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
    staged = at.to("staged").choice(data["staged"], (None, *STAGED_ACTIONS))
    return Policy(kind=kind, name=named, ingress=rules[INGRESS], egress=rules[EGRESS], staged=staged)


def _rule(raw: t.Any, at: _At, origin: Origin) -> Rule:
    asked = ("protocol", "ip_version", "source", "destination", "not_protocol", "icmp", "not_icmp")
    data: dict[str, t.Any] = {**dict.fromkeys(asked), "source": {}, "destination": {}}
    data.update(at.mapping(raw, ("action",), optional=asked))
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
    if rule.protocol is not None and rule.protocol not in PORT_PROTOCOLS and rule.all_port_sets:
        raise at.error(f"found named ports and the protocol {shown(rule.protocol)}, which has none")
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
    """A side, without what it does not ask for."""
    fields = ("sets", "ports", "not_sets", "not_ports", "named_ports", "not_named_ports")
    data: dict[str, t.Any] = {**dict.fromkeys(fields, ()), **at.mapping(raw, (), optional=fields)}
    return Side(
        sets=at.to("sets").texts(data["sets"]),
        ports=_ports(data["ports"], at.to("ports")),
        not_sets=at.to("not_sets").texts(data["not_sets"]),
        not_ports=_ports(data["not_ports"], at.to("not_ports")),
        named_ports=at.to("named_ports").texts(data["named_ports"]),
        not_named_ports=at.to("not_named_ports").texts(data["not_named_ports"]),
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


def _port_set(raw: t.Any, at: _At) -> PortSet:
    data = at.mapping(raw, ("text", "v4", "v6"))
    return PortSet(
        text=at.to("text").text(data["text"]),
        v4=tuple(_named_port(member, 4, here) for here, member in at.to("v4").items(data["v4"])),
        v6=tuple(_named_port(member, 6, here) for here, member in at.to("v6").items(data["v6"])),
    )


def _named_port(raw: t.Any, version: int, at: _At) -> NamedPort:
    members = [item for _here, item in at.items(raw)]
    if len(members) != 3:
        raise at.error(f"found {len(members)} members, expected [address, protocol, port]")
    address = at.to(0).address(members[0])
    if (":" in address) != (version == 6):
        raise at.to(0).error(f"found {shown(address)}, expected an IPv{version} address")
    return address, at.to(1).choice(members[1], PORT_PROTOCOLS), at.to(2).number(members[2], 65535)


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

    def truth(self, value: t.Any) -> bool:
        if not isinstance(value, bool):
            raise self.error(f"found {shown(value)}, expected true or false")
        return value

    def address(self, value: t.Any) -> str:
        """An IP address, without prefix or zone."""
        text = self.text(value)
        try:
            socket.inet_pton(_FAMILIES[6 if ":" in text else 4][0], text)
        except (OSError, ValueError):
            raise self.error(f"found {shown(value)}, expected an IP address") from None
        return text

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
