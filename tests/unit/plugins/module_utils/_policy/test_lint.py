# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies that are half of what they need to be."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import lint, model

TCP_IN = {"protocol": 6, "destination": model.Side(ports=((80, 80),))}
TCP_OUT = {"protocol": 6, "source": model.Side(ports=((80, 80),))}


def remarks(ingress: t.Any = (), egress: t.Any = (), action: str = model.ALLOW) -> list[lint.Remark]:
    def rules(direction: str, listed: t.Any) -> tuple[model.Rule, ...]:
        return tuple(
            model.Rule(model.Origin("GlobalNetworkPolicy", "p", direction, index), action, **fields)
            for index, fields in enumerate(listed)
        )

    member = model.Policy("GlobalNetworkPolicy", "p", rules("ingress", ingress), rules("egress", egress))
    tiers = (model.Tier("default", (member.key,)),)
    policy = model.HostPolicy("host", (model.Endpoint("e", "eth0", tiers),), {member.key: member})
    return lint.lint(policy)


def test_a_mirrored_pair_is_fine():
    assert remarks([TCP_IN], [TCP_OUT]) == []


def test_an_answer_may_be_wider_than_asked():
    assert remarks([TCP_IN], [{}]) == remarks([TCP_IN], [{"protocol": 6}]) == []


@pytest.mark.parametrize("direction, rule", [("ingress", TCP_IN), ("egress", TCP_OUT)])
def test_one_direction_alone_is_told_with_the_missing_rule(direction, rule):
    (remark,) = remarks([rule], []) if direction == "ingress" else remarks([], [rule])
    assert (remark.origin.direction, remark.origin.rule) == (direction, 0)
    other = {"ingress": "egress needs {action: Allow, protocol: TCP, source: {ports: [80]}}"}
    missing = other.get(direction, "ingress needs {action: Allow, protocol: TCP, destination: {ports: [80]}}")
    assert missing in remark.message


@pytest.mark.parametrize(
    "answer",
    [
        {"protocol": 17, "source": model.Side(ports=((80, 80),))},
        {"protocol": 6, "source": model.Side(ports=((81, 90),))},
        {"protocol": 6, "destination": model.Side(ports=((80, 80),)), "ip_version": 4},
    ],
)
def test_an_answer_that_cannot_be_one_does_not_count(answer):
    asked = {**TCP_IN, "ip_version": 6}
    assert [remark.origin.direction for remark in remarks([asked], [answer])] == ["ingress", "egress"]


@pytest.mark.parametrize("action", [model.DENY, model.PASS])
def test_only_what_is_allowed_needs_answers(action):
    assert remarks([TCP_IN], action=action) == []


def test_ranges_are_written_as_calico_writes_them():
    (remark,) = remarks([{"protocol": 17, "destination": model.Side(ports=((53, 53), (1000, 2000)))}])
    assert "source: {ports: [53, '1000:2000']}" in remark.message
