# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""A tier's rules of one direction as chains: the first that matches decides, and Pass leaves the tier.

Where enough rules ask for ports, a packet is sent by protocol and port to a chain of those rules alone that
it can still match (dispatch.py). Everything below a tier's chain is reached by `goto`, so that the end of a
chain, and the `return` of Pass, is the end of the tier. Rules between them that ask for no port stand in
many of these chains; a run of them is a chain of its own, reached by `jump`, unless there is a Pass in it.
"""

from __future__ import annotations

import itertools
import typing as t

from .._policy import model
from . import dispatch
from .matches import ANYTHING, DPORT, SPORT, Known, asks_for_ports, port_text, sides

if t.TYPE_CHECKING:
    from .chains import Chains

FEW = 4
"""Fewer rules with ports than this are tried one after the other: to find their class takes as long."""


def tier_chain(chains: Chains, policy: model.HostPolicy, tier: model.Tier, direction: str) -> str:
    """The name of the chain that judges a tier's packets of one direction."""
    return _Tier(chains, policy, tier, direction).chain()


class _Tier:
    """A tier being rendered, in one direction."""

    def __init__(self, chains: Chains, policy: model.HostPolicy, tier: model.Tier, direction: str) -> None:
        self._chains = chains
        self._port_sets = policy.port_sets
        self._tier = tier.name
        self._rules = policy.tier_rules(tier, direction)
        self._label = f"raw-{direction}-tier-{tier.name}"
        self._key = _most_asked_for(self._rules)

    def chain(self) -> str:
        statements: list[str] = []
        members = self._rules
        targets = {protocol: self._of_protocol(protocol) for protocol in self._protocols()}
        if targets:
            verdicts = (f"{protocol} : goto {chain}" for protocol, chain in targets.items())
            statements.append(f"meta l4proto vmap {{ {', '.join(verdicts)} }}")
            members = [rule for rule in members if rule.protocol not in targets]
        return self._chains.add(self._label, [*statements, *self._statements(members, ANYTHING)])

    def _protocols(self) -> list[int]:
        """The protocols whose packets are told apart by port."""
        asking: dict[int, int] = {}
        for rule in self._rules:
            for protocol in model.PORT_PROTOCOLS:
                if self._ports(rule, protocol):
                    asking[protocol] = asking.get(protocol, 0) + 1
        return sorted(protocol for protocol, number in asking.items() if number >= FEW)

    def _of_protocol(self, protocol: int) -> str:
        """The chain for packets of one protocol."""
        known = Known(protocol)
        label = f"{self._label}-{model.PROTOCOL_NAMES[protocol].lower()}"
        rules = [rule for rule in self._rules if _can_be(rule, protocol)]
        asked = [self._ports(rule, protocol) for rule in rules]
        # A rule, or a run of rules that ask for no port.
        parts: list[tuple[dispatch.Ranges, list[model.Rule]]] = []
        for ranges, run in itertools.groupby(zip(asked, rules), key=lambda pair: pair[0]):
            members = [rule for _ranges, rule in run]
            parts += [(ranges, members)] if ranges is None else [(ranges, [rule]) for rule in members]
        shared = [self._run(members, known) if ranges is None else [] for ranges, members in parts]
        verdicts = []
        for found in dispatch.classes([ranges for ranges, _members in parts]):
            inside = Known(protocol, self._key, found.ports)
            statements = [
                statement
                for index in found.members
                for statement in shared[index] or self._statements(parts[index][1], inside)
            ]
            verdicts.append(f"{port_text(found.ports)} : goto {self._chains.add(label, statements)}")
        if not verdicts:
            return self._chains.add(label, self._statements(rules, known))
        lookup = f"th {self._key} vmap {{ {', '.join(verdicts)} }}"
        # Other ports, and what shows none: a later fragment.
        return self._chains.add(label, [lookup, *itertools.chain.from_iterable(shared)])

    def _run(self, rules: list[model.Rule], known: Known) -> list[str]:
        """The statements of rules that stand in every class."""
        statements = self._statements(rules, known)
        if len(statements) < 2 or any(rule.action == model.PASS for rule in rules):
            return statements
        return [f"jump {self._chains.add(f'{self._label}-run', statements)}"]

    def _statements(self, rules: t.Iterable[model.Rule], known: Known) -> list[str]:
        return [line for rule in rules for line in self._chains.rule(rule, self._tier, known)]

    def _ports(self, rule: model.Rule, protocol: int) -> dispatch.Ranges:
        """The ports of the key's side that the rule asks for; None for any, nothing if it has another
        protocol."""
        side = dict(sides(rule))[self._key]
        if not asks_for_ports(side):
            return None
        named = [
            (port, port)
            for name in side.named_ports
            for family in (4, 6)
            for _address, member, port in self._port_sets[name].family(family)
            if member == protocol
        ]
        return sorted({*side.ports, *named}) if _can_be(rule, protocol) else []


def _can_be(rule: model.Rule, protocol: int) -> bool:
    """Whether a packet of a protocol with ports can match."""
    return (
        rule.protocol in (None, protocol)
        and rule.not_protocol != protocol
        and rule.icmp is None
        and rule.not_icmp is None
    )


def _most_asked_for(rules: t.Iterable[model.Rule]) -> str:
    """The side whose ports tell packets apart best."""
    asking = {DPORT: 0, SPORT: 0}
    for rule in rules:
        for key, side in sides(rule):
            asking[key] += asks_for_ports(side)
    return max(asking, key=lambda key: asking[key])
