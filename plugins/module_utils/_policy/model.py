# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""HostPolicy: all that one host needs to know to enforce its policy, as one plain value.

This is the waist of the house. The controller produces it from Calico resources; verdict, the renderers
and the host's engine read it. Nothing in it refers to Calico YAML, to nftables or to Ansible: selectors
are already address sets, names are already protocol numbers, rules are already in their order.

The serialised form is JSON. `digest` identifies what a policy means: where its rules were written
(`places`) is carried for messages and does not count.
"""

from __future__ import annotations

import functools
import hashlib
import json
import typing as t
from dataclasses import dataclass, field

FORMAT = 1
"""Version of the serialised form; a reader refuses any other."""

INGRESS = "ingress"
EGRESS = "egress"

ALLOW = "allow"
DENY = "deny"
PASS = "pass"  # noqa: S105  # a rule's action
ACTIONS = (ALLOW, DENY, PASS)

TCP, UDP, ICMP, ICMPV6, SCTP, UDPLITE = 6, 17, 1, 58, 132, 136
PROTOCOL_NAMES = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", ICMPV6: "ICMPv6", SCTP: "SCTP", UDPLITE: "UDPLite"}
PORT_PROTOCOLS = (TCP, UDP, SCTP)

PortRange = tuple[int, int]


class PolicyFormatError(ValueError):
    """The serialised policy is not one that this code can read; the message says where and why."""


@dataclass(frozen=True)
class Origin:
    """Which rule of which policy something comes from. `rule` counts from 0 in its direction."""

    kind: str
    name: str
    direction: str
    rule: int

    @property
    def path(self) -> str:
        """The rule's path as counters, diffs and messages write it: Kind/name/direction/rule."""
        return f"{self.kind}/{self.name}/{self.direction}/{self.rule}"


@dataclass(frozen=True)
class AddressSet:
    """Addresses as disjoint, sorted CIDRs of each family. `text` says what they stand for."""

    text: str
    v4: tuple[str, ...] = ()
    v6: tuple[str, ...] = ()

    @functools.cached_property
    def text_form(self) -> str:
        """The set as canonical JSON. Kept, because many hosts' policies share one set."""
        return _canonical({"text": self.text, "v4": list(self.v4), "v6": list(self.v6)})

    def family(self, version: int) -> tuple[str, ...]:
        """The CIDRs of IP version 4 or 6."""
        return self.v4 if version == 4 else self.v6


@dataclass(frozen=True)
class Side:
    """What a rule asks of a packet's source or destination.

    The address must be in every one of `sets` (names into HostPolicy.sets). The port must be in one of
    `ports` (inclusive, disjoint, sorted). Empty means anything.
    """

    sets: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One rule. All that it asks for must hold; `protocol` and `ip_version` of None mean any."""

    origin: Origin
    action: str
    protocol: int | None = None
    ip_version: int | None = None
    source: Side = Side()
    destination: Side = Side()


@dataclass(frozen=True)
class Policy:
    """A policy's rules per direction, in order. A direction that the policy does not govern is empty."""

    kind: str
    name: str
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()

    @property
    def key(self) -> str:
        """The policy's key in HostPolicy.policies: Kind/name."""
        return f"{self.kind}/{self.name}"

    @functools.cached_property
    def text_form(self) -> str:
        """The policy as canonical JSON. Kept, because many hosts share one policy."""
        return _canonical(_policy_to_dict(self))

    def rules(self, direction: str) -> tuple[Rule, ...]:
        """The rules of one direction."""
        return self.ingress if direction == INGRESS else self.egress


@dataclass(frozen=True)
class Tier:
    """A tier's policies, by key, in the order in which they are evaluated."""

    name: str
    policies: tuple[str, ...]


@dataclass(frozen=True)
class Endpoint:
    """A host endpoint: one interface of this host and the policy that governs it."""

    name: str
    interface: str
    untracked: tuple[Tier, ...] = ()


