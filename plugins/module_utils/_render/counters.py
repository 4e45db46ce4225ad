# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The named counters of our table: which there are, and what they say about a policy.

A counter is named by what it counts, not by where that stands: it goes on when other rules come and go, and
one counter serves all chains that a rule is rendered into.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from dataclasses import dataclass

from .._policy import model
from . import ruleset

MAX_NAME = 200  # the kernel takes 255 (NFT_NAME_MAXLEN); this leaves room for suffixes

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,200}")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]")

Amount = tuple[int, int]
"""Packets, and bytes from the IP header on."""


@dataclass(frozen=True)
class Counted:
    """What was counted: of each rule by its path, of failsafes by direction and whether replies, of each
    endpoint by its name and direction.

    An endpoint counts all that its untracked policy has judged, failsafes and what no rule decided included.
    """

    rules: t.Mapping[str, Amount]
    failsafes: t.Mapping[tuple[str, bool], Amount]
    endpoints: t.Mapping[tuple[str, str], Amount]


def of_rules(policy: model.Policy) -> dict[str, str]:
    """The counter of each rule of a policy, by the rule's path (Origin.path)."""
    found: dict[str, str] = {}
    uses: dict[str, int] = {}
    for rule in policy.all_rules:
        meaning = dataclasses.replace(rule, origin=dataclasses.replace(rule.origin, rule=0))
        label = f"{policy.key}/{rule.origin.direction}/{rule.action}"
        name = ruleset.content_name(label[:MAX_NAME], label, repr(meaning))
        uses[name] = uses.get(name, 0) + 1
        # The same rule again never matches anything that is left, unless it logs or passes.
        found[rule.origin.path] = name if uses[name] == 1 else f"{name}.{uses[name]}"
    return found


def paths_by_counter(policy: model.HostPolicy) -> dict[str, str]:
    """The path of the rule that each counter counts for."""
    return {name: path for member in policy.policies.values() for path, name in of_rules(member).items()}


def of_failsafes(direction: str, replies: bool) -> str:
    """The counter of failsafe ports, inbound or outbound; of packets to them, or of replies from them."""
    return f"failsafe/{direction}" + ("/reply" if replies else "")


def of_endpoint(name: str, direction: str) -> str:
    """The counter of an endpoint in one direction."""
    if _PLAIN.fullmatch(name):
        return f"endpoint/{name}/{direction}"
    # Whatever an inventory calls its hosts: IPv6 addresses, words in any language.
    readable = _NOT_PLAIN.sub("_", name)[:MAX_NAME]
    return ruleset.content_name(f"endpoint/{readable}/{direction}", name)


def counted(policy: model.HostPolicy, counters: t.Mapping[str, Amount]) -> Counted:
    """What the kernel's counters say about a policy. `counters` is ruleset.counters_in of its table."""
    return Counted(
        rules={
            path: counters.get(name, (0, 0))
            for member in policy.policies.values()
            for path, name in of_rules(member).items()
        },
        failsafes={
            (direction, replies): counters.get(of_failsafes(direction, replies), (0, 0))
            for direction in ("inbound", "outbound")
            for replies in (False, True)
        },
        endpoints={
            (endpoint.name, direction): counters.get(of_endpoint(endpoint.name, direction), (0, 0))
            for endpoint in policy.endpoints
            for direction in (model.INGRESS, model.EGRESS)
        },
    )
