# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast judge of flows says what the reference says of their packets."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import flows, model, verdict
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import flow_samples, samples


def is_taken(policy: model.HostPolicy, interface: str, direction: str, way: flows.Way) -> bool:
    """What the reference says."""
    found = verdict.raw(policy, flow_samples.packet(interface, direction, way))
    return found.action == model.ALLOW and not found.tracked


def judged(policy: model.HostPolicy, interface: str, direction: str, way: flows.Way) -> bool:
    """What the judge says."""
    untracked = flows.UntrackedPolicy(policy, policy.interfaces)
    judge = untracked.on(interface, direction)
    answer = judge is not None and judge.takes(way)
    assert untracked.might_take(way) or not answer
    return answer


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data(), st.one_of(samples.host_policies(), flow_samples.deciding_policies()))
def test_a_flow_is_judged_as_the_reference_judges_its_packets(data, policy):
    names = sorted({*(one.interface for one in policy.endpoints), *policy.interfaces, "eth0", "lo"} - {None})
    for way in data.draw(st.lists(flow_samples.ways(policy), min_size=1, max_size=20)):
        for interface in names:
            for direction in (model.INGRESS, model.EGRESS):
                assert judged(policy, interface, direction, way) == is_taken(
                    policy, interface, direction, way
                ), (interface, direction, way)


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
