# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A row of the table, and how a time is taken."""

from __future__ import annotations

import time
from dataclasses import dataclass
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
