# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Rules that ask for nothing but one address, folded: one look at the address finds the first that matches.

The map has disjoint ranges, each with the first rule that it is in.
"""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import typing as t

from .._policy import model
from .matches import DPORT, SPORT, Known, sides

FEWEST = 3
"""Fewer rules are tried one after the other."""
MOST, MOST_OF_ONE = 16384, 1024
"""Of so many networks, and so many of one rule, a map is made. Beyond, the sets of the rules serve, which can
be filled without nft, and change alone."""


class Fold(t.NamedTuple):
    """Rules in order, all of which ask for the address of the same side."""

    key: str
    rules: list[model.Rule]


def folds(
    rules: t.Iterable[model.Rule], policy: model.HostPolicy, known: Known
) -> t.Iterator[Fold | model.Rule]:
    """The rules in order, those that can be folded together."""
    for key, run in itertools.groupby(rules, key=lambda rule: _key(rule, policy, known)):
        members = list(run)
        if key is None or len(members) < FEWEST or sum(_size(one, key, policy) for one in members) > MOST:
            yield from members
        else:
            yield Fold(key, members)


def _key(rule: model.Rule, policy: model.HostPolicy, known: Known) -> str | None:
    """The side that the rule asks for one address of; None where it asks for anything else as well."""
    if rule.action not in (model.ALLOW, model.DENY) or rule.protocol not in (None, known.protocol):
        return None
    if rule.icmp or rule.not_icmp or (rule.not_protocol is not None and known.protocol is None):
        return None
    found = dict(sides(rule))
    for key, other in ((SPORT, DPORT), (DPORT, SPORT)):
        side = found[key]
        if len(side.sets) == 1 and side == model.Side(side.sets) and found[other] == model.Side():
            return key if _size(rule, key, policy) <= MOST_OF_ONE else None
    return None


def _size(rule: model.Rule, key: str, policy: model.HostPolicy) -> int:
    (name,) = dict(sides(rule))[key].sets
    return sum(len(policy.sets[name].family(version)) for version in _versions(rule))


def _versions(rule: model.Rule) -> tuple[int, ...]:
    return (4, 6) if rule.ip_version is None else (rule.ip_version,)


def elements(fold: Fold, policy: model.HostPolicy, version: int) -> list[tuple[str, int]]:
    """The map of one IP version: ranges of addresses as nft reads them, and the index of their rule."""
    ranges = []
    for index, rule in enumerate(fold.rules):
        if version in _versions(rule):
            for cidr in policy.sets[dict(sides(rule))[fold.key].sets[0]].family(version):
                network = ipaddress.ip_network(cidr)
                ranges.append((int(network[0]), int(network[-1]), index))
    address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return [
        (str(address(first)) if first == last else f"{address(first)}-{address(last)}", index)
        for first, last, index in first_matches(ranges)
    ]


def first_matches(ranges: t.Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Ranges (first, last, index) made disjoint: where several overlap, the lowest index stays."""
    waiting = sorted(ranges)
    borders = sorted({border for first, last, _index in waiting for border in (first, last + 1)})
    found: list[tuple[int, int, int]] = []
    active: list[tuple[int, int]] = []  # a heap of (index, last)
    position = 0
    for start, end in zip(borders, borders[1:]):
        while position < len(waiting) and waiting[position][0] == start:
            _first, last, index = waiting[position]
            heapq.heappush(active, (index, last))
            position += 1
        while active and active[0][1] < start:
            heapq.heappop(active)
        if not active:
            continue
        index = active[0][0]
        if found and found[-1][1] == start - 1 and found[-1][2] == index:
            found[-1] = (found[-1][0], end - 1, index)
        else:
            found.append((start, end - 1, index))
    return found
