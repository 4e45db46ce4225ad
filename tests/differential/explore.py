# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playing many scenarios."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.differential.scenario import play, scenarios
from tests.differential.shrink import smallest

if TYPE_CHECKING:
    from tests.differential.kernel import Kernel
    from tests.differential.scenario import Step


def explore(kernel: Kernel, number: int, *, examples: int, packets: int) -> Counter[str]:
    """Play so many scenarios, with so many packets a step; tell what was hit how often.

    The same `number` gives the same scenarios. AssertionError with a small scenario that goes wrong.
    """
    hits: Counter[str] = Counter()
    failed: list[tuple[Step, ...]] = []

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(scenarios(packets))
    def played(steps: tuple[Step, ...]) -> None:
        if failed:
            return
        try:
            hits.update(play(kernel, steps))
        except AssertionError:
            failed.append(steps)

    played()
    if failed:
        play(kernel, smallest(failed[0], lambda steps: _fails(kernel, steps)))
        raise AssertionError(f"a scenario went wrong once, but not again: {failed[0]}")
    return hits


def _fails(kernel: Kernel, steps: tuple[Step, ...]) -> bool:
    try:
        play(kernel, steps)
    except AssertionError:
        return True
    return False
