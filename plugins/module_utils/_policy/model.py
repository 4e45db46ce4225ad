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

import dataclasses
import functools
import hashlib
import itertools
import json
import typing as t
from dataclasses import dataclass, field

FORMAT = 2
"""Version of the serialised form; a reader refuses any other."""

INGRESS = "ingress"
EGRESS = "egress"

ALLOW = "allow"
DENY = "deny"
PASS = "pass"  # noqa: S105  # a rule's action
LOG = "log"
ACTIONS = (ALLOW, DENY, PASS, LOG)

EVERY_INTERFACE = "*"
STAGED_ACTIONS = ("set", "delete", "learn", "ignore")

PROFILE = "Profile"

TCP, UDP, ICMP, ICMPV6, SCTP, UDPLITE = 6, 17, 1, 58, 132, 136
PROTOCOL_NAMES = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", ICMPV6: "ICMPv6", SCTP: "SCTP", UDPLITE: "UDPLite"}
PORT_PROTOCOLS = (TCP, UDP, SCTP)
ICMP_PROTOCOLS = (ICMP, ICMPV6)

PortRange = tuple[int, int]
NamedPort = tuple[str, int, int]
"""Where a named port is: address, protocol number, port."""


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
class PortSet:
    """Where the ports of one name are, sorted, by IP version. `text` says what they stand for."""

    text: str
    v4: tuple[NamedPort, ...] = ()
    v6: tuple[NamedPort, ...] = ()

    @functools.cached_property
    def text_form(self) -> str:
        """The set as canonical JSON. Kept, because many hosts' policies share one set."""
        return _canonical({"text": self.text, "v4": list(self.v4), "v6": list(self.v6)})

    def family(self, version: int) -> tuple[NamedPort, ...]:
        """The ports at addresses of IP version 4 or 6."""
        return self.v4 if version == 4 else self.v6