@dataclass(frozen=True)
class Failsafe:
    """A port that stays reachable whatever policy says; `net` (a CIDR) limits the peer, None is anyone."""

    protocol: int
    port: int
    net: str | None = None


@dataclass(frozen=True)
class Failsafes:
    """Failsafe ports by who opens the connection: the peer (inbound) or this host (outbound)."""

    inbound: tuple[Failsafe, ...] = ()
    outbound: tuple[Failsafe, ...] = ()


@dataclass(frozen=True)
class HostPolicy:
    """One host's whole policy. `policies` and `sets` hold only what its endpoints refer to."""

    node: str
    endpoints: tuple[Endpoint, ...] = ()
    policies: t.Mapping[str, Policy] = field(default_factory=dict)
    sets: t.Mapping[str, AddressSet] = field(default_factory=dict)
    failsafes: Failsafes = Failsafes()
    places: t.Mapping[str, str] = field(default_factory=dict)
    """Where a rule was written, as file:line, by the rule's path (Origin.path)."""

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what the policy means: its canonical JSON without `places`."""
        return hashlib.sha256(_joined(_parts(self)).encode()).hexdigest()

    def tier_rules(self, tier: Tier, direction: str) -> list[Rule]:
        """All rules of a tier in one direction, in the order in which they are evaluated."""
        return [rule for key in tier.policies for rule in self.policies[key].rules(direction)]


# -- serialised form ---------------------------------------------------------------------------------


def to_dict(policy: HostPolicy) -> dict[str, t.Any]:
    """The policy as plain data: dicts, lists, strings, numbers and None only."""
    return t.cast("dict[str, t.Any]", json.loads(dumps(policy)))


def dumps(policy: HostPolicy) -> str:
    """The policy as canonical JSON: equal policies give equal text on every Python."""
    return _joined({**_parts(policy), "places": _canonical(dict(policy.places))})


def digest(policy: HostPolicy) -> str:
    """See HostPolicy.digest."""
    return policy.digest


def _parts(policy: HostPolicy) -> dict[str, str]:
    """What the policy means, each part as canonical JSON."""
    return {
        "format": str(FORMAT),
        "node": _canonical(policy.node),
        "endpoints": _canonical([_endpoint_to_dict(endpoint) for endpoint in policy.endpoints]),
        "policies": _joined({key: member.text_form for key, member in policy.policies.items()}),
        "sets": _joined({name: members.text_form for name, members in policy.sets.items()}),
        "failsafes": _canonical(
            {
                "inbound": [_failsafe_to_dict(entry) for entry in policy.failsafes.inbound],
                "outbound": [_failsafe_to_dict(entry) for entry in policy.failsafes.outbound],
            }
        ),
    }


def _joined(parts: t.Mapping[str, str]) -> str:
    """A canonical JSON object of members that are canonical JSON already."""
    return "{" + ",".join(f"{_canonical(key)}:{parts[key]}" for key in sorted(parts)) + "}"


def _canonical(value: t.Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _endpoint_to_dict(endpoint: Endpoint) -> dict[str, t.Any]:
    tiers = [{"name": tier.name, "policies": list(tier.policies)} for tier in endpoint.untracked]
    return {"name": endpoint.name, "interface": endpoint.interface, "untracked": tiers}


def _policy_to_dict(policy: Policy) -> dict[str, t.Any]:
    return {
        "kind": policy.kind,
        "name": policy.name,
        INGRESS: [_rule_to_dict(rule) for rule in policy.ingress],
        EGRESS: [_rule_to_dict(rule) for rule in policy.egress],
    }


def _rule_to_dict(rule: Rule) -> dict[str, t.Any]:
    return {
        "action": rule.action,
        "protocol": rule.protocol,
        "ip_version": rule.ip_version,
        "source": _side_to_dict(rule.source),
        "destination": _side_to_dict(rule.destination),
    }


def _side_to_dict(side: Side) -> dict[str, t.Any]:
    return {"sets": list(side.sets), "ports": [list(ports) for ports in side.ports]}


def _failsafe_to_dict(entry: Failsafe) -> dict[str, t.Any]:
    return {"protocol": entry.protocol, "port": entry.port, "net": entry.net}


def loads(text: str) -> HostPolicy:
    """Read canonical or any other JSON of a HostPolicy. Raises PolicyFormatError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyFormatError(f"HostPolicy: not JSON: {error}") from error
    return from_dict(value)


