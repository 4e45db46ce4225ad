# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What things cost: `python -m tests.bench [NAME ...]`. Never a test: figures are printed, not asserted.

Every row compares measurements of the same run, because the machine's own speed changes from one run to
the next. Times are the fastest of a few rounds.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import apply, compiling, elements, figures, machine, raw, rules, sets, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measure import Row

COMPARISONS = {
    "compile": compiling.rows,
    "rules": rules.rows,
    "sets": sets.rows,
    "elements": elements.rows,
    "apply": apply.rows,
}
RAW = "raw"
NAMES = (*COMPARISONS, RAW)


def main() -> int:
    """Run the named benchmarks, or all of them, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"keep the figures of {RAW}")
    arguments = parser.parse_args()
    chosen = arguments.names or NAMES
    unknown = sorted(set(chosen) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    if arguments.json and RAW not in chosen:
        parser.error(f"only {RAW} has figures to keep")
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces")
    if compared := [name for name in chosen if name != RAW]:
        _compare(compared)
    if RAW in chosen:
        _measure_raw(arguments.json)
    return 0


def _compare(names: Sequence[str]) -> None:
    print(machine.described())
    print(f"\n{'what':<58} {'ours':>9} {'other':>9} {'ratio':>7} {'over':>9}  other is")
    for name in names:
        for row in COMPARISONS[name]():
            print(_line(row), flush=True)


def _line(row: Row) -> str:
    ratio = f"{row.ours / row.other:7.2f}" if row.other else f"{'':7}"
    over = f"{row.ours - row.other:>+7.3f} s"
    return f"{row.what:<58} {row.ours:>7.3f} s {row.other:>7.3f} s {ratio} {over}  {row.other_is}"


def _measure_raw(kept: Path | None) -> None:
    report = raw.report(f"make bench BENCH={RAW}")
    # Kept first: what took minutes is not to be lost to a closed pipe.
    if kept:
        figures.write(report, kept)
    print(f"\n{table.text(report)}")


if __name__ == "__main__":
    sys.exit(main())
