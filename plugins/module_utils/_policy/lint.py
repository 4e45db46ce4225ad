# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What is valid and means what it says, but does not work: found by reading a HostPolicy."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass

from . import cover, describe, model

_OTHER = {model.INGRESS: model.EGRESS, model.EGRESS: model.INGRESS}


@dataclass(frozen=True)
class Remark:
    """Something about a rule that its author should know."""

    origin: model.Origin
    message: str


def lint(policy: model.HostPolicy) -> list[Remark]:
    """All remarks about a policy, each once."""
    found: dict[Remark, None] = {}
    for tiers in dict.fromkeys(endpoint.untracked for endpoint in policy.endpoints):
        for remark in one_sided(policy, tiers):
            found[remark] = None
    for remark in itertools.chain(shadowed(policy), bypassed(policy, policy.failsafes)):
        found[remark] = None
    return list(found)


# -- answers -----------------------------------------------------------------------------------------


def one_sided(policy: model.HostPolicy, tiers: tuple[model.Tier, ...]) -> t.Iterator[Remark]:
    """Untracked Allow rules whose answers no rule takes past connection tracking.

    The answer then is the first packet that tracking sees of its connection: it is invalid, and dropped where
    a rule says so or the table is full. Only what certainly has no answer is told: addresses do not count.
    """
    allowed = {
        direction: [
            rule
            for tier in tiers
            for rule in policy.tier_rules(tier, direction)
            if rule.action == model.ALLOW
        ]
        for direction in _OTHER
    }
    for direction, other in _OTHER.items():
        answered = {_flow(answer.destination, answer.source, answer) for answer in allowed[other]}
        for rule in allowed[direction]:
            flow = _flow(rule.source, rule.destination, rule)
            # Most rules have the very answer; looking at all of them for each rule would take minutes.
            if flow not in answered and not any(_may_meet(flow, other_flow) for other_flow in answered):
                yield Remark(rule.origin, _message(rule, other))


_Ports = t.Optional[tuple[model.PortRange, ...]]
_Flow = tuple[t.Optional[int], t.Optional[int], _Ports, _Ports]
"""Protocol, IP version, and the ports of the two ends; None may be anything."""


def _flow(from_side: model.Side, to_side: model.Side, rule: model.Rule) -> _Flow:
    return rule.protocol, rule.ip_version, _ports(from_side), _ports(to_side)


def _ports(side: model.Side) -> _Ports:
    return None if side.named_ports or not side.ports else side.ports


def _may_meet(one: _Flow, other: _Flow) -> bool:
    return (
        _may_be_equal(one[0], other[0])
        and _may_be_equal(one[1], other[1])
        and _overlap(one[2], other[2])
        and _overlap(one[3], other[3])
    )


def _may_be_equal(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


def _overlap(some: _Ports, others: _Ports) -> bool:
    if some is None or others is None:
        return True
    return any(low <= last and first <= high for low, high in some for first, last in others)


def _message(rule: model.Rule, other: str) -> str:
    protocol = "" if rule.protocol is None else f", protocol: {describe.protocol_name(rule.protocol)}"
    source = _ports_text("source", rule.destination.ports)
    destination = _ports_text("destination", rule.source.ports)
    return (
        "allows packets past connection tracking, and no rule does so for their answers, which tracking "
        f"calls invalid; {other} needs {{action: Allow{protocol}{source}{destination}}}, with the addresses "
        "of this rule the other way round"
    )


def _ports_text(side: str, ports: tuple[model.PortRange, ...]) -> str:
    if not ports:
        return ""
    texts = [str(low) if low == high else f"'{low}:{high}'" for low, high in ports]
    return f", {side}: {{ports: [{', '.join(texts)}]}}"


# -- failsafes ---------------------------------------------------------------------------------------


def bypassed(policy: model.HostPolicy, failsafes: model.Failsafes) -> t.Iterator[Remark]:
    """Untracked Deny rules for what arrives that anybody walks past who sends from a failsafe's port.

    Raw cannot tell an answer from a failsafe port from a forged one, unless the failsafe names its peers. A
    rule that says from which ports it denies says what it means.
    """
    anybodys = [entry for entry in failsafes.outbound if entry.net is None]
    for rule in _untracked_rules(policy, model.INGRESS):
        if rule.action != model.DENY or _asks_ports(rule.source):
            continue
        past = [entry for entry in anybodys if rule.protocol in (None, entry.protocol)]
        past = [entry for entry in past if rule.not_protocol != entry.protocol]
        if past and rule.icmp is None and rule.not_icmp is None:
            ports = ", ".join(f"{describe.protocol_name(one.protocol)} {one.port}" for one in past)
            yield Remark(
                rule.origin,
                f"does not deny what comes from a failsafe's port ({ports}): raw takes it for an answer. "
                "Give these entries of failsafeOutboundHostPorts a net, such as {protocol: UDP, port: 53, "
                "net: <resolver>/32}, or leave out what the host does not need; such a list replaces the "
                "built-in one, all of it",
            )


def _asks_ports(side: model.Side) -> bool:
    return bool(side.ports or side.not_ports or side.all_port_sets)


def _untracked_rules(policy: model.HostPolicy, direction: str) -> t.Iterator[model.Rule]:
    keys = dict.fromkeys(
        key for endpoint in policy.endpoints for tier in endpoint.untracked for key in tier.policies
    )
    for key in keys:
        if policy.policies[key].staged is None:
            yield from policy.policies[key].rules(direction)


# -- shadows -----------------------------------------------------------------------------------------


COMPARED = 200_000
"""Pairs of rules that are compared at the most, of all tiers together: a remark less, not a minute more."""


def shadowed(policy: model.HostPolicy) -> t.Iterator[Remark]:
    """Rules that can never match, because an earlier one of their tier takes all that they match.

    Only what is certain is told: on every endpoint that the rule's policy is for, in every list.
    """
    covers = cover.Covers(policy)
    left = COMPARED
    by: dict[model.Origin, model.Origin | None] = {}
    for tiers in dict.fromkeys(tiers for endpoint in policy.endpoints for tiers in endpoint.tiers.values()):
        for tier, direction in itertools.product(tiers, _OTHER):
            earlier: list[model.Rule] = []
            for rule in policy.tier_rules(tier, direction):
                candidates = () if by.get(rule.origin, rule.origin) is None else earlier[:left]
                left -= len(candidates)
                shadow = next((one for one in candidates if covers.covers(one, rule)), None)
                by[rule.origin] = None if shadow is None else shadow.origin
                if rule.action != model.LOG:
                    earlier.append(rule)
    for origin, first in by.items():
        if first is not None:
            where = "" if (first.kind, first.name) == (origin.kind, origin.name) else f" of {first.name}"
            yield Remark(origin, f"never matches: {first.direction} rule {first.rule}{where} takes all of it")
