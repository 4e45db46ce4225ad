# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A row of the table, and how a time is taken."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """Two times in seconds, of the same work done by us and in another way."""

    what: str
    ours: float
    other: float
    other_is: str


def fastest(*works: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """The fastest of some rounds of each work, in seconds. They alternate, so that noise meets all alike."""
    best = [float("inf")] * len(works)
    for _unused in range(rounds):
        for index, work in enumerate(works):
            started = time.perf_counter()
            work()
            best[index] = min(best[index], time.perf_counter() - started)
    return best


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """The seconds that one round takes, and the MB that this process grows by meanwhile, at its peak."""
    status = Path("/proc/self/status")
    # The peak of a process is that of all it has done, and of the one it comes from, until it is reset (man 5
    # proc).
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes(status.read_text(), "VmRSS")
    started = time.perf_counter()
    work()
    elapsed = time.perf_counter() - started
    return elapsed, (_kilobytes(status.read_text(), "VmHWM") - before) / 1024


def _kilobytes(status: str, name: str) -> int:
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))
