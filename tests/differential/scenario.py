# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A short life of one host: a policy is loaded, packets come and go, it changes to another, and so on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables, ruleset
from tests.differential.compare import expected
from tests.differential.policies import changed, parts
from tests.differential.samples import samples
from tests.lab.command import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from tests.differential.kernel import Kernel
    from tests.differential.packets import Sample
    from tests.differential.policies import Parts

MAX_STEPS: Final = 3

# How a policy gets into the kernel.
TEXT: Final = "text"  # the whole table, where there is none
CHANGE: Final = "change"  # from whatever table there is, or none
UNDONE: Final = "change, half of it undone before"  # as when the switch fails
REPAIR: Final = "repair"  # the whole table in place of the one that there is
_FIRST: Final = (TEXT, CHANGE)
_LATER: Final = (CHANGE, UNDONE, UNDONE, REPAIR)


@dataclass(frozen=True)
class Step:
    """A policy, how it is loaded, and the packets that it is tried with."""

    policy: model.HostPolicy
    how: str
    samples: tuple[Sample, ...]


def scenario(chance: Random, packets: int, *, reassembled: bool) -> tuple[Step, ...]:
    """A few steps with so many packets each, every policy made from the one before it."""
    steps: list[Step] = []
    state: Parts | None = None
    for _unused in range(chance.randint(1, MAX_STEPS)):
        state = parts(chance) if state is None else changed(chance, state)
        policy = state.host_policy()
        how = chance.choice(_LATER if steps else _FIRST)
        tried = islice(samples(policy, chance, reassembled=reassembled), packets)
        steps.append(Step(policy, how, tuple(tried)))
    return tuple(steps)


def play(kernel: Kernel, steps: tuple[Step, ...]) -> Counter[str]:
    """Play one scenario from an empty host, and tell what was hit how often.

    AssertionError, with all there is to know, at the first step that goes wrong.
    """
    hits: Counter[str] = Counter()
    kernel.clear()
    for index, step in enumerate(steps, 1):
        wrong = _load(kernel, step)
        if not wrong:
            said = expected(step.policy, step.samples, reassembled=kernel.tracking)
            wrong = said.differences(step.policy, kernel.observe(step.samples))
            hits.update(said.branches)
        if wrong:
            raise AssertionError(_report(index, step, wrong))
        hits.update({"packets": len(step.samples), "policies": 1, f"loaded by {step.how}": 1})
    return hits


def _load(kernel: Kernel, step: Step) -> tuple[str, ...]:
    """Bring the policy into the kernel; what went wrong, if anything, or was left over."""
    wanted = nftables.render(step.policy)
    live = _live(kernel)
    planned = ruleset.repair(wanted) if step.how == REPAIR else ruleset.plan(live, wanted)
    scripts = [part.script for part in planned]
    if step.how == TEXT:
        scripts = [nftables.text(step.policy)]
    try:
        if step.how == UNDONE and planned and planned[0].undo:
            kernel.nft(planned[0].script)
            kernel.nft(planned[0].undo)
            if (undone := _live(kernel)) != live:
                return (f"an undone change leaves {undone}\ninstead of {live}",)
        for script in scripts:
            kernel.nft(script)
    except CommandError as error:
        return (f"nft refuses it: {error}",)
    expected = ruleset.names(wanted)
    if (loaded := _live(kernel)) != expected:
        return (f"the kernel's table is {loaded}\ninstead of {expected}",)
    return ()


def _live(kernel: Kernel) -> ruleset.Names | None:
    listing = kernel.listing()
    return None if listing is None else ruleset.names_in(listing)


def _report(index: int, step: Step, wrong: Sequence[str]) -> str:
    return "\n".join(
        (
            f"step {index}, loaded by {step.how}:",
            *wrong,
            json.dumps(model.to_dict(step.policy), indent=1, ensure_ascii=False),
            nftables.text(step.policy),
        )
    )
