# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Ports into classes: all packets of one class can match the same rules, and no others.

Looking up the class of a packet takes as long for a thousand rules as for ten, and a class has few rules:
those that ask for its ports, and between them those that ask for none. That the latter stand in every class
is why the size has a bound: beyond it neighbouring classes become one, whose rules ask for their ports
themselves.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from .._policy import model

FLOOR = 8192
GROWTH = 8
"""All classes of a list hold at most FLOOR rules, or GROWTH times as many as it has; see `between`."""


@dataclass(frozen=True)
class Class:
    """The rules, by their index and in order, that ask for ports and may get these."""

    ports: model.PortRange
    members: tuple[int, ...]


@dataclass
class _Point:
    """A port where something changes: the rules of which a range begins here, or has ended before."""

    port: int
    opened: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)


def classes(
    asked: t.Mapping[int, t.Sequence[model.PortRange]],
    rules: int,
    between: int,
    weight: t.Callable[[int], int] = lambda _index: 1,
) -> list[Class]:
    """The classes of a list of rules; `asked` has the ports that each asks for, if it does.

    `between` is what the rules without ports before, between and after a class's own count for, each time,
    and `weight` what each of its own does.

    A port that is in no class matches only rules that ask for none. Without any class all rules have to be
    tried: there are no ports to tell packets apart by, or there would be one class only.
    """
    points = _points(asked)
    width, bound = 1, max(FLOOR, GROWTH * rules)
    while width < len(points) and _size(points, width, between, weight) > bound:
        width *= 2
    return [] if width >= len(points) else list(_merged(points, width))


def _points(asked: t.Mapping[int, t.Sequence[model.PortRange]]) -> list[_Point]:
    """The points in order; after the last there is no range left."""
    found: dict[int, _Point] = {}
    for index, ranges in asked.items():
        for first, last in ranges:
            found.setdefault(first, _Point(first)).opened.append(index)
            found.setdefault(last + 1, _Point(last + 1)).closed.append(index)
    return [found[port] for port in sorted(found)]


def _groups(points: list[_Point], width: int) -> t.Iterator[list[_Point]]:
    return (points[start : start + width] for start in range(0, len(points), width))


def _size(points: list[_Point], width: int, between: int, weight: t.Callable[[int], int]) -> int:
    """How many rules all classes together would have at most, if each spanned so many points."""
    size = active = heavy = 0
    for group in _groups(points, width):
        members, load = active - len(group[0].closed), heavy - sum(map(weight, group[0].closed))
        for point in group:
            opened, closed = (sum(map(weight, indices)) for indices in (point.opened, point.closed))
            members, load = members + len(point.opened), load + opened
            active, heavy = active + len(point.opened) - len(point.closed), heavy + opened - closed
        size += load + (members + 1) * between
    return size


def _merged(points: list[_Point], width: int) -> t.Iterator[Class]:
    active: Counter[int] = Counter()
    for group, following in zip(_groups(points, width), [*points[width::width], points[-1]]):
        active.subtract(group[0].closed)
        members = {index for index, ranges in active.items() if ranges > 0}
        members.update(index for point in group for index in point.opened)
        for point in group:
            active.update(point.opened)
        for point in group[1:]:
            active.subtract(point.closed)
        active = +active
        if members:
            yield Class((group[0].port, following.port - 1), tuple(sorted(members)))
