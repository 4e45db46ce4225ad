# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""From all resources to one host's policy: which policies govern its endpoints, in which order, and which
addresses their selectors stand for.

A selector in a rule stands for the addresses of all host endpoints and network sets, of the whole
inventory, whose labels it matches. What is the same for every host is worked out once.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import itertools
import math
import typing as t
from dataclasses import replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

from ansible_collections.netpolicy.host.plugins.module_utils._policy import lint, model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import networks, selector
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resources import (
    DEFAULT_ALLOW,
    FELIX_DEFAULT,
    FELIX_NODE,
    FIXED_TIERS,
    Entity,
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    Profile,
    Resource,
    Rule,
    Tier,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import values

_R = t.TypeVar("_R", bound=Resource)

NETS_SHOWN = NAMES_SHOWN = 3
MISSING_PROFILE = "and there is no Profile of that name; one that is missing denies everything"

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


_ALLOW = Rule(model.ALLOW, None, None, Entity(), Entity())
_ALLOW_ALL = Profile(DEFAULT_ALLOW, {}, (_ALLOW,), (_ALLOW,))


class Resolver:
    """Resolves policies of hosts from one list of resources.

    `addresses` maps an endpoint's name to the addresses it has where it names none itself; `interfaces` maps
    a node to the addresses of its interfaces, as far as they are known without asking it.
    """

    def __init__(
        self,
        resources: Iterable[Resource],
        addresses: Mapping[str, Sequence[values.Address]] | None = None,
        interfaces: Mapping[str, Mapping[str, Sequence[values.Address]]] | None = None,
    ) -> None:
        members = list(resources)
        profiles = {profile.name: profile for profile in (_ALLOW_ALL, *_of(Profile, members))}
        self._profiles = {name: profiles[name] for name in sorted(profiles)}
        self._endpoints = sorted(
            (self._with_labels_of_profiles(endpoint) for endpoint in _of(HostEndpoint, members)),
            key=lambda endpoint: endpoint.name,
        )
        self._policies = sorted(_of(GlobalNetworkPolicy, members), key=_policy_order)
        self._tiers = _tiers(_of(Tier, members))
        self._felix = {member.name: member for member in _of(FelixConfiguration, members)}
        self._network_sets = sorted(_of(GlobalNetworkSet, members), key=lambda member: member.name)
        self._addresses = addresses or {}
        self._interfaces = interfaces or {}
        self._address_set = cache(self._select)
        self._lists = cache(self._lists_of)
        self._selector_warnings = cache(lambda chosen: tuple(self._warnings_about(chosen)))

    def host_policy(self, node: str) -> model.HostPolicy:
        """The policy of one host: of the endpoints whose node it is."""
        own = self._by_node.get(node, ())
        endpoints = [self._endpoint(endpoint) for endpoint in _one_per_interface(own)]
        used = dict.fromkeys(key for endpoint in endpoints for key in endpoint.policy_keys)
        places: dict[str, str] = {}
        for key in used:
            places.update(self._places[key])
        by_address = any(endpoint.interface is None for endpoint in endpoints)
        return model.HostPolicy(
            node=node,
            endpoints=tuple(endpoints),
            policies={key: self._compiled[key] for key in used},
            sets={name: self._sets[name] for key in used for name in self._sets_used[key]},
            port_sets={name: self._port_sets[name] for key in used for name in self._port_sets_used[key]},
            failsafes=self._failsafes(node),
            settings=self._settings(node),
            interfaces=self._known_interfaces(node) if by_address else {},
            places=places,
        )

    def _known_interfaces(self, node: str) -> dict[str, tuple[str, ...]]:
        return {
            interface: tuple(map(str, addresses))
            for interface, addresses in self._interfaces.get(node, {}).items()
        }

    def _felix_of(self, node: str) -> list[FelixConfiguration]:
        """What is set for a node: for all, then for it alone."""
        return [self._felix[name] for name in (FELIX_DEFAULT, FELIX_NODE + node) if name in self._felix]

    def _settings(self, node: str) -> model.Settings:
        found = model.Settings()
        for felix in self._felix_of(node):
            found = replace(found, **felix.settings)
        return found

    def _failsafes(self, node: str) -> model.Failsafes:
        """The node's own setting, or that of all, or the built-in one; an empty list is a setting, too."""
        found = DEFAULT_FAILSAFES
        for felix in self._felix_of(node):
            found = model.Failsafes(
                inbound=found.inbound if felix.inbound is None else felix.inbound,
                outbound=found.outbound if felix.outbound is None else felix.outbound,
            )
        return found

    def findings(self) -> list[Finding]:
        """What is valid but probably not meant: selectors that stand for nothing, or for the unknown."""
        nowhere = "picks no host endpoint: the policy is enforced nowhere"
        found = [
            Finding(policy.kind, policy.name, "spec.selector", nowhere, policy.place)
            for policy in self._policies
            if not any(policy.selector.matches(endpoint.labels) for endpoint in self._endpoints)
        ]
        found += self._remarks()
        found += self._unknown_addresses()
        found += [
            Finding(
                endpoint.kind,
                endpoint.name,
                f"spec.profiles[{index}]",
                f"found {shown(name)}, {MISSING_PROFILE}",
                endpoint.place,
            )
            for endpoint in self._endpoints
            for index, name in enumerate(endpoint.profiles)
            if name not in self._profiles
        ]
        found += [
            Finding(felix.kind, felix.name, f"spec.{name}", f"ignored: {reason}", felix.place)
            for felix in self._felix.values()
            for name, reason in felix.ignored.items()
        ]
        return found

    def _unknown_addresses(self) -> Iterator[Finding]:
        """What selectors of rules do not find; what many rules ask for is told once."""
        used: dict[tuple[str, str], list[tuple[GlobalNetworkPolicy | Profile, str]]] = {}
        for origin, policy, rule in self._rules_that_count():
            for side, entity in (("source", rule.source), ("destination", rule.destination)):
                for key, subject, message in self._entity_warnings(entity, rule.protocol):
                    path = f"spec.{origin.direction}[{origin.rule}].{side}.{key}"
                    used.setdefault((subject, message), []).append((policy, path))
        for (_subject, message), uses in used.items():
            policy, path = uses[0]
            also = f" (and {len(uses) - 1} more uses of it)" if len(uses) > 1 else ""
            yield Finding(policy.kind, policy.name, path, message + also, policy.place)

    def _entity_warnings(self, entity: Entity, protocol: int | None) -> Iterator[tuple[str, str, str]]:
        """The field of an entity, what it stands for, and what is to be said of it."""
        for chosen in _selectors(entity):
            key = "notSelector" if entity.selector is None else "selector"
            for message in self._selector_warnings(chosen):
                yield key, chosen.canonical, message
        chosen = _selector_of_ports(entity)
        for key, names in (("ports", entity.named_ports), ("notPorts", entity.not_named_ports)):
            for name in names:
                members = self._port_sets[_named_port_id(chosen, protocol, name)]
                if not members.v4 and not members.v6:
                    message = f"found {shown(name)}, and there is no {members.text} whose address is known"
                    yield key, members.text, message

    def _remarks(self) -> list[Finding]:
        """What lint says of the policies of any endpoint; those that have the same policies are read once."""
        remarks = dict.fromkeys(lint.lint(self.every_kind_of_endpoint))
        for failsafes, endpoints in self._kinds_by_failsafes.items():
            own = replace(self.every_kind_of_endpoint, endpoints=tuple(endpoints))
            remarks.update(dict.fromkeys(lint.bypassed(own, failsafes)))
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
        return model.Endpoint(
            name=endpoint.name,
            interface=endpoint.interface,
            addresses=tuple(map(str, self._addresses_of(endpoint))),
            profiles=self._profiles_of(endpoint),
            **self._lists(frozenset(endpoint.labels.items())),
        )

    def _profiles_of(self, endpoint: HostEndpoint) -> tuple[str, ...]:
        """The keys of its profiles.

        A profile that is not defined denies everything (Calico: felix/calc/active_rules_calculator.go), as
        does the end of the profiles: those behind it are never asked.
        """
        known = itertools.takewhile(self._profiles.__contains__, endpoint.profiles)
        return tuple(self._profiles[name].key for name in known)

    def _lists_of(self, labels: frozenset[tuple[str, str]]) -> dict[str, tuple[model.Tier, ...]]:
        """The lists of tiers of an endpoint with these labels. Many endpoints have the same."""
        labelled = dict(labels)
        members: dict[str, dict[str, list[str]]] = {name: {} for name in model.LISTS}
        for policy in self._policies:
            if policy.selector.matches(labelled):
                for name in policy.lists:
                    members[name].setdefault(policy.tier, []).append(policy.key)
        return {
            name: tuple(
                model.Tier(tier, tuple(tiers[tier]), action if action in model.ENDINGS[name] else model.PASS)
                for tier, action in self._tiers.items()
                if tier in tiers
            )
            for name, tiers in members.items()
        }

    def _with_labels_of_profiles(self, endpoint: HostEndpoint) -> HostEndpoint:
        """Of several that give a label the first counts, and the endpoint itself before them."""
        labels: dict[str, str] = {}
        for name in reversed(endpoint.profiles):
            if name in self._profiles:
                labels.update(self._profiles[name].labels_to_apply)
        return replace(endpoint, labels={**labels, **endpoint.labels}) if labels else endpoint

    # -- the same for every host ---------------------------------------------------------------------

    @cached_property
    def every_kind_of_endpoint(self) -> model.HostPolicy:
        """The whole inventory as one host, with one endpoint of those that differ only in where they are.

        Its failsafe ports are none: each host has its own.
        """
        found = dict.fromkeys(itertools.chain(*self._kinds_by_failsafes.values()))
        return model.HostPolicy(
            "",
            endpoints=tuple(found),
            policies=self._compiled,
            sets=self._sets,
            port_sets=self._port_sets,
        )

    @cached_property
    def _kinds_by_failsafes(self) -> dict[model.Failsafes, list[model.Endpoint]]:
        """Of all endpoints one of each kind, for each setting of failsafe ports that hosts have."""
        first: dict[model.Endpoint, model.Endpoint] = {}
        found: dict[model.Failsafes, dict[model.Endpoint, None]] = {}
        for written in self._endpoints:
            endpoint = self._endpoint(written)
            anywhere = "" if endpoint.interface not in (None, model.EVERY_INTERFACE) else endpoint.interface
            kind = replace(endpoint, name="", interface=anywhere, addresses=())
            found.setdefault(self._failsafes(written.node), {})[first.setdefault(kind, endpoint)] = None
        return {failsafes: list(endpoints) for failsafes, endpoints in found.items()}

    @cached_property
    def _by_node(self) -> dict[str, list[HostEndpoint]]:
        by_node: dict[str, list[HostEndpoint]] = {}
        for endpoint in self._endpoints:
            by_node.setdefault(endpoint.node, []).append(endpoint)
        return by_node

    @property
    def _rulebooks(self) -> list[GlobalNetworkPolicy | Profile]:
        """Everything that holds rules."""
        return [*self._policies, *self._profiles.values()]

    def _rules_that_count(self) -> Iterator[tuple[model.Origin, GlobalNetworkPolicy | Profile, Rule]]:
        """Every rule of every policy in the directions that the policy governs."""
        for policy in self._rulebooks:
            for direction, rules in ((model.INGRESS, policy.ingress), (model.EGRESS, policy.egress)):
                for index, rule in enumerate(rules if direction in policy.types else ()):
                    yield model.Origin(policy.kind, policy.name, direction, index), policy, rule

    @cached_property
    def _compiled(self) -> dict[str, model.Policy]:
        rules: dict[tuple[str, str], list[model.Rule]] = {
            (policy.key, direction): [] for policy in self._rulebooks for direction in policy.types
        }
        for origin, policy, rule in self._rules_that_count():
            rules[policy.key, origin.direction].append(
                model.Rule(
                    origin=origin,
                    action=rule.action,
                    protocol=rule.protocol,
                    ip_version=rule.ip_version,
                    source=self._side(rule.source, rule.protocol),
                    destination=self._side(rule.destination, rule.protocol),
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
                staged=policy.staged,
            )
            for policy in self._rulebooks
        }

    @cached_property
    def _places(self) -> dict[str, dict[str, str]]:
        """By policy, where each of its rules was written."""
        places: dict[str, dict[str, str]] = {policy.key: {} for policy in self._rulebooks}
        for origin, policy, rule in self._rules_that_count():
            if rule.place:
                places[policy.key][origin.path] = rule.place
        return places

    @cached_property
    def _sets_used(self) -> dict[str, set[str]]:
        """By policy, the names of the address sets that its rules refer to."""
        return {
            key: {name for rule in policy.all_rules for name in rule.all_sets}
            for key, policy in self._compiled.items()
        }

    @cached_property
    def _port_sets_used(self) -> dict[str, set[str]]:
        """By policy, the names of the sets of named ports that its rules refer to."""
        return {
            key: {name for rule in policy.all_rules for name in rule.all_port_sets}
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
                        sets[_nets_name(nets)] = _address_set(_nets_text(nets), map(networks.of, nets))
        return sets

    @cached_property
    def _port_sets(self) -> dict[str, model.PortSet]:
        sets = {}
        for _origin, _policy, rule in self._rules_that_count():
            for entity in (rule.source, rule.destination):
                for name in entity.named_ports + entity.not_named_ports:
                    chosen = _selector_of_ports(entity)
                    key = _named_port_id(chosen, rule.protocol, name)
                    if key not in sets:
                        sets[key] = self._select_ports(chosen, rule.protocol, name)
        return sets

    def _side(self, entity: Entity, protocol: int | None) -> model.Side:
        sets, not_sets = [], []
        if entity.selector is not None:
            sets += [chosen.unique_id for chosen in _selectors(entity)]
        elif entity.not_selector is not None:
            not_sets.append(entity.not_selector.unique_id)
        if entity.nets:
            sets.append(_nets_name(entity.nets))
        if entity.not_nets:
            not_sets.append(_nets_name(entity.not_nets))
        chosen = _selector_of_ports(entity)
        return model.Side(
            sets=tuple(sets),
            ports=_disjoint(entity.ports),
            not_sets=tuple(not_sets),
            not_ports=_disjoint(entity.not_ports),
            named_ports=_named_port_ids(chosen, protocol, entity.named_ports),
            not_named_ports=_named_port_ids(chosen, protocol, entity.not_named_ports),
        )

    def _select_ports(self, chosen: selector.Selector, protocol: int | None, name: str) -> model.PortSet:
        """Where the endpoints that a selector picks have a port of that name and protocol."""
        found: dict[int, set[tuple[values.Address, int, int]]] = {4: set(), 6: set()}
        for endpoint in self._endpoints:
            if not endpoint.ports or not chosen.matches(endpoint.labels):
                continue
            for port in endpoint.ports:
                if port.name == name and protocol in (None, port.protocol):
                    for address in self._addresses_of(endpoint):
                        found[address.version].add((address, port.protocol, port.port))
        members = {
            version: tuple((str(address), number, port) for address, number, port in sorted(ports))
            for version, ports in found.items()
        }
        word = "" if protocol is None else f"{model.PROTOCOL_NAMES[protocol]} "
        return model.PortSet(f"{word}port {name} of {chosen.canonical}", v4=members[4], v6=members[6])

    def _select(self, chosen: selector.Selector) -> model.AddressSet:
        members: list[networks.Network] = []
        for endpoint in self._endpoints:
            if chosen.matches(endpoint.labels):
                addresses = self._addresses_of(endpoint)
                members += [networks.of(ipaddress.ip_network(address)) for address in addresses]
        for member in self._network_sets:
            if chosen.matches(member.labels):
                members += member.nets
        return _address_set(chosen.canonical, members)

    def _addresses_of(self, endpoint: HostEndpoint) -> Sequence[values.Address]:
        return endpoint.expected_ips or self._addresses.get(endpoint.name, ())

    def _warnings_about(self, chosen: selector.Selector) -> Iterator[str]:
        picked = [endpoint for endpoint in self._endpoints if chosen.matches(endpoint.labels)]
        unknown = [endpoint.name for endpoint in picked if not self._addresses_of(endpoint)]
        if unknown:
            names = ", ".join(unknown[:NAMES_SHOWN]) + (", …" if len(unknown) > NAMES_SHOWN else "")
            yield (
                f"picks {len(unknown)} endpoints of which no address is known ({names}), so their packets do "
                "not match; set expectedIPs, or netpolicy_addresses on their hosts"
            )
        if not picked and not any(chosen.matches(member.labels) for member in self._network_sets):
            yield "picks no host endpoint and no network set"


def _selectors(entity: Entity) -> list[selector.Selector]:
    """The selectors whose addresses a rule needs; of a selector and a notSelector, what is left."""
    if entity.selector is not None and entity.not_selector is not None:
        return [selector.excluding(entity.selector, entity.not_selector)]
    return [chosen for chosen in (entity.selector, entity.not_selector) if chosen is not None]


def _selector_of_ports(entity: Entity) -> selector.Selector:
    """Of which endpoints a rule's named ports are: those that its selector picks, or all."""
    return _selectors(entity)[0] if entity.selector is not None else _ALL


_ALL = selector.parse("all()")


def _named_port_ids(chosen: selector.Selector, protocol: int | None, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_named_port_id(chosen, protocol, name) for name in names))


def _named_port_id(chosen: selector.Selector, protocol: int | None, name: str) -> str:
    """As Calico does it: felix/calc/rule_scanner.go, libcalico-go/lib/hash/unique_id.go."""
    word = "none" if protocol is None else model.PROTOCOL_NAMES[protocol].lower()
    digest = hashlib.sha224(f"n:{chosen.unique_id},{word},{name}".encode()).digest()
    return f"n:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _of(kind: type[_R], resources: Iterable[Resource]) -> list[_R]:
    return [resource for resource in resources if isinstance(resource, kind)]


def _tiers(tiers: Iterable[Tier]) -> dict[str, str]:
    """The default actions of all tiers, in the order of evaluation (Calico: felix/calc/policy_sorter.go)."""
    known = {name: Tier(name, order, action.lower()) for name, (order, action) in FIXED_TIERS.items()}
    known.update({tier.name: tier for tier in tiers})
    ordered = sorted(known.values(), key=lambda tier: (_or_last(tier.order), tier.name))
    return {tier.name: tier.default_action for tier in ordered}


def _or_last(order: float | None) -> float:
    return math.inf if order is None else order


def _policy_order(policy: GlobalNetworkPolicy) -> tuple[float, str, str]:
    return _or_last(policy.order), policy.name, policy.kind


def _one_per_interface(endpoints: Iterable[HostEndpoint]) -> list[HostEndpoint]:
    """Of several endpoints of a host for one interface the first by name governs it, as in Calico.

    Which interfaces an endpoint without a name for them governs, is known on the host alone.
    """
    governing: dict[str, HostEndpoint] = {}
    for endpoint in sorted(endpoints, key=lambda endpoint: endpoint.name):
        governing.setdefault(endpoint.interface or f"{endpoint.name} by addresses", endpoint)
    return list(governing.values())


def _nets_name(nets: Iterable[values.Network]) -> str:
    text = "\n".join(sorted(map(str, nets)))
    return f"c:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _nets_text(nets: Sequence[values.Network]) -> str:
    first = ", ".join(str(net) for net in sorted(nets, key=str)[:NETS_SHOWN])
    return first + (", …" if len(nets) > NETS_SHOWN else "")


def _address_set(text: str, members: Iterable[networks.Network]) -> model.AddressSet:
    listed = list(members)
    return model.AddressSet(text, v4=networks.collapsed(listed, 4), v6=networks.collapsed(listed, 6))


def _disjoint(ports: Iterable[model.PortRange]) -> tuple[model.PortRange, ...]:
    """Port ranges without overlap, sorted; ranges that touch become one."""
    merged: list[model.PortRange] = []
    for first, last in sorted(ports):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)
