# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The reference evaluator: what a host with a given HostPolicy does with a packet, and why.

Written to be read beside the documentation, not to be fast, and sharing no code with any renderer: every
data plane is tested against it.

A packet passes up to three hooks, each of which may decide (Calico: felix/rules/{static,endpoints}.go):

raw      before connection tracking: failsafe ports and replies from them pass, tracked; untracked policy
         allows without tracking, for good, or denies; what it does not decide goes on, tracked.
mangle   what arrives, before its destination is translated: pre-DNAT policy, which allows for good or denies.
filter   what ends at or comes from the host itself: normal policy, then profiles, then deny. What is passed
         on: the forward policy of the interface that it arrives on, then that of the one that it leaves by.

Failsafe ports come first in raw, mangle and at the host itself, not on the way through it. What belongs to an
established connection is accepted by mangle and filter, what connection tracking calls invalid is denied.

Ours, not Calico's (docs/differences-from-calico.md): neighbour discovery is accepted before policy, on every
hook; a packet that is untracked and not marked as accepted is judged by untracked policy again; and an ICMP
error is accepted that quotes a packet which untracked policy allows.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t
from dataclasses import dataclass

from . import model

if t.TYPE_CHECKING:
    from .packet import Address, Packet

NEIGHBOUR_DISCOVERY_TYPES = range(133, 138)  # RFC 4861 section 4: router and neighbour messages, redirect
LISTENER_DISCOVERY_TYPES = (130, 131, 132, 143)  # RFC 2710 section 3, RFC 3810 section 5.2
ERROR_TYPES = {model.ICMP: (3, 11, 12), model.ICMPV6: (1, 2, 3, 4)}  # RFC 792; RFC 4443 section 3
LOOPBACK = "lo"


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

    @property
    def is_final_in_raw(self) -> bool:
        """Whether raw has decided: no later hook judges the packet."""
        return self.action == model.DENY or not self.tracked


def verdict(policy: model.HostPolicy, packet: Packet) -> Verdict:
    """Judge one packet on all hooks that it passes."""
    if packet.direction == "forward":
        return _forwarded(policy, packet)
    endpoint = _endpoint_on(policy, packet.interface)
    if endpoint is None:
        return _accepted(packet, _no_endpoint(policy, packet.interface))
    if _is_discovery(packet):
        return _accepted(packet, DISCOVERY)
    first = raw(policy, packet)
    if first.is_final_in_raw:
        return first
    early = _before_dnat(policy, endpoint, packet) if packet.direction == model.INGRESS else None
    return early or _at_the_host(policy, endpoint, packet)


DISCOVERY = "neighbour discovery: accepted before policy"


def _forwarded(policy: model.HostPolicy, packet: Packet) -> Verdict:
    """A packet that the host passes on: by the endpoint it arrives on, and by the one that it leaves by."""
    arriving = _endpoint_on(policy, packet.interface)
    leaving = None if packet.out_interface is None else _endpoint_on(policy, packet.out_interface)
    decided = _accepted(packet, _no_endpoint(policy, packet.interface))
    if (arriving or leaving) and _is_discovery(packet):
        return _accepted(packet, DISCOVERY)
    is_marked = False
    if arriving is not None:
        decided = raw(policy, packet)
        early = None if decided.is_final_in_raw else _before_dnat(policy, arriving, packet)
        is_marked = decided.is_final_in_raw or early is not None
        if not is_marked:
            decided = _on_the_way(policy, arriving, model.INGRESS, packet)
        decided = early or decided
    if decided.action == model.DENY or leaving is None:
        return decided
    if not decided.tracked:
        packet = dataclasses.replace(packet, ct_state="untracked")
    second = _on_the_way(policy, leaving, model.EGRESS, packet, is_marked=is_marked)
    if second.action == model.DENY or second.decided_by is not None or arriving is None:
        return second
    return decided


# -- hooks -------------------------------------------------------------------------------------------


