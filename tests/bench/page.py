# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts kept figures into a page: `python -m tests.bench.page FIGURES.json PAGE.md`.

What stands between the marks is ours, the rest is written by people.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import figures, table

BEGIN, END = "<!-- figures: `make bench-docs` writes what follows -->", "<!-- end of figures -->"


def written(page: str, report: figures.Report) -> str:
    """The page with these figures; ValueError where it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END} after it")
    return f"{before}{BEGIN}\n\n{table.text(report)}\n\n{END}{after}"


def main() -> int:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.page", description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("page", type=Path)
    arguments = parser.parse_args()
    page = arguments.page.read_text(encoding="utf-8")
    arguments.page.write_text(written(page, figures.read(arguments.figures)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
