# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""A policy's chains as they are made, and the counters and sets that they come to need.

A chain is named by its content, so that equal ones are one.
"""

from __future__ import annotations

import typing as t

from .._policy import model
from . import counters, folding, ruleset
from .matches import ADDRESSES, IP, Known, Matches

_T = t.TypeVar("_T")

_DECISIONS = {model.ALLOW: "notrack accept", model.DENY: "drop", model.PASS: "return"}

MAX_LOG_PREFIX = 127  # bytes; the kernel's NF_LOG_PREFIXLEN is 128
_LOG_LEVEL = "info"  # as Calico's nftables plane has it


class Chains:
    """Collects what one policy's table consists of, in an order in which each comes before its users."""

    def __init__(self, policy: model.HostPolicy, aliases: t.Mapping[str, str]) -> None:
        self._policy = policy
        self._matches = Matches(policy, aliases)
        self._settings = policy.settings
        self._counter_of: dict[str, str] = {}
        for member in policy.policies.values():
            self._counter_of.update(counters.of_rules(member))
        self._made: dict[t.Hashable, t.Any] = {}
        self.counters: dict[str, None] = {}
        self.chains: dict[str, ruleset.Chain] = {}

    @property
    def sets(self) -> dict[str, ruleset.Set]:
        """The sets that rules mention, by name."""
        return self._matches.sets

    def add(self, label: str, rules: t.Sequence[str]) -> str:
        """Add a chain; its name begins with the label."""
        chain = ruleset.Chain(ruleset.content_name(label, *rules), tuple(rules))
        self.chains[chain.name] = chain
        return chain.name

    def counter(self, name: str) -> str:
        """The statement that counts for a named counter."""
        self.counters[name] = None
        return f'counter name "{name}"'

    def once(self, key: t.Hashable, make: t.Callable[[], _T]) -> _T:
        """What `make` makes, made once for each key: many endpoints have the same tiers."""
        if key not in self._made:
            self._made[key] = make()
        return t.cast("_T", self._made[key])

    def rules(self, rules: t.Iterable[model.Rule], tier: str, known: Known) -> list[str]:
        """The statements of rules in their order."""
        return [
            statement
            for part in folding.folds(rules, self._policy, known)
            for statement in (
                self._fold(part) if isinstance(part, folding.Fold) else self._rule(part, tier, known)
            )
        ]

    def _fold(self, fold: folding.Fold) -> t.Iterator[str]:
        """A look at the address for each IP version."""
        chains = [
            self.add("rule", [f"{self._counted(rule)} {_DECISIONS[rule.action]}"]) for rule in fold.rules
        ]
        for version, ip in IP.items():
            elements = folding.elements(fold, self._policy, version)
            if elements:
                verdicts = ", ".join(f"{addresses} : goto {chains[index]}" for addresses, index in elements)
                yield f"{ip} {ADDRESSES[fold.key]} vmap {{ {verdicts} }}"

    def _counted(self, rule: model.Rule) -> str:
        return self.counter(self._counter_of[rule.origin.path])

    def _rule(self, rule: model.Rule, tier: str, known: Known) -> list[str]:
        """A rule's statements, the first of which that matches decides; none where no packet can match."""
        counted = self._counted(rule)
        matches = self._matches.of(rule, known)
        if rule.action != model.LOG:
            return [f"{match} {counted} {_DECISIONS[rule.action]}".lstrip() for match in matches]
        limit = self._limit()
        log = " ".join([counted, *limit, self._log(rule, tier)])
        if len(matches) < 2 and not limit:
            return [f"{match} {log}".lstrip() for match in matches]
        # One chain, and so one limit, wherever the rule stands.
        once = self.add("log", [log])
        if len(matches) < 2:
            return [f"{match} jump {once}".lstrip() for match in matches]
        # Nothing is decided, so a packet would go on to the next statement, and be logged once more.
        return [f"jump {self.add('log', [f'{match} goto {once}'.lstrip() for match in matches])}"]

    def _limit(self) -> list[str]:
        if self._settings.log_rate is None:
            return []
        return [f"limit rate {self._settings.log_rate} burst {self._settings.log_burst} packets"]

    def _log(self, rule: model.Rule, tier: str) -> str:
        prefix = self._settings.log_prefix
        origin = rule.origin
        for code, value in (("%t", tier), ("%k", origin.kind), ("%n", origin.name), ("%p", origin.name)):
            prefix = prefix.replace(code, value)
        end = ": "
        return f'log prefix "{prefix[: MAX_LOG_PREFIX - len(end)]}{end}" level {_LOG_LEVEL}'
