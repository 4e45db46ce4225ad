# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a host's policy again and again while packets arrive."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.load.traffic import Counts, Traffic
from tests.machine import requests
from tests.machine.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Outcome:
    """How many changes there were, in how many seconds, and what became of the packets meanwhile."""

    changes: int
    seconds: float
    counts: Counts

    def __str__(self) -> str:
        """For a person."""
        counts = self.counts
        return (
            f"{self.changes} changes in {self.seconds:.0f} s, "
            f"{counts.denied_sent / self.seconds / 1000:.0f} kpps denied: {counts.denied_passed} of "
            f"{counts.denied_sent} passed; {counts.allowed_sent / self.seconds / 1000:.0f} kpps allowed: "
            f"{counts.allowed_lost} of {counts.allowed_sent} lost, {counts.allowed_tracked} tracked"
        )


def change(policies: Sequence[model.HostPolicy]) -> Outcome:
    """Put the policies in force on a new host, one after the other.

    AssertionError as soon as a packet passes that none of them lets pass, when a rule that a change leaves
    alone has lost counts, or at the end where a packet that all of them allow was lost or tracked.
    """
    with Traffic() as traffic, Machine(traffic.entered) as machine:
        assert requests.answer(machine, requests.apply(policies[0]))["changed"]
        with traffic.flowing():
            started = time.monotonic()
            counted = _counted(machine)
            for number, (before, after) in enumerate(pairwise(policies), 1):
                assert requests.answer(machine, requests.apply(after))["changed"]
                passed = traffic.counts().denied_passed
                assert not passed, f"change {number}: {passed} denied packets passed{_shown(before, after)}"
                counted, last = _counted(machine), counted
                fallen = _fallen(last, counted, before, after)
                assert not fallen, f"change {number}: lost counts of {fallen}{_shown(before, after)}"
            seconds = time.monotonic() - started
        outcome = Outcome(len(policies) - 1, seconds, traffic.counts())
    assert not outcome.counts.denied_passed, outcome
    assert not outcome.counts.allowed_lost, outcome
    assert not outcome.counts.allowed_tracked, outcome
    return outcome


def _counted(machine: Machine) -> dict[str, int]:
    """The packets that each rule has counted."""
    counters: Sequence[Mapping[str, Any]] = requests.answer(machine, requests.INFO)["counters"]
    return {_path(each): each["packets"] for each in counters}


def _path(rule: Mapping[str, Any]) -> str:
    return f"{rule['kind']}/{rule['name']} {rule['direction']} {rule['rule']}"


def _fallen(
    last: Mapping[str, int], counted: Mapping[str, int], before: model.HostPolicy, after: model.HostPolicy
) -> list[str]:
    """The rules of policies that are in both as they are, and that have counted less than before."""
    untouched = {key for key, member in before.policies.items() if after.policies.get(key) == member}
    return [
        f"{path}: {last[path]}, then {packets}"
        for path, packets in counted.items()
        if path.rsplit(" ", 2)[0] in untouched and packets < last[path]
    ]


def _shown(*policies: model.HostPolicy) -> str:
    return "".join(f"\n{json.dumps(model.to_dict(policy), ensure_ascii=False)}" for policy in policies)