@dataclass(frozen=True)
class Side:
    """What a rule asks of a packet's source or destination.

    The address must be in every one of `sets` (names into HostPolicy.sets) and in none of `not_sets`. The
    port must be in one of `ports` (inclusive, disjoint, sorted), or it and the address and the protocol in
    one of `named_ports` (names into HostPolicy.port_sets); it may be in none of `not_ports` nor, with its
    address and protocol, of `not_named_ports`. Empty means anything. A packet that shows no ports matches no
    rule that asks for some by number, negated or not, and is in no set of named ports.
    """

    sets: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()
    not_sets: tuple[str, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    named_ports: tuple[str, ...] = ()
    not_named_ports: tuple[str, ...] = ()

    @property
    def all_sets(self) -> tuple[str, ...]:
        """The names of all address sets that it refers to."""
        return self.sets + self.not_sets

    @property
    def all_port_sets(self) -> tuple[str, ...]:
        """The names of all sets of named ports that it refers to."""
        return self.named_ports + self.not_named_ports


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
        """The names of all address sets that it refers to."""
        return self.source.all_sets + self.destination.all_sets

    @property
    def all_port_sets(self) -> tuple[str, ...]:
        """The names of all sets of named ports that it refers to."""
        return self.source.all_port_sets + self.destination.all_port_sets


@dataclass(frozen=True)
class Policy:
    """A policy's rules per direction, in order; None for a direction that the policy does not govern.

    To govern a direction without rules is not the same: a tier of tracked policy ends in a deny for it.
    A `staged` policy decides nothing; the word says what its enforcement would do (STAGED_ACTIONS).
    """

    kind: str
    name: str
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None
    staged: str | None = None

    @property
    def key(self) -> str:
        """The policy's key in HostPolicy.policies: Kind/name."""
        return f"{self.kind}/{self.name}"

    @functools.cached_property
    def text_form(self) -> str:
        """The policy as canonical JSON. Kept, because many hosts share one policy."""
        return _canonical(_policy_to_dict(self))

    def governs(self, direction: str) -> bool:
        """Whether packets of that direction are the policy's to judge."""
        return (self.ingress if direction == INGRESS else self.egress) is not None

    def rules(self, direction: str) -> tuple[Rule, ...]:
        """The rules of one direction; none where the policy does not govern it."""
        return (self.ingress if direction == INGRESS else self.egress) or ()

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The rules of both directions."""
        return self.rules(INGRESS) + self.rules(EGRESS)


@dataclass(frozen=True)
class Tier:
    """A tier's policies, by key, in the order in which they are evaluated.

    `default_action` is for what meets policy of the tier, and is decided by none: DENY, or PASS for the next
    tier. Untracked and pre-DNAT policy deny nothing that they do not name, so their tiers always pass.
    """

    name: str
    policies: tuple[str, ...]
    default_action: str = PASS


@dataclass(frozen=True)
class Endpoint:
    """A host endpoint: an interface of this host, or several, and the policy that governs them.

    `interface` is a name; or EVERY_INTERFACE, for those that no other endpoint governs; or None, for those
    that have one of `addresses`, by which other hosts know the endpoint. Of several endpoints for one
    interface the first by name governs it.

    Policies stand in four lists of tiers: `untracked` judges before connection tracking, `pre_dnat` what
    arrives, before destinations are translated, `normal` what ends at or comes from the host itself,
    `forward` what it passes on. `profiles` (keys of policies) judge what no tier of `normal` decided.
    """

    name: str
    interface: str | None
    untracked: tuple[Tier, ...] = ()
    pre_dnat: tuple[Tier, ...] = ()
    normal: tuple[Tier, ...] = ()
    forward: tuple[Tier, ...] = ()
    profiles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def tiers(self) -> dict[str, tuple[Tier, ...]]:
        """Its tiers by the name of their list."""
        return {name: getattr(self, name) for name in LISTS}

    @property
    def policy_keys(self) -> tuple[str, ...]:
        """The keys of all policies that it refers to, each once."""
        tiers = itertools.chain(*self.tiers.values())
        return tuple(dict.fromkeys([*(key for tier in tiers for key in tier.policies), *self.profiles]))


ENDINGS: t.Mapping[str, tuple[str, ...]] = {
    "untracked": (PASS,),
    "pre_dnat": (PASS,),
    "normal": (DENY, PASS),
    "forward": (DENY, PASS),
}
"""The default actions that a tier may have, by its list; a packet may meet the lists in this order."""

LISTS = tuple(ENDINGS)


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
class Settings:
    """What a host does alike for all of its endpoints.

    `drop_invalid`: whether tracked policy denies what connection tracking calls invalid. `log_rate` is
    packets and the unit of time, `10/second`, or None without limit. `mark_mask` has the bits of packet
    marks that are ours. `insert_first`: whether our rules come before or after those that stand in the
    kernel's chains.
    """

    drop_invalid: bool = True
    log_prefix: str = "calico-packet"
    log_rate: str | None = None
    log_burst: int = 5
    mark_mask: int = 0xFFFF0000
    insert_first: bool = True


@dataclass(frozen=True)
class HostPolicy:
    """One host's whole policy. `policies`, `sets` and `port_sets` hold only what its endpoints refer to.

    `interfaces` has the addresses of the host's interfaces as far as the inventory tells them, where an
    endpoint is found by addresses; what the host itself knows of them goes before it.
    """

    node: str
    endpoints: tuple[Endpoint, ...] = ()
    policies: t.Mapping[str, Policy] = field(default_factory=dict)
    sets: t.Mapping[str, AddressSet] = field(default_factory=dict)
    port_sets: t.Mapping[str, PortSet] = field(default_factory=dict)
    failsafes: Failsafes = Failsafes()
    settings: Settings = Settings()
    interfaces: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: t.Mapping[str, str] = field(default_factory=dict)
    """Where a rule was written, as file:line, by the rule's path (Origin.path)."""

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what the policy means: its canonical JSON without `places`."""
        return hashlib.sha256(_joined(self.parts).encode()).hexdigest()

    @functools.cached_property
    def parts(self) -> dict[str, str]:
        """What the policy means, each part as canonical JSON."""
        return {
            "format": str(FORMAT),
            "node": _canonical(self.node),
            "endpoints": "[" + ",".join(map(_endpoint_text, self.endpoints)) + "]",
            "policies": _joined({key: member.text_form for key, member in self.policies.items()}),
            "sets": _joined({name: members.text_form for name, members in self.sets.items()}),
            "port_sets": _joined({name: members.text_form for name, members in self.port_sets.items()}),
            "settings": _settings_text(self.settings),
            "interfaces": _canonical({name: list(known) for name, known in self.interfaces.items()}),
            "failsafes": _failsafes_text(self.failsafes),
        }

    def tier_rules(self, tier: Tier, direction: str) -> list[Rule]:
        """The rules of a tier in one direction, in the order of evaluation; none of staged policies."""
        members = (self.policies[key] for key in tier.policies)
        return [rule for member in members if member.staged is None for rule in member.rules(direction)]


# -- serialised form ---------------------------------------------------------------------------------


def to_dict(policy: HostPolicy) -> dict[str, t.Any]:
    """The policy as plain data: dicts, lists, strings, numbers and None only."""
    return t.cast("dict[str, t.Any]", json.loads(dumps(policy)))


def dumps(policy: HostPolicy) -> str:
    """The policy as canonical JSON: equal policies give equal text on every Python."""
    return _joined({**policy.parts, "places": places_text(policy)})


def places_text(policy: HostPolicy) -> str:
    """Where its rules were written, as canonical JSON."""
    return _places_text(tuple(policy.places.items()))


def _joined(parts: t.Mapping[str, str]) -> str:
    """A canonical JSON object of members that are canonical JSON already."""
    return "{" + ",".join([f"{_key_text(key)}:{parts[key]}" for key in sorted(parts)]) + "}"


@functools.lru_cache(maxsize=65536)
def _key_text(key: str) -> str:
    return _canonical(key)


def _canonical(value: t.Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _endpoint_text(endpoint: Endpoint) -> str:
    own = {"name": endpoint.name, "interface": endpoint.interface, "addresses": list(endpoint.addresses)}
    parts = {key: _canonical(value) for key, value in own.items()}
    parts["profiles"] = _canonical(list(endpoint.profiles))
    parts.update({name: _tiers_text(tiers) for name, tiers in endpoint.tiers.items()})
    return _joined(parts)


# What most hosts of a site have alike is written once.
@functools.lru_cache(maxsize=1024)
def _tiers_text(tiers: tuple[Tier, ...]) -> str:
    return _canonical([_tier_to_dict(tier) for tier in tiers])


@functools.lru_cache(maxsize=1024)
def _places_text(places: tuple[tuple[str, str], ...]) -> str:
    return _canonical(dict(places))


@functools.lru_cache(maxsize=1024)
def _settings_text(settings: Settings) -> str:
    return _canonical(dataclasses.asdict(settings))


@functools.lru_cache(maxsize=1024)
def _failsafes_text(failsafes: Failsafes) -> str:
    directions = {"inbound": failsafes.inbound, "outbound": failsafes.outbound}
    return _canonical({word: [_failsafe_to_dict(one) for one in ports] for word, ports in directions.items()})


def _tier_to_dict(tier: Tier) -> dict[str, t.Any]:
    return {"name": tier.name, "policies": list(tier.policies), "default_action": tier.default_action}


def _policy_to_dict(policy: Policy) -> dict[str, t.Any]:
    return {
        "kind": policy.kind,
        "name": policy.name,
        "staged": policy.staged,
        INGRESS: None if policy.ingress is None else [_rule_to_dict(rule) for rule in policy.ingress],
        EGRESS: None if policy.egress is None else [_rule_to_dict(rule) for rule in policy.egress],
    }


def _rule_to_dict(rule: Rule) -> dict[str, t.Any]:
    """The rule's action and what it asks for: most rules ask for little, and a site has very many of them."""
    asked = {
        "protocol": rule.protocol,
        "ip_version": rule.ip_version,
        "source": _side_to_dict(rule.source),
        "destination": _side_to_dict(rule.destination),
        "not_protocol": rule.not_protocol,
        "icmp": _icmp_to_dict(rule.icmp),
        "not_icmp": _icmp_to_dict(rule.not_icmp),
    }
    return {"action": rule.action, **{key: value for key, value in asked.items() if value not in (None, {})}}


def _side_to_dict(side: Side) -> dict[str, t.Any]:
    asked = {
        "sets": list(side.sets),
        "ports": [list(ports) for ports in side.ports],
        "not_sets": list(side.not_sets),
        "not_ports": [list(ports) for ports in side.not_ports],
        "named_ports": list(side.named_ports),
        "not_named_ports": list(side.not_named_ports),
    }
    return {key: value for key, value in asked.items() if value}


def _icmp_to_dict(icmp: Icmp | None) -> dict[str, t.Any] | None:
    return None if icmp is None else {"type": icmp.type, "code": icmp.code}


def _failsafe_to_dict(entry: Failsafe) -> dict[str, t.Any]:
    return {"protocol": entry.protocol, "port": entry.port, "net": entry.net}
