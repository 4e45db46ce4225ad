# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""From all resources to one host's policy: which policies govern its endpoints, in which order, and which
addresses their selectors stand for.

A selector in a rule stands for the addresses of all host endpoints and network sets, of the whole
inventory, whose labels it matches. What is the same for every host is worked out once.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import typing as t
from functools import cache, cached_property
from typing import TYPE_CHECKING

from ansible_collections.netpolicy.host.plugins.module_utils._policy import lint, model
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import selector
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resources import (
    FELIX_DEFAULT,
    FELIX_NODE,
    FIXED_TIERS,
    Entity,
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    Resource,
    Rule,
    Tier,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import values

_R = t.TypeVar("_R", bound=Resource)

NETS_SHOWN = NAMES_SHOWN = 3

# The defaults of Calico, from its felix/config/config_params.go.
_TCP_BOTH_WAYS = (179, 2379, 2380, 5473, 6443, 6666, 6667)
DEFAULT_FAILSAFES = model.Failsafes(
    inbound=(
        model.Failsafe(model.TCP, 22),
        model.Failsafe(model.UDP, 68),
        *(model.Failsafe(model.TCP, port) for port in _TCP_BOTH_WAYS),
    ),
    outbound=(
        model.Failsafe(model.UDP, 53),
        model.Failsafe(model.UDP, 67),
        *(model.Failsafe(model.TCP, port) for port in _TCP_BOTH_WAYS),
    ),
)


class Resolver:
    """Resolves policies of hosts from one list of resources.

    `addresses` maps an endpoint's name to the addresses it has where it names none itself.
    """

    def __init__(
        self, resources: Iterable[Resource], addresses: Mapping[str, Sequence[values.Address]] | None = None
    ) -> None:
        members = list(resources)
        self._endpoints = sorted(_of(HostEndpoint, members), key=lambda endpoint: endpoint.name)
        self._policies = sorted(_of(GlobalNetworkPolicy, members), key=_policy_order)
        self._tier_names = _tier_names(_of(Tier, members))
        self._felix = {member.name: member for member in _of(FelixConfiguration, members)}
        self._network_sets = sorted(_of(GlobalNetworkSet, members), key=lambda member: member.name)
        self._addresses = addresses or {}
        self._address_set = cache(self._select)

    def host_policy(self, node: str) -> model.HostPolicy:
        """The policy of one host: of the endpoints whose node it is."""
        own = self._by_node.get(node, ())
        endpoints = [self._endpoint(endpoint) for endpoint in _one_per_interface(own)]
        used = {key for endpoint in endpoints for tier in endpoint.untracked for key in tier.policies}
        places: dict[str, str] = {}
        for key in used:
            places.update(self._places[key])
        return model.HostPolicy(
            node=node,
            endpoints=tuple(endpoints),
            policies={key: self._compiled[key] for key in used},
            sets={name: self._sets[name] for key in used for name in self._sets_used[key]},
            failsafes=self._failsafes(node),
            places=places,
        )

    def _failsafes(self, node: str) -> model.Failsafes:
        """The node's own setting, or that of all, or the built-in one; an empty list is a setting, too."""
        found = DEFAULT_FAILSAFES
        for name in (FELIX_DEFAULT, FELIX_NODE + node):
            felix = self._felix.get(name)
            if felix is not None:
                found = model.Failsafes(
                    inbound=found.inbound if felix.inbound is None else felix.inbound,
                    outbound=found.outbound if felix.outbound is None else felix.outbound,
                )
        return found

    def findings(self) -> list[Finding]:
        """What is valid but probably not meant: selectors that stand for nothing, or for the unknown."""
        used: dict[selector.Selector, list[tuple[GlobalNetworkPolicy, str]]] = {}
        for origin, policy, rule in self._rules_that_count():
            for side, entity in (("source", rule.source), ("destination", rule.destination)):
                for chosen in _selectors(entity):
                    key = "notSelector" if entity.selector is None else "selector"
                    path = f"spec.{origin.direction}[{origin.rule}].{side}.{key}"
                    used.setdefault(chosen, []).append((policy, path))
        nowhere = "picks no host endpoint: the policy is enforced nowhere"
        found = [
            Finding("GlobalNetworkPolicy", policy.name, "spec.selector", nowhere, policy.place)
            for policy in self._policies
            if not any(policy.selector.matches(endpoint.labels) for endpoint in self._endpoints)
        ]
        found += self._remarks()
        for chosen, uses in used.items():
            policy, path = uses[0]
            also = f" (and {len(uses) - 1} more uses of this selector)" if len(uses) > 1 else ""
            found += [
                Finding("GlobalNetworkPolicy", policy.name, path, message + also, policy.place)
                for message in self._selector_warnings(chosen)
            ]
        return found

    def _remarks(self) -> list[Finding]:
        """What lint says of the policies of any endpoint; those that have the same policies are read once."""
        shapes = {self._endpoint(endpoint).untracked for endpoint in self._endpoints}
        whole = model.HostPolicy("", policies=self._compiled, sets=self._sets)
        remarks = {remark for tiers in shapes for remark in lint.one_sided(whole, tiers)}
        return [
            Finding(
                kind=remark.origin.kind,
                name=remark.origin.name,
                path=f"spec.{remark.origin.direction}[{remark.origin.rule}]",
                message=remark.message,
                place=self._places[f"{remark.origin.kind}/{remark.origin.name}"].get(remark.origin.path),
            )
            for remark in sorted(remarks, key=lambda remark: remark.origin.path)
        ]

    def _endpoint(self, endpoint: HostEndpoint) -> model.Endpoint:
        tiers: dict[str, list[str]] = {}
        for policy in self._policies:
            if policy.selector.matches(endpoint.labels):
                tiers.setdefault(policy.tier, []).append(policy.key)
        untracked = (model.Tier(name, tuple(tiers[name])) for name in self._tier_names if name in tiers)
        return model.Endpoint(name=endpoint.name, interface=endpoint.interface, untracked=tuple(untracked))

    # -- the same for every host ---------------------------------------------------------------------

    @cached_property
    def _by_node(self) -> dict[str, list[HostEndpoint]]:
        by_node: dict[str, list[HostEndpoint]] = {}
        for endpoint in self._endpoints:
            by_node.setdefault(endpoint.node, []).append(endpoint)
        return by_node

    def _rules_that_count(self) -> Iterator[tuple[model.Origin, GlobalNetworkPolicy, Rule]]:
        """Every rule of every policy in the directions that the policy governs."""
        for policy in self._policies:
            for direction, rules in ((model.INGRESS, policy.ingress), (model.EGRESS, policy.egress)):
                for index, rule in enumerate(rules if direction in policy.types else ()):
                    yield model.Origin(policy.kind, policy.name, direction, index), policy, rule

    @cached_property
    def _compiled(self) -> dict[str, model.Policy]:
        rules: dict[tuple[str, str], list[model.Rule]] = {
            (policy.key, direction): [] for policy in self._policies for direction in policy.types
        }
        for origin, policy, rule in self._rules_that_count():
            rules[policy.key, origin.direction].append(
                model.Rule(
                    origin=origin,
                    action=rule.action,
                    protocol=rule.protocol,
                    ip_version=rule.ip_version,
                    source=self._side(rule.source),
                    destination=self._side(rule.destination),
                    not_protocol=rule.not_protocol,
                    icmp=rule.icmp,
                    not_icmp=rule.not_icmp,
                )
            )
        governed = {key: tuple(members) for key, members in rules.items()}
        return {
            policy.key: model.Policy(
                kind=policy.kind,
                name=policy.name,
                ingress=governed.get((policy.key, model.INGRESS)),
                egress=governed.get((policy.key, model.EGRESS)),
            )
            for policy in self._policies
        }

    @cached_property
    def _places(self) -> dict[str, dict[str, str]]:
        """By policy, where each of its rules was written."""
        places: dict[str, dict[str, str]] = {policy.key: {} for policy in self._policies}
        for origin, policy, rule in self._rules_that_count():
            if rule.place:
                places[policy.key][origin.path] = rule.place
        return places

    @cached_property
    def _sets_used(self) -> dict[str, set[str]]:
        """By policy, the names of the sets that its rules refer to."""
        return {
            key: {name for rule in policy.all_rules for name in rule.all_sets}
            for key, policy in self._compiled.items()
        }

    @cached_property
    def _sets(self) -> dict[str, model.AddressSet]:
        sets = {}
        for _origin, _policy, rule in self._rules_that_count():
            for entity in (rule.source, rule.destination):
                for chosen in _selectors(entity):
                    sets[chosen.unique_id] = self._address_set(chosen)
                for nets in (entity.nets, entity.not_nets):
                    if nets:
                        sets[_nets_name(nets)] = _address_set(_nets_text(nets), nets)
        return sets

    def _side(self, entity: Entity) -> model.Side:
        sets, not_sets = [], []
        if entity.selector is not None:
            sets += [chosen.unique_id for chosen in _selectors(entity)]
        elif entity.not_selector is not None:
            not_sets.append(entity.not_selector.unique_id)
        if entity.nets:
            sets.append(_nets_name(entity.nets))
        if entity.not_nets:
            not_sets.append(_nets_name(entity.not_nets))
        return model.Side(
            sets=tuple(sets),
            ports=_disjoint(entity.ports),
            not_sets=tuple(not_sets),
            not_ports=_disjoint(entity.not_ports),
        )

    def _select(self, chosen: selector.Selector) -> model.AddressSet:
        networks: list[values.Network] = []
        for endpoint in self._endpoints:
            if chosen.matches(endpoint.labels):
                networks += [ipaddress.ip_network(address) for address in self._addresses_of(endpoint)]
        for member in self._network_sets:
            if chosen.matches(member.labels):
                networks += member.nets
        return _address_set(chosen.canonical, networks)

    def _addresses_of(self, endpoint: HostEndpoint) -> Sequence[values.Address]:
        return endpoint.expected_ips or self._addresses.get(endpoint.name, ())

    def _selector_warnings(self, chosen: selector.Selector) -> Iterator[str]:
        picked = [endpoint for endpoint in self._endpoints if chosen.matches(endpoint.labels)]
        unknown = [endpoint.name for endpoint in picked if not self._addresses_of(endpoint)]
        if unknown:
            shown = ", ".join(unknown[:NAMES_SHOWN]) + (", …" if len(unknown) > NAMES_SHOWN else "")
            yield (
                f"picks {len(unknown)} endpoints of which no address is known ({shown}), so their packets do "
                "not match; set expectedIPs, or netpolicy_addresses on their hosts"
            )
        if not picked and not any(chosen.matches(member.labels) for member in self._network_sets):
            yield "picks no host endpoint and no network set"


def _selectors(entity: Entity) -> list[selector.Selector]:
    """The selectors whose addresses a rule needs; of a selector and a notSelector, what is left."""
    if entity.selector is not None and entity.not_selector is not None:
        return [selector.excluding(entity.selector, entity.not_selector)]
    return [chosen for chosen in (entity.selector, entity.not_selector) if chosen is not None]


def _of(kind: type[_R], resources: Iterable[Resource]) -> list[_R]:
    return [resource for resource in resources if isinstance(resource, kind)]


def _tier_names(tiers: Iterable[Tier]) -> list[str]:
    """The names of all tiers in the order of evaluation (Calico: felix/calc/policy_sorter.go)."""
    orders: dict[str, float | None] = {name: order for name, (order, _action) in FIXED_TIERS.items()}
    orders.update({tier.name: tier.order for tier in tiers})
    return sorted(orders, key=lambda name: (_or_last(orders[name]), name))


def _or_last(order: float | None) -> float:
    return math.inf if order is None else order


def _policy_order(policy: GlobalNetworkPolicy) -> tuple[float, str]:
    return _or_last(policy.order), policy.name


def _one_per_interface(endpoints: Iterable[HostEndpoint]) -> list[HostEndpoint]:
    """Of several endpoints of a host for one interface the first by name governs it, as in Calico."""
    governing: dict[str, HostEndpoint] = {}
    for endpoint in sorted(endpoints, key=lambda endpoint: endpoint.name):
        governing.setdefault(endpoint.interface, endpoint)
    return list(governing.values())


def _nets_name(nets: Iterable[values.Network]) -> str:
    text = "\n".join(sorted(map(str, nets)))
    return f"n:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _nets_text(nets: Sequence[values.Network]) -> str:
    shown = ", ".join(str(net) for net in sorted(nets, key=str)[:NETS_SHOWN])
    return shown + (", …" if len(nets) > NETS_SHOWN else "")


def _address_set(text: str, networks: Iterable[values.Network]) -> model.AddressSet:
    members = list(networks)
    return model.AddressSet(text=text, v4=_collapsed(members, 4), v6=_collapsed(members, 6))


def _collapsed(networks: Iterable[values.Network], version: int) -> tuple[str, ...]:
    """The networks of one IP version as disjoint, sorted CIDRs."""
    family = [network for network in networks if network.version == version]
    return tuple(
        str(network)
        for network in ipaddress.collapse_addresses(t.cast("list[ipaddress.IPv4Network]", family))
    )


def _disjoint(ports: Iterable[model.PortRange]) -> tuple[model.PortRange, ...]:
    """Port ranges without overlap, sorted; ranges that touch become one."""
    merged: list[model.PortRange] = []
    for first, last in sorted(ports):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)
