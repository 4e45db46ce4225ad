# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the raw path as tables: Markdown, aligned, so that it can be read on a terminal as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .figures import OURS, Case
from .shapes import SIZES, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .figures import Figure, Report

_UNSTEADY: Final = 1.25
"""Where the median round takes as many times what the fastest does, both are shown."""
_FEW, _MANY = SIZES[0], 100
_GOAL = 1.1
_DASH = "-"

_EXPLANATION: Final = """\
Without firewall a packet takes {floor} ns. Others are permitted by the last rule, or of a source that no rule
mentions. Figures are the nanoseconds that one takes in the fastest round and, in brackets, how many times
that is no firewall's; after ~ those of the median round, where it takes {unsteady} times that or more."""


def text(report: Report) -> str:
    """All tables."""
    return "\n\n".join(["\n".join(_heading(report)), *_sections(report)])


def _heading(report: Report) -> Iterator[str]:
    yield f"{report.machine}.\n{report.tools}.\n`{report.command}`, {report.rounds} rounds.\n"
    yield _EXPLANATION.format(floor=report.no_firewall, unsteady=_UNSTEADY)


def _sections(report: Report) -> Iterator[str]:
    for shape in Shape:
        if report.sizes(shape):
            yield f"### {shape.value.capitalize()}"
            yield "\n".join(_grid(list(_rows(report, shape))))
    yield f"### {_MANY} rules beside {_FEW}"
    yield "\n".join(_grid(list(_growth(report))))
    yield "### Putting the rules into the kernel"
    yield "\n".join(_grid(list(_loading(report))))
    if report.left:
        yield "\n".join(_left(report))


def _rows(report: Report, shape: Shape) -> Iterator[list[str]]:
    counted = "networks" if shape is Shape.ONE_SET else "rules"
    base = Case(OURS, *_base(shape))
    yield [counted, "packet", *report.firewalls, f"beside our {_FEW} rules"]
    for size in report.sizes(shape):
        for permitted in (True, False):
            found = [
                report.find(Case(firewall, shape, size), permitted=permitted) for firewall in report.firewalls
            ]
            ours = report.find(Case(OURS, shape, size), permitted=permitted)
            few = report.find(base, permitted=permitted)
            packet = "permitted" if permitted else "unknown source"
            cells = [_cell(figure, report.no_firewall) for figure in found]
            yield [f"{size}", packet, *cells, _ratio(ours, few)]


def _base(shape: Shape) -> tuple[Shape, int]:
    """The five rules that a shape is compared with."""
    return (Shape.PORTS if shape is Shape.ONE_SET else shape), _FEW


def _growth(report: Report) -> Iterator[list[str]]:
    yield ["packet of the last rule", *report.firewalls, "goal for ours"]
    for shape in (Shape.PORTS, Shape.ADDRESSES, Shape.MIXED):
        ratios = [
            _ratio(*(report.find(Case(name, shape, size), permitted=True) for size in (_MANY, _FEW)))
            for name in report.firewalls
        ]
        yield [shape.value, *ratios, f"<= {_GOAL}" if shape is Shape.PORTS else _DASH]


def _loading(report: Report) -> Iterator[list[str]]:
    yield ["rules", *report.firewalls]
    for shape in (Shape.PORTS, Shape.ADDRESSES, Shape.MIXED, Shape.ONE_SET):
        if not (sizes := report.sizes(shape)):
            continue
        what = f"{sizes[-1]} networks, one rule" if shape is Shape.ONE_SET else f"{sizes[-1]}, {shape.value}"
        found = [report.loading(Case(name, shape, sizes[-1])) for name in report.firewalls]
        yield [what, *(f"{one.seconds:.2f} s, {one.mebibytes:.0f} MiB" if one else _DASH for one in found)]


def _left(report: Report) -> Iterator[str]:
    yield "Left out:\n"
    for one in report.left:
        counted = "networks" if one.case.shape is Shape.ONE_SET else "rules"
        yield f"- {one.case.firewall}, {one.case.shape.value}, {one.case.size} {counted}: {one.why}"


def _cell(figure: Figure | None, floor: int) -> str:
    if figure is None:
        return _DASH
    unsteady = f" ~{figure.median}" if figure.median >= _UNSTEADY * figure.fastest else ""
    return f"{figure.fastest} ({_times(figure.fastest / floor)}){unsteady}"


def _ratio(one: Figure | None, other: Figure | None) -> str:
    return _times(one.fastest / other.fastest) if one and other else _DASH


def _times(ratio: float) -> str:
    """Three digits, or as many as there are before the point."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def _grid(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first row is the head; all columns but the first are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = rows
    yield _line(head, widths)
    yield _line(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], widths)
    for row in body:
        yield _line(row, widths)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"