def raw(policy: model.HostPolicy, packet: Packet) -> Verdict:
    """What the raw hooks do with a packet; one that is allowed and tracked goes on to the other hooks.

    Raw prerouting sees everything that arrives, raw output only what the host itself sends: a forwarded
    packet meets no untracked egress policy.
    """
    direction = model.EGRESS if packet.direction == "egress" else model.INGRESS
    endpoint = _endpoint_on(policy, packet.interface)
    if endpoint is None:
        return _tracked(_no_endpoint(policy, packet.interface))
    if _is_discovery(packet):
        return _tracked(DISCOVERY)
    seen = _untranslated(packet)
    failsafe = _failsafe(policy.failsafes, direction, seen) or _reply_failsafe(
        policy.failsafes, direction, seen
    )
    if failsafe is not None:
        return _tracked(failsafe)
    decided = _tiers(policy, "untracked", endpoint.untracked, direction, seen)
    if decided is None:
        return _tracked("no untracked policy decided: continues, tracked")
    return dataclasses.replace(decided, tracked=False)


def _before_dnat(policy: model.HostPolicy, endpoint: model.Endpoint, packet: Packet) -> Verdict | None:
    """Mangle prerouting; None where it decides nothing."""
    seen = _untranslated(packet)
    if _failsafe(policy.failsafes, model.INGRESS, seen) is not None:
        return None
    return _by_state(policy, endpoint, model.INGRESS, seen) or _tiers(
        policy, "pre-DNAT", endpoint.pre_dnat, model.INGRESS, seen
    )


def _at_the_host(policy: model.HostPolicy, endpoint: model.Endpoint, packet: Packet) -> Verdict:
    """Filter input and output."""
    direction = packet.direction
    failsafe = _failsafe(policy.failsafes, direction, packet)
    if failsafe is not None:
        return _accepted(packet, failsafe)
    return (
        _by_state(policy, endpoint, direction, packet)
        or _tiers(policy, "normal", endpoint.normal, direction, packet)
        or _profiles(policy, endpoint, direction, packet)
        or _denied(packet, "default deny: no tier of normal policy and no profile allowed it")
    )


def _on_the_way(
    policy: model.HostPolicy,
    endpoint: model.Endpoint,
    direction: str,
    packet: Packet,
    *,
    is_marked: bool = False,
) -> Verdict:
    """Filter forward, for one of the two endpoints. Where no policy decides, the packet passes.

    What raw or mangle accepted is marked, and not judged by untracked policy again.
    """
    return (
        _by_state(policy, endpoint, direction, packet, is_marked=is_marked)
        or _tiers(policy, "forward", endpoint.forward, direction, packet)
        or _accepted(packet, f"forwarded: no forward policy of endpoint {endpoint.name} denied it")
    )


def _accepted(packet: Packet, reason: str) -> Verdict:
    return Verdict(model.ALLOW, packet.ct_state != "untracked", None, reason)


def _denied(packet: Packet, reason: str) -> Verdict:
    return Verdict(model.DENY, packet.ct_state != "untracked", None, reason)


def _tracked(reason: str) -> Verdict:
    return Verdict(model.ALLOW, True, None, reason)


def _untranslated(packet: Packet) -> Packet:
    """The packet as the hooks before destination NAT see it."""
    return dataclasses.replace(packet, dst=packet.pre_nat_dst, dport=packet.pre_nat_dport)


# -- endpoints ---------------------------------------------------------------------------------------


def _endpoint_on(policy: model.HostPolicy, interface: str) -> model.Endpoint | None:
    """The first by name of those for the interface itself; else of those for every interface."""
    addresses = {ipaddress.ip_address(address) for address in policy.interfaces.get(interface, ())}
    own, every = [], []
    for endpoint in policy.endpoints:
        by_address = addresses & set(map(ipaddress.ip_address, endpoint.addresses))
        if endpoint.interface == model.EVERY_INTERFACE:
            every.append(endpoint)
        elif endpoint.interface == interface or (endpoint.interface is None and by_address):
            own.append(endpoint)
    found = own or (every if interface != LOOPBACK else [])
    return min(found, key=lambda endpoint: endpoint.name, default=None)


def _no_endpoint(policy: model.HostPolicy, interface: str) -> str:
    reason = f"no host endpoint on interface {interface}"
    by_address = [endpoint.name for endpoint in policy.endpoints if endpoint.interface is None]
    if by_address and interface not in policy.interfaces:
        reason += f" (its addresses are not known, and {', '.join(by_address)} is found by addresses)"
    return reason


