# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""A HostPolicy in lines that a person reads: what diffs show before and after a change."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t

from . import model
from .shown import name as printable

MEMBERS_SHOWN = 5


def describe(policy: model.HostPolicy | None) -> str:
    """The policy as text, one fact a line, in the words of the resources it came from. None is empty."""
    if policy is None:
        return ""
    lines = []
    for endpoint in policy.endpoints:
        lines.append(f"endpoint {printable(endpoint.name)} on {_where(endpoint)}")
        for words, (name, tiers) in zip(_LISTS, endpoint.tiers.items()):
            for tier in tiers:
                end = f", then {tier.default_action}" if len(model.ENDINGS[name]) > 1 else ""
                lines.append(f"  {words}, tier {tier.name}{end}")
                for key in tier.policies:
                    lines += _policy_lines(policy, key)
        if endpoint.profiles:
            lines.append("  profiles")
            for key in endpoint.profiles:
                lines += _policy_lines(policy, key)
    for name, entries in (("inbound", policy.failsafes.inbound), ("outbound", policy.failsafes.outbound)):
        if entries:
            lines.append(f"failsafes {name}: " + ", ".join(map(_failsafe_text, entries)))
    lines += [
        f"interface {name} has {', '.join(known) or 'no addresses'}"
        for name, known in sorted(policy.interfaces.items())
    ]
    lines += [_set_line(members) for _name, members in sorted(policy.sets.items())]
    lines += [_port_set_line(members) for _name, members in sorted(policy.port_sets.items())]
    lines += _setting_lines(policy.settings)
    return "".join(line + "\n" for line in lines)


def _where(endpoint: model.Endpoint) -> str:
    if endpoint.interface is None:
        return f"interfaces that have {' or '.join(endpoint.addresses)}"
    every = endpoint.interface == model.EVERY_INTERFACE
    where = "every other interface" if every else f"interface {endpoint.interface}"
    return f"{where} ({', '.join(endpoint.addresses)})" if endpoint.addresses else where


_LISTS = ("untracked", "pre-DNAT", "normal", "forward")
"""The words for model.LISTS."""


def _policy_lines(policy: model.HostPolicy, key: str) -> list[str]:
    member = policy.policies[key]
    staged = "" if member.staged is None else f" (staged, to {member.staged}: decides nothing)"
    lines = [f"    {key}{staged}"]
    for direction in (model.INGRESS, model.EGRESS):
        lines += ["      " + _rule_line(policy, rule) for rule in member.rules(direction)]
        if member.governs(direction) and not member.rules(direction):
            lines.append(f"      {direction}: no rules")
    return lines


def _setting_lines(settings: model.Settings) -> list[str]:
    """What is not as it would be without a setting."""
    usual = model.Settings()
    return [
        f"setting {field.name}: {getattr(settings, field.name)}"
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != getattr(usual, field.name)
    ]


def _rule_line(policy: model.HostPolicy, rule: model.Rule) -> str:
    words = [f"{rule.origin.direction} {rule.origin.rule}: {rule.action}"]
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


def _set_line(members: model.AddressSet) -> str:
    """Its size, its first members, and a hash that shows any other change of it."""
    return _members_line("set", members.text, members.v4 + members.v6)


def _members_line(word: str, text: str, everyone: t.Sequence[str]) -> str:
    shown = ", ".join(everyone[:MEMBERS_SHOWN]) + (", …" if len(everyone) > MEMBERS_SHOWN else "")
    mark = hashlib.sha256("\n".join(everyone).encode()).hexdigest()[:8]
    return f"{word} [{printable(text)}]: {len(everyone)} members ({mark})" + (f": {shown}" if shown else "")


def _port_set_line(members: model.PortSet) -> str:
    everyone = [
        f"{address} {protocol_name(number)} {port}" for address, number, port in members.v4 + members.v6
    ]
    return _members_line("ports", members.text, everyone)


def protocol_name(number: int) -> str:
    """The name that Calico gives a protocol, or its number."""
    return model.PROTOCOL_NAMES.get(number, str(number))
