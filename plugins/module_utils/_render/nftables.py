# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""HostPolicy -> our nftables table.

Both raw chains are hooked: raw prerouting judges what arrives on an endpoint's interface, wherever it is
going; raw output what the host itself sends. Ingress alone would leave every reply to connection tracking.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing as t
from dataclasses import dataclass

from .._policy import model
from . import ruleset

DIRECTIONS = {model.INGRESS: ("prerouting", "iifname"), model.EGRESS: ("output", "oifname")}
ADDRESS_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
ADDRESS_KEYS = {4: "ip", 6: "ip6"}
MAX_NAME = 200  # the kernel takes 255 (NFT_NAME_MAXLEN); this leaves room for suffixes

# RFC 4861: valid neighbour discovery has hop limit 255, so it cannot come from beyond the link.
NEIGHBOUR_DISCOVERY = "icmpv6 type { 133-137 } ip6 hoplimit 255 accept"
LISTENER_DISCOVERY = "icmpv6 type { 130-132, 143 } accept"


def render(policy: model.HostPolicy) -> ruleset.Ruleset:
    """The table that enforces the policy."""
    return _Rendering(policy).ruleset()


def text(policy: model.HostPolicy) -> str:
    """The table as one file for `nft -f`."""
    return ruleset.text(render(policy))


class Lack(t.NamedTuple):
    """Something of a policy that this version cannot enforce: of which resource, where in it, and what."""

    kind: str
    name: str
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.path}: {self.what}"


def unenforced(policy: model.HostPolicy) -> list[Lack]:
    """What of a policy this version cannot enforce; such a policy must not be applied in part."""
    found: dict[Lack, None] = {}
    for endpoint in policy.endpoints:
        if endpoint.interface in (None, model.EVERY_INTERFACE):
            lack = Lack("HostEndpoint", endpoint.name, "spec.interfaceName", "an interface that is not named")
            found[lack] = None
        tracked = itertools.chain(endpoint.pre_dnat, endpoint.normal, endpoint.forward)
        members = (policy.policies[key] for tier in tracked for key in tier.policies)
        for member in members:
            if member.staged is None:
                lack = Lack(member.kind, member.name, "spec.doNotTrack", "policy that is not untracked")
                found[lack] = None
        for member in (policy.policies[key] for key in endpoint.profiles):
            found[Lack(member.kind, member.name, "spec", "profiles")] = None
        for tier, direction in itertools.product(endpoint.untracked, DIRECTIONS):
            found.update(dict.fromkeys(_lacks(policy.tier_rules(tier, direction))))
    return list(found)


def _lacks(rules: t.Iterable[model.Rule]) -> t.Iterator[Lack]:
    for rule in rules:
        origin = rule.origin
        path = f"spec.{origin.direction}[{origin.rule}]"
        if rule.action == model.LOG:
            yield Lack(origin.kind, origin.name, path, "Log rules")
        if rule.all_port_sets:
            yield Lack(origin.kind, origin.name, path, "named ports")


NAMED = 5
"""As many things as a refusal names; there may be hundreds."""


def refusal(policy: model.HostPolicy) -> str | None:
    """What keeps a policy from being enforced, for its author; None where nothing does."""
    found = unenforced(policy)
    if not found:
        return None
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"it cannot enforce {'; '.join(map(str, found[:NAMED]))}{more}"


def counter_names(policy: model.Policy) -> dict[str, str]:
    """The counter of each rule of a policy, by the rule's path (Origin.path).

    A counter is named by what its rule says, not by where it stands: it goes on when other rules come and go.
    """
    found: dict[str, str] = {}
    uses: dict[str, int] = {}
    for rule in policy.all_rules:
        meaning = dataclasses.replace(rule, origin=dataclasses.replace(rule.origin, rule=0))
        label = f"{policy.key}/{rule.origin.direction}/{rule.action}"
        name = ruleset.content_name(label[:MAX_NAME], label, repr(meaning))
        uses[name] = uses.get(name, 0) + 1
        # The same rule again never matches anything that is left.
        found[rule.origin.path] = name if uses[name] == 1 else f"{name}.{uses[name]}"
    return found


