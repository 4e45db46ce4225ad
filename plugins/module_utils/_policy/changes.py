# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What changes from one HostPolicy to another, in lines that a person reads; of what stays, nothing."""

from __future__ import annotations

import difflib
import itertools
import typing as t

from . import describe, model

LIMIT = 200
"""As many lines as a change takes to show; the rest is counted."""

Sides = tuple[list[str], list[str]]
"""What is there before the change alone, and what is after it alone."""


def changes(before: model.HostPolicy | None, after: model.HostPolicy | None) -> Sides:
    """The lines of each that the other has not; None has none."""
    gone, come = _lines(
        [] if before is None else describe.without_sets(before),
        [] if after is None else describe.without_sets(after),
    )
    for was, now in _pairs(_sets(before), _sets(after)):
        fewer, more = _members(was, now)
        gone += fewer
        come += more
    return gone, come


def cut(sides: Sides) -> Sides:
    """At most LIMIT lines of both together; a last one says how many more there are."""
    gone, come = sides
    more = len(gone) + len(come) - LIMIT
    if more <= 0:
        return sides
    kept = LIMIT - 1
    # As much of either as there is room for, and what one does not need the other gets.
    first = max(min(len(gone), kept // 2), kept - len(come))
    rest = f"... and {more + 1} more lines; netpolicy_compiled_dest keeps the whole policy"
    return gone[:first], [*come[: kept - first], rest]


def _lines(before: list[str], after: list[str]) -> Sides:
    gone, come = [], []
    matcher = difflib.SequenceMatcher(None, before, after)
    for operation, start, end, first, last in matcher.get_opcodes():
        if operation != "equal":
            gone += before[start:end]
            come += after[first:last]
    return gone, come


# -- sets --------------------------------------------------------------------------------------------

_Set = t.Union[model.AddressSet, model.PortSet]


def _sets(policy: model.HostPolicy | None) -> dict[str, _Set]:
    """All sets of a policy by name, which comes from the selector: a set whose members change keeps it."""
    return {} if policy is None else dict([*sorted(policy.sets.items()), *sorted(policy.port_sets.items())])


def _pairs(
    before: t.Mapping[str, _Set], after: t.Mapping[str, _Set]
) -> t.Iterator[tuple[_Set | None, _Set | None]]:
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if was != now:
            yield was, now


def _members(was: _Set | None, now: _Set | None) -> Sides:
    if was is None or now is None:
        return [describe.set_line(was)] if was else [], [describe.set_line(now)] if now else []
    title = describe.title(now)
    old, new = describe.members(was), describe.members(now)
    fewer, more = set(old).difference(new), set(new).difference(old)
    return (
        [f"{title}: {len(old)} members", *_first(title, old, fewer)],
        [f"{title}: {len(new)} members, +{len(more)} -{len(fewer)}", *_first(title, new, more)],
    )


def _first(title: str, everyone: list[str], chosen: set[str]) -> list[str]:
    found = itertools.islice((member for member in everyone if member in chosen), describe.MEMBERS_SHOWN)
    return [f"{title}: {member}" for member in found]
