# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Whether a change of policy gives connections back to connection tracking in their middle."""

from __future__ import annotations

import dataclasses
import itertools
import typing as t

from . import model
from .cover import Covers

_Place = tuple[t.Optional[str], tuple[str, ...], str]
"""An endpoint's interface, its addresses, and a direction."""
_ORIGIN = model.Origin("", "", "", 0)


def may_release_tcp(before: model.HostPolicy, after: model.HostPolicy | None) -> bool:
    """Whether TCP that was untracked may be tracked again. False only where it certainly is not."""
    after = after or model.HostPolicy(before.node)
    old, new = _Side(before, after, "before"), _Side(after, before, "after")
    covers = Covers(dataclasses.replace(before, sets={**old.sets, **new.sets})).covers
    if old.rules.keys() != new.rules.keys() and any(_of(rules, model.ALLOW) for rules in old.rules.values()):
        # An endpoint that comes may take an interface from another.
        return True
    for place, rules in old.rules.items():
        allowed, allowing = _of(rules, model.ALLOW), _of(new.rules.get(place, ()), model.ALLOW)
        if not all(any(covers(wide, rule) for wide in allowing) for rule in allowed):
            return True
        # What is passed on, or to a failsafe port, before an Allow is met is tracked, too.
        passed = set(_of(new.rules.get(place, ()), model.PASS)) - set(_of(rules, model.PASS))
        if allowed and (passed or not _has_all(before.failsafes, after.failsafes)):
            return True
    return False


class _Side:
    """One of two policies, with names for its sets that mean the same in both."""

    def __init__(self, policy: model.HostPolicy, other: model.HostPolicy, word: str) -> None:
        def names(ours: t.Mapping[str, t.Any], theirs: t.Mapping[str, t.Any]) -> dict[str, str]:
            return {name: name if ours[name] == theirs.get(name) else f"{word} {name}" for name in ours}

        self._names = names(policy.sets, other.sets)
        self._port_names = names(policy.port_sets, other.port_sets)
        self.sets = {self._names[name]: members for name, members in policy.sets.items()}
        self.rules: dict[_Place, list[model.Rule]] = {}
        """Those that may be about TCP, by place."""
        for endpoint, direction in itertools.product(policy.endpoints, (model.INGRESS, model.EGRESS)):
            place = endpoint.interface, endpoint.addresses, direction
            rules = (rule for tier in endpoint.untracked for rule in policy.tier_rules(tier, direction))
            self.rules[place] = [self._renamed(rule) for rule in rules if _may_be_tcp(rule)]

    def _renamed(self, rule: model.Rule) -> model.Rule:
        source, destination = (
            dataclasses.replace(
                side,
                sets=tuple(map(self._names.__getitem__, side.sets)),
                not_sets=tuple(map(self._names.__getitem__, side.not_sets)),
                named_ports=tuple(map(self._port_names.__getitem__, side.named_ports)),
                not_named_ports=tuple(map(self._port_names.__getitem__, side.not_named_ports)),
            )
            for side in (rule.source, rule.destination)
        )
        return dataclasses.replace(rule, origin=_ORIGIN, source=source, destination=destination)


def _may_be_tcp(rule: model.Rule) -> bool:
    return (
        rule.protocol in (None, model.TCP)
        and rule.not_protocol != model.TCP
        and rule.icmp is None
        and rule.not_icmp is None
    )


def _of(rules: t.Iterable[model.Rule], action: str) -> list[model.Rule]:
    return [rule for rule in rules if rule.action == action]


def _has_all(before: model.Failsafes, after: model.Failsafes) -> bool:
    return set(after.inbound) <= set(before.inbound) and set(after.outbound) <= set(before.outbound)