@dataclass(frozen=True)
class Counted:
    """Packets and L3 bytes, of each rule by its path, and of failsafes by direction and whether replies."""

    rules: t.Mapping[str, tuple[int, int]]
    failsafes: t.Mapping[tuple[str, bool], tuple[int, int]]


def counted(policy: model.HostPolicy, counters: t.Mapping[str, tuple[int, int]]) -> Counted:
    """What the kernel's counters say about a policy. `counters` is ruleset.counters_in of its table."""
    return Counted(
        rules={
            path: counters.get(name, (0, 0))
            for member in policy.policies.values()
            for path, name in counter_names(member).items()
        },
        failsafes={
            (direction, replies): counters.get(_failsafe_counter(direction, replies), (0, 0))
            for direction in ("inbound", "outbound")
            for replies in (False, True)
        },
    )


def _failsafe_counter(direction: str, replies: bool) -> str:
    return f"failsafe/{direction}" + ("/reply" if replies else "")


class _Rendering:
    """One policy being rendered: collects the objects that the chains come to need."""

    def __init__(self, policy: model.HostPolicy) -> None:
        self._policy = policy
        self._counters: dict[str, None] = {}
        self._counter_names: dict[str, str] = {}
        for member in policy.policies.values():
            self._counter_names.update(counter_names(member))
        self._sets: dict[str, ruleset.Set] = {}
        self._chains: dict[str, ruleset.Chain] = {}

    def ruleset(self) -> ruleset.Ruleset:
        maps, bases = [], []
        for direction, (hook, key) in DIRECTIONS.items():
            targets = [
                (endpoint.interface, self._endpoint(endpoint, direction))
                for endpoint in self._policy.endpoints
                if endpoint.interface is not None and self._has_rules(endpoint, direction)
            ]
            if not targets:
                continue
            elements = tuple(sorted(targets))
            name = ruleset.content_name(f"raw-{direction}", *map(repr, elements))
            maps.append(ruleset.InterfaceMap(name, elements))
            rules = (f"{key} vmap @{name}",)
            bases.append(ruleset.BaseChain(name=f"raw-{hook}", hook=hook, priority="raw", rules=rules))
        return ruleset.Ruleset(
            counters=tuple(self._counters),
            sets=tuple(self._sets.values()),
            chains=tuple(self._chains.values()),
            maps=tuple(maps),
            bases=tuple(bases),
        )

    def _has_rules(self, endpoint: model.Endpoint, direction: str) -> bool:
        return any(self._policy.tier_rules(tier, direction) for tier in endpoint.untracked)

    def _endpoint(self, endpoint: model.Endpoint, direction: str) -> str:
        rules = [NEIGHBOUR_DISCOVERY, LISTENER_DISCOVERY]
        rules += self._failsafes(direction)
        for tier in endpoint.untracked:
            if self._policy.tier_rules(tier, direction):
                rules.append(f"jump {self._tier(tier, direction)}")
        return self._chain(f"raw-{direction}-{endpoint.interface}", rules)

    def _failsafes(self, direction: str) -> list[str]:
        failsafes = self._policy.failsafes
        ours = ("inbound", failsafes.inbound), ("outbound", failsafes.outbound)
        (word, forward), (other, replies) = ours if direction == model.INGRESS else reversed(ours)
        peer = "saddr" if direction == model.INGRESS else "daddr"
        return list(
            itertools.chain(
                self._failsafe(forward, "dport", peer, _failsafe_counter(word, replies=False)),
                self._failsafe(replies, "sport", peer, _failsafe_counter(other, replies=True)),
            )
        )

    def _failsafe(
        self, entries: t.Iterable[model.Failsafe], key: str, peer: str, label: str
    ) -> t.Iterator[str]:
        by_net: dict[str | None, list[model.Failsafe]] = {}
        for entry in entries:
            by_net.setdefault(entry.net, []).append(entry)
        for net, members in sorted(by_net.items(), key=lambda item: item[0] or ""):
            pairs = sorted({(member.protocol, member.port) for member in members})
            ports = ", ".join(f"{protocol} . {number}" for protocol, number in pairs)
            match = [f"meta l4proto . th {key} {{ {ports} }}"]
            if net is not None:
                match.insert(0, f"{ADDRESS_KEYS[6 if ':' in net else 4]} {peer} {net}")
            yield " ".join([*match, self._counter(label), "accept"])

    def _tier(self, tier: model.Tier, direction: str) -> str:
        rules = [
            statement for rule in self._policy.tier_rules(tier, direction) for statement in self._rule(rule)
        ]
        return self._chain(f"raw-{direction}-tier-{tier.name}", rules)

    def _rule(self, rule: model.Rule) -> t.Iterator[str]:
        """The rule's statements: one where it asks for no addresses, else one for each IP version."""
        counter = self._counter(self._counter_names[rule.origin.path])
        families: tuple[int | None, ...] = (rule.ip_version,)
        if rule.ip_version is None and rule.all_sets:
            families = (4, 6)
        for family in families:
            addresses = self._addresses(rule, family)
            if addresses is not None:
                yield " ".join([*addresses, *_protocol(rule), *_ports(rule), counter, _ACTIONS[rule.action]])

    def _addresses(self, rule: model.Rule, family: int | None) -> list[str] | None:
        """What the rule asks of a packet of one IP version (None: any); None where no such packet matches."""
        if family is None:
            return []
        if not all(
            self._policy.sets[name].family(family) for name in (*rule.source.sets, *rule.destination.sets)
        ):
            return None
        match = []
        for side, key in ((rule.source, "saddr"), (rule.destination, "daddr")):
            match += [f"{ADDRESS_KEYS[family]} {key} @{self._set(name, family)}" for name in side.sets]
            match += [
                f"{ADDRESS_KEYS[family]} {key} != @{self._set(name, family)}"
                for name in side.not_sets
                if self._policy.sets[name].family(family)
            ]
        return match or [f"meta nfproto ipv{family}"]

    def _set(self, name: str, family: int) -> str:
        elements = self._policy.sets[name].family(family)
        label = f"set{family}-{re.sub('[^A-Za-z0-9]', '', name)[:16]}"
        member = ruleset.Set(ruleset.content_name(label, *elements), ADDRESS_TYPES[family], tuple(elements))
        self._sets[member.name] = member
        return member.name

    def _chain(self, label: str, rules: t.Sequence[str]) -> str:
        chain = ruleset.Chain(ruleset.content_name(label, *rules), tuple(rules))
        self._chains[chain.name] = chain
        return chain.name

    def _counter(self, name: str) -> str:
        self._counters[name] = None
        return f'counter name "{name}"'


