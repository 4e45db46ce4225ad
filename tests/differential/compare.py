# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reference says about packets, beside what the kernel did with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.verdict import Verdict, raw
from ansible_collections.netpolicy.host.plugins.module_utils._render import counters
from tests.differential.aims import governed
from tests.differential.observer import Fate
from tests.differential.packets import PLAIN, judged_size
from tests.differential.transport import SOUND
from tests.differential.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.differential.kernel import Observation
    from tests.differential.packets import Sample

# The branches of the reference, by what their reasons begin with.
_BRANCHES: Final = {
    "failsafe: inbound": "failsafe inbound",
    "failsafe: outbound": "failsafe outbound",
    "failsafe: reply from inbound": "reply from failsafe inbound",
    "failsafe: reply from outbound": "reply from failsafe outbound",
    "no host endpoint": "no endpoint",
    "neighbour discovery": "discovery",
    "no untracked policy decided": "fell through",
}


@dataclass(frozen=True)
class Expected:
    """What the reference expects of packets: each one's verdict, what counts how much, and branches taken."""

    samples: Sequence[Sample]
    verdicts: tuple[Verdict, ...]
    counted: Mapping[str, counters.Amount]
    branches: Counter[str]

    def differences(self, policy: model.HostPolicy, seen: Observation) -> tuple[str, ...]:
        """What the kernel, which enforces this policy, did otherwise."""
        triples = zip(self.samples, self.verdicts, seen.fates, strict=True)
        return (
            *(
                f"{sample}\n  {sample.described}\n  reference: {said}\n  kernel: {fate.value}"
                for sample, said, fate in triples
                if not _agrees(said, fate)
            ),
            *(
                f"{what}: by the reference {self.counted.get(what, (0, 0))} packets and bytes, "
                f"by its counter {amount}"
                for what, amount in _found(policy, seen.counted).items()
                if amount != self.counted.get(what, (0, 0))
            ),
        )


def expected(policy: model.HostPolicy, samples: Sequence[Sample], *, reassembled: bool = True) -> Expected:
    """Ask the reference. `reassembled`: whether the kernel puts fragments together before raw."""
    branches: Counter[str] = Counter()
    verdicts = []
    amounts: dict[str, counters.Amount] = {}
    walk, endpoints = Walk(policy), governed(policy)
    for sample in samples:
        said, silent = raw(policy, sample.described), walk.silent(sample.described)
        verdicts.append(said)
        endpoint = endpoints.get(sample.interface)
        branches.update(rule.action for rule in silent)
        branches.update((_branch(said), sample.direction, f"IPv{sample.version}", *_oddities(sample)))
        branches["decided after the first tier"] += _is_late(endpoint, said)
        size = judged_size(sample, reassembled=reassembled)
        for what in _counted(policy, endpoint, sample, said, silent):
            packets, total = amounts.get(what, (0, 0))
            amounts[what] = packets + 1, total + size
    return Expected(samples, tuple(verdicts), amounts, branches)


def _agrees(said: Verdict, fate: Fate) -> bool:
    if said.action == model.DENY:
        return fate is Fate.DENY
    return fate in (Fate.ALLOW, Fate.TRACKED if said.tracked else Fate.UNTRACKED)


def _branch(said: Verdict) -> str:
    """Which of the reference's branches decided."""
    if said.decided_by is not None:
        return said.action
    for start, branch in _BRANCHES.items():
        if said.reason.startswith(start):
            return branch
    raise AssertionError(f"a branch of the reference that this test does not know: {said}")


def _oddities(sample: Sample) -> Iterator[str]:
    """What is unusual about the packet."""
    if sample.extension != PLAIN:
        yield f"IPv{sample.version} {sample.extension}"
    if sample.piece is not None:
        yield f"{sample.fragment} fragment alone"
    elif sample.cuts:
        yield f"in {len(sample.cuts) + 1} fragments"
    if sample.shown is not None:
        yield f"cut after {sample.shown} bytes"
    if sample.flaw != SOUND:
        yield sample.flaw


def _is_late(endpoint: model.Endpoint | None, said: Verdict) -> bool:
    """Whether a rule decided that is not in the first tier."""
    first = () if endpoint is None else endpoint.untracked[:1]
    keys = {key for tier in first for key in tier.policies}
    return said.decided_by is not None and f"{said.decided_by.kind}/{said.decided_by.name}" not in keys


# -- counters --------------------------------------------------------------------------------------------


def _counted(
    policy: model.HostPolicy,
    endpoint: model.Endpoint | None,
    sample: Sample,
    said: Verdict,
    silent: Sequence[model.Rule],
) -> Iterator[str]:
    """What the packet is counted for: the endpoint, paths of rules, failsafes."""
    if endpoint is None or not any(policy.tier_rules(tier, sample.direction) for tier in endpoint.untracked):
        # Where there are no rules, nothing has to be let through before them, and none counts.
        return
    yield _name_of_endpoint(endpoint.name, sample.direction)
    for rule in silent:
        yield rule.origin.path
    if said.decided_by is not None:
        yield said.decided_by.path
    elif "failsafe" in _branch(said):
        yield _branch(said)


def _found(policy: model.HostPolicy, seen: Mapping[str, counters.Amount]) -> dict[str, counters.Amount]:
    """What the kernel counted, by the same names."""
    counted = counters.counted(policy, seen)
    found = dict(counted.rules)
    for (direction, replies), amount in counted.failsafes.items():
        found[f"{'reply from ' if replies else ''}failsafe {direction}"] = amount
    for (endpoint, direction), amount in counted.endpoints.items():
        found[_name_of_endpoint(endpoint, direction)] = amount
    return found


def _name_of_endpoint(name: str, direction: str) -> str:
    return f"endpoint {name}, {direction}"
