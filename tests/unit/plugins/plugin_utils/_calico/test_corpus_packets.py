# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus's policies and packets, through the filters `compile` and `verdict`."""

from __future__ import annotations

import sys
import typing as t
from collections import Counter

import pytest

from ansible_collections.netpolicy.host.plugins.filter.host_policy import verdict
from ansible_collections.netpolicy.host.plugins.filter.resources import compile_policy
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import (
    corpus,
    corpus_policies,
)

CASES = corpus.cases("policy_packets.json", bool)
NO_CORPUS = CASES[0].values[0] is None
PLANES = {"tracked": False, "untracked": True}


def judged(case: t.Any, untracked: bool) -> t.Iterator[tuple[t.Any, str, dict[str, t.Any]]]:
    policies: dict[str, t.Any] = {}
    for expected in ("allowed", "dropped", "unmatched"):
        for given in case[expected] or ():
            packet = {**corpus_policies.packet(given), **corpus_policies.direction(case, given)}
            way = packet["direction"]
            if way not in policies:
                resources = corpus_policies.resources(case, way, untracked)
                policies[way] = compile_policy(resources, node=corpus_policies.NODE)
            yield given, expected, verdict(policies[way], packet)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("case", CASES)
def test_each_packet_has_the_fate_that_calico_gives_it(case, plane):
    untracked = PLANES[plane]
    reason = corpus_policies.not_applicable(case, untracked)
    if untracked and case["group"] != "workload":
        reason = "a case of the host's own hooks, which names its kind of policy"
    if reason is not None:
        pytest.skip(reason)
    for given, expected, said in judged(case, untracked):
        before_tracking = untracked or case["policy"]["for_xdp"]
        if before_tracking and expected == "allowed":
            assert (said["action"], said["tracked"]) == ("allow", False), (given, said)
        elif untracked or expected == "unmatched":
            # Not allowed before connection tracking: denied there, or left to what comes after.
            assert said["tracked"] or said["action"] == "deny", (given, said)
        else:
            assert said["action"] == {"allowed": "allow", "dropped": "deny"}[expected], (given, said)


@pytest.mark.skipif(NO_CORPUS, reason="there is no conformance corpus")
def test_what_does_not_apply_is_listed_with_its_reason(capsys):
    reasons: Counter[str] = Counter()
    for parameter in CASES:
        reason = corpus_policies.not_applicable(parameter.values[0], untracked=False)
        reasons[reason or "applied"] += 1
    assert reasons["applied"] > len(CASES) * 0.9
    with capsys.disabled():
        sys.stdout.write(f"\ncorpus policy_packets.json, tracked: {dict(reasons)}\n")
