# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Reads the rules of policies and profiles."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import (
    Where,
    mapping,
    number,
    sequence,
    single,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resources import Entity, Rule

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.selector import Selector

MAX_NETS, MAX_PORTS = 256, 50
PODS = "it picks pods, and a plain host has none"


def _rule_selector(value: t.Any, where: Where) -> Selector | None:
    """An empty selector of a rule is none: it does not limit the rule to known addresses, as all() does."""
    if value == "":
        return None
    return t.cast("Selector | None", single(values.selector_expression)(value, where))


def _namespace_selector(value: t.Any, where: Where) -> Selector | None:
    """`global()` asks for what is in no namespace, and all is that has an address here: known addresses."""
    if value == "":
        return None
    if not isinstance(value, str) or value.strip(" \t") != "global()":
        where.refuse(f"found {shown(value)}, not served: {PODS}; allowed: global()")
        return None
    return values.selector_expression("all()")


_ENTITY = mapping(
    {
        "nets": sequence(single(values.cidr), most=MAX_NETS),
        "selector": _rule_selector,
        "namespaceSelector": _namespace_selector,
        "ports": sequence(number(values.port), most=MAX_PORTS),
        "notNets": sequence(single(values.cidr), most=MAX_NETS),
        "notSelector": _rule_selector,
        "notPorts": sequence(number(values.port), most=MAX_PORTS),
    },
    unserved={
        "serviceAccounts": PODS,
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
            where.at("type", None).refuse("missing; expected the type that the code belongs to")
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
        "metadata": mapping({"annotations": single(values.rule_annotations)}),
    },
    required={"action": ", ".join(values.ACTIONS)},
    unserved={
        "http": "it is enforced by a proxy, and a plain host has none",
    },
)


def rule(value: t.Any, where: Where) -> Rule | None:
    """Read one rule of a policy or a profile."""
    before = len(where.findings)
    read = _RULE(value, where)
    if read is None or len(where.findings) > before:
        return None
    found = Rule(
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
    _check_ports(found, where)
    _check_icmp(found, where)
    return _with_version_of_nets(found, where)


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
    ports, named_ports = _by_number_or_name(read.get("ports") or ())
    not_ports, not_named_ports = _by_number_or_name(read.get("notPorts") or ())
    return Entity(
        nets=tuple(read.get("nets") or ()),
        selector=read.get("selector") or read.get("namespaceSelector"),
        ports=ports,
        not_nets=tuple(read.get("notNets") or ()),
        not_selector=read.get("notSelector"),
        not_ports=not_ports,
        named_ports=named_ports,
        not_named_ports=not_named_ports,
    )


def _by_number_or_name(
    ports: Iterable[model.PortRange | str],
) -> tuple[tuple[model.PortRange, ...], tuple[str, ...]]:
    members = list(ports)
    numbers = tuple(member for member in members if not isinstance(member, str))
    return numbers, tuple(member for member in members if isinstance(member, str))


def _check_ports(found: Rule, where: Where) -> None:
    """Ports by number need a protocol that has them; ports by name know their own (Calico: validateRule)."""
    if found.protocol in model.PORT_PROTOCOLS:
        return
    for name, entity in (("source", found.source), ("destination", found.destination)):
        for key, ports, named in (
            ("ports", entity.ports, entity.named_ports),
            ("notPorts", entity.not_ports, entity.not_named_ports),
        ):
            if ports or (named and found.protocol is not None):
                where.within(name, key).refuse(
                    f"found {_protocol_text(found)}; ports need the rule's protocol to be TCP, UDP or SCTP "
                    f"(6, 17 or 132){'' if ports else ', or none where they are named'}"
                )


def _protocol_text(found: Rule) -> str:
    if found.protocol is None:
        return "no protocol"
    return f"protocol {model.PROTOCOL_NAMES.get(found.protocol, found.protocol)}"


def _check_icmp(found: Rule, where: Where) -> None:
    if found.icmp is not None and found.protocol not in model.ICMP_PROTOCOLS:
        where.within("icmp").refuse(
            f"found {_protocol_text(found)}; icmp needs the rule's protocol to be ICMP or ICMPv6 (1 or 58)"
        )
    for key, protocol in (("protocol", found.protocol), ("notProtocol", found.not_protocol)):
        wrong = _WRONG_VERSION.get((protocol, found.ip_version))
        if wrong:
            where.within(key).refuse(f"{wrong}, but the rule's ipVersion is {found.ip_version}")


def _with_version_of_nets(found: Rule, where: Where) -> Rule:
    """A rule with nets, negated or not, is for their IP version only (Calico: FilterRuleToIPVersion)."""
    nets = [
        (name, key, index, net)
        for name, entity in (("source", found.source), ("destination", found.destination))
        for key, members in (("nets", entity.nets), ("notNets", entity.not_nets))
        for index, net in enumerate(members)
    ]
    for name, key, index, net in nets:
        at = where.within(name, key, index)
        wanted = found.ip_version or nets[0][-1].version
        if net.version != wanted:
            at.refuse(
                f"found the IPv{net.version} network '{net}' in a rule that is for IPv{wanted} by its "
                f"{_why_version(found, where)}; write one rule for each IP version"
            )
            return found
        if key == "notNets" and net.prefixlen == 0:
            at.refuse(f"found '{net}', outside of which there is nothing: the rule could never match")
            return found
    return replace(found, ip_version=nets[0][-1].version) if nets else found


def _why_version(found: Rule, where: Where) -> str:
    """Which part of the rule says its IP version."""
    if found.ip_version is None:
        return "first network"
    return "protocol" if where.within("ipVersion").value is None else "ipVersion"
