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
import re
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import name, shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.places import place, written


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
        path = f"{self.path}: " if self.path else ""
        return f"{where}{name(self.kind)} {name(self.name)}: {path}{self.message}"


@dataclass(frozen=True)
class Where:
    """A position inside a resource, what stands there, and the list that findings go to."""

    kind: str
    name: str
    findings: list[Finding]
    path: str = ""
    place: str | None = None
    value: t.Any = None

    def at(self, step: str | int, value: t.Any) -> Where:
        """The position of a member: a key, or an index in a list."""
        path = f"{self.path}[{step}]" if isinstance(step, int) else f"{self.path}.{name(step)}"
        at = place(value) or self.place
        return Where(self.kind, self.name, self.findings, path.lstrip("."), at, value)

    def within(self, *steps: str | int) -> Where:
        """The position further inside; of what is not there, the place is that of what is around it."""
        at = self
        for step in steps:
            value = None
            if isinstance(step, int) and isinstance(at.value, (list, tuple)) and step < len(at.value):
                value = at.value[step]
            elif isinstance(at.value, Mapping):
                value = at.value.get(step)
            at = at.at(step, value)
        return at

    def refuse(self, message: str) -> None:
        """Note a finding here."""
        self.findings.append(Finding(self.kind, self.name, self.path, message, self.place))


MAX_SHOWN_FIELDS = 30
MOST_NAMED = 4


def asks_for_nothing(value: t.Any) -> bool:
    """Whether a value is as good as none: null, false, or anything empty; the number 0 is a value."""
    return value is None or value is False or (isinstance(value, (str, list, tuple, Mapping)) and not value)


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


def number(read: Callable[[t.Any], t.Any]) -> Reader:
    """A reader of a number by its digits; what YAML 1.1 makes another number of than it seems is refused."""

    def reader(value: t.Any, where: Where) -> t.Any:
        text = written(value) if isinstance(value, int) else None
        misread = None if text is None else misread_number(text)
        if misread is not None:
            where.refuse(f"found {shown(value)}: {misread}")
            return None
        return single(read)(value, where)

    return reader


_OCTAL = re.compile(r"[-+]?0_*[0-7][0-7_]*")


def misread_number(text: str) -> str | None:
    """How YAML 1.1 misreads the digits of a number, and what to write instead; None where it does not."""
    if ":" in text:
        return f"YAML reads {name(text)} as a number in base 60; quote it: {shown(text)}"
    if _OCTAL.fullmatch(text):
        digits = text.replace("_", "").lstrip("+-0")
        return f"YAML reads {name(text)}, for its leading 0, in base 8; write {name(digits) if digits else 0}"
    return None


def ignored(value: t.Any, where: Where) -> None:
    """A reader of what the server sets and nobody needs."""
    del value, where


@dataclass(frozen=True)
class mapping:  # noqa: N801  # reads as the word that it is in the tables of kinds.py
    """A reader of a mapping by a table of its fields.

    `required` says of the fields that must be there what is expected of them. `unserved` names fields that
    Calico has and a plain host cannot have, with the reason; a value that asks for nothing (false, an empty
    list) is no value. A null value is none either, as it is for Calico.
    """

    fields: Mapping[str, Reader]
    required: Mapping[str, str] = field(default_factory=dict)
    unserved: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, value: t.Any, where: Where) -> dict[str, t.Any] | None:
        if not isinstance(value, Mapping):
            fields = ", ".join([*self.fields][:MOST_NAMED]) + (
                "" if len(self.fields) <= MOST_NAMED else ", …"
            )
            where.refuse(f"found {shown(value)}, expected a mapping ({fields})")
            return None
        read = {}
        for key, content in value.items():
            if key in self.unserved and not asks_for_nothing(content):
                where.at(key, content).refuse(f"not served: {self.unserved[key]}")
            elif key not in self.fields and key not in self.unserved:
                where.at(_key_text(key), key).refuse(self._unknown(key, where.kind))
            elif key in self.fields and content is not None:
                read[str(key)] = self.fields[key](content, where.at(key, content))
        for key, expected in self.required.items():
            if value.get(key) is None:
                where.at(key, None).refuse(f"missing; expected {expected}")
        return read

    def _unknown(self, key: t.Any, kind: str) -> str:
        close = difflib.get_close_matches(_key_text(key)[:64], self.fields, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        allowed = ", ".join(self.fields)
        if len(self.fields) > MAX_SHOWN_FIELDS:
            allowed = f"the fields that docs/calico-fields.md lists for {kind}"
        return f"unknown field{hint or '.'} Allowed: {allowed}"


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
                at.refuse(f"found {shown(item)} a second time, allowed: each once")
            elif member is not None:
                members.append(member)
        return members

    return reader


def bulk(quick: Callable[[t.Any], t.Any], read: Reader) -> Reader:
    """A reader of a long list: what `quick` does not read (None), `read` reads or refuses."""

    def reader(value: t.Any, where: Where) -> list[t.Any] | None:
        if not isinstance(value, (list, tuple)):
            where.refuse(f"found {shown(value)}, expected a list")
            return None
        members = [quick(item) for item in value]
        for index, member in enumerate(members):
            if member is None:
                members[index] = read(value[index], where.at(index, value[index]))
        return members if None not in members else [member for member in members if member is not None]

    return reader