def _protocol(rule: model.Rule) -> t.Iterator[str]:
    if rule.protocol is not None:
        yield f"meta l4proto {rule.protocol}"
    if rule.not_protocol is not None:
        yield f"meta l4proto != {rule.not_protocol}"
    asks_icmp = rule.icmp is not None or rule.not_icmp is not None
    if asks_icmp and rule.protocol not in model.ICMP_PROTOCOLS:
        # By offset, for both protocols and both IP versions: nft's own `icmp type` asks for IPv4, and its
        # negation of type and code is that of each, not of both.
        yield f"meta l4proto {{ {model.ICMP}, {model.ICMPV6} }}"
    for icmp, operator in ((rule.icmp, ""), (rule.not_icmp, "!= ")):
        if icmp is not None:
            code = icmp.code
            yield (
                f"@th,0,8 {operator}{icmp.type}"
                if code is None
                else f"@th,0,16 {operator}{icmp.type << 8 | code}"
            )


def _ports(rule: model.Rule) -> t.Iterator[str]:
    for side, key in ((rule.source, "sport"), (rule.destination, "dport")):
        for ports, operator in ((side.ports, ""), (side.not_ports, "!= ")):
            if ports:
                yield f"th {key} {operator}{{ {', '.join(map(_port_text, ports))} }}"


_ACTIONS = {model.ALLOW: "notrack accept", model.DENY: "drop", model.PASS: "return"}


def _port_text(ports: model.PortRange) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"
