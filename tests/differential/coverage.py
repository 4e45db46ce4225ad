# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often each field of a policy was there, decided a packet, and alone kept a packet from being decided.

A field that never decides, or never excludes anything, is not tested, however often it is generated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.verdict import raw
from tests.differential import fields
from tests.differential.aims import governed
from tests.differential.lifted import lifted
from tests.differential.walk import Walk, with_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import Packet
    from ansible_collections.netpolicy.host.plugins.module_utils._policy.verdict import Verdict
    from tests.differential.packets import Sample

NAMED, EVERY, BY_ADDRESSES = (f"Endpoint.interface: {form}" for form in ("named", "every", "by addresses"))
# Rows that keep no packet off: what they say is done, not asked for.
NOTHING_ASKED: Final = frozenset(
    row
    for row in fields.rows()
    if row.startswith(
        (
            "Rule.action",
            "Policy.ingress",
            "Policy.egress",
            "Tier.",
            "Endpoint.name",
            "Endpoint.untracked",
            "HostPolicy.failsafes",
            "HostPolicy.settings",
        )
    )
)
# Rows that decide nothing, by what they say.
NOTHING_DONE: Final = frozenset(
    row for row in fields.rows() if row == "Policy.staged" or row.endswith(": no rule")
)


@dataclass
class Tally:
    """By row: policies that have it, packets that it helped to decide, and packets that it alone kept off."""

    there: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    kept_off: Counter[str] = field(default_factory=Counter)

    def add(self, policy: model.HostPolicy, samples: Sequence[Sample]) -> None:
        """Count a policy and the packets that it was tried with."""
        self.there.update({row for part in fields.parts(policy) for row in fields.used(part)})
        witness = _Witness(policy)
        for sample in samples:
            packet = sample.described
            said = raw(policy, packet)
            self.decided.update(set(witness.deciders(packet, said)))
            self.kept_off.update(set(witness.hindrances(sample, packet, said)))

    def merge(self, other: Tally) -> None:
        """Add what another has counted."""
        self.there += other.there
        self.decided += other.decided
        self.kept_off += other.kept_off

    def table(self) -> list[str]:
        """The rows as text, for people."""
        lines = [f"{'':42} {'policies':>9} {'decided':>9} {'kept off':>9}"]
        for row in fields.rows():
            decided = "-" if row in NOTHING_DONE else self.decided[row]
            kept_off = "-" if row in NOTHING_ASKED else self.kept_off[row]
            lines.append(f"{row:42} {self.there[row]:>9} {decided:>9} {kept_off:>9}")
        return lines

    def missed(self, there: int, decided: int, kept_off: int) -> list[str]:
        """Which rows were hit less often than that, and how often."""
        return [
            f"{row}: {what} {number}, not {least}"
            for row in fields.rows()
            for what, number, least, exempt in (
                ("there", self.there[row], there, frozenset()),
                ("decided", self.decided[row], decided, NOTHING_DONE),
                ("kept off", self.kept_off[row], kept_off, NOTHING_ASKED),
            )
            if row not in exempt and number < least
        ]


