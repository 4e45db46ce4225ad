# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The kinds of Calico v3 resources: what each may hold, and the values they become.

A field that Calico has and a plain host cannot have is refused by name, never ignored: a policy that is
enforced in part is worse than one that is refused.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import felix, networks, values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.places import Filled, place
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import (
    Finding,
    Reader,
    Where,
    asks_for_nothing,
    bulk,
    ignored,
    mapping,
    number,
    sequence,
    single,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resources import (
    DEFAULT_TIER,
    FIXED_TIERS,
    EndpointPort,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    Profile,
    Resource,
    Rule,
    Tier,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.rules import PODS, rule

API_VERSION = "projectcalico.org/v3"
NAMESPACE_LABEL = "projectcalico.org/namespace"
MAX_RULES = 1024

_SERVER = dict.fromkeys(
    ("annotations", "creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"),
    ignored,
)


def _metadata(name: Reader) -> mapping:
    return mapping(
        {"name": name, "labels": single(values.labels), **_SERVER},
        required={"name": "the name of the resource"},
        unserved={"namespace": "none of these kinds is in a namespace, and a plain host has none"},
    )


# -- fields ------------------------------------------------------------------------------------------

_ENDPOINT_PORT = mapping(
    {
        "name": single(values.port_name),
        "protocol": single(values.port_protocol),
        "port": number(values.endpoint_port),
    },
    required={
        "name": "a name that rules call the port by",
        "protocol": "TCP, UDP or SCTP",
        "port": "a number from 1 to 65535",
    },
)


def _endpoint_port(value: t.Any, where: Where) -> EndpointPort | None:
    before = len(where.findings)
    read = _ENDPOINT_PORT(value, where)
    return None if read is None or len(where.findings) > before else EndpointPort(**read)


_HOST_ENDPOINT = mapping(
    {
        "node": single(values.node_name),
        "interfaceName": single(values.interface_name),
        "expectedIPs": sequence(single(values.address)),
        "profiles": sequence(single(values.resource_name)),
        "ports": sequence(_endpoint_port),
    },
    required={"node": "the name of a host in the inventory"},
)

_RULES = {"ingress": sequence(rule, most=MAX_RULES), "egress": sequence(rule, most=MAX_RULES)}

_POLICY = mapping(
    {
        "tier": single(values.tier_name),
        "order": single(values.order),
        "selector": single(values.selector_expression),
        "types": sequence(single(values.direction), repeats=False),
        "doNotTrack": single(values.boolean),
        "preDNAT": single(values.boolean),
        "applyOnForward": single(values.boolean),
        "performanceHints": sequence(single(values.performance_hint), repeats=False),
        **_RULES,
    },
    unserved={"namespaceSelector": PODS, "serviceAccountSelector": PODS},
)

_STAGED_POLICY = mapping(
    {"stagedAction": single(values.staged_action), **_POLICY.fields}, unserved=_POLICY.unserved
)

_TIER = mapping({"order": single(values.order), "defaultAction": single(values.default_action)})

_PROFILE = mapping({"labelsToApply": single(values.labels), **_RULES})


def _network(value: t.Any) -> networks.Network | None:
    """The fast way to most members of a set; None leaves the rest, and the words, to values.set_member."""
    found = networks.parse(value) if isinstance(value, str) else None
    return None if found is None or found.is_mapped else found


_GLOBAL_NETWORK_SET = mapping({"nets": bulk(_network, single(values.set_member))})


# -- values ------------------------------------------------------------------------------------------


def _check_endpoint(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> None:
    del metadata, spec
    written = where.within("spec").value
    if asks_for_nothing(written.get("interfaceName")) and asks_for_nothing(written.get("expectedIPs")):
        where.within("spec", "interfaceName").refuse(
            "missing; expected the name of an interface, '*' for every one, or expectedIPs to find it by"
        )


def _host_endpoint(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> HostEndpoint:
    return HostEndpoint(
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        node=spec["node"],
        interface=spec.get("interfaceName") or None,
        expected_ips=tuple(spec.get("expectedIPs") or ()),
        profiles=tuple(spec.get("profiles") or ()),
        ports=tuple(spec.get("ports") or ()),
        place=where.place,
    )


def _check_flags(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> None:
    """Which kinds of policy exclude each other, or parts of a policy (Calico: globalnetworkpolicy.go)."""
    del metadata
    at = where.within("spec")
    untracked, pre_dnat = bool(spec.get("doNotTrack")), bool(spec.get("preDNAT"))
    if untracked and pre_dnat:
        at.within("preDNAT").refuse("a policy is either doNotTrack or preDNAT, not both")
    elif (untracked or pre_dnat) and asks_for_nothing(at.value.get("applyOnForward")):
        name = "doNotTrack" if untracked else "preDNAT"
        at.within("applyOnForward").refuse(f"a policy with {name}: true needs applyOnForward: true")
    if pre_dnat and spec.get("egress"):
        at.within("egress").refuse("a preDNAT policy is for what arrives, and has no egress rules")
    if pre_dnat and model.EGRESS in (spec.get("types") or ()):
        at.within("types").refuse("a preDNAT policy is for what arrives, and not of type Egress")


def _global_network_policy(
    metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where, staged: str | None = None
) -> GlobalNetworkPolicy:
    ingress, egress = tuple(spec.get("ingress") or ()), tuple(spec.get("egress") or ())
    return GlobalNetworkPolicy(
        name=metadata["name"],
        tier=spec.get("tier") or DEFAULT_TIER,
        order=spec.get("order"),
        selector=spec.get("selector") or values.selector_expression(""),
        types=frozenset(spec.get("types") or _default_types(ingress, egress)),
        ingress=ingress,
        egress=egress,
        do_not_track=bool(spec.get("doNotTrack")),
        pre_dnat=bool(spec.get("preDNAT")),
        apply_on_forward=bool(spec.get("applyOnForward")),
        staged=staged,
        place=where.place,
        tier_place=where.within("spec").within("tier").place,
    )


def _check_staged(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> None:
    _check_flags(metadata, spec, where)
    if spec.get("stagedAction") == "delete":
        at = where.within("spec")
        for key in spec:
            if key not in ("stagedAction", "tier") and not asks_for_nothing(at.value.get(key)):
                at.within(key).refuse(
                    "not allowed with stagedAction: Delete, which takes away the whole policy of this name; "
                    "allowed beside it: tier"
                )


def _staged_policy(
    metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where
) -> GlobalNetworkPolicy:
    action = spec.get("stagedAction") or "set"
    return _global_network_policy(metadata, spec, where, staged=action)


def _default_types(ingress: tuple[Rule, ...], egress: tuple[Rule, ...]) -> tuple[str, ...]:
    """Calico: api/pkg/defaults/networkpolicy.go."""
    if not egress:
        return (model.INGRESS,)
    return (model.INGRESS, model.EGRESS) if ingress else (model.EGRESS,)


def _profile(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> Profile:
    return Profile(
        name=metadata["name"],
        labels_to_apply=spec.get("labelsToApply") or {},
        ingress=tuple(spec.get("ingress") or ()),
        egress=tuple(spec.get("egress") or ()),
        place=where.place,
    )


def _check_set(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> None:
    del spec
    if NAMESPACE_LABEL in (metadata.get("labels") or {}):
        where.within("metadata", "labels").refuse(
            f"label key '{NAMESPACE_LABEL}' is Calico's own and not allowed on a GlobalNetworkSet"
        )


def _global_network_set(
    metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where
) -> GlobalNetworkSet:
    return GlobalNetworkSet(
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        nets=tuple(spec.get("nets") or ()),
        place=where.place,
    )


def _check_tier(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> None:
    name, action = metadata.get("name"), spec.get("defaultAction", "Deny")
    fixed = FIXED_TIERS.get(name or "")
    if fixed is not None and (spec.get("order"), action) != fixed:
        order = "no order" if spec.get("order") is None else f"order {spec['order']:g}"
        where.within("spec").refuse(
            f"found {order} and defaultAction {action}; the tier {name} is always there, with order "
            f"{fixed[0]:.0f} and defaultAction {fixed[1]}: write these, or leave the Tier out"
        )


def _tier(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> Tier:
    return Tier(
        name=metadata["name"],
        order=spec.get("order"),
        default_action=spec.get("defaultAction", "Deny").lower(),
        place=where.place,
    )


def _no_check(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> None:
    """Of a kind whose fields all go together."""
    del metadata, spec, where


@dataclass(frozen=True)
class Kind:
    """How a kind of resource is read: its metadata, its spec, and the value they become."""

    name: Reader
    spec: mapping
    build: t.Callable[[Mapping[str, t.Any], Mapping[str, t.Any], Where], Resource]
    check: t.Callable[[Mapping[str, t.Any], Mapping[str, t.Any], Where], None] = _no_check
    """Refuses what does not go together, whatever else is wrong with the resource."""


KINDS = {
    "HostEndpoint": Kind(single(values.resource_name), _HOST_ENDPOINT, _host_endpoint, _check_endpoint),
    "GlobalNetworkPolicy": Kind(single(values.policy_name), _POLICY, _global_network_policy, _check_flags),
    "StagedGlobalNetworkPolicy": Kind(
        single(values.policy_name), _STAGED_POLICY, _staged_policy, _check_staged
    ),
    "GlobalNetworkSet": Kind(
        single(values.resource_name), _GLOBAL_NETWORK_SET, _global_network_set, _check_set
    ),
    "Tier": Kind(single(values.tier_name), _TIER, _tier, _check_tier),
    "Profile": Kind(single(values.resource_name), _PROFILE, _profile),
    "FelixConfiguration": Kind(single(values.node_name), felix.SPEC, felix.build, felix.check),
}

UNSERVED_KINDS = {
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
        where.refuse(
            f"found {shown(value)}, expected a resource, a mapping (apiVersion, kind, metadata, spec)"
        )
        return None
    kind_name = value.get("kind")
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    where = Where(
        kind=str(kind_name) if isinstance(kind_name, str) else "resource",
        name=str(name) if isinstance(name, str) else "?",
        findings=findings,
        place=place(value),
        value=value,
    )
    kind = _kind(kind_name, where)
    if kind is None:
        return None
    before = len(findings)
    # A name that we made of a host's and an interface's names may hold what both of them may hold.
    read_name = single(values.node_name) if isinstance(metadata, Filled) else kind.name
    fields = mapping(
        {
            "apiVersion": _api_version,
            "kind": ignored,
            "metadata": _metadata(read_name),
            "spec": kind.spec,
            "status": ignored,
        },
        required={
            "apiVersion": API_VERSION,
            "metadata": "a mapping with the name of the resource",
            "spec": f"a mapping with the fields of a {kind_name}",
        },
    )
    read = fields(value, where) or {}
    if isinstance(metadata, Mapping) and read.get("spec") is not None:
        kind.check(read.get("metadata") or {}, read["spec"], where)
    return None if len(findings) > before else kind.build(read["metadata"], read["spec"], where)


def _kind(name: t.Any, where: Where) -> Kind | None:
    at = where.at("kind", name)
    if isinstance(name, str) and name in KINDS:
        return KINDS[name]
    if isinstance(name, str) and name in UNSERVED_KINDS:
        at.refuse(f"{name} is not served: {UNSERVED_KINDS[name]}")
    elif name is None:
        at.refuse(f"missing; allowed: {', '.join(KINDS)}")
    elif isinstance(name, str) and name.removesuffix("List") in KINDS:
        at.refuse(f"found {shown(name)}; write its items, each a resource of its own")
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
    return _distinct(parsed, findings), findings


def undefined_tiers(parsed: Iterable[Resource]) -> list[Finding]:
    """The policies whose tier nobody defines, where these are all the resources that there are.

    Calico evaluates them last; here they are refused, because a misspelt name would change the order.
    """
    members = list(parsed)
    known = {*FIXED_TIERS, *(one.name for one in members if isinstance(one, Tier))}
    there_are = f"and there is no Tier of that name; there are: {', '.join(sorted(known))}"
    return [
        Finding(one.kind, one.name, "spec.tier", f"found {shown(one.tier)}, {there_are}", one.tier_place)
        for one in members
        if isinstance(one, GlobalNetworkPolicy) and one.tier not in known
    ]


def _distinct(parsed: Iterable[Resource], findings: list[Finding]) -> list[Resource]:
    known: dict[tuple[str, str], Resource] = {}
    for resource in parsed:
        kind = resource.kind
        first = known.setdefault((kind, resource.name), resource)
        if first != resource:
            message = "defined twice with different content"
            if first.place:
                message += f"; the other definition is at {first.place}"
            findings.append(Finding(kind, resource.name, "metadata.name", message, resource.place))
    return list(known.values())
