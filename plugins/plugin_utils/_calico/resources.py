# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Calico v3 resources: what each kind may hold, and the values they become.

A field that Calico has and this version does not enforce is refused by name, never ignored: a policy that
is enforced in part is worse than one that is refused.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.places import Filled, place, written
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import (
    Finding,
    Reader,
    Where,
    ignored,
    mapping,
    sequence,
    single,
)

if t.TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.selector import Selector

API_VERSION = "projectcalico.org/v3"
NAMESPACE_LABEL = "projectcalico.org/namespace"
DEFAULT_TIER = "default"
FIXED_TIERS = {DEFAULT_TIER: (1e6, "Deny"), "kube-admin": (1e3, "Pass"), "kube-baseline": (1e7, "Pass")}
"""Tiers that there are without being defined: order and default action."""

FELIX_DEFAULT, FELIX_NODE = "default", "node."
MAX_RULES, MAX_NETS, MAX_PORTS = 1024, 256, 50


@dataclass(frozen=True)
class HostEndpoint:
    """An interface of a host that policy applies to."""

    name: str
    labels: Mapping[str, str]
    node: str
    interface: str
    expected_ips: tuple[values.Address, ...]
    place: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Entity:
    """What a rule asks of one end of a packet's way. Empty and None mean anything."""

    nets: tuple[values.Network, ...] = ()
    selector: Selector | None = None
    ports: tuple[model.PortRange, ...] = ()
    not_nets: tuple[values.Network, ...] = ()
    not_selector: Selector | None = None
    not_ports: tuple[model.PortRange, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule of a policy. `ip_version` is asked for, or implied by the protocol's name or by nets."""

    action: str
    protocol: int | None
    ip_version: int | None
    source: Entity
    destination: Entity
    not_protocol: int | None = None
    icmp: model.Icmp | None = None
    not_icmp: model.Icmp | None = None
    place: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class GlobalNetworkPolicy:
    """An untracked policy. `order` of None comes last; rules of a direction not in `types` do not count."""

    name: str
    tier: str
    order: float | None
    selector: Selector
    types: frozenset[str]
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]
    place: str | None = field(default=None, compare=False)

    kind: t.ClassVar[str] = "GlobalNetworkPolicy"

    @property
    def key(self) -> str:
        """What identifies it among policies of all kinds; the same as model.Policy.key."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class GlobalNetworkSet:
    """Addresses that selectors find by labels."""

    name: str
    labels: Mapping[str, str]
    nets: tuple[values.Network, ...]
    place: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Tier:
    """A tier of policies. `order` of None comes last.

    What is not decided in a tier goes on to the next one; its defaultAction is for tracked policy.
    """

    name: str
    order: float | None
    place: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class FelixConfiguration:
    """Settings of all hosts (named `default`) or of one (`node.<name>`). None leaves a setting as it is."""

    name: str
    inbound: tuple[model.Failsafe, ...] | None
    outbound: tuple[model.Failsafe, ...] | None
    place: str | None = field(default=None, compare=False)


Resource = HostEndpoint | GlobalNetworkPolicy | GlobalNetworkSet | Tier | FelixConfiguration


# -- fields ------------------------------------------------------------------------------------------

_NOT_YET = "it is a field of Calico that is not enforced here yet, so the policy would not do what it says"
_PODS = "it picks pods, and a plain host has none"
_SERVER = dict.fromkeys(
    ("annotations", "creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"),
    ignored,
)


def _metadata(name: Reader) -> mapping:
    return mapping({"name": name, "labels": single(values.labels), **_SERVER}, required=("name",))


def _rule_selector(value: t.Any, where: Where) -> Selector | None:
    """An empty selector of a rule is none: it does not limit the rule to known addresses, as all() does."""
    if value == "":
        return None
    return t.cast("Selector | None", single(values.selector_expression)(value, where))


def _port(value: t.Any, where: Where) -> model.PortRange | None:
    text = written(value) if isinstance(value, int) else None
    if text is not None and ":" in text:
        where.refuse(f"found {value}: YAML reads {text} as a number in base 60; quote it: '{text}'")
        return None
    return t.cast("model.PortRange | None", single(values.port)(value, where))


_ENTITY = mapping(
    {
        "nets": sequence(single(values.cidr), most=MAX_NETS),
        "selector": _rule_selector,
        "ports": sequence(_port, most=MAX_PORTS),
        "notNets": sequence(single(values.cidr), most=MAX_NETS),
        "notSelector": _rule_selector,
        "notPorts": sequence(_port, most=MAX_PORTS),
    },
    unserved={
        "namespaceSelector": _PODS,
        "serviceAccounts": _PODS,
        "services": "it names Kubernetes services, and a plain host has none",
    },
)

_ICMP = mapping({"type": single(values.icmp_type), "code": single(values.icmp_code)})


def _icmp(value: t.Any, where: Where) -> model.Icmp | None:
    before = len(where.findings)
    read = _ICMP(value, where)
    if read is None or len(where.findings) > before:
        return None
    if "type" not in read:
        if "code" in read:
            where.at("type", None).refuse("missing; a code is one of a type")
        return None
    return model.Icmp(read["type"], read.get("code"))


_RULE = mapping(
    {
        "action": single(values.action),
        "ipVersion": single(values.ip_version),
        "protocol": single(values.protocol),
        "source": _ENTITY,
        "destination": _ENTITY,
        "notProtocol": single(values.protocol),
        "icmp": _icmp,
        "notICMP": _icmp,
        "metadata": mapping({"annotations": ignored}),
    },
    required=("action",),
    unserved={
        "http": "it is enforced by a proxy, and a plain host has none",
    },
)


def _rule(value: t.Any, where: Where) -> Rule | None:
    before = len(where.findings)
    read = _RULE(value, where)
    if read is None or len(where.findings) > before:
        return None
    rule = Rule(
        action=read["action"],
        protocol=_protocol_number(read.get("protocol")),
        ip_version=read.get("ipVersion", _IMPLIED_VERSION.get(read.get("protocol", ""))),
        source=_entity(read.get("source")),
        destination=_entity(read.get("destination")),
        not_protocol=_protocol_number(read.get("notProtocol")),
        icmp=read.get("icmp"),
        not_icmp=read.get("notICMP"),
        place=where.place,
    )
    _check_ports(rule, where)
    _check_icmp(rule, where)
    return _with_version_of_nets(rule, where)


def _protocol_number(written_as: int | str | None) -> int | None:
    return values.PROTOCOLS[written_as] if isinstance(written_as, str) else written_as


# By name only: the numbers 1 and 58 imply nothing (Calico: felix/calc/rule_convert.go).
_IMPLIED_VERSION = {"ICMP": 4, "ICMPv6": 6}
_WRONG_VERSION: Mapping[tuple[int | None, int | None], str] = {
    (model.ICMP, 6): "ICMP is IPv4",
    (model.ICMPV6, 4): "ICMPv6 is IPv6",
}


def _entity(read: Mapping[str, t.Any] | None) -> Entity:
    if read is None:
        return Entity()
    return Entity(
        nets=tuple(read.get("nets") or ()),
        selector=read.get("selector"),
        ports=tuple(read.get("ports") or ()),
        not_nets=tuple(read.get("notNets") or ()),
        not_selector=read.get("notSelector"),
        not_ports=tuple(read.get("notPorts") or ()),
    )


def _check_ports(rule: Rule, where: Where) -> None:
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        for key, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
            if ports and rule.protocol not in model.PORT_PROTOCOLS:
                where.at(name, None).at(key, None).refuse(
                    "ports need the rule's protocol to be TCP, UDP or SCTP (6, 17 or 132)"
                )


def _check_icmp(rule: Rule, where: Where) -> None:
    if rule.icmp is not None and rule.protocol not in model.ICMP_PROTOCOLS:
        where.at("icmp", None).refuse("icmp needs the rule's protocol to be ICMP or ICMPv6 (1 or 58)")
    for key, protocol in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        wrong = _WRONG_VERSION.get((protocol, rule.ip_version))
        if wrong:
            where.at(key, None).refuse(f"{wrong}, but the rule's ipVersion is {rule.ip_version}")


def _with_version_of_nets(rule: Rule, where: Where) -> Rule:
    """A rule with nets, negated or not, is for their IP version only (Calico: FilterRuleToIPVersion)."""
    nets = [
        (name, key, net)
        for name, entity in (("source", rule.source), ("destination", rule.destination))
        for key, members in (("nets", entity.nets), ("notNets", entity.not_nets))
        for net in members
    ]
    for name, key, net in nets:
        at = where.at(name, None).at(key, None)
        wanted = rule.ip_version or nets[0][2].version
        if net.version != wanted:
            at.refuse(
                f"found the IPv{net.version} network '{net}' in a rule for IPv{wanted}; "
                "write one rule for each IP version"
            )
            return rule
        if key == "notNets" and net.prefixlen == 0:
            at.refuse(f"found '{net}', outside of which there is nothing: the rule could never match")
            return rule
    return replace(rule, ip_version=nets[0][2].version) if nets else rule


_HOST_ENDPOINT = mapping(
    {
        "node": single(values.node_name),
        "interfaceName": single(values.interface_name),
        "expectedIPs": sequence(single(values.address)),
    },
    required=("node", "interfaceName"),
    unserved={"profiles": _NOT_YET, "ports": _NOT_YET},
)

_GLOBAL_NETWORK_POLICY = mapping(
    {
        "tier": single(values.tier_name),
        "order": single(values.order),
        "selector": single(values.selector_expression),
        "types": sequence(single(values.direction), repeats=False),
        "doNotTrack": single(values.boolean),
        "applyOnForward": single(values.boolean),
        "ingress": sequence(_rule, most=MAX_RULES),
        "egress": sequence(_rule, most=MAX_RULES),
    },
    unserved={
        "preDNAT": _NOT_YET,
        "namespaceSelector": _PODS,
        "serviceAccountSelector": _PODS,
        "performanceHints": "it is a hint to Calico's own agent",
    },
)

_TIER = mapping({"order": single(values.order), "defaultAction": single(values.default_action)})

_PROTO_PORT = mapping(
    {
        "protocol": single(values.failsafe_protocol),
        "port": single(values.failsafe_port),
        "net": single(values.set_member),
    },
    required=("protocol", "port"),
)


def _failsafe(value: t.Any, where: Where) -> model.Failsafe | None:
    before = len(where.findings)
    read = _PROTO_PORT(value, where)
    if read is None or len(where.findings) > before:
        return None
    net = read.get("net")
    return model.Failsafe(read["protocol"], read["port"], None if net is None else str(net))


_FELIX_CONFIGURATION = mapping(
    {"failsafeInboundHostPorts": sequence(_failsafe), "failsafeOutboundHostPorts": sequence(_failsafe)},
    others="not served by this version, or unknown",
)

_GLOBAL_NETWORK_SET = mapping({"nets": sequence(single(values.set_member))})


# -- resources ---------------------------------------------------------------------------------------


def _host_endpoint(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> HostEndpoint:
    return HostEndpoint(
        name=metadata.get("name", ""),
        labels=metadata.get("labels") or {},
        node=spec.get("node", ""),
        interface=spec.get("interfaceName", ""),
        expected_ips=tuple(spec.get("expectedIPs") or ()),
        place=where.place,
    )


def _global_network_policy(
    metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where
) -> GlobalNetworkPolicy:
    at = where.at("spec", None)
    if not spec.get("doNotTrack"):
        at.at("doNotTrack", None).refuse("this version serves untracked policy only: doNotTrack must be true")
    elif not spec.get("applyOnForward"):
        at.at("applyOnForward", None).refuse("a policy with doNotTrack needs applyOnForward: true")
    ingress, egress = tuple(spec.get("ingress") or ()), tuple(spec.get("egress") or ())
    return GlobalNetworkPolicy(
        name=metadata.get("name", ""),
        tier=spec.get("tier") or DEFAULT_TIER,
        order=spec.get("order"),
        selector=spec.get("selector") or values.selector_expression(""),
        types=frozenset(spec.get("types") or _default_types(ingress, egress)),
        ingress=ingress,
        egress=egress,
        place=where.place,
    )


def _default_types(ingress: tuple[Rule, ...], egress: tuple[Rule, ...]) -> tuple[str, ...]:
    """Calico: api/pkg/defaults/networkpolicy.go."""
    if not egress:
        return (model.INGRESS,)
    return (model.INGRESS, model.EGRESS) if ingress else (model.EGRESS,)


def _global_network_set(
    metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where
) -> GlobalNetworkSet:
    if NAMESPACE_LABEL in (metadata.get("labels") or {}):
        where.at("metadata", None).at("labels", None).refuse(
            f"label key '{NAMESPACE_LABEL}' is Calico's own and not allowed on a GlobalNetworkSet"
        )
    return GlobalNetworkSet(
        name=metadata.get("name", ""),
        labels=metadata.get("labels") or {},
        nets=tuple(spec.get("nets") or ()),
        place=where.place,
    )


def _tier(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> Tier:
    name = metadata["name"]
    fixed = FIXED_TIERS.get(name)
    if fixed is not None and (spec.get("order"), spec.get("defaultAction", "Deny")) != fixed:
        where.at("spec", None).refuse(
            f"the tier {name} is fixed: order {fixed[0]:.0f} and defaultAction {fixed[1]}, or leave it out"
        )
    return Tier(name=name, order=spec.get("order"), place=where.place)


def _felix_configuration(
    metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where
) -> FelixConfiguration:
    name = metadata["name"]
    if name != FELIX_DEFAULT and not name.startswith(FELIX_NODE):
        where.at("metadata", None).at("name", None).refuse(
            f"found {shown(name)}, allowed: {FELIX_DEFAULT}, or {FELIX_NODE}<name of a node>"
        )
    return FelixConfiguration(
        name=name,
        inbound=_tuple_or_none(spec.get("failsafeInboundHostPorts")),
        outbound=_tuple_or_none(spec.get("failsafeOutboundHostPorts")),
        place=where.place,
    )


def _tuple_or_none(members: list[model.Failsafe] | None) -> tuple[model.Failsafe, ...] | None:
    return None if members is None else tuple(members)


@dataclass(frozen=True)
class Kind:
    """How a kind of resource is read: its metadata, its spec, and the value they become."""

    name: Reader
    spec: mapping
    build: t.Callable[[Mapping[str, t.Any], Mapping[str, t.Any], Where], Resource]


KINDS = {
    "HostEndpoint": Kind(single(values.resource_name), _HOST_ENDPOINT, _host_endpoint),
    "GlobalNetworkPolicy": Kind(single(values.policy_name), _GLOBAL_NETWORK_POLICY, _global_network_policy),
    "GlobalNetworkSet": Kind(single(values.resource_name), _GLOBAL_NETWORK_SET, _global_network_set),
    "Tier": Kind(single(values.tier_name), _TIER, _tier),
    "FelixConfiguration": Kind(single(values.node_name), _FELIX_CONFIGURATION, _felix_configuration),
}

UNSERVED_KINDS = {
    **dict.fromkeys(
        ("Profile", "StagedGlobalNetworkPolicy"),
        "it is a kind of Calico that is not enforced here yet",
    ),
    **dict.fromkeys(
        (
            "NetworkPolicy",
            "NetworkSet",
            "StagedKubernetesNetworkPolicy",
            "StagedNetworkPolicy",
            "WorkloadEndpoint",
        ),
        "it lives in a Kubernetes namespace, and a plain host has none",
    ),
    **dict.fromkeys(
        (
            "BGPConfiguration",
            "BGPFilter",
            "BGPPeer",
            "BlockAffinity",
            "CalicoNodeStatus",
            "ClusterInformation",
            "IPAMConfig",
            "IPPool",
            "IPReservation",
            "KubeControllersConfiguration",
            "Node",
        ),
        "it configures a cluster's network, and a plain host is in none",
    ),
}


def parse(value: t.Any, findings: list[Finding]) -> Resource | None:
    """Read one resource. None, with at least one more finding, where anything is wrong with it."""
    where = Where(kind="resource", name="?", findings=findings, place=place(value))
    if not isinstance(value, Mapping):
        where.refuse(f"found {shown(value)}, expected a resource (a mapping)")
        return None
    kind_name = value.get("kind")
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    where = Where(
        kind=str(kind_name) if isinstance(kind_name, str) else "resource",
        name=str(name) if isinstance(name, str) else "?",
        findings=findings,
        place=place(value),
    )
    kind = _kind(kind_name, where)
    if kind is None:
        return None
    before = len(findings)
    # A name that we made of a host's and an interface's names may hold what both of them may hold.
    read_name = single(values.node_name) if isinstance(metadata, Filled) else kind.name
    fields = mapping(
        {"apiVersion": _api_version, "kind": ignored, "metadata": _metadata(read_name), "spec": kind.spec},
        required=("apiVersion", "metadata", "spec"),
    )
    read = fields(value, where) or {}
    if len(findings) > before:
        return None
    resource = kind.build(read["metadata"], read["spec"], where)
    return resource if len(findings) == before else None


def _kind(name: t.Any, where: Where) -> Kind | None:
    at = where.at("kind", name)
    if isinstance(name, str) and name in KINDS:
        return KINDS[name]
    if isinstance(name, str) and name in UNSERVED_KINDS:
        at.refuse(f"{name} is not served by this version: {UNSERVED_KINDS[name]}")
    elif name is None:
        at.refuse(f"missing; allowed: {', '.join(KINDS)}")
    else:
        at.refuse(f"found {shown(name)}, allowed: {', '.join(KINDS)}")
    return None


def _api_version(value: t.Any, where: Where) -> None:
    if value != API_VERSION:
        where.refuse(f"found {shown(value)}, allowed: {API_VERSION}")


def parse_all(resources: t.Any) -> tuple[list[Resource], list[Finding]]:
    """Read a list of resources. Equal ones count once; unequal ones of one kind and name are refused."""
    findings: list[Finding] = []
    if not isinstance(resources, Iterable) or isinstance(resources, (str, bytes, Mapping)):
        where = Where(kind="resources", name="?", findings=findings, place=place(resources))
        where.refuse(f"found {shown(resources)}, expected a list of resources")
        return [], findings
    parsed = [resource for value in resources if (resource := parse(value, findings)) is not None]
    distinct = _distinct(parsed, findings)
    _check_tiers(distinct, findings)
    return distinct, findings


def _check_tiers(parsed: Iterable[Resource], findings: list[Finding]) -> None:
    members = list(parsed)
    known = {*FIXED_TIERS, *(one.name for one in members if isinstance(one, Tier))}
    for one in members:
        if isinstance(one, GlobalNetworkPolicy) and one.tier not in known:
            message = f"found {shown(one.tier)}, and there is no Tier of that name; there are: "
            names = ", ".join(sorted(known))
            findings.append(Finding(one.kind, one.name, "spec.tier", message + names, one.place))


def _distinct(parsed: Iterable[Resource], findings: list[Finding]) -> list[Resource]:
    known: dict[tuple[str, str], Resource] = {}
    for resource in parsed:
        kind = type(resource).__name__
        first = known.setdefault((kind, resource.name), resource)
        if first != resource:
            message = "defined twice with different content"
            if first.place:
                message += f"; the other definition is at {first.place}"
            findings.append(Finding(kind, resource.name, "metadata.name", message, resource.place))
    return list(known.values())
