# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All fields of all kinds as the code's tables have them, each with what becomes of it."""

from __future__ import annotations

import dataclasses
import inspect
import typing as t

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import (
    felix,
    kinds,
    resources,
    rules,
    values,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import ignored, mapping

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVED, IGNORED, REFUSED = "served", "ignored", "refused"
RULE, ENTITY = "rule", "entity"
"""Names of the tables of what several kinds, or both ends of a rule, have in common."""

_READ_BY = {
    kinds._endpoint_port: kinds._ENDPOINT_PORT,
    felix._failsafe: felix._PROTO_PORT,
    rules._icmp: rules._ICMP,
}
_CHECKED_ONLY = (values.performance_hint, values.rule_annotations)
"""Functions that read what nobody asks for afterwards."""


@dataclasses.dataclass(frozen=True)
class Field:
    """What becomes of a field. `reason` is None where the code says none."""

    path: str
    treatment: str
    reason: str | None = None


def tables() -> dict[str, list[Field]]:
    """By kind its fields; those of a rule and of its ends stand in tables of their own."""
    found = {kind: list(_of_kind(kind)) for kind in kinds.KINDS}
    return {**found, RULE: list(_fields(rules._RULE, "")), ENTITY: list(_fields(rules._ENTITY, ""))}


def _of_kind(kind: str) -> Iterator[Field]:
    described = kinds.KINDS[kind]
    built = inspect.get_annotations(described.build)["return"]
    has_labels = "labels" in {field.name for field in dataclasses.fields(getattr(resources, built))}
    yield Field("apiVersion", SERVED)
    yield Field("kind", SERVED)
    yield Field("metadata", SERVED)
    for field in _fields(kinds._metadata(described.name), "metadata."):
        unused = field.path == "metadata.labels" and not has_labels
        yield dataclasses.replace(field, treatment=IGNORED) if unused else field
    yield Field("spec", SERVED)
    for field in _fields(described.spec, "spec."):
        if kind == "FelixConfiguration":
            yield _of_felix(field)
        else:
            yield field
    yield Field("status", IGNORED)


def _of_felix(field: Field) -> Field:
    name = field.path.removeprefix("spec.")
    if name in felix.IGNORED:
        return Field(field.path, IGNORED, felix.IGNORED[name])
    if name in felix._AS_HERE:
        return Field(field.path, REFUSED, felix._AS_HERE[name])
    return field


def _fields(table: mapping, prefix: str) -> Iterator[Field]:
    for name, reader in table.fields.items():
        path = f"{prefix}{name}"
        yield Field(path, IGNORED if _is_ignored(reader) else SERVED)
        within, step = _table_of(reader)
        if within is not None and within not in (rules._RULE, rules._ENTITY):
            yield from _fields(within, f"{path}{step}.")
    for name, reason in table.unserved.items():
        yield Field(f"{prefix}{name}", REFUSED, reason)


def _is_ignored(reader: t.Any) -> bool:
    within = _inner(reader)
    return reader is ignored or within in _CHECKED_ONLY or _inner(within) in _CHECKED_ONLY


def _table_of(reader: t.Any) -> tuple[mapping | None, str]:
    """The table that a reader reads by, and `[]` where it reads a list of such."""
    inner = _inner(reader)
    for candidate, step in ((reader, ""), (inner, "[]")):
        if candidate is rules.rule:
            return rules._RULE, step
        if isinstance(candidate, mapping):
            return candidate, step
        if inspect.isfunction(candidate) and candidate in _READ_BY:
            return _READ_BY[candidate], step
    return None, ""


def _inner(reader: t.Any) -> t.Any:
    """What a reader that `single`, `number`, `sequence` or `bulk` built reads with."""
    held: Mapping[str, t.Any] = inspect.getclosurevars(reader).nonlocals if inspect.isfunction(reader) else {}
    return held.get("read")
