# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet has to be like to meet a rule, a failsafe port or what stands before policy.

Random packets would nearly all fall through.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, verdict
from tests.differential.pools import INTERFACES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

DIRECTIONS: Final = (model.INGRESS, model.EGRESS)
DISCOVERY: Final = (*verdict.NEIGHBOUR_DISCOVERY_TYPES, *verdict.LISTENER_DISCOVERY_TYPES)


@dataclass(frozen=True)
class Aim:
    """What a packet must be like to meet its target. Empty means anything."""

    direction: str
    interface: str
    version: int
    protocol: int | None = None
    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    sports: tuple[model.PortRange, ...] = ()
    dports: tuple[model.PortRange, ...] = ()
    icmp_types: tuple[int, ...] = ()
    icmp_codes: tuple[int, ...] = ()
    hop_limit: int = 64
    other_version_misses: bool = False
    at: model.Origin | model.Failsafe | None = None


def aims(policy: model.HostPolicy) -> Callable[[Random], Aim]:
    """A marksman: takes aim at something of the policy, by chance."""
    interfaces = governed(policy)
    targets: list[Callable[[Random], Aim]] = [_at_nothing]
    if interfaces:
        rules = [
            (interface, rule)
            for interface, endpoint in interfaces.items()
            for tier in endpoint.untracked
            for key in tier.policies
            # Also at those of staged policies, which must not decide.
            for rule in policy.policies[key].all_rules
            for _unused in range(3 if _is_hard_to_hit(rule) else 1)
        ]
        if rules:
            targets += [lambda chance: _at_rule(policy, *chance.choice(rules), chance)] * 8
        if policy.failsafes != model.Failsafes():
            targets += [lambda chance: _at_failsafe(policy.failsafes, tuple(interfaces), chance)] * 2
        targets.append(lambda chance: _at_discovery(tuple(interfaces), chance))
    return lambda chance: chance.choice(targets)(chance)


def _is_hard_to_hit(rule: model.Rule) -> bool:
    """Whether few of the packets that are aimed at the rule miss it by what it asks for alone."""
    return bool(rule.icmp or rule.not_protocol or rule.ip_version)


def governed(policy: model.HostPolicy) -> dict[str, model.Endpoint]:
    """The endpoint of each interface that has one, by the reference."""
    found = {interface: verdict._endpoint_on(policy, interface) for interface in INTERFACES}
    return {interface: endpoint for interface, endpoint in found.items() if endpoint is not None}


def _at_nothing(chance: Random) -> Aim:
    return Aim(chance.choice(DIRECTIONS), chance.choice(INTERFACES), chance.choice((4, 6)))


def _at_discovery(interfaces: Sequence[str], chance: Random) -> Aim:
    neighbours = tuple(verdict.NEIGHBOUR_DISCOVERY_TYPES)
    types, hops = chance.choice(((neighbours, 255), (neighbours, 254), (verdict.LISTENER_DISCOVERY_TYPES, 1)))
    direction, interface = chance.choice(DIRECTIONS), chance.choice(interfaces)
    return Aim(direction, interface, 6, protocol=model.ICMPV6, icmp_types=types, hop_limit=hops)


def _at_failsafe(failsafes: model.Failsafes, interfaces: Sequence[str], chance: Random) -> Aim:
    inbound, entry = chance.choice(
        [(True, entry) for entry in failsafes.inbound] + [(False, entry) for entry in failsafes.outbound]
    )
    reply = chance.random() < 0.5
    ingress = inbound is not reply
    ports = ((entry.port, entry.port),)
    nets = () if entry.net is None else (entry.net,)
    return Aim(
        direction=model.INGRESS if ingress else model.EGRESS,
        interface=chance.choice(interfaces),
        version=chance.choice((4, 6)) if entry.net is None else ip_network(entry.net).version,
        protocol=entry.protocol,
        sources=nets if ingress else (),
        destinations=() if ingress else nets,
        sports=ports if reply else (),
        dports=() if reply else ports,
        at=entry,
    )


# -- rules -----------------------------------------------------------------------------------------------


def _at_rule(policy: model.HostPolicy, interface: str, rule: model.Rule, chance: Random) -> Aim:
    version = rule.ip_version or chance.choice((4, 6))
    icmp = rule.icmp or rule.not_icmp
    source = _at_side(policy, rule.source, rule.protocol, version, chance)
    destination = _at_side(policy, rule.destination, rule.protocol, version, chance)
    protocol = rule.protocol or source.protocol or destination.protocol
    if protocol is None and icmp is not None:
        protocol = model.ICMP_PROTOCOLS[version == 6]
    if protocol is None and rule.not_protocol is not None and chance.random() < 0.5:
        protocol = rule.not_protocol
    return Aim(
        direction=rule.origin.direction,
        interface=interface,
        version=version,
        protocol=protocol,
        sources=source.networks,
        destinations=destination.networks,
        sports=source.ports,
        dports=destination.ports,
        icmp_types=() if icmp is None else (icmp.type,),
        icmp_codes=() if icmp is None or icmp.code is None else (icmp.code,),
        other_version_misses=rule.ip_version is not None,
        at=rule.origin,
    )


@dataclass(frozen=True)
class _Side:
    networks: tuple[str, ...] = ()
    ports: tuple[model.PortRange, ...] = ()
    protocol: int | None = None


def _at_side(
    policy: model.HostPolicy, side: model.Side, protocol: int | None, version: int, chance: Random
) -> _Side:
    """At what a rule asks of one side, or at what it excludes."""
    wanted = [_Side(ports=(ports,)) for ports in side.ports]
    wanted += _named(policy, side.named_ports, protocol, version)
    excluded = [_Side(ports=(ports,)) for ports in side.not_ports]
    excluded += _named(policy, side.not_named_ports, protocol, version)
    choices = excluded if excluded and (not wanted or chance.random() < 0.3) else wanted
    at = chance.choice(choices) if choices else _Side()
    networks = at.networks
    if not networks:
        without = bool(side.not_sets) and (not side.sets or chance.random() < 0.3)
        names = side.not_sets if without else side.sets
        # Of both versions, for a packet of the other one that misses the rule by that alone.
        networks = (*_common(policy, names, 4), *_common(policy, names, 6))
    return _Side(networks, at.ports, at.protocol)


def _named(policy: model.HostPolicy, names: Sequence[str], protocol: int | None, version: int) -> list[_Side]:
    members = [member for name in names for member in policy.port_sets[name].family(version)]
    # Of another protocol than the rule's only where there is no other: that one would never match.
    own = [member for member in members if protocol in (None, member[1])]
    return [
        _Side((str(ip_network(ip_address(address))),), ((port, port),), number)
        for address, number, port in own or members
    ]


def _common(policy: model.HostPolicy, names: Sequence[str], version: int) -> tuple[str, ...]:
    """What all sets have in common; if that is nothing, all that any of them has."""
    listed = [policy.sets[name].family(version) for name in names]
    if len(listed) != 2:
        return tuple(member for members in listed for member in members)
    common = tuple(
        str(ip_network(one if ip_network(one).prefixlen >= ip_network(other).prefixlen else other))
        for one in listed[0]
        for other in listed[1]
        if ip_network(one).overlaps(ip_network(other))
    )
    return common or listed[0] + listed[1]
