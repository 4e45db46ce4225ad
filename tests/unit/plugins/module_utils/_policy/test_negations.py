# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule asks by its negated criteria and by ICMP, and what it does not."""

from __future__ import annotations

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, packet, verdict

ORIGIN = model.Origin("GlobalNetworkPolicy", "p", "ingress", 0)
SETS = {"clients": model.AddressSet("clients", ("10.0.0.0/8",), ())}


def matches(rule: dict[str, object], **fields: object) -> bool:
    """Whether a rule that asks for this decides such a packet."""
    denying = model.Rule(ORIGIN, model.DENY, **rule)  # type: ignore[arg-type]
    policy = model.HostPolicy(
        "host",
        (model.Endpoint("e", "eth0", (model.Tier("default", ("GlobalNetworkPolicy/p",)),)),),
        {"GlobalNetworkPolicy/p": model.Policy("GlobalNetworkPolicy", "p", (denying,))},
        SETS,
    )
    given = {"direction": "ingress", "interface": "eth0", "src": "10.1.2.3", "dst": "192.0.2.1", **fields}
    return verdict.raw(policy, packet.packet(given)).action == "deny"


@pytest.mark.parametrize(
    "rule, fields, expected",
    [
        ({"not_protocol": 6}, {"protocol": 17}, True),
        ({"not_protocol": 6}, {"protocol": 6}, False),
        ({"source": model.Side(not_sets=("clients",))}, {"protocol": 6}, False),
        ({"source": model.Side(not_sets=("clients",))}, {"protocol": 6, "src": "192.0.2.9"}, True),
        # The set has no member of this IP version, so no address is in it.
        (
            {"source": model.Side(not_sets=("clients",))},
            {"protocol": 6, "src": "fd00::1", "dst": "fd00::2"},
            True,
        ),
        (
            {"source": model.Side(sets=("clients",), not_sets=("clients",))},
            {"protocol": 6},
            False,
        ),
        (
            {"protocol": 6, "destination": model.Side(not_ports=((80, 90),))},
            {"protocol": 6, "dport": 90},
            False,
        ),
        (
            {"protocol": 6, "destination": model.Side(not_ports=((80, 90),))},
            {"protocol": 6, "dport": 91},
            True,
        ),
        (
            {"protocol": 6, "destination": model.Side(ports=((80, 90),), not_ports=((85, 85),))},
            {"protocol": 6, "dport": 85},
            False,
        ),
        # A later fragment shows no ports: it matches neither what asks for some nor what asks for others.
        (
            {"protocol": 6, "destination": model.Side(not_ports=((80, 90),))},
            {"protocol": 6, "fragment": "later"},
            False,
        ),
        ({"icmp": model.Icmp(8)}, {"protocol": 1, "icmp_type": 8, "icmp_code": 3}, True),
        ({"icmp": model.Icmp(8)}, {"protocol": 1, "icmp_type": 0, "icmp_code": 3}, False),
        ({"icmp": model.Icmp(8, 0)}, {"protocol": 1, "icmp_type": 8, "icmp_code": 3}, False),
        ({"icmp": model.Icmp(8, 3)}, {"protocol": 1, "icmp_type": 8, "icmp_code": 3}, True),
        # Not (type and code): either may differ.
        ({"not_icmp": model.Icmp(8, 3)}, {"protocol": 1, "icmp_type": 8, "icmp_code": 4}, True),
        ({"not_icmp": model.Icmp(8, 3)}, {"protocol": 1, "icmp_type": 10, "icmp_code": 3}, True),
        ({"not_icmp": model.Icmp(8, 3)}, {"protocol": 1, "icmp_type": 8, "icmp_code": 3}, False),
        ({"not_icmp": model.Icmp(8)}, {"protocol": 1, "icmp_type": 8, "icmp_code": 3}, False),
        # Only ICMP has types.
        ({"not_icmp": model.Icmp(8)}, {"protocol": 17}, False),
        ({"icmp": model.Icmp(0)}, {"protocol": 17}, False),
        # A later fragment shows no type: neither this one nor another one.
        ({"icmp": model.Icmp(8)}, {"protocol": 1, "icmp_type": 8, "fragment": "later"}, False),
        ({"not_icmp": model.Icmp(0)}, {"protocol": 1, "icmp_type": 8, "fragment": "later"}, False),
        ({"not_icmp": model.Icmp(0)}, {"protocol": 1, "icmp_type": 8, "fragment": "first"}, True),
    ],
)
def test_a_rule_matches(rule, fields, expected):
    assert matches(rule, **fields) is expected


@pytest.mark.parametrize("hop_limit, tracked", [(None, True), (255, True), (254, False)])
def test_neighbour_discovery_has_the_hop_limit_of_its_link(hop_limit, tracked):
    fields = {"protocol": 58, "src": "fe80::1", "dst": "fe80::2", "icmp_type": 135, "hop_limit": hop_limit}
    assert matches({}, **fields) is not tracked
