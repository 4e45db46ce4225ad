# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What a host can tell of its policy: what is installed, since when, drift, and counters by rule."""

from __future__ import annotations

import typing as t

from .._render import nftables, ruleset

if t.TYPE_CHECKING:
    from .._policy import model
    from . import state


def information(current: state.State) -> dict[str, t.Any]:
    """The state as plain data: `installed`, `drift`, `counters`, `failsafe_counters`, `notes`."""
    counted = {} if current.table is None else ruleset.counters_in(current.table.json)
    record = current.record
    return {
        "installed": None
        if record is None
        else {
            "digest": record.digest,
            "engine": record.engine,
            "applied": record.applied,
            "node": record.policy.node,
            "endpoints": [
                {"name": endpoint.name, "interface": endpoint.interface}
                for endpoint in record.policy.endpoints
            ],
        },
        "drift": list(current.drift),
        "counters": []
        if record is None
        else [_rule(rule, record.policy, counted) for rule in _rules(record.policy)],
        "failsafe_counters": {
            name: {"packets": packets, "bytes": size}
            for name, (packets, size) in sorted(counted.items())
            if name.startswith("failsafe/")
        },
        "notes": list(current.notes),
    }


def _rules(policy: model.HostPolicy) -> t.Iterator[model.Rule]:
    for member in policy.policies.values():
        yield from member.ingress
        yield from member.egress


def _rule(
    rule: model.Rule, policy: model.HostPolicy, counted: t.Mapping[str, tuple[int, int]]
) -> dict[str, t.Any]:
    packets, size = counted.get(nftables.counter_name(rule.origin.path), (0, 0))
    return {
        "kind": rule.origin.kind,
        "name": rule.origin.name,
        "direction": rule.origin.direction,
        "rule": rule.origin.rule,
        "action": rule.action,
        "place": policy.places.get(rule.origin.path),
        "packets": packets,
        "bytes": size,
    }
