# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reference says about packets, beside what the kernel did with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.verdict import Verdict, raw
from ansible_collections.netpolicy.host.plugins.module_utils._render import counters
from tests.differential.kernel import Fate
from tests.differential.packets import ip_packet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.differential.kernel import Observation
    from tests.differential.packets import Sample

# The branches of the reference, by what their reasons begin with.
_BRANCHES = {
    "failsafe: inbound": "failsafe inbound",
    "failsafe: outbound": "failsafe outbound",
    "failsafe: reply from inbound": "reply from failsafe inbound",
    "failsafe: reply from outbound": "reply from failsafe outbound",
    "no host endpoint": "no endpoint",
    "neighbour discovery": "discovery",
    "no untracked policy decided": "fell through",
}


@dataclass(frozen=True)
class Comparison:
    """What differs, in words, and how often each branch of the reference decided."""

    differences: tuple[str, ...]
    branches: Counter[str]


def compare(policy: model.HostPolicy, samples: Sequence[Sample], seen: Observation) -> Comparison:
    """Hold the reference's verdicts, and how often each was given, against what the kernel did."""
    differences = []
    branches: Counter[str] = Counter()
    said_of: dict[str, tuple[int, int]] = {}
    for sample, fate in zip(samples, seen.fates, strict=True):
        said = raw(policy, sample.described)
        if _fate(said) is not fate:
            differences.append(f"{sample}\n  {sample.described}\n  reference: {said}\n  kernel: {fate.value}")
        branches.update((_branch(said), sample.direction, f"IPv{sample.version}"))
        branches["decided after the first tier"] += _is_late(policy, sample, said)
        what = _counted(said)
        if what is not None and _is_hooked(policy, sample):
            packets, size = said_of.get(what, (0, 0))
            said_of[what] = packets + 1, size + len(ip_packet(sample, 0))
    counted = counters.counted(policy, seen.counted)
    passes = _passes(policy)
    branches["pass"] = sum(counted.rules[path][0] for path in passes)
    found = dict(counted.rules)
    for (direction, replies), number in counted.failsafes.items():
        found[f"{'reply from ' if replies else ''}failsafe {direction}"] = number
    differences += [
        f"{what}: by the reference {said_of.get(what, (0, 0))} packets and bytes, by its counter {number}"
        for what, number in found.items()
        if what not in passes and number != said_of.get(what, (0, 0))
    ]
    return Comparison(tuple(differences), branches)


def _fate(said: Verdict) -> Fate:
    if said.action == "deny":
        return Fate.DENY
    return Fate.TRACKED if said.tracked else Fate.UNTRACKED


def _branch(said: Verdict) -> str:
    """Which of the reference's branches decided."""
    if said.decided_by is not None:
        return said.action
    for start, branch in _BRANCHES.items():
        if said.reason.startswith(start):
            return branch
    raise AssertionError(f"a branch of the reference that this test does not know: {said}")


def _is_late(policy: model.HostPolicy, sample: Sample, said: Verdict) -> bool:
    """Whether a rule decided that is not in the first tier."""
    first = next((each.untracked[:1] for each in policy.endpoints if each.interface == sample.interface), ())
    keys = {key for tier in first for key in tier.policies}
    return said.decided_by is not None and f"{said.decided_by.kind}/{said.decided_by.name}" not in keys


def _counted(said: Verdict) -> str | None:
    """What the verdict counts for, a rule's path or failsafes; None where nothing is counted."""
    if said.decided_by is not None:
        return said.decided_by.path
    branch = _branch(said)
    return branch if "failsafe" in branch else None


def _is_hooked(policy: model.HostPolicy, sample: Sample) -> bool:
    """Whether the sample meets any rules; where there are none, no failsafe is needed, and none counts."""
    return any(
        policy.tier_rules(tier, sample.direction)
        for endpoint in policy.endpoints
        if endpoint.interface == sample.interface
        for tier in endpoint.untracked
    )


def _passes(policy: model.HostPolicy) -> set[str]:
    """The paths of Pass rules. The reference does not say which of them a packet met on its way."""
    return {
        rule.origin.path
        for member in policy.policies.values()
        for rule in member.all_rules
        if rule.action == model.PASS
    }