class _Witness:
    """Tells of one policy what decided packets, and what did not let others be decided."""

    def __init__(self, policy: model.HostPolicy) -> None:
        self._policy = policy
        self._walk = Walk(policy)
        self._endpoints = governed(policy)
        self._rules = {rule.origin: rule for each in policy.policies.values() for rule in each.all_rules}

    # -- what decided ------------------------------------------------------------------------------------

    def deciders(self, packet: Packet, said: Verdict) -> Iterator[str]:
        endpoint = self._endpoints.get(packet.interface)
        if endpoint is None:
            return
        rules = self._walk.silent(packet)
        if said.decided_by is not None:
            rules.append(self._rules[said.decided_by])
        for rule in rules:
            yield from fields.used(rule)
            yield from _sets(rule, packet)
            yield from self._around(endpoint, rule)
            if rule.action == model.LOG:
                yield from (row for row in fields.used(self._policy) if ".settings." in row)
        if said.reason.startswith("failsafe"):
            yield from self._failsafe(packet)

    def _around(self, endpoint: model.Endpoint, rule: model.Rule) -> Iterator[str]:
        """The policy, tier and endpoint that the rule stands in."""
        member = self._policy.policies[f"{rule.origin.kind}/{rule.origin.name}"]
        yield f"Policy.{rule.origin.direction}: rules"
        (tier, *_others) = (tier for tier in endpoint.untracked if member.key in tier.policies)
        yield from fields.used(tier)
        yield from fields.used(endpoint)
        if endpoint.interface is None:
            yield "HostPolicy.interfaces"

    def _failsafe(self, packet: Packet) -> Iterator[str]:
        for word in ("inbound", "outbound"):
            for entry in getattr(self._policy.failsafes, word):
                if self._passes(entry, packet):
                    yield from fields.used(entry)
                    yield f"HostPolicy.failsafes.{word}"

    # -- what kept a packet from being decided -----------------------------------------------------------

    def hindrances(self, sample: Sample, packet: Packet, said: Verdict) -> Iterator[str]:
        aim = sample.aimed_at
        if packet.interface not in self._endpoints:
            yield from self._no_endpoint(packet)
        elif isinstance(aim, model.Failsafe):
            yield from self._around_failsafe(aim, packet)
        elif aim is not None and said.decided_by != aim:
            yield from self._around_rule(self._rules[aim], packet)
        yield from self._left_alone(packet)

    def _no_endpoint(self, packet: Packet) -> Iterator[str]:
        """An endpoint would have had a say if it were on the packet's interface."""
        for endpoint in self._policy.endpoints:
            moved = replace(endpoint, interface=packet.interface)
            if raw(replace(self._policy, endpoints=(moved,)), packet).decided_by is None:
                continue
            if endpoint.interface is None:
                yield from (BY_ADDRESSES, "Endpoint.addresses")
                if packet.interface in self._policy.interfaces:
                    yield "HostPolicy.interfaces"
            else:
                yield EVERY if endpoint.interface == model.EVERY_INTERFACE else NAMED

    def _left_alone(self, packet: Packet) -> Iterator[str]:
        """What is there for every interface would have decided, were there no endpoint for this one."""
        endpoint = self._endpoints.get(packet.interface)
        if endpoint is None or endpoint.interface == model.EVERY_INTERFACE:
            return
        if any(self._policy.tier_rules(tier, packet.direction) for tier in endpoint.untracked):
            return
        every = tuple(each for each in self._policy.endpoints if each.interface == model.EVERY_INTERFACE)
        if raw(replace(self._policy, endpoints=every), packet).decided_by is not None:
            yield EVERY

    def _around_failsafe(self, entry: model.Failsafe, packet: Packet) -> Iterator[str]:
        if self._passes(entry, packet):
            return
        ports = {port for port in (packet.sport, packet.dport) if port is not None}
        alternatives = [("Failsafe.protocol", replace(entry, protocol=packet.protocol))]
        alternatives += [("Failsafe.port", replace(entry, port=port)) for port in sorted(ports)]
        alternatives += [("Failsafe.net", replace(entry, net=None))]
        yield from (row for row, other in alternatives if self._passes(other, packet))

    def _passes(self, entry: model.Failsafe, packet: Packet) -> bool:
        """Whether this entry alone, where it stands, would let the packet pass."""
        ours = self._policy.failsafes
        alone = model.Failsafes(
            (entry,) if entry in ours.inbound else (), (entry,) if entry in ours.outbound else ()
        )
        if alone == model.Failsafes():
            alone = model.Failsafes((entry,), (entry,))
        return raw(replace(self._policy, failsafes=alone), packet).reason.startswith("failsafe")

    def _around_rule(self, rule: model.Rule, packet: Packet) -> Iterator[str]:
        """What of a rule would have to go for it to stop the packet."""
        member = self._policy.policies[f"{rule.origin.kind}/{rule.origin.name}"]
        if member.staged is not None:
            if self._stops(rule, packet, enforced=True):
                yield "Policy.staged"
            return
        if self._stops(rule, packet):
            return
        for row, other in lifted(rule, packet):
            if self._stops(other, packet):
                yield row
                yield from _sets(rule, packet, only=row)

    def _stops(self, rule: model.Rule, packet: Packet, *, enforced: bool = False) -> bool:
        """Whether the packet would end at this rule, in the place of the one of the same origin."""
        denying = replace(rule, action=model.DENY)
        policy = with_rules(self._policy, lambda each: denying if each.origin == rule.origin else each)
        if enforced:
            key = f"{rule.origin.kind}/{rule.origin.name}"
            members = {**policy.policies, key: replace(policy.policies[key], staged=None)}
            policy = replace(policy, policies=members)
        return raw(policy, packet).decided_by == rule.origin


def _sets(rule: model.Rule, packet: Packet, only: str = "sets ports") -> Iterator[str]:
    """The rows of the sets that the rule, or one field of it, looks the packet up in."""
    if rule.all_sets and "sets" in only:
        yield f"AddressSet.v{packet.ip_version}"
    if rule.all_port_sets and ("named_ports" in only or only == "sets ports"):
        yield f"PortSet.v{packet.ip_version}"
