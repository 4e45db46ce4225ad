# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast judge of flows says what the reference says of their packets."""

from __future__ import annotations

import dataclasses
import itertools
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import flows, model, verdict
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import flow_samples, samples

NUMBER = 800
"""Of packets that each policy is tried with."""
MANY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


def is_taken(policy: model.HostPolicy, interface: str, direction: str, way: flows.Way) -> bool:
    """What the reference says."""
    found = verdict.raw(policy, flow_samples.packet(interface, direction, way))
    return found.action == model.ALLOW and not found.tracked


@settings(MANY, max_examples=200)
@given(flow_samples.deciding_policies(), st.integers(0, 2**32 - 1))
def test_a_flow_is_judged_as_the_reference_judges_its_packets(policy, seed):
    check(policy, seed)


@settings(MANY)
@given(samples.host_policies(), st.integers(0, 2**32 - 1))
def test_so_it_is_under_any_policy_that_the_controller_could_make(policy, seed):
    check(policy, seed)


@pytest.mark.parametrize("own", ["eth0", None], ids=["by name", "by address"])
def test_an_endpoint_of_its_own_governs_an_interface_before_one_for_every(own):
    host = samples.host([samples.policy("open", ingress=[samples.rule()])], interface="*")
    (every,) = host.endpoints
    mine = model.Endpoint("z", own, addresses=("10.0.0.1",) if own is None else ())
    policy = dataclasses.replace(host, endpoints=(every, mine), interfaces={"eth0": ("10.0.0.1",)})
    untracked = flows.UntrackedPolicy(policy, policy.interfaces)
    way = (4, model.TCP, 1, 2, 3, 4, None, None)
    judges = {name: untracked.on(name, model.INGRESS) for name in ("eth0", "eth1", "lo")}
    taking = [name for name, judge in judges.items() if judge is not None and judge.takes(way)]
    assert taking == ["eth1"] == [name for name in judges if is_taken(policy, name, model.INGRESS, way)]


def check(policy: model.HostPolicy, seed: int) -> None:
    """Compare what both say, at each place where the policy or nobody says something."""
    untracked = flows.UntrackedPolicy(policy, policy.interfaces)
    names = {one.interface for one in policy.endpoints} | {*policy.interfaces, "eth0", "lo"}
    places = list(itertools.product(sorted(filter(None, names)), (model.INGRESS, model.EGRESS)))
    # Flows by the hundred are too many for hypothesis to draw.
    for way in itertools.islice(flow_samples.ways(policy, Random(seed)), NUMBER // len(places)):
        for interface, direction in places:
            judge = untracked.on(interface, direction)
            answer = judge is not None and judge.takes(way)
            assert answer == is_taken(policy, interface, direction, way), (interface, direction, way)
            assert untracked.might_take(way) or not answer


def test_a_rule_costs_no_more_where_a_set_is_large():
    """Not timed: a hundred thousand networks are compared with few numbers."""
    nets = tuple(f"10.{number >> 8}.{number & 255}.0/24" for number in range(0, 65536, 2))
    host = samples.host(
        [samples.policy("web", ingress=[samples.rule(source=model.Side(("n:many",)))])],
        sets={"n:many": model.AddressSet("", nets)},
    )
    judge = flows.UntrackedPolicy(host, {}).on("eth0", model.INGRESS)
    assert judge is not None
    inside, outside = 0x0A020001, 0x0A020101
    for source, expected in ((inside, True), (outside, False)):
        assert judge.takes((4, model.TCP, source, 1, 1, 1, None, None)) is expected
