# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a scenario that fails to a small one that fails.

Not by hypothesis, which would draw other packets for each simpler policy: here the packet that went wrong
stays, and whatever it does not need is taken away.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.policies import tidy
from tests.differential.scenario import CHANGE, REPAIR, TEXT, UNDONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.differential.scenario import Step

_PATIENCE: Final = 30.0
# What needs a table that is there already, and what comes near it where there is none.
_AS_FIRST: Final = {REPAIR: TEXT, UNDONE: CHANGE}

T = TypeVar("T")


def smallest(steps: tuple[Step, ...], fails: Callable[[tuple[Step, ...]], bool]) -> tuple[Step, ...]:
    """A scenario that fails, as `steps` does, but where nothing more can be left out, or time is up."""
    deadline = time.monotonic() + _PATIENCE
    improved = True
    while improved:
        improved = False
        for simpler in _simpler(steps):
            if time.monotonic() > deadline:
                return steps
            if fails(simpler):
                steps, improved = simpler, True
                break
    return steps


def _simpler(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """The scenario with one thing left out, the largest things first."""
    for fewer in _without_one(steps):
        if fewer:
            yield (replace(fewer[0], how=_AS_FIRST.get(fewer[0].how, fewer[0].how)), *fewer[1:])
    for index, step in enumerate(steps):
        for simpler in _simpler_step(step):
            yield (*steps[:index], simpler, *steps[index + 1 :])


def _simpler_step(step: Step) -> Iterator[Step]:
    for samples in _without_one(step.samples):
        yield replace(step, samples=samples)
    for policy in _simpler_policy(step.policy):
        yield replace(step, policy=policy)


def _simpler_policy(policy: model.HostPolicy) -> Iterator[model.HostPolicy]:
    for endpoints in _each(policy.endpoints, _simpler_endpoint):
        yield tidy(replace(policy, endpoints=endpoints))
    for key, member in policy.policies.items():
        for direction in (model.INGRESS, model.EGRESS):
            for rules in _each(member.rules(direction), _simpler_rule):
                ingress, egress = (
                    (rules, member.egress) if direction == model.INGRESS else (member.ingress, rules)
                )
                changed = replace(member, ingress=ingress, egress=egress)
                yield tidy(replace(policy, policies={**policy.policies, key: changed}))
    for inbound in _without_one(policy.failsafes.inbound):
        yield replace(policy, failsafes=replace(policy.failsafes, inbound=inbound))
    for outbound in _without_one(policy.failsafes.outbound):
        yield replace(policy, failsafes=replace(policy.failsafes, outbound=outbound))
    yield from _simpler_sets(policy)
    if policy.settings != model.Settings():
        yield replace(policy, settings=model.Settings())
    for name in policy.interfaces:
        others = {other: known for other, known in policy.interfaces.items() if other != name}
        yield replace(policy, interfaces=others)


def _simpler_sets(policy: model.HostPolicy) -> Iterator[model.HostPolicy]:
    for name, members in policy.sets.items():
        for v4 in _without_one(members.v4):
            yield replace(policy, sets={**policy.sets, name: replace(members, v4=v4)})
        for v6 in _without_one(members.v6):
            yield replace(policy, sets={**policy.sets, name: replace(members, v6=v6)})
    for name, ports in policy.port_sets.items():
        for ports_v4 in _without_one(ports.v4):
            yield replace(policy, port_sets={**policy.port_sets, name: replace(ports, v4=ports_v4)})
        for ports_v6 in _without_one(ports.v6):
            yield replace(policy, port_sets={**policy.port_sets, name: replace(ports, v6=ports_v6)})


def _simpler_endpoint(endpoint: model.Endpoint) -> Iterator[model.Endpoint]:
    for tiers in _each(endpoint.untracked, _simpler_tier):
        yield replace(endpoint, untracked=tiers)
    if endpoint.interface is not None and endpoint.addresses:
        yield replace(endpoint, addresses=())


def _simpler_tier(tier: model.Tier) -> Iterator[model.Tier]:
    for keys in _without_one(tier.policies):
        yield replace(tier, policies=keys)


def _simpler_rule(rule: model.Rule) -> Iterator[model.Rule]:
    for source in _simpler_side(rule.source):
        yield replace(rule, source=source)
    for destination in _simpler_side(rule.destination):
        yield replace(rule, destination=destination)
    for other in (
        replace(rule, ip_version=None),
        replace(rule, not_protocol=None),
        replace(rule, icmp=None),
        replace(rule, not_icmp=None),
    ):
        if other != rule:
            yield other
    # Numbers of ports without a protocol are nothing that a rule can say.
    has_numbers = any(side.ports or side.not_ports for side in (rule.source, rule.destination))
    if rule.protocol is not None and not has_numbers:
        yield replace(rule, protocol=None)


def _simpler_side(side: model.Side) -> Iterator[model.Side]:
    for field in dataclasses.fields(side):
        for fewer in _without_one(getattr(side, field.name)):
            yield replace(side, **{field.name: fewer})


def _each(members: tuple[T, ...], simpler: Callable[[T], Iterator[T]]) -> Iterator[tuple[T, ...]]:
    """The members without one of them, then with one of them simpler."""
    yield from _without_one(members)
    for index, member in enumerate(members):
        for other in simpler(member):
            yield (*members[:index], other, *members[index + 1 :])


def _without_one(members: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """The members without one of them; of many, first without one half of them."""
    half = len(members) // 2
    if half > 1:
        yield members[:half]
        yield members[half:]
    for index in range(len(members)):
        yield members[:index] + members[index + 1 :]
