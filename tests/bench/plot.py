# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws kept figures of the raw path: `python -m tests.bench.plot FIGURES.json PLOT.svg`.

A panel for each shape, in it a line for each firewall; both axes are logarithmic, so what goes through every
rule is a slope and what does not is level. There is no background, and every colour can be seen on white
and on black.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

from . import figures
from .shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .figures import Report

_LICENCE = """<!--
SPDX-FileCopyrightText: netpolicy.host contributors
SPDX-License-Identifier: GPL-3.0-or-later
-->"""

_PANELS: Final = (Shape.PORTS, Shape.MIXED, Shape.ADDRESSES, Shape.ONE_SET)
_INK, _GRID = "#808080", "#80808040"
_STYLES: Final = (
    ("#2f81f7", "circle"),
    ("#d9730d", "square"),
    ("#22a559", "triangle"),
    ("#a371f7", "diamond"),
)
"""A colour and a marker for each firewall, in their order."""

_FONT: Final = 'font-family="system-ui, sans-serif" font-size="13"'
_WIDTH, _PANEL_HEIGHT = 960, 300
_COLUMNS = 2
_LEFT, _RIGHT, _GAP = 65, 25, 80
_TOP, _TITLE, _AXIS = 45, 30, 55
_LEGEND_Y, _CHARACTER = 20, 7.5
_MARK = 4.0


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis: values between two powers of ten, at places between two others."""

    low: int
    high: int
    start: float
    end: float

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float) -> _Scale:
        """An axis with all values on it."""
        logarithms = [math.log10(value) for value in values]
        low, high = math.floor(min(logarithms)), math.ceil(max(logarithms))
        return cls(low, max(high, low + 1), start, end)

    def at(self, value: float) -> float:
        """Where a value is."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[int]:
        """The powers of ten on it."""
        return [10**power for power in range(self.low, self.high + 1)]


def svg(report: Report) -> str:
    """The drawing of a report."""
    shapes = [shape for shape in _PANELS if report.sizes(shape)]
    rows = math.ceil(len(shapes) / _COLUMNS)
    height = _TOP + rows * (_TITLE + _PANEL_HEIGHT + _AXIS)
    top = [figure.fastest for figure in report.figures if figure.permitted]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT} fill="{_INK}">',
        _LICENCE,
        "<title>Nanoseconds that a packet takes, by number of rules</title>",
        *_legend(report.firewalls),
    ]
    for index, shape in enumerate(shapes):
        row, column = divmod(index, _COLUMNS)
        width = (_WIDTH - _LEFT - _RIGHT - _GAP * (_COLUMNS - 1)) / _COLUMNS
        left = _LEFT + column * (width + _GAP)
        ceiling = _TOP + row * (_TITLE + _PANEL_HEIGHT + _AXIS) + _TITLE
        floor = ceiling + _PANEL_HEIGHT
        sizes = report.sizes(shape)
        across = _Scale.over(sizes, left, left + width)
        # One scale for all panels, or nobody could compare them.
        up = _Scale.over([report.no_firewall, *top], floor, ceiling)
        lines += [*_frame(shape, across, up), *_curves(report, shape, across, up)]
    return "\n".join([*lines, "</svg>", ""])


def _legend(names: Sequence[str]) -> Iterator[str]:
    x: float = _LEFT
    for name, (colour, marker) in [*_styled(names), ("no firewall", (_INK, None))]:
        yield _line((x, _LEGEND_Y), (x + 24, _LEGEND_Y), colour, 2, dashed=marker is None)
        if marker is not None:
            yield _mark(marker, x + 12, _LEGEND_Y, colour)
        yield _text(name, x + 32, _LEGEND_Y + 4)
        # How wide a text is only the viewer knows.
        x += 32 + len(name) * _CHARACTER + 25


def _styled(names: Sequence[str]) -> list[tuple[str, tuple[str, str]]]:
    return list(zip(names, itertools.cycle(_STYLES), strict=False))


def _frame(shape: Shape, across: _Scale, up: _Scale) -> Iterator[str]:
    left, right, floor, ceiling = across.start, across.end, up.start, up.end
    yield _text(shape.value, (left + right) / 2, ceiling - 12, anchor="middle", weight="bold")
    for value in across.ticks:
        x = across.at(value)
        yield _line((x, floor), (x, ceiling), _GRID, 1)
        yield _text(_number(value), x, floor + 20, anchor="middle")
    for value in up.ticks:
        y = up.at(value)
        yield _line((left, y), (right, y), _GRID, 1)
        yield _text(_duration(value), left - 8, y + 4, anchor="end")
    counted = "networks in the rule" if shape is Shape.ONE_SET else "rules; the packet matches the last"
    yield _text(counted, (left + right) / 2, floor + 40, anchor="middle")


def _curves(report: Report, shape: Shape, across: _Scale, up: _Scale) -> Iterator[str]:
    y = up.at(report.no_firewall)
    yield _line((across.start, y), (across.end, y), _INK, 2, dashed=True)
    # The first comes last, and so on top.
    for name, (colour, marker) in reversed(_styled(report.firewalls)):
        places = [
            (across.at(figure.case.size), up.at(figure.fastest))
            for size in report.sizes(shape)
            if (figure := report.find(figures.Case(name, shape, size), permitted=True))
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in places:
            yield _mark(marker, x, y, colour)


def _number(value: int) -> str:
    return _scaled(value, ("", "k", "M"))


def _duration(nanoseconds: int) -> str:
    return _scaled(nanoseconds, (" ns", " µs", " ms", " s"))


def _scaled(value: int, units: Sequence[str]) -> str:
    """A power of ten in the largest unit that it has one of; each is 1000 of the one before."""
    power = min((len(str(value)) - 1) // 3, len(units) - 1)
    return f"{value // 1000**power}{units[power]}"


def _line(
    start: tuple[float, float], end: tuple[float, float], colour: str, width: int, *, dashed: bool = False
) -> str:
    (x1, y1), (x2, y2) = start, end
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"{dashes}/>'
    )


def _text(text: str, x: float, y: float, *, anchor: str = "start", weight: str = "normal") -> str:
    placed = f'x="{x:.1f}" y="{y:.1f}" text-anchor={quoteattr(anchor)} font-weight={quoteattr(weight)}'
    return f"<text {placed}>{escape(text)}</text>"


def _mark(marker: str, x: float, y: float, colour: str) -> str:
    if marker == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_MARK}" fill="{colour}"/>'
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "triangle": ((-1.2, 1), (1.2, 1), (0, -1.2)),
        "diamond": ((-1.3, 0), (0, -1.3), (1.3, 0), (0, 1.3)),
    }[marker]
    points = " ".join(f"{x + _MARK * dx:.1f},{y + _MARK * dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def main() -> int:
    """Draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plot", description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("plot", type=Path)
    arguments = parser.parse_args()
    arguments.plot.write_text(svg(figures.read(arguments.figures)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
