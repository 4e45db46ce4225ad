# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""A HostPolicy in lines that a person reads: what diffs show before and after a change."""

from __future__ import annotations

import dataclasses
import hashlib

from . import model
from .shown import name as printable

MEMBERS_SHOWN = 5


def describe(policy: model.HostPolicy | None) -> str:
    """The policy as text, in the words of the resources it came from. None is empty."""
    return "".join(f"{line}\n" for line in ([] if policy is None else lines(policy)))


def lines(policy: model.HostPolicy) -> list[str]:
    """The policy's facts, each in a line that is understood without the others."""
    return [
        *without_sets(policy),
        *(set_line(one) for _name, one in sorted(policy.sets.items())),
        *(set_line(one) for _name, one in sorted(policy.port_sets.items())),
    ]


def without_sets(policy: model.HostPolicy) -> list[str]:
    """The same but for what sets hold."""
    found = [line for endpoint in policy.endpoints for line in _endpoint_lines(endpoint)]
    used = dict.fromkeys(key for endpoint in policy.endpoints for key in endpoint.policy_keys)
    found += [line for key in used for line in _policy_lines(policy, key)]
    for name, entries in (("inbound", policy.failsafes.inbound), ("outbound", policy.failsafes.outbound)):
        if entries:
            found.append(f"failsafes {name}: " + ", ".join(map(_failsafe_text, entries)))
    found += [
        f"interface {name} has {', '.join(known) or 'no addresses'}"
        for name, known in sorted(policy.interfaces.items())
    ]
    return found + _setting_lines(policy.settings)


def _endpoint_lines(endpoint: model.Endpoint) -> list[str]:
    name = f"endpoint {printable(endpoint.name)}"
    found = [f"{name}: {_where(endpoint)}"]
    for words, (list_name, tiers) in zip(_LISTS, endpoint.tiers.items()):
        for tier in tiers:
            end = f", then {tier.default_action}" if len(model.ENDINGS[list_name]) > 1 else ""
            found += [f"{name}: {words}, tier {tier.name}{end}: {key}" for key in tier.policies]
            if not tier.policies:
                found.append(f"{name}: {words}, tier {tier.name}{end}: no policy")
    return found + [f"{name}: {key}" for key in endpoint.profiles]


def _where(endpoint: model.Endpoint) -> str:
    if endpoint.interface is None:
        return f"on interfaces that have {' or '.join(endpoint.addresses)}"
    every = endpoint.interface == model.EVERY_INTERFACE
    where = "on every other interface" if every else f"on interface {endpoint.interface}"
    return f"{where} ({', '.join(endpoint.addresses)})" if endpoint.addresses else where


_LISTS = ("untracked", "pre-DNAT", "normal", "forward")
"""The words for model.LISTS."""


def _policy_lines(policy: model.HostPolicy, key: str) -> list[str]:
    member = policy.policies[key]
    found = [] if member.staged is None else [f"{key}: staged, to {member.staged}: decides nothing"]
    for direction in (model.INGRESS, model.EGRESS):
        found += [f"{key} {direction}: {_rule_text(policy, rule)}" for rule in member.rules(direction)]
        if member.governs(direction) and not member.rules(direction):
            found.append(f"{key} {direction}: no rules")
    return found


def _setting_lines(settings: model.Settings) -> list[str]:
    """What is not as it would be without a setting."""
    usual = model.Settings()
    return [
        f"setting {field.name}: {getattr(settings, field.name)}"
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != getattr(usual, field.name)
    ]


def _rule_text(policy: model.HostPolicy, rule: model.Rule) -> str:
    words = [rule.action]
    if rule.ip_version is not None:
        words.append(f"IPv{rule.ip_version}")
    if rule.protocol is not None:
        words.append(protocol_name(rule.protocol))
    if rule.not_protocol is not None:
        words.append(f"not {protocol_name(rule.not_protocol)}")
    words += [_icmp_text(icmp, word) for icmp, word in ((rule.icmp, ""), (rule.not_icmp, "not ")) if icmp]
    for word, side in (("from", rule.source), ("to", rule.destination)):
        parts = _side_parts(policy, side)
        if parts:
            words.append(f"{word} {' '.join(parts)}")
    return " ".join(words)


def _icmp_text(icmp: model.Icmp, word: str) -> str:
    return f"{word}type {icmp.type}" + ("" if icmp.code is None else f" code {icmp.code}")


def _side_parts(policy: model.HostPolicy, side: model.Side) -> list[str]:
    parts = [f"[{printable(policy.sets[each].text)}]" for each in side.sets]
    parts += [f"not [{printable(policy.sets[each].text)}]" for each in side.not_sets]
    for word, ports, named in (
        ("port", side.ports, side.named_ports),
        ("not port", side.not_ports, side.not_named_ports),
    ):
        texts = [*map(_port_text, ports), *(f"[{printable(policy.port_sets[each].text)}]" for each in named)]
        if texts:
            parts.append(f"{word} " + ",".join(texts))
    return parts


def _port_text(ports: model.PortRange) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}:{last}"


def _failsafe_text(entry: model.Failsafe) -> str:
    text = f"{protocol_name(entry.protocol)} {entry.port}"
    return text if entry.net is None else f"{text} {entry.net}"


def title(members: model.AddressSet | model.PortSet) -> str:
    """What a set is and stands for."""
    word = "set" if isinstance(members, model.AddressSet) else "ports"
    return f"{word} [{printable(members.text)}]"


def members(of: model.AddressSet | model.PortSet) -> list[str]:
    """The members of a set, each as text, in order."""
    if isinstance(of, model.AddressSet):
        return [*of.v4, *of.v6]
    return [f"{address} {protocol_name(number)} {port}" for address, number, port in of.v4 + of.v6]


def set_line(of: model.AddressSet | model.PortSet) -> str:
    """What a set stands for, its size, its first members, and a hash that shows any other change of it."""
    everyone = members(of)
    shown = ", ".join(everyone[:MEMBERS_SHOWN]) + (", …" if len(everyone) > MEMBERS_SHOWN else "")
    mark = hashlib.sha256("\n".join(everyone).encode()).hexdigest()[:8]
    return f"{title(of)}: {len(everyone)} members ({mark})" + (f": {shown}" if shown else "")


def protocol_name(number: int) -> str:
    """The name that Calico gives a protocol, or its number."""
    return model.PROTOCOL_NAMES.get(number, str(number))
