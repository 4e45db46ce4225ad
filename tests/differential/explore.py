# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playing many scenarios."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from tests.differential.coverage import Tally
from tests.differential.scenario import play, scenario
from tests.differential.shrink import smallest

if TYPE_CHECKING:
    from tests.differential.kernel import Kernel
    from tests.differential.scenario import Step


@dataclass
class Hits:
    """What was hit how often: branches of the reference and kinds of packets, and fields of policies."""

    branches: Counter[str] = field(default_factory=Counter)
    fields: Tally = field(default_factory=Tally)

    def merge(self, other: Hits) -> None:
        """Add what another round hit."""
        self.branches += other.branches
        self.fields.merge(other.fields)


def explore(kernel: Kernel, number: int, *, examples: int, packets: int, tally: bool = True) -> Hits:
    """Play so many scenarios, with so many packets a step; tell what was hit how often.

    To `tally` what fields did takes about as long as the comparison itself.
    The same `number` gives the same scenarios. AssertionError with a small scenario that goes wrong.
    """
    hits = Hits()
    for index in range(examples):
        steps = scenario(Random(f"{number}/{index}"), packets, reassembled=kernel.tracking)
        try:
            hits.branches += play(kernel, steps)
        except AssertionError:
            # The same in small, if time allows.
            play(kernel, smallest(steps, lambda simpler: _fails(kernel, simpler)))
            raise AssertionError(f"a scenario went wrong once, but not again: {steps}") from None
        for step in steps if tally else ():
            hits.fields.add(step.policy, step.samples)
    return hits


def _fails(kernel: Kernel, steps: tuple[Step, ...]) -> bool:
    try:
        play(kernel, steps)
    except AssertionError:
        return True
    return False
