# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Changing large sets where they are, if nothing else changes.

A set is named by what it holds, so that another content is another set, and everything that leads to it is
another, too: exact, and for a million networks slow. Where only large sets differ, their elements are changed
instead, in one transaction. From then on a set's name says what it held once; the record keeps which.

Not where an address is in one network before and in another after: see set_elements.replaces.
"""

from __future__ import annotations

import collections
import itertools
import typing as t

from .._netlink import set_elements
from .._render import matches, nftables, ruleset

if t.TYPE_CHECKING:
    from .._policy import model

MOST = 0.5
"""Where more of a set changes than this share of it, a new set is as fast."""

Aliases = t.Mapping[str, str]
"""The names of sets in the kernel that do not say what they hold, by the name that would say it."""


class InPlace(t.NamedTuple):
    """The one step that is left of a change, and the names that sets go by after it."""

    step: ruleset.Step
    aliases: Aliases


def in_place(
    installed: model.HostPolicy, aliases: Aliases, names: ruleset.Names | None, wanted: model.HostPolicy
) -> InPlace | None:
    """How to get to the wanted policy by changing large sets alone; None where more, or nothing, changes."""
    if names is None:
        return None
    # What is in the policy may not be in the table: a set of staged policy, one half of one of both families.
    changes = {
        own: change for own, change in _changes(installed, aliases, wanted) if change.name in names.sets
    }
    if not changes:
        return None
    changed = {own: change.name for own, change in changes.items()}
    contents = _contents(wanted)
    after = {own: name for own, name in {**aliases, **changed}.items() if own in contents}
    if ruleset.names(nftables.render(wanted, after)) != names:
        return None
    told = {own: name for own, name in after.items() if own != name}
    return InPlace(ruleset.Step(changes=tuple(changes.values())), told)


def aliases_for(wanted: model.HostPolicy, aliases: Aliases, live: t.Container[str]) -> Aliases:
    """The names that a policy's sets shall go by, where `aliases` is how those in the kernel do now.

    What a set's name says may be in the kernel under another name, and what is there under that name may be
    something else. `live` has the names of all sets that are there.
    """
    contents = _contents(wanted)
    found = {own: name for own, name in aliases.items() if own in contents}
    for own in contents & set(aliases.values()) - found.keys():
        found[own] = next(name for name in _like(own) if name not in live)
    return found


def _like(name: str) -> t.Iterator[str]:
    return (f"{name}.{number}" for number in itertools.count(2))


def _contents(policy: model.HostPolicy) -> set[str]:
    """The names of a policy's address sets that say what they hold."""
    return set(_names(policy))


def _names(policy: model.HostPolicy) -> t.Iterator[str]:
    for name, members in policy.sets.items():
        for version in matches.ADDRESS_TYPES:
            yield matches.set_name(name, version, members.family(version))


def _changes(
    installed: model.HostPolicy, aliases: Aliases, wanted: model.HostPolicy
) -> t.Iterator[tuple[str, ruleset.SetChange]]:
    """Which sets can be changed where they are, by the name that would say what they will hold."""
    shared = [own for own, uses in collections.Counter(_names(installed)).items() if uses > 1]
    for name in wanted.sets.keys() & installed.sets.keys():
        for version in matches.ADDRESS_TYPES:
            was, now = (policy.sets[name].family(version) for policy in (installed, wanted))
            if was == now or min(len(was), len(now)) <= ruleset.LARGE:
                continue
            old, new = (matches.set_name(name, version, elements) for elements in (was, now))
            if old in shared:
                continue
            add, remove = set(now).difference(was), set(was).difference(now)
            change = ruleset.SetChange(
                aliases.get(old, old), version, tuple(sorted(add)), tuple(sorted(remove))
            )
            few = len(add) + len(remove) <= MOST * len(was)
            if few and not set_elements.replaces(set_elements.Change(*change)):
                yield new, change