def from_dict(value: t.Any) -> HostPolicy:
    """Read a policy from plain data. Raises PolicyFormatError naming the path of what is wrong."""
    reader = _Reader("HostPolicy")
    data = reader.mapping(value)
    if data.get("format") is True or data.get("format") != FORMAT:
        raise PolicyFormatError(
            f"HostPolicy.format: found {data.get('format')!r}, this version reads {FORMAT}"
        )
    policies = {
        key: _policy_from_dict(raw, reader.at("policies", key))
        for key, raw in reader.at("policies").mapping(reader.get(data, "policies")).items()
    }
    sets = {
        name: _set_from_dict(raw, reader.at("sets", name))
        for name, raw in reader.at("sets").mapping(reader.get(data, "sets")).items()
    }
    failsafes = reader.at("failsafes").mapping(reader.get(data, "failsafes"))
    policy = HostPolicy(
        node=reader.text(data, "node"),
        endpoints=tuple(_endpoint_from_dict(raw, at) for at, raw in reader.items(data, "endpoints")),
        policies=policies,
        sets=sets,
        failsafes=Failsafes(
            *(
                tuple(
                    _failsafe_from_dict(raw, at)
                    for at, raw in reader.at("failsafes").items(failsafes, direction)
                )
                for direction in ("inbound", "outbound")
            )
        ),
        places=_places_from_dict(data.get("places", {}), reader.at("places")),
    )
    _check_references(policy)
    return policy


def _check_references(policy: HostPolicy) -> None:
    for endpoint in policy.endpoints:
        for tier in endpoint.untracked:
            for key in tier.policies:
                if key not in policy.policies:
                    raise PolicyFormatError(f"HostPolicy.policies: {key!r} is missing")
    for key, member in policy.policies.items():
        if key != member.key:
            raise PolicyFormatError(f"HostPolicy.policies.{key}: found the policy {member.key!r}")
        for rule in member.ingress + member.egress:
            for name in rule.source.sets + rule.destination.sets:
                if name not in policy.sets:
                    raise PolicyFormatError(f"HostPolicy.sets: {name!r} is missing")


def _policy_from_dict(raw: t.Any, reader: _Reader) -> Policy:
    data = reader.mapping(raw)
    kind, name = reader.text(data, "kind"), reader.text(data, "name")
    rules = {
        direction: tuple(
            _rule_from_dict(rule, at, Origin(kind, name, direction, index))
            for index, (at, rule) in enumerate(reader.items(data, direction))
        )
        for direction in (INGRESS, EGRESS)
    }
    return Policy(kind=kind, name=name, ingress=rules[INGRESS], egress=rules[EGRESS])


def _rule_from_dict(raw: t.Any, reader: _Reader, origin: Origin) -> Rule:
    data = reader.mapping(raw)
    action = reader.text(data, "action")
    if action not in ACTIONS:
        raise PolicyFormatError(f"{reader.path}.action: found {action!r}, allowed: {', '.join(ACTIONS)}")
    return Rule(
        origin=origin,
        action=action,
        protocol=reader.number_or_none(data, "protocol"),
        ip_version=reader.number_or_none(data, "ip_version"),
        source=_side_from_dict(reader.get(data, "source"), reader.at("source")),
        destination=_side_from_dict(reader.get(data, "destination"), reader.at("destination")),
    )


