# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What things cost: `python -m tests.bench [NAME …]`. Never a test: figures are printed, not asserted.

Every row compares two measurements of the same run, because the machine's own speed changes from one run to
the next. Times are the fastest of a few rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from typing import TYPE_CHECKING

from . import apply, compiling, elements, rules, sets

if TYPE_CHECKING:
    from .measure import Row

BENCHMARKS = {
    "compile": compiling.rows,
    "rules": rules.rows,
    "sets": sets.rows,
    "elements": elements.rows,
    "apply": apply.rows,
}


def main() -> int:
    """Run the named benchmarks, or all of them, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    chosen = parser.parse_args().names or list(BENCHMARKS)
    unknown = sorted(set(chosen) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces")
    python = platform.python_version()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {python}")
    print(f"\n{'what':<58} {'ours':>9} {'other':>9} {'ratio':>7} {'over':>9}  other is")
    for name in chosen:
        for row in BENCHMARKS[name]():
            print(_line(row), flush=True)
    return 0


def _line(row: Row) -> str:
    ratio = f"{row.ours / row.other:7.2f}" if row.other else f"{'':7}"
    over = f"{row.ours - row.other:>+7.3f} s"
    return f"{row.what:<58} {row.ours:>7.3f} s {row.other:>7.3f} s {ratio} {over}  {row.other_is}"


if __name__ == "__main__":
    sys.exit(main())
