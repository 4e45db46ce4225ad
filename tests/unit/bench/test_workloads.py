# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules and packets that the raw path is measured with are what the table says that they are."""

from __future__ import annotations

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, verdict
from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import packet
from ansible_collections.netpolicy.host.tests.bench import firewalls, shapes
from ansible_collections.netpolicy.host.tests.bench.shapes import Shape

WORKLOADS = [shapes.workload(shape, size) for shape in Shape for size in (5, 20)]


def judged(workload: shapes.Workload, source: str) -> verdict.Verdict:
    return verdict.raw(
        firewalls.host_policy(workload),
        packet(
            {
                "direction": model.INGRESS,
                "interface": firewalls.INTERFACE,
                "protocol": "UDP",
                "src": source,
                "dst": "198.18.0.1",
                "sport": 40_000,
                "dport": workload.port,
            }
        ),
    )


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: f"{one.shape.name}-{one.size}")
def test_the_last_rule_permits_one_packet_and_no_rule_knows_the_other(workload):
    permitted, other = (judged(workload, workload.sources[key]) for key in (True, False))
    assert permitted.decided_by == model.Origin(
        firewalls.KIND, firewalls.NAME, model.INGRESS, len(workload.rules) - 1
    )
    assert (permitted.action, permitted.tracked) == (model.ALLOW, False)
    assert (other.decided_by, other.tracked) == (None, True)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: f"{one.shape.name}-{one.size}")
@pytest.mark.parametrize("firewall", firewalls.FIREWALLS, ids=lambda one: one.title)
def test_every_firewall_is_given_every_network(workload, firewall):
    text = "".join(load.script for load in firewall.loads(workload))
    assert all(text.count(net) == 1 for rule in workload.rules for net in rule.nets)


@pytest.mark.parametrize(
    "shape, ports",
    [
        (Shape.PORTS, [10_000, 10_001, 10_002, 10_003, 10_004]),
        (Shape.ADDRESSES, [None] * 5),
        (Shape.MIXED, [10_000, None, 10_002, None, 10_004]),
    ],
)
def test_the_rules_of_a_shape_have_the_ports_that_it_says(shape, ports):
    assert [rule.port for rule in shapes.workload(shape, 5).rules] == ports
