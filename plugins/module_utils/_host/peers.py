# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""How many of a policy's peers another policy does not know any more.

A peer is a member of an address set: an address or a network. Members cannot simply be counted: sets are kept
in as few networks as possible, so one more address may make one network of two, and half of a network is a
network again. So each member that was there counts as one, and for as much of it as its set still covers.
"""

from __future__ import annotations

import bisect
import socket
import typing as t
from dataclasses import dataclass

from .._policy import model

ONE = 1 << 128
"""A member that is lost whole. Any part of it is a whole number: no network has more addresses than this."""
_FAMILIES = {4: (socket.AF_INET, 32), 6: (socket.AF_INET6, 128)}

Span = tuple[int, int]
"""First and last address of a network, as numbers."""


@dataclass(frozen=True)
class Change:
    """What became of a policy's peers: how many there were, what is lost, and what came in its place."""

    before: int
    lost: int = 0
    """In parts of ONE; so is `gained`."""
    gained: int = 0
    sets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """For each set that lost some, its text and those that it does not cover whole, largest loss first."""
    emptied: tuple[str, ...] = ()
    """The texts of sets that both policies have, and that know nobody any more."""

    @property
    def loss(self) -> int:
        """What is lost and not made up for, in parts of ONE: hosts that take the place of others are none."""
        return max(0, self.lost - self.gained)


def change(old: model.HostPolicy, new: model.HostPolicy) -> Change:
    """What became of the old policy's peers. Sets are compared by name: that of a selector is its own."""
    before = sum(len(members.family(version)) for members in old.sets.values() for version in _FAMILIES)
    lost = gained = 0
    sets = []
    emptied = []
    for name in sorted({*old.sets, *new.sets}):
        ours, theirs = (policy.sets.get(name, model.AddressSet("")) for policy in (old, new))
        missing: list[str] = []
        for version in _FAMILIES:
            # What is in both is covered by itself, and covers nothing else.
            only_old, only_new = _only(ours, theirs, version), _only(theirs, ours, version)
            uncovered = _uncovered(only_old, only_new, version)
            missing += uncovered
            lost += sum(uncovered.values())
            gained += sum(_uncovered(only_new, only_old, version).values())
        if missing:
            sets.append((ours.text, tuple(missing)))
        if missing and name in new.sets and not (theirs.v4 or theirs.v6):
            emptied.append(ours.text)
    sets.sort(key=lambda one: -len(one[1]))
    return Change(before, lost, gained, tuple(sets), tuple(emptied))


def _only(one: model.AddressSet, other: model.AddressSet, version: int) -> list[str]:
    others = set(other.family(version))
    return [member for member in one.family(version) if member not in others]


def _uncovered(members: t.Sequence[str], others: t.Iterable[str], version: int) -> dict[str, int]:
    """Those members that others do not cover whole, each with how much of it they leave out."""
    covering = sorted(_span(other, version) for other in others)
    firsts = [first for first, _last in covering]
    found = {}
    for member in members:
        first, last = _span(member, version)
        at = bisect.bisect_right(firsts, first)
        if at and covering[at - 1][1] >= last:
            continue
        # Networks lie within each other or apart: none begins before this one and ends in it.
        inside = covering[bisect.bisect_left(firsts, first) : bisect.bisect_right(firsts, last)]
        size = last - first + 1
        found[member] = ONE - ONE // size * sum(end - begin + 1 for begin, end in inside)
    return found


def _span(network: str, version: int) -> Span:
    family, bits = _FAMILIES[version]
    address, _slash, length = network.partition("/")
    first = int.from_bytes(socket.inet_pton(family, address), "big")
    return first, first + (1 << (bits - int(length))) - 1