# -- before policy -----------------------------------------------------------------------------------


def _is_discovery(packet: Packet) -> bool:
    """Whether the packet keeps the IPv6 link alive. A hop limit that is not given is the 255 of RFC 4861."""
    if packet.ip_version != 6 or packet.protocol != model.ICMPV6 or packet.fragment == "later":
        return False
    if packet.icmp_type in NEIGHBOUR_DISCOVERY_TYPES:
        return packet.hop_limit in (None, 255)
    return packet.icmp_type in LISTENER_DISCOVERY_TYPES


def _failsafe(failsafes: model.Failsafes, direction: str, packet: Packet) -> str | None:
    """The failsafe port that the packet goes to."""
    inbound = direction == model.INGRESS
    entries, word = (failsafes.inbound, "inbound") if inbound else (failsafes.outbound, "outbound")
    peer = packet.src if inbound else packet.dst
    for entry in entries:
        if _is_failsafe(entry, packet.protocol, packet.dport, peer):
            return f"failsafe: {word} {_port_text(entry)}"
    return None


def _reply_failsafe(failsafes: model.Failsafes, direction: str, packet: Packet) -> str | None:
    """The failsafe port that the packet comes from: raw has no connections to know a reply by."""
    inbound = direction == model.INGRESS
    entries, word = (failsafes.outbound, "outbound") if inbound else (failsafes.inbound, "inbound")
    peer = packet.src if inbound else packet.dst
    for entry in entries:
        if _is_failsafe(entry, packet.protocol, packet.sport, peer):
            return f"failsafe: reply from {word} {_port_text(entry)}"
    return None


def _is_failsafe(entry: model.Failsafe, protocol: int, port: int | None, peer: Address) -> bool:
    return (
        entry.protocol == protocol
        and entry.port == port
        and (entry.net is None or _contains(entry.net, peer))
    )


def _port_text(entry: model.Failsafe) -> str:
    return f"{model.PROTOCOL_NAMES.get(entry.protocol, entry.protocol)} port {entry.port}"


def _by_state(
    policy: model.HostPolicy,
    endpoint: model.Endpoint,
    direction: str,
    packet: Packet,
    *,
    is_marked: bool = False,
) -> Verdict | None:
    """What connection tracking says of the packet decides, before policy does."""
    if packet.ct_state in ("established", "related"):
        return _accepted(packet, f"connection tracking: {packet.ct_state}")
    if packet.ct_state == "untracked" and not is_marked:
        again = _tiers(policy, "untracked", endpoint.untracked, direction, packet)
        if again is not None:
            return dataclasses.replace(again, tracked=False, reason=f"judged again: {again.reason}")
    if packet.ct_state in ("untracked", "invalid") and _is_error(packet) and packet.quoted is not None:
        quoted = raw(policy, packet.quoted)
        if quoted.action == model.ALLOW and not quoted.tracked:
            return dataclasses.replace(
                quoted, reason=f"an ICMP error about a packet: {quoted.reason}", tracked=False
            )
    if packet.ct_state == "invalid" and policy.settings.drop_invalid:
        return _denied(packet, "connection tracking: invalid")
    return None


def _is_error(packet: Packet) -> bool:
    return packet.icmp_type in ERROR_TYPES.get(packet.protocol, ())


# -- policy ------------------------------------------------------------------------------------------


def _tiers(
    policy: model.HostPolicy, word: str, tiers: tuple[model.Tier, ...], direction: str, packet: Packet
) -> Verdict | None:
    """What a list of tiers decides; None where every tier passes the packet on."""
    for tier in tiers:
        members = [policy.policies[key] for key in tier.policies]
        enforced = [member for member in members if member.staged is None and member.governs(direction)]
        if not enforced:
            continue
        rule = _first_match(policy, enforced, direction, packet)
        if rule is not None and rule.action != model.PASS:
            return _decided(rule, f"{word} policy", packet)
        if rule is None and tier.default_action == model.DENY:
            return _denied(packet, f"{word} policy: end of tier {tier.name}, none of its rules matched")
    return None


