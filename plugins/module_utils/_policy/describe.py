# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""A HostPolicy in lines that a person reads: what diffs show before and after a change."""

from __future__ import annotations

import hashlib

from . import model

MEMBERS_SHOWN = 5


def describe(policy: model.HostPolicy | None) -> str:
    """The policy as text, one fact a line, in the words of the resources it came from. None is empty."""
    if policy is None:
        return ""
    lines = []
    for endpoint in policy.endpoints:
        lines.append(f"endpoint {endpoint.name} on interface {endpoint.interface}")
        for tier in endpoint.untracked:
            lines.append(f"  untracked, tier {tier.name}")
            for key in tier.policies:
                lines.append(f"    {key}")
                lines += ["      " + _rule_line(policy, rule) for rule in policy.policies[key].all_rules]
    for name, entries in (("inbound", policy.failsafes.inbound), ("outbound", policy.failsafes.outbound)):
        if entries:
            lines.append(f"failsafes {name}: " + ", ".join(map(_failsafe_text, entries)))
    lines += [_set_line(members) for _name, members in sorted(policy.sets.items())]
    return "".join(line + "\n" for line in lines)


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
    parts = [f"[{policy.sets[name].text}]" for name in side.sets]
    parts += [f"not [{policy.sets[name].text}]" for name in side.not_sets]
    for word, ports in (("port", side.ports), ("not port", side.not_ports)):
        if ports:
            parts.append(f"{word} " + ",".join(map(_port_text, ports)))
    return parts


def _port_text(ports: model.PortRange) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}:{last}"


def _failsafe_text(entry: model.Failsafe) -> str:
    text = f"{protocol_name(entry.protocol)} {entry.port}"
    return text if entry.net is None else f"{text} {entry.net}"


def _set_line(members: model.AddressSet) -> str:
    """Its size, its first members, and a hash that shows any other change of it."""
    everyone = members.v4 + members.v6
    shown = ", ".join(everyone[:MEMBERS_SHOWN]) + (", …" if len(everyone) > MEMBERS_SHOWN else "")
    mark = hashlib.sha256("\n".join(everyone).encode()).hexdigest()[:8]
    return f"set [{members.text}]: {len(everyone)} members ({mark})" + (f": {shown}" if shown else "")


def protocol_name(number: int) -> str:
    """The name that Calico gives a protocol, or its number."""
    return model.PROTOCOL_NAMES.get(number, str(number))
