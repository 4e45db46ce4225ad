# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the raw path: kept, drawn, and written into docs/performance.md by nobody but the script."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ansible_collections.netpolicy.host.tests.bench import figures, page, plot, table
from ansible_collections.netpolicy.host.tests.bench.figures import OURS, Case, Figure, Left, Loaded, Report
from ansible_collections.netpolicy.host.tests.bench.shapes import Shape

DOCS = next(parent for parent in Path(__file__).parents if (parent / "galaxy.yml").is_file()) / "docs"
KEPT = DOCS / "raw-path.json"
NAMESPACE = "{http://www.w3.org/2000/svg}"

OTHER = "other <&> firewall"
TAKEN = {
    Case(OURS, Shape.PORTS, 5): (180, 190),
    Case(OURS, Shape.PORTS, 100): (184, 400),
    Case(OTHER, Shape.PORTS, 5): (150, 150),
    Case(OTHER, Shape.PORTS, 100): (4500, 4600),
    Case(OURS, Shape.ONE_SET, 1000): (225, 226),
}
SAMPLE = Report(
    machine="a machine",
    tools="a tool 1.0",
    command="make bench",
    rounds=3,
    no_firewall=100,
    figures=tuple(
        Figure(case, permitted, fastest, median)
        for case, (fastest, median) in TAKEN.items()
        for permitted in (True, False)
    ),
    loaded=(Loaded(Case(OURS, Shape.PORTS, 100), 1.234, 56.7),),
    left=(Left(Case(OTHER, Shape.ONE_SET, 1000), "no time left"),),
)


def rows(text: str, section: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    lines = text.partition(f"### {section}\n")[2].strip().partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_what_is_kept_can_be_read(tmp_path):
    figures.write(SAMPLE, tmp_path / "figures.json")
    assert figures.read(tmp_path / "figures.json") == SAMPLE


# -- the table ---------------------------------------------------------------------------------------


def test_a_row_has_the_ratios_to_no_firewall_and_to_our_five_rules():
    found = rows(table.text(SAMPLE), "Each rule a port and addresses")
    assert found[0] == ["rules", "packet", OURS, OTHER, "beside our 5 rules"]
    assert found[2] == ["5", "permitted", "180 (1.80)", "150 (1.50)", "1.00"]
    # The median is there where it is far from the fastest.
    assert found[4] == ["100", "permitted", "184 (1.84) ~400", "4500 (45.0)", "1.02"]


def test_a_set_stands_beside_our_five_rules_with_ports():
    found = rows(table.text(SAMPLE), "One rule, a port and many addresses")
    assert found[2] == ["1000", "permitted", "225 (2.25)", "-", "1.25"]


def test_what_loading_took_and_what_was_left_out_are_told():
    text = table.text(SAMPLE)
    assert ["100, each rule a port and addresses", "1.23 s, 57 MiB", "-"] in rows(
        text, "Putting the rules into the kernel"
    )
    assert f"- {OTHER}, one rule, a port and many addresses, 1000 networks: no time left" in text


# -- the plot ----------------------------------------------------------------------------------------


def test_the_plot_is_well_formed_and_inside_its_frame():
    root = ET.fromstring(plot.svg(SAMPLE))  # noqa: S314  # we wrote it ourselves
    assert root.tag == f"{NAMESPACE}svg"
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    for element in root.iter():
        for name, value in element.attrib.items():
            if name in {"x", "x1", "x2", "cx"}:
                assert 0 <= float(value) <= width
            elif name in {"y", "y1", "y2", "cy"}:
                assert 0 <= float(value) <= height
    texts = {element.text for element in root.iter(f"{NAMESPACE}text")}
    assert {OURS, OTHER, "no firewall", Shape.PORTS.value, Shape.ONE_SET.value, "1k"} <= texts


def test_a_line_has_a_point_for_each_size_and_more_is_higher():
    root = ET.fromstring(plot.svg(SAMPLE))  # noqa: S314  # we wrote it ourselves
    lines = [
        [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        for line in root.iter(f"{NAMESPACE}polyline")
    ]
    # Ours comes last in each panel. It has the only line of the second.
    assert [len(points) for points in lines] == [2, 2, 0, 1]
    (left, low), (right, high) = lines[0]
    assert left < right
    assert high < low
    # From 150 to 4500 is as far as the logarithms say, on an axis from 100 to 10 000.
    assert (low - high) / 300 == pytest.approx(math.log10(4500 / 150) / 2, abs=0.01)


# -- the page ----------------------------------------------------------------------------------------


def test_figures_replace_figures_and_nothing_else():
    before = f"# Ours\n\n{page.BEGIN}\nold\n{page.END}\n\nlast words\n"
    after = page.written(before, SAMPLE)
    assert after == f"# Ours\n\n{page.BEGIN}\n\n{table.text(SAMPLE)}\n\n{page.END}\n\nlast words\n"
    assert page.written(after, SAMPLE) == after


@pytest.mark.parametrize("text", ["", page.BEGIN, page.END, f"{page.END}\n{page.BEGIN}"])
def test_a_page_without_marks_is_left_alone(text):
    with pytest.raises(ValueError, match=re.escape(page.END)):
        page.written(text, SAMPLE)


def test_the_page_and_the_plot_of_the_documentation_are_made_of_the_figures_beside_them():
    report = figures.read(KEPT)
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert text == page.written(text, report), "make bench-docs"
    assert (DOCS / "raw-path.svg").read_text(encoding="utf-8") == plot.svg(report), "make bench-docs"
