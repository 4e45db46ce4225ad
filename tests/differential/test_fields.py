# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of fields that policies have to be generated with is whole, and says no more than there is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential import fields


def test_what_is_ignored_is_there():
    there = tuple(f"{path}." for path in fields.paths())

    assert [path for path in fields.IGNORED if not any(each.startswith(f"{path}.") for each in there)] == []


def test_a_new_field_is_asked_for(monkeypatch):
    @dataclass(frozen=True)
    class Tier(model.Tier):
        colour: str = "none"

    monkeypatch.setattr(model, "Tier", Tier)

    assert "Tier.colour" in fields.rows()


def test_a_field_counts_as_used_when_it_says_something():
    origin = model.Origin("GlobalNetworkPolicy", "tried", model.INGRESS, 0)
    rule = model.Rule(origin, "deny", icmp=model.Icmp(8))

    assert list(fields.used(rule)) == ["Rule.action: deny", "Rule.icmp.type"]

    coded = dataclasses.replace(rule, icmp=model.Icmp(8, 0), source=model.Side(ports=((1, 1),)))

    assert [*fields.used(coded)][1:] == ["Rule.source.ports", "Rule.icmp.type", "Rule.icmp.code"]
