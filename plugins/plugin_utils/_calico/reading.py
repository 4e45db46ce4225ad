# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Reading nested data by a table of fields, collecting everything that is wrong with it.

A reader takes a value and where it stands, and returns what it read, or None after it has noted a finding.
`mapping` and `sequence` build readers of structures out of readers of what is in them, so that a resource
kind is a table and each finding knows its path.
"""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import name, shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.places import place


@dataclass(frozen=True)
class Finding:
    """Something wrong with a resource. `path` is inside it; `place` is file:line where known."""

    kind: str
    name: str
    path: str
    message: str
    place: str | None = None

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}{name(self.kind)} {name(self.name)}: {self.path}: {self.message}"


@dataclass(frozen=True)
class Where:
    """A position inside a resource, and the list that findings go to."""

    kind: str
    name: str
    findings: list[Finding]
    path: str = ""
    place: str | None = None

    def at(self, step: str | int, value: t.Any) -> Where:
        """The position of a member: a key, or an index in a list."""
        path = f"{self.path}[{step}]" if isinstance(step, int) else f"{self.path}.{name(step)}"
        return Where(self.kind, self.name, self.findings, path.lstrip("."), place(value) or self.place)

    def refuse(self, message: str) -> None:
        """Note a finding here."""
        self.findings.append(Finding(self.kind, self.name, self.path, message, self.place))


ASKS_FOR_NOTHING: tuple[t.Any, ...] = (None, False, "", [], {})

Reader = Callable[[t.Any, Where], t.Any]


def single(read: Callable[[t.Any], t.Any]) -> Reader:
    """A reader of one value by one of the functions of `values`."""

    def reader(value: t.Any, where: Where) -> t.Any:
        try:
            return read(value)
        except values.Refused as refusal:
            where.refuse(str(refusal))
            return None

    return reader


def ignored(value: t.Any, where: Where) -> None:
    """A reader of what the server sets and nobody needs."""
    del value, where


@dataclass(frozen=True)
class mapping:  # noqa: N801  # reads as the word that it is in the tables of resources.py
    """A reader of a mapping by a table of its fields.

    `unserved` names fields that Calico has and this version does not enforce, with the reason; a value that
    asks for nothing (false, an empty list) is no value. A null value is none either, as it is for Calico.
    """

    fields: Mapping[str, Reader]
    required: tuple[str, ...] = ()
    unserved: Mapping[str, str] = field(default_factory=dict)
    others: str = "unknown field"
    """What to say of a field that is in neither table."""

    def __call__(self, value: t.Any, where: Where) -> dict[str, t.Any] | None:
        if not isinstance(value, Mapping):
            where.refuse(f"found {shown(value)}, expected a mapping")
            return None
        read = {}
        for key, content in value.items():
            if key in self.unserved and content not in ASKS_FOR_NOTHING:
                where.at(key, content).refuse(f"not served by this version: {self.unserved[key]}")
            elif key not in self.fields and key not in self.unserved:
                where.at(_key_text(key), key).refuse(self._unknown(key))
            elif key in self.fields and content is not None:
                read[str(key)] = self.fields[key](content, where.at(key, content))
        for key in self.required:
            if value.get(key) is None:
                where.at(key, None).refuse("missing")
        return read

    def _unknown(self, key: t.Any) -> str:
        close = difflib.get_close_matches(_key_text(key)[:64], self.fields, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{self.others}{hint or '.'} Allowed: {', '.join(self.fields)}"


def _key_text(key: t.Any) -> str:
    return key if isinstance(key, str) else shown(key)


def sequence(read: Reader, most: int | None = None, repeats: bool = True) -> Reader:
    """A reader of a list of at most `most` members; members that could not be read are left out."""

    def reader(value: t.Any, where: Where) -> list[t.Any] | None:
        if not isinstance(value, (list, tuple)):
            where.refuse(f"found {shown(value)}, expected a list")
            return None
        if most is not None and len(value) > most:
            where.refuse(f"found {len(value)} entries, allowed: at most {most}")
            return None
        members = []
        for index, item in enumerate(value):
            at = where.at(index, item)
            member = read(item, at)
            if member is not None and not repeats and member in members:
                at.refuse(f"found {shown(item)} a second time")
            elif member is not None:
                members.append(member)
        return members

    return reader