def _profiles(
    policy: model.HostPolicy, endpoint: model.Endpoint, direction: str, packet: Packet
) -> Verdict | None:
    """What the profiles decide, in their order. A Pass has nowhere to go, and denies."""
    profiles = [policy.policies[key] for key in endpoint.profiles]
    members = [profile for profile in profiles if profile.staged is None]
    rule = _first_match(policy, members, direction, packet)
    if rule is None:
        return None
    if rule.action == model.PASS:
        return Verdict(
            model.DENY, packet.ct_state != "untracked", rule.origin, "profile: passed on to nothing"
        )
    return _decided(rule, "profile", packet)


def _first_match(
    policy: model.HostPolicy, members: t.Iterable[model.Policy], direction: str, packet: Packet
) -> model.Rule | None:
    """The first rule that matches and decides; a Log rule decides nothing."""
    for member in members:
        for rule in member.rules(direction):
            if rule.action != model.LOG and _matches(policy, rule, packet):
                return rule
    return None


def _decided(rule: model.Rule, word: str, packet: Packet) -> Verdict:
    done = {model.ALLOW: "allowed", model.DENY: "denied"}[rule.action]
    where = f"rule {rule.origin.rule} of {rule.origin.kind} {rule.origin.name}"
    tracked = packet.ct_state != "untracked"
    return Verdict(rule.action, tracked, rule.origin, f"{word}: {done} by {where}")


# -- rules -------------------------------------------------------------------------------------------


def _matches(policy: model.HostPolicy, rule: model.Rule, packet: Packet) -> bool:
    return (
        rule.protocol in (None, packet.protocol)
        and rule.not_protocol != packet.protocol
        and rule.ip_version in (None, packet.ip_version)
        and (rule.icmp is None or _icmp_is(rule.icmp, packet) is True)
        and (rule.not_icmp is None or _icmp_is(rule.not_icmp, packet) is False)
        and _side_matches(policy, rule.source, packet.src, packet.sport, packet)
        and _side_matches(policy, rule.destination, packet.dst, packet.dport, packet)
    )


def _icmp_is(icmp: model.Icmp, packet: Packet) -> bool | None:
    """Whether the packet is of that type and code; None where it shows neither."""
    if packet.protocol not in model.ICMP_PROTOCOLS or packet.icmp_type is None:
        return None
    return packet.icmp_type == icmp.type and icmp.code in (None, packet.icmp_code)


def _side_matches(
    policy: model.HostPolicy, side: model.Side, address: Address, port: int | None, packet: Packet
) -> bool:
    return (
        all(_in_set(policy, name, address) for name in side.sets)
        and not any(_in_set(policy, name, address) for name in side.not_sets)
        and _ports_match(policy, side, address, port, packet)
    )


def _ports_match(
    policy: model.HostPolicy, side: model.Side, address: Address, port: int | None, packet: Packet
) -> bool:
    if port is None:
        # Without ports nothing is asked for, or ports of endpoints are excluded, of which this is none; but
        # a later fragment may well be one of those.
        hidden = packet.protocol in model.PORT_PROTOCOLS
        return not (side.ports or side.named_ports or side.not_ports or (side.not_named_ports and hidden))
    named = {name: _in_port_set(policy, name, address, packet.protocol, port) for name in side.all_port_sets}
    wanted = not (side.ports or side.named_ports) or (
        _in_ports(side.ports, port) or any(named[name] for name in side.named_ports)
    )
    return (
        wanted
        and not _in_ports(side.not_ports, port)
        and not any(named[name] for name in side.not_named_ports)
    )


def _in_set(policy: model.HostPolicy, name: str, address: Address) -> bool:
    return any(_contains(net, address) for net in policy.sets[name].family(address.version))


def _in_port_set(policy: model.HostPolicy, name: str, address: Address, protocol: int, port: int) -> bool:
    members = policy.port_sets[name].family(address.version)
    return any(
        (protocol, port) == (member_protocol, member_port) and address == ipaddress.ip_address(member)
        for member, member_protocol, member_port in members
    )


def _in_ports(ports: tuple[model.PortRange, ...], port: int) -> bool:
    return any(low <= port <= high for low, high in ports)


def _contains(net: str, address: Address) -> bool:
    return address in ipaddress.ip_network(net)
