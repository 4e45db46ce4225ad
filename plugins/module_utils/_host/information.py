# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What a host can tell of its policy: what is installed, since when, drift, and counters by rule."""

from __future__ import annotations

import typing as t

from .._policy import model
from .._render import counters, ruleset
from . import provenance, state


def information(current: state.State) -> dict[str, t.Any]:
    """The state as plain data; the shape is part of the public contract (module policy_info)."""
    record = current.record
    policy = None if record is None else record.policy
    amounts = {} if current.table is None else ruleset.counters_in(current.table.json)
    return {
        "digest": None if record is None else record.digest,
        "installed": None if record is None else _installed(record),
        "drift": list(current.drift),
        **_counted(policy, amounts),
        "notes": [
            *current.notes,
            *([] if policy is None else state.endpoint_notes(policy, current.interfaces)),
        ],
    }


def _installed(record: state.Record) -> dict[str, t.Any]:
    policy, origin = record.policy, record.provenance
    return {
        "digest": record.digest,
        "engine": record.engine,
        "applied": record.applied,
        "owner": None if origin is None else origin.owner,
        "inventory": None if origin is None else provenance.to_dict(origin.inventory),
        "node": None if policy is None else policy.node,
        "endpoints": []
        if policy is None
        else [{"name": endpoint.name, "interface": endpoint.interface} for endpoint in policy.endpoints],
        "policy": None if policy is None else model.to_dict(policy),
    }


def _counted(
    policy: model.HostPolicy | None, amounts: t.Mapping[str, counters.Amount]
) -> dict[str, list[dict[str, t.Any]]]:
    if policy is None:
        return {"counters": [], "policy_counters": [], "endpoint_counters": [], "failsafe_counters": []}
    counted = counters.counted(policy, amounts)
    rules = [rule for member in policy.policies.values() for rule in member.all_rules]
    return {
        "counters": [
            {
                **rule.origin.to_dict(),
                "action": rule.action,
                "place": policy.places.get(rule.origin.path),
                **_amount(counted.rules[rule.origin.path]),
            }
            for rule in rules
        ],
        "policy_counters": [
            {
                "kind": member.kind,
                "name": member.name,
                **_amount(_sum(counted.rules[rule.origin.path] for rule in member.all_rules)),
            }
            for member in policy.policies.values()
        ],
        "endpoint_counters": [
            {"name": name, "direction": direction, **_amount(amount)}
            for (name, direction), amount in counted.endpoints.items()
        ],
        "failsafe_counters": [
            {"direction": direction, "replies": replies, **_amount(amount)}
            for (direction, replies), amount in counted.failsafes.items()
        ],
    }


def _sum(amounts: t.Iterable[counters.Amount]) -> counters.Amount:
    packets, size = 0, 0
    for more_packets, more_bytes in amounts:
        packets, size = packets + more_packets, size + more_bytes
    return packets, size


def _amount(amount: counters.Amount) -> dict[str, int]:
    packets, size = amount
    return {"packets": packets, "bytes": size}
