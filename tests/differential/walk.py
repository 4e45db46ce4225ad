# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules a packet meets on its way: by asking the reference.

The reference tells only what decides. So a rule that does not is made to deny: if the packet then ends there,
it meets that rule.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.verdict import raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import Packet

_SILENT = (model.LOG, model.PASS)


class Walk:
    """Packets' ways through one policy."""

    def __init__(self, policy: model.HostPolicy) -> None:
        self._policy = policy
        self._kept: dict[frozenset[model.Origin], model.HostPolicy] = {}
        self._silent = {
            rule.origin: rule
            for member in policy.policies.values()
            for rule in member.all_rules
            if rule.action in _SILENT
        }

    def silent(self, packet: Packet) -> list[model.Rule]:
        """The Log and Pass rules that the packet meets."""
        met: list[model.Rule] = []
        while self._silent:
            passed = frozenset(rule.origin for rule in met)
            stopped_by = raw(self._all_but(passed), packet).decided_by
            if stopped_by is None or stopped_by not in self._silent:
                break
            met.append(self._silent[stopped_by])
        return met

    def _all_but(self, passed: frozenset[model.Origin]) -> model.HostPolicy:
        """The policy where every silent rule denies, apart from those that the packet has passed."""
        if passed not in self._kept:
            self._kept[passed] = with_rules(
                self._policy,
                lambda rule: (
                    replace(rule, action=model.DENY)
                    if rule.action in _SILENT and rule.origin not in passed
                    else rule
                ),
            )
        return self._kept[passed]


def with_rules(policy: model.HostPolicy, changed: Callable[[model.Rule], model.Rule]) -> model.HostPolicy:
    """The policy with each rule as changed."""
    return replace(
        policy,
        policies={
            key: replace(
                member,
                ingress=None if member.ingress is None else tuple(map(changed, member.ingress)),
                egress=None if member.egress is None else tuple(map(changed, member.egress)),
            )
            for key, member in policy.policies.items()
        },
    )
