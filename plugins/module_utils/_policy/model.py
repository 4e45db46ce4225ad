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
ICMP_PROTOCOLS = (ICMP, ICMPV6)

PortRange = tuple[int, int]


@dataclass(frozen=True)
class Origin:
    """Which rule of which policy something comes from. `rule` counts from 0 in its direction."""

    kind: str
    name: str
    direction: str
    rule: int

    def to_dict(self) -> dict[str, t.Any]:
        """The origin as plain data; the shape is part of the public contract."""
        return {"kind": self.kind, "name": self.name, "direction": self.direction, "rule": self.rule}

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

    The address must be in every one of `sets` (names into HostPolicy.sets) and in none of `not_sets`; the
    port in one of `ports` (inclusive, disjoint, sorted) and in none of `not_ports`. Empty means anything; a
    packet that shows no ports matches no rule that asks for some, negated or not.
    """

    sets: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()
    not_sets: tuple[str, ...] = ()
    not_ports: tuple[PortRange, ...] = ()

    @property
    def all_sets(self) -> tuple[str, ...]:
        """The names of all sets that it refers to."""
        return self.sets + self.not_sets


@dataclass(frozen=True)
class Icmp:
    """A type of ICMP or ICMPv6, and a code of it; None is any code."""

    type: int
    code: int | None = None


@dataclass(frozen=True)
class Rule:
    """One rule. All that it asks for must hold; None means anything.

    `icmp` and `not_icmp` match ICMP and ICMPv6 packets only, both of them.
    """

    origin: Origin
    action: str
    protocol: int | None = None
    ip_version: int | None = None
    source: Side = Side()
    destination: Side = Side()
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None

    @property
    def all_sets(self) -> tuple[str, ...]:
        """The names of all sets that it refers to."""
        return self.source.all_sets + self.destination.all_sets


@dataclass(frozen=True)
class Policy:
    """A policy's rules per direction, in order; None for a direction that the policy does not govern.

    To govern a direction without rules is not the same: a tier of tracked policy ends in a deny for it.
    """

    kind: str
    name: str
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None

    @property
    def key(self) -> str:
        """The policy's key in HostPolicy.policies: Kind/name."""
        return f"{self.kind}/{self.name}"

    @functools.cached_property
    def text_form(self) -> str:
        """The policy as canonical JSON. Kept, because many hosts share one policy."""
        return _canonical(_policy_to_dict(self))

    def rules(self, direction: str) -> tuple[Rule, ...]:
        """The rules of one direction; none where the policy does not govern it."""
        return (self.ingress if direction == INGRESS else self.egress) or ()

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The rules of both directions."""
        return self.rules(INGRESS) + self.rules(EGRESS)


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
        INGRESS: None if policy.ingress is None else [_rule_to_dict(rule) for rule in policy.ingress],
        EGRESS: None if policy.egress is None else [_rule_to_dict(rule) for rule in policy.egress],
    }


def _rule_to_dict(rule: Rule) -> dict[str, t.Any]:
    return {
        "action": rule.action,
        "protocol": rule.protocol,
        "ip_version": rule.ip_version,
        "source": _side_to_dict(rule.source),
        "destination": _side_to_dict(rule.destination),
        "not_protocol": rule.not_protocol,
        "icmp": _icmp_to_dict(rule.icmp),
        "not_icmp": _icmp_to_dict(rule.not_icmp),
    }


def _side_to_dict(side: Side) -> dict[str, t.Any]:
    return {
        "sets": list(side.sets),
        "ports": [list(ports) for ports in side.ports],
        "not_sets": list(side.not_sets),
        "not_ports": [list(ports) for ports in side.not_ports],
    }


def _icmp_to_dict(icmp: Icmp | None) -> dict[str, t.Any] | None:
    return None if icmp is None else {"type": icmp.type, "code": icmp.code}


def _failsafe_to_dict(entry: Failsafe) -> dict[str, t.Any]:
    return {"protocol": entry.protocol, "port": entry.port, "net": entry.net}
