# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule with one of its fields lifted, so that this field does not keep a packet off."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
    from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import Packet


def lifted(rule: model.Rule, packet: Packet) -> Iterator[tuple[str, model.Rule]]:
    """For each field that the rule uses, the field's row and the rule without it."""
    if rule.protocol is not None:
        yield "Rule.protocol", replace(rule, protocol=None)
    if rule.not_protocol is not None:
        yield "Rule.not_protocol", replace(rule, not_protocol=None)
    if rule.ip_version is not None:
        yield f"Rule.ip_version: {rule.ip_version}", replace(rule, ip_version=None)
    yield from _sides(rule)
    if packet.icmp_type is not None and packet.icmp_code is not None:
        yield from _icmp(rule, packet.icmp_type, packet.icmp_code)


def _sides(rule: model.Rule) -> Iterator[tuple[str, model.Rule]]:
    for side in ("source", "destination"):
        asked = getattr(rule, side)
        for field in dataclasses.fields(asked):
            if getattr(asked, field.name):
                yield f"Rule.{side}.{field.name}", replace(rule, **{side: replace(asked, **{field.name: ()})})
        # By number or by name: one alone does not keep a packet off that the other would let in.
        if asked.ports and asked.named_ports:
            neither = replace(rule, **{side: replace(asked, ports=(), named_ports=())})
            yield f"Rule.{side}.ports", neither
            yield f"Rule.{side}.named_ports", neither


def _icmp(rule: model.Rule, number: int, code: int) -> Iterator[tuple[str, model.Rule]]:
    """A type that is asked for becomes the packet's own; one that is excluded becomes another."""
    if rule.icmp is not None:
        yield "Rule.icmp.type", replace(rule, icmp=replace(rule.icmp, type=number))
        if rule.icmp.code is not None:
            yield "Rule.icmp.code", replace(rule, icmp=replace(rule.icmp, code=None))
    if rule.not_icmp is not None:
        yield "Rule.not_icmp.type", replace(rule, not_icmp=replace(rule.not_icmp, type=(number + 1) % 256))
        if rule.not_icmp.code is not None:
            yield "Rule.not_icmp.code", replace(rule, not_icmp=replace(rule.not_icmp, code=(code + 1) % 256))
