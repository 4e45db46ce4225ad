# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The reference evaluator: what a host with a given HostPolicy does with a packet, and why.

Written to be read beside the documentation, not to be fast, and sharing no code with any renderer: every
data plane is tested against it.

Order for a packet that meets a host endpoint (Calico: felix/rules/endpoints.go, raw chains; neighbour
discovery before policy is ours, see docs/differences-from-calico.md):

1. IPv6 neighbour discovery and multicast listener discovery are accepted, and stay tracked.
2. Failsafe ports and the replies from failsafe ports are accepted, and stay tracked.
3. Untracked policy, tier by tier: Allow accepts without tracking, Deny drops, Pass leaves the tier.
4. What no rule decided continues, tracked.
"""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

from . import model

if t.TYPE_CHECKING:
    from .packet import Address, Packet

NEIGHBOUR_DISCOVERY_TYPES = range(133, 138)  # RFC 4861 section 4: router and neighbour messages, redirect
LISTENER_DISCOVERY_TYPES = (130, 131, 132, 143)  # RFC 2710 section 3, RFC 3810 section 5.2


@dataclass(frozen=True)
class Verdict:
    """What happens to a packet: allowed or denied, tracked or not, decided by which rule, and why."""

    action: str
    tracked: bool
    decided_by: model.Origin | None
    reason: str

    def to_dict(self) -> dict[str, t.Any]:
        """The verdict as plain data; the shape is part of the public contract."""
        return {
            "action": self.action,
            "tracked": self.tracked,
            "decided_by": None if self.decided_by is None else self.decided_by.to_dict(),
            "reason": self.reason,
        }


def verdict(policy: model.HostPolicy, packet: Packet) -> Verdict:
    """Judge one packet. A forwarded packet meets the ingress policy of the interface it arrives on."""
    # raw prerouting sees everything that arrives, raw output only what the host itself sends:
    # a forwarded packet meets no untracked egress policy.
    direction = model.EGRESS if packet.direction == "egress" else model.INGRESS
    endpoint = _endpoint_on(policy, packet.interface)
    if endpoint is None:
        return _tracked(f"no host endpoint on interface {packet.interface}")
    if _is_discovery(packet):
        return _tracked("neighbour discovery: accepted before policy")
    failsafe = _failsafe(policy.failsafes, direction, packet)
    if failsafe is not None:
        return _tracked(failsafe)
    return _untracked(policy, endpoint, direction, packet)


def _tracked(reason: str) -> Verdict:
    return Verdict(action="allow", tracked=True, decided_by=None, reason=reason)


def _endpoint_on(policy: model.HostPolicy, interface: str) -> model.Endpoint | None:
    for endpoint in policy.endpoints:
        if endpoint.interface == interface:
            return endpoint
    return None


def _is_discovery(packet: Packet) -> bool:
    """Whether the packet keeps the IPv6 link alive. A hop limit that is not given is the 255 of RFC 4861."""
    if packet.ip_version != 6 or packet.protocol != model.ICMPV6 or packet.fragment == "later":
        return False
    if packet.icmp_type in NEIGHBOUR_DISCOVERY_TYPES:
        return packet.hop_limit in (None, 255)
    return packet.icmp_type in LISTENER_DISCOVERY_TYPES


def _failsafe(failsafes: model.Failsafes, direction: str, packet: Packet) -> str | None:
    """Which failsafe accepts the packet. Raw has no connection state, so replies go by source port."""
    inbound = direction == model.INGRESS
    peer = packet.src if inbound else packet.pre_nat_dst
    opened_here, opened_there = failsafes.outbound, failsafes.inbound
    forward, replies = (opened_there, opened_here) if inbound else (opened_here, opened_there)
    word = "inbound" if inbound else "outbound"
    other = "outbound" if inbound else "inbound"
    dport = packet.pre_nat_dport
    for entry in forward:
        if _is_failsafe(entry, packet.protocol, dport, peer):
            return f"failsafe: {word} {_port_text(entry)}"
    for entry in replies:
        if _is_failsafe(entry, packet.protocol, packet.sport, peer):
            return f"failsafe: reply from {other} {_port_text(entry)}"
    return None


def _is_failsafe(entry: model.Failsafe, protocol: int, port: int | None, peer: Address) -> bool:
    return (
        entry.protocol == protocol
        and entry.port == port
        and (entry.net is None or _contains(entry.net, peer))
    )


def _port_text(entry: model.Failsafe) -> str:
    return f"{model.PROTOCOL_NAMES.get(entry.protocol, entry.protocol)} port {entry.port}"


def _untracked(policy: model.HostPolicy, endpoint: model.Endpoint, direction: str, packet: Packet) -> Verdict:
    for tier in endpoint.untracked:
        for rule in policy.tier_rules(tier, direction):
            if not _matches(policy, rule, packet):
                continue
            where = f"rule {rule.origin.rule} of {rule.origin.kind} {rule.origin.name}"
            if rule.action == model.ALLOW:
                return Verdict("allow", False, rule.origin, f"untracked policy: allowed by {where}")
            if rule.action == model.DENY:
                return Verdict("deny", False, rule.origin, f"untracked policy: denied by {where}")
            break  # Pass: the rest of this tier is skipped
    return _tracked("no untracked policy decided: continues, tracked")


def _matches(policy: model.HostPolicy, rule: model.Rule, packet: Packet) -> bool:
    return (
        rule.protocol in (None, packet.protocol)
        and rule.not_protocol != packet.protocol
        and rule.ip_version in (None, packet.ip_version)
        and (rule.icmp is None or _icmp_is(rule.icmp, packet) is True)
        and (rule.not_icmp is None or _icmp_is(rule.not_icmp, packet) is False)
        and _side_matches(policy, rule.source, packet.src, packet.sport)
        and _side_matches(policy, rule.destination, packet.pre_nat_dst, packet.pre_nat_dport)
    )


def _icmp_is(icmp: model.Icmp, packet: Packet) -> bool | None:
    """Whether the packet is of that type and code; None where it shows neither."""
    if packet.protocol not in model.ICMP_PROTOCOLS or packet.icmp_type is None:
        return None
    return packet.icmp_type == icmp.type and icmp.code in (None, packet.icmp_code)


def _side_matches(policy: model.HostPolicy, side: model.Side, address: Address, port: int | None) -> bool:
    return (
        all(_in_set(policy, name, address) for name in side.sets)
        and not any(_in_set(policy, name, address) for name in side.not_sets)
        # A packet that shows no ports, such as a later fragment, matches no rule that asks for any.
        and (not side.ports or (port is not None and _in_ports(side.ports, port)))
        and (not side.not_ports or (port is not None and not _in_ports(side.not_ports, port)))
    )


def _in_set(policy: model.HostPolicy, name: str, address: Address) -> bool:
    return any(_contains(net, address) for net in policy.sets[name].family(address.version))


def _in_ports(ports: tuple[model.PortRange, ...], port: int) -> bool:
    return any(low <= port <= high for low, high in ports)


def _contains(net: str, address: Address) -> bool:
    return address in ipaddress.ip_network(net)
