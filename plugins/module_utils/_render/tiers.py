# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""A tier's rules of one direction as chains: the first that matches decides, and Pass leaves the tier.

Where enough rules ask for ports, a packet is sent by protocol and port to a chain of those rules alone that
it can still match (dispatch.py). Everything below a tier's chain is reached by `goto`, so that the end of a
chain, and the `return` of Pass, is the end of the tier.

The rules without ports before, between and after those stand in many of these chains. So they are chains of
their own, reached by `jump`: one for each block of four rules, of sixteen, and so on, of which any stretch
of rules needs a few. A block with a Pass in it is none: its `return` would come back here.
"""

from __future__ import annotations

import functools
import math
import typing as t

from .._policy import model
from . import dispatch
from .matches import ANYTHING, DPORT, LATER_FRAGMENT, SPORT, Known, asks_for_ports, port_text, sides

if t.TYPE_CHECKING:
    from .chains import Chains

FEW = 4
"""Fewer rules of a protocol than this are tried one after the other: to find their class takes as long."""
BLOCK = 4
"""So many blocks are one of the next size."""
LIST = 4
"""A list of ports in a rule counts for so many rules."""
SHORT = 256
"""One statement of so many characters stands where it is needed; a map may have thousands."""


def tier_chain(chains: Chains, policy: model.HostPolicy, tier: model.Tier, direction: str) -> str:
    """The name of the chain that judges a tier's packets of one direction."""
    return chains.once((tier, direction), _Tier(chains, policy, tier, direction).chain)


def fragments_chain(chains: Chains, policy: model.HostPolicy, tier: model.Tier, direction: str) -> str | None:
    """The name of the chain that judges a tier's later fragments; None where none of its rules can."""

    def make() -> str | None:
        statements = chains.rules(policy.tier_rules(tier, direction), tier.name, LATER_FRAGMENT)
        return chains.add(f"raw-{direction}-tier-{tier.name}-fragments", statements) if statements else None

    return chains.once((tier, direction, "fragments"), make)


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
        return self._chains.add(self._label, [*statements, *self.statements(members, ANYTHING)])

    def _protocols(self) -> list[int]:
        """The protocols whose packets go a way of their own."""
        asking: dict[int, int] = {}
        for rule in self._rules:
            for protocol in model.PORT_PROTOCOLS:
                if rule.protocol == protocol or self._ports(rule, protocol):
                    asking[protocol] = asking.get(protocol, 0) + 1
        return sorted(protocol for protocol, number in asking.items() if number >= FEW)

    def _of_protocol(self, protocol: int) -> str:
        """The chain for packets of one protocol."""
        known = Known(protocol)
        label = f"{self._label}-{model.PROTOCOL_NAMES[protocol].lower()}"
        rules = [rule for rule in self._rules if _can_be(rule, protocol)]
        ports = {index: self._ports(rule, protocol) for index, rule in enumerate(rules)}
        asked = {index: ranges for index, ranges in ports.items() if ranges is not None}
        blocks = _Blocks(self, [None if index in asked else rule for index, rule in enumerate(rules)], known)
        verdicts = []
        weights = [self._weight(rule) for rule in rules]
        for found in dispatch.classes(asked, len(rules), blocks.usual(), weights.__getitem__):
            inside = Known(protocol, self._key, found.ports)
            statements: list[str] = []
            for before, index in zip((-1, *found.members), found.members):
                statements += blocks.statements(before + 1, index)
                statements += self.statements([rules[index]], inside)
            statements += blocks.statements(found.members[-1] + 1, len(rules))
            verdicts.append(f"{port_text(found.ports)} : goto {self._chains.add(label, statements)}")
        if not verdicts:
            return self._chains.add(label, self.statements(rules, known))
        lookup = f"th {self._key} vmap {{ {', '.join(verdicts)} }}"
        # Other ports, and what shows none: a later fragment.
        return self._chains.add(label, [lookup, *blocks.statements(0, len(rules))])

    def _weight(self, rule: model.Rule) -> int:
        """What the rule costs wherever it stands: nft takes its time for each list of ports."""
        found = dict(sides(rule))
        other = found[SPORT if self._key == DPORT else DPORT]
        lists = bool(other.ports) + sum(bool(side.not_ports) for side in found.values())
        families = 2 if rule.ip_version is None and (rule.all_sets or rule.all_port_sets) else 1
        return families * (1 + LIST * lists)

    def statements(self, rules: t.Iterable[model.Rule], known: Known) -> list[str]:
        """The statements of rules in their order."""
        return self._chains.rules(rules, self._tier, known)

    def block(self, statements: list[str]) -> list[str]:
        """Statements that stand in many chains, as a chain of their own if that is shorter."""
        if not statements or (len(statements) == 1 and len(statements[0]) <= SHORT):
            return statements
        return [f"jump {self._chains.add(f'{self._label}-block', statements)}"]

    def _ports(self, rule: model.Rule, protocol: int) -> list[model.PortRange] | None:
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


class _Blocks:
    """The rules without ports of one protocol, in blocks that chains share. None is a rule with ports."""

    def __init__(self, tier: _Tier, rules: list[model.Rule | None], known: Known) -> None:
        self._tier = tier
        self._rules = rules
        self._known = known
        self._block = functools.cache(self._statements)

    def usual(self) -> int:
        """How many rules and blocks a stretch of them needs, about."""
        without_ports = [rule for rule in self._rules if rule is not None]
        passes = sum(rule.action == model.PASS for rule in without_ports)
        levels = math.ceil(math.log(len(self._rules) + 1, BLOCK))
        # Each Pass stands alone, with a stretch before and after it. At either end of a stretch every size of
        # block comes as often as not, on average more than once.
        return min(len(without_ports), passes + (passes + 1) * 2 * levels)

    def statements(self, first: int, end: int) -> list[str]:
        """The statements of the rules from one index up to another."""
        found: list[str] = []
        while first < end:
            size = 1
            while first % (size * BLOCK) == 0 and first + size * BLOCK <= end:
                size *= BLOCK
            found += self._block(first, size)
            first += size
        return found

    def _statements(self, first: int, size: int) -> list[str]:
        rules = [rule for rule in self._rules[first : first + size] if rule is not None]
        if not any(rule.action == model.PASS for rule in rules):
            return self._tier.block(self._tier.statements(rules, self._known))
        if size == 1:
            return self._tier.statements(rules, self._known)
        part = size // BLOCK
        return [line for start in range(first, first + size, part) for line in self._block(start, part)]


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