def _side_from_dict(raw: t.Any, reader: _Reader) -> Side:
    data = reader.mapping(raw)
    ports = []
    for at, pair in reader.items(data, "ports"):
        if not (
            isinstance(pair, (list, tuple))
            and len(pair) == 2
            and all(isinstance(end, int) and not isinstance(end, bool) for end in pair)
        ):
            raise PolicyFormatError(f"{at.path}: found {pair!r}, expected [first, last]")
        ports.append((int(pair[0]), int(pair[1])))
    return Side(sets=reader.texts(data, "sets"), ports=tuple(ports))


def _set_from_dict(raw: t.Any, reader: _Reader) -> AddressSet:
    data = reader.mapping(raw)
    return AddressSet(
        text=reader.text(data, "text"), v4=reader.texts(data, "v4"), v6=reader.texts(data, "v6")
    )


def _endpoint_from_dict(raw: t.Any, reader: _Reader) -> Endpoint:
    data = reader.mapping(raw)
    tiers = []
    for at, tier in reader.items(data, "untracked"):
        fields = at.mapping(tier)
        tiers.append(Tier(name=at.text(fields, "name"), policies=at.texts(fields, "policies")))
    return Endpoint(
        name=reader.text(data, "name"), interface=reader.text(data, "interface"), untracked=tuple(tiers)
    )


def _failsafe_from_dict(raw: t.Any, reader: _Reader) -> Failsafe:
    data = reader.mapping(raw)
    return Failsafe(
        protocol=reader.number(data, "protocol"),
        port=reader.number(data, "port"),
        net=None if reader.get(data, "net") is None else reader.text(data, "net"),
    )


def _places_from_dict(raw: t.Any, reader: _Reader) -> dict[str, str]:
    data = reader.mapping(raw)
    return {str(path): reader.text(data, path) for path in data}


class _Reader:
    """Typed access to plain data that knows its own path, for messages."""

    def __init__(self, path: str) -> None:
        self.path = path

    def at(self, *steps: str | int) -> _Reader:
        path = self.path
        for step in steps:
            path += f"[{step}]" if isinstance(step, int) else f".{step}"
        return _Reader(path)

    def mapping(self, value: t.Any) -> t.Mapping[str, t.Any]:
        if not isinstance(value, t.Mapping):
            raise PolicyFormatError(f"{self.path}: found {type(value).__name__}, expected a mapping")
        for key in value:
            if not isinstance(key, str):
                raise PolicyFormatError(f"{self.path}: found the key {key!r}, expected strings as keys")
        return value

    def get(self, data: t.Mapping[str, t.Any], key: str) -> t.Any:
        if key not in data:
            raise PolicyFormatError(f"{self.path}.{key}: missing")
        return data[key]

    def text(self, data: t.Mapping[str, t.Any], key: str) -> str:
        value = self.get(data, key)
        if not isinstance(value, str):
            raise PolicyFormatError(f"{self.path}.{key}: found {value!r}, expected a string")
        return str(value)

    def number_or_none(self, data: t.Mapping[str, t.Any], key: str) -> int | None:
        return None if self.get(data, key) is None else self.number(data, key)

    def number(self, data: t.Mapping[str, t.Any], key: str) -> int:
        value = self.get(data, key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise PolicyFormatError(f"{self.path}.{key}: found {value!r}, expected a number")
        return int(value)

    def items(self, data: t.Mapping[str, t.Any], key: str) -> list[tuple[_Reader, t.Any]]:
        value = self.get(data, key)
        if not isinstance(value, (list, tuple)):
            raise PolicyFormatError(f"{self.path}.{key}: found {value!r}, expected a list")
        return [(self.at(key, index), item) for index, item in enumerate(value)]

    def texts(self, data: t.Mapping[str, t.Any], key: str) -> tuple[str, ...]:
        found = []
        for at, item in self.items(data, key):
            if not isinstance(item, str):
                raise PolicyFormatError(f"{at.path}: found {item!r}, expected a string")
            found.append(str(item))
        return tuple(found)
