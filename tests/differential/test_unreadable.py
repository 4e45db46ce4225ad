# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets whose headers end, or lead, nowhere. The reference cannot be told of them.

What has to hold is that no rule takes from such a packet what it does not show.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import counters, nftables
from tests.differential.by_hand import HTTP, INTERFACE, arriving, ingress_policy
from tests.differential.compare import expected
from tests.differential.observer import Fate

_ANY_PORT: model.PortRange = (0, 65535)
_SOME_PORTS: model.PortRange = (7, 9)
_ANYTHING = {"action": "log"}
# Each asks for something that the packets do not show; together they match all packets that show it.
_ASKING: tuple[dict[str, Any], ...] = (
    *(
        {"action": action, "protocol": protocol, side: asked}
        for action in ("log", "allow")
        for protocol in model.PORT_PROTOCOLS
        for side in ("source", "destination")
        for asked in (model.Side(ports=(_ANY_PORT,)), model.Side(not_ports=(_SOME_PORTS,)))
    ),
    *(
        {"action": "allow", field: model.Icmp(8, code)}
        for field in ("icmp", "not_icmp")
        for code in (None, 0)
    ),
    {"action": "allow", "destination": model.Side(named_ports=(HTTP,))},
)
_POLICY = ingress_policy(_ANYTHING, *_ASKING)
_NO_NEXT_HEADER = 59


def _ipv6(first: int, rest: bytes) -> bytes:
    head = bytes([0x60, 0, 0, 1, *len(rest).to_bytes(2, "big"), first, 64])
    return head + ip_address("2001:db8::1").packed + ip_address("2001:db8::2").packed + rest


_ENDLESS = {
    "a chain of headers that ends in the middle": (60, bytes([60, 0, 1, 4, 0, 0, 0, 0])),
    "a header that is longer than the packet": (60, bytes([6, 200, 1, 4, 0, 0, 0, 0]) + bytes(20)),
    "half a routing header": (43, bytes([6, 0, 4])),
    "half a fragment header": (44, bytes([6, 0, 0])),
    "half an authentication header": (51, bytes([6])),
    "a later fragment that begins with options": (44, bytes([60, 0, 0, 64, 0, 0, 0, 9]) + bytes(40)),
    "a later fragment of an authentication header": (44, bytes([51, 0, 0, 64, 0, 0, 0, 9]) + bytes(40)),
    "nothing after the header": (_NO_NEXT_HEADER, bytes(40)),
}


@pytest.mark.parametrize("what", _ENDLESS)
def test_no_rule_takes_what_a_packet_does_not_show(untracking_kernel, what):
    """Sent past the observer's books, as bytes; the counters of rules tell."""
    untracking_kernel.clear()
    untracking_kernel.nft(nftables.text(_POLICY))

    seen = untracking_kernel.observe_bytes(INTERFACE, 6, _ipv6(*_ENDLESS[what]))

    counted = counters.counted(_POLICY, seen.counted).rules
    anything, *asking = (rule.origin.path for rule in _POLICY.policies["GlobalNetworkPolicy/tried"].all_rules)
    assert {path: counted[path] for path in asking if counted[path] != (0, 0)} == {}
    assert counted[anything][0] == 1
    assert seen.fates == (Fate.ALLOW,)


def test_the_same_rules_take_what_is_shown(untracking_kernel):
    untracking_kernel.clear()
    untracking_kernel.nft(nftables.text(_POLICY))

    seen = untracking_kernel.observe([arriving(6, model.TCP)])

    counted = counters.counted(_POLICY, seen.counted).rules
    assert sum(packets for packets, _size in counted.values()) > 2


def test_a_first_fragment_without_all_headers_is_judged_by_what_it_shows(kernel):
    """RFC 8200 section 4.5: it is not put together with the others, which then never come as far as raw."""
    policy = ingress_policy(
        {"action": "deny", "protocol": model.TCP, "destination": model.Side(ports=((80, 80),))}
    )
    kernel.clear()
    kernel.nft(nftables.text(policy))
    samples = [arriving(6, model.TCP, dport=dport, payload=100, cuts=(1,), piece=0) for dport in (80, 81)]

    said = expected(policy, samples, reassembled=False)

    assert said.differences(policy, kernel.observe(samples)) == ()
