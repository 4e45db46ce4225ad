# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What is valid and means what it says, but does not work: found by reading a HostPolicy."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import describe, model

_OTHER = {model.INGRESS: model.EGRESS, model.EGRESS: model.INGRESS}


@dataclass(frozen=True)
class Remark:
    """Something about a rule that its author should know."""

    origin: model.Origin
    message: str


def lint(policy: model.HostPolicy) -> list[Remark]:
    """All remarks about a policy, each once."""
    found: dict[Remark, None] = {}
    for endpoint in policy.endpoints:
        for remark in one_sided(policy, endpoint.untracked):
            found[remark] = None
    return list(found)


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
        for rule in allowed[direction]:
            if not any(_may_answer(rule, answer) for answer in allowed[other]):
                yield Remark(rule.origin, _message(rule, other))


def _may_answer(rule: model.Rule, answer: model.Rule) -> bool:
    return (
        _may_be_equal(rule.protocol, answer.protocol)
        and _may_be_equal(rule.ip_version, answer.ip_version)
        and _overlap(rule.source.ports, answer.destination.ports)
        and _overlap(rule.destination.ports, answer.source.ports)
    )


def _may_be_equal(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


def _overlap(some: tuple[model.PortRange, ...], others: tuple[model.PortRange, ...]) -> bool:
    if not some or not others:
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
