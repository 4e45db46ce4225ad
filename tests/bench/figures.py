# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What measuring the raw path has found, as a value that can be kept in a file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .shapes import Shape

if TYPE_CHECKING:
    from pathlib import Path

OURS: Final = "netpolicy.host"


@dataclass(frozen=True)
class Case:
    """Which firewall with which rules. `size` counts rules, or the networks of the one rule."""

    firewall: str
    shape: Shape
    size: int


@dataclass(frozen=True)
class Figure:
    """Nanoseconds of a packet: the fastest round and the median one.

    `permitted` by the last rule, or of a source that no rule mentions.
    """

    case: Case
    permitted: bool
    fastest: int
    median: int


@dataclass(frozen=True)
class Loaded:
    """What putting the rules into the kernel took; memory is that of the tool at its peak."""

    case: Case
    seconds: float
    mebibytes: float


@dataclass(frozen=True)
class Left:
    """What was not measured, and why."""

    case: Case
    why: str


@dataclass(frozen=True)
class Report:
    """All that one run has found. `no_firewall` are the nanoseconds of a packet that meets none."""

    machine: str
    tools: str
    command: str
    rounds: int
    no_firewall: int
    figures: tuple[Figure, ...]
    loaded: tuple[Loaded, ...]
    left: tuple[Left, ...]

    @property
    def firewalls(self) -> tuple[str, ...]:
        """The firewalls that were measured, in their order."""
        return tuple(dict.fromkeys(figure.case.firewall for figure in self.figures))

    def sizes(self, shape: Shape) -> list[int]:
        """The sizes that were measured of a shape."""
        return sorted({figure.case.size for figure in self.figures if figure.case.shape is shape})

    def find(self, case: Case, *, permitted: bool) -> Figure | None:
        """The figure of a case; None where there is none."""
        found = (one for one in self.figures if one.case == case and one.permitted is permitted)
        return next(found, None)

    def loading(self, case: Case) -> Loaded | None:
        """What loading a case took; None where nobody knows."""
        return next((one for one in self.loaded if one.case == case), None)


def write(report: Report, path: Path) -> None:
    """Keep a report as JSON, a line for each figure."""
    fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    members = ",\n".join(f' "{name}": {_text(value)}' for name, value in fields.items())
    path.write_text(f"{{\n{members}\n}}\n", encoding="utf-8")


def read(path: Path) -> Report:
    """A report that was kept."""
    data = json.loads(path.read_text(encoding="utf-8"))
    for name, kind in {"figures": Figure, "loaded": Loaded, "left": Left}.items():
        data[name] = tuple(kind(**{**one, "case": _case(one["case"])}) for one in data[name])
    return Report(**data)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        lines = ",\n".join(f"  {json.dumps(_plain(one))}" for one in value)
        return f"[\n{lines}\n ]" if value else "[]"
    return json.dumps(value)


def _plain(one: Figure | Loaded | Left) -> dict[str, Any]:
    plain = dataclasses.asdict(one)
    plain["case"]["shape"] = one.case.shape.name
    return plain


def _case(data: dict[str, Any]) -> Case:
    return Case(data["firewall"], Shape[data["shape"]], data["size"])
