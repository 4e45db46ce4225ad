# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""How our table in the kernel differs from the one that was installed, told by policy and rule.

What is compared is nft's own listing of the table, then and now: object by object, line by line. Of what it
was then only hashes are kept; which rule a line stands for is known from the installed policy.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import typing as t

from .._policy.shown import shown
from .._render import counters
from .._render.ruleset import INTERVALS

if t.TYPE_CHECKING:
    from .._policy import model
    from .._render import ruleset

TOLD = 20
"""As many differences as are told; somebody may have flushed the table."""

NETWORKS_TOLD = 5

Prints = t.Mapping[str, t.Sequence[str]]
"""Hashes of the lines of each object of a table, by the object's head: `chain NAME`, `set NAME`."""

_HEAD = re.compile(r"\t(\w+ \S+) \{$")
_END = "\t}"
_LINE = re.compile(r"\t\t(?!\t)")
_COUNTER = re.compile(r'counter name "([^"]+)"')
_PRINT_DIGITS = 8


def lines_of(listing: str) -> dict[str, list[str]]:
    """What each object of a listed table consists of, line by line; a rule is one line.

    `listing` is the text of `nft list table`. Objects that stand in one line have none.
    """
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in listing.splitlines():
        head = _HEAD.match(line)
        if head:
            current = found.setdefault(head.group(1), [])
        elif _LINE.match(line):
            current.append(line.strip())
        elif line != _END and line.startswith("\t") and current:
            # nft breaks long lists of elements.
            current[-1] += f" {line.strip()}"
    return found


def prints(listing: str) -> dict[str, list[str]]:
    """What is kept of a listing, to compare with."""
    return {head: [_print(line) for line in lines] for head, lines in lines_of(listing).items()}


def _print(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:_PRINT_DIGITS]


def differences(
    kept: Prints, listing: str, policy: model.HostPolicy | None, table: ruleset.Ruleset | None
) -> list[str]:
    """The differences in words. None found does not mean equal listings: these tell order, too.

    `policy` is the installed one, and `table` what it was rendered to; None where that cannot be known.
    """
    installed = _Installed(policy, table)
    now = lines_of(listing)
    found = [f"{head} is not ours" for head in now if head not in kept]
    for head, was in kept.items():
        if head not in now:
            found.append(f"{head} is missing{installed.rules_in(head)}")
        elif [_print(line) for line in now[head]] != was:
            found += _changes(installed, head, was, now[head])
    more = len(found) - TOLD
    return found if more <= 0 else [*found[:TOLD], f"and {more} more"]


def _changes(installed: _Installed, head: str, was: t.Sequence[str], now: list[str]) -> t.Iterator[str]:
    """The differences of one object."""
    if not head.startswith("chain "):
        yield f"{head} was changed"
        return
    matcher = difflib.SequenceMatcher(None, was, [_print(line) for line in now], autojunk=False)
    for operation, start, end, first, last in matcher.get_opcodes():
        if operation in ("delete", "replace"):
            for index in range(start, end):
                yield f"{installed.line(head, index)} is missing from {head}, or was changed"
        if operation in ("insert", "replace"):
            for line in now[first:last]:
                yield f"{head} has {shown(line)}, which is not ours"


def of_elements(table: ruleset.Ruleset, elements: t.Callable[[str, int], t.Iterable[str]]) -> t.Iterator[str]:
    """How the networks of sets differ, where no listing tells. `elements` reads those of a set."""
    for member in table.sets:
        if member.flags == INTERVALS:
            found = set(elements(member.name, member.version))
            for words, networks in (
                ("lacks", set(member.elements).difference(found)),
                ("has, which are not ours,", found.difference(member.elements)),
            ):
                if networks:
                    first = ", ".join(sorted(networks)[:NETWORKS_TOLD])
                    more = ", ..." if len(networks) > NETWORKS_TOLD else ""
                    yield f"set {member.name} {words} {len(networks)} networks: {first}{more}"


class _Installed:
    """The table as it was installed: which policy's rules stand where."""

    def __init__(self, policy: model.HostPolicy | None, table: ruleset.Ruleset | None) -> None:
        self._lines: dict[str, list[str]] = {}
        self._paths: dict[str, str] = {}
        if policy is not None and table is not None:
            self._lines = _statements(table)
            self._paths = counters.paths_by_counter(policy)

    def rules_in(self, head: str) -> str:
        """The rules that stand in a chain."""
        rules = dict.fromkeys(filter(None, map(self._rule, self._lines.get(head, ()))))
        return f" ({', '.join(rules)})" if rules else ""

    def line(self, head: str, index: int) -> str:
        """A line of an object in words."""
        lines = self._lines.get(head, [])
        statement = lines[index] if index < len(lines) else ""
        return self._rule(statement) or (f"line {index + 1}" if not statement else shown(statement))

    def _rule(self, statement: str) -> str | None:
        counter = _COUNTER.search(statement)
        return None if counter is None else self._paths.get(counter.group(1), counter.group(1))


def _statements(table: ruleset.Ruleset) -> dict[str, list[str]]:
    """The lines of each chain; nft lists as many, in its own words."""
    found = {f"chain {chain.name}": list(chain.rules) for chain in table.chains}
    found.update({f"chain {base.name}": [base.head, *base.rules] for base in table.bases})
    return found
