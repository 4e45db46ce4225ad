# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets and rules that nft, or the kernel, once made something else of than the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables
from tests.differential.by_hand import HTTP, arriving, ingress_policy
from tests.differential.compare import expected

if TYPE_CHECKING:
    from tests.differential.kernel import Kernel
    from tests.differential.packets import Sample

_PORT = ((53, 53),)
_OTHER = ((1023, 1023),)


def _differences(kernel: Kernel, policy: model.HostPolicy, *samples: Sample) -> tuple[str, ...]:
    kernel.clear()
    kernel.nft(nftables.text(policy))
    said = expected(policy, samples, reassembled=kernel.tracking)
    return said.differences(policy, kernel.observe(samples))


@pytest.mark.parametrize("ports", [{"sport": 1023}, {"dport": 53}])
def test_a_port_excluded_on_either_side(kernel, ports):
    sides = {"source": model.Side(not_ports=_OTHER), "destination": model.Side(not_ports=_PORT)}
    policy = ingress_policy({"action": "deny", "protocol": model.UDP, **sides})

    assert not _differences(kernel, policy, arriving(4, model.UDP, **ports))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "protocol, asked",
    [
        # Zeros are what these fragments hold.
        (model.UDP, {"protocol": model.UDP, "destination": model.Side(ports=((0, 10),))}),
        (model.UDP, {"protocol": model.UDP, "destination": model.Side(not_ports=_PORT)}),
        (model.UDP, {"destination": model.Side(not_named_ports=(HTTP,))}),
        (model.ICMP, {"protocol": model.ICMP, "not_icmp": model.Icmp(8)}),
    ],
    ids=["ports", "not ports", "not named ports", "not ICMP"],
)
def test_a_later_fragment_shows_no_ports(untracking_kernel, version, protocol, asked):
    policy = ingress_policy({"action": "allow", **asked})

    later = arriving(version, protocol, payload=100, cuts=(4,), piece=1)

    assert not _differences(untracking_kernel, policy, later)


def test_a_later_fragment_is_judged_by_all_that_it_shows(untracking_kernel):
    policy = ingress_policy(
        {"action": "pass", "protocol": model.TCP},
        {"action": "allow", "protocol": model.UDP, "ip_version": 4},
        {"action": "deny"},
    )

    samples = [
        arriving(version, protocol, payload=100, cuts=(4, 6), piece=piece)
        for version in (4, 6)
        for protocol in (model.TCP, model.UDP, model.SCTP)
        for piece in (0, 1, 2)
    ]

    assert not _differences(untracking_kernel, policy, *samples)
