# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiers: which there are, in which order, and what the corpus of Calico says of them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.kinds import parse_all, undefined_tiers
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import Resolver
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import corpus, written


def tier(name: str, **spec: t.Any) -> dict[str, t.Any]:
    return written.resource("Tier", name, spec)


def policy(name: str, **spec: t.Any) -> t.Any:
    return written.policy(name=name, ingress=[{"action": "Deny"}], **spec)


def order_of_evaluation(*members: t.Any) -> list[tuple[str, tuple[str, ...]]]:
    parsed, findings = parse_all([written.endpoint("node-eth0"), *members])
    assert findings == []
    (endpoint,) = Resolver(parsed).host_policy("node").endpoints
    return [
        (one.name, tuple(key.removeprefix("GlobalNetworkPolicy/") for key in one.policies))
        for one in endpoint.untracked
    ]


def test_tiers_go_by_order_then_by_name_and_those_without_order_last():
    names: dict[str, dict[str, t.Any]] = {
        "late": {},
        "early": {"order": 1},
        "b": {"order": 5},
        "a": {"order": 5},
        "below": {"order": 2e6},
    }
    members = [tier(name, **spec) for name, spec in names.items()]
    members += [policy(name, tier=name) for name in names]
    members += [policy("plain")]
    found = [name for name, _policies in order_of_evaluation(*members)]
    assert found == ["early", "a", "b", "default", "below", "late"]


def test_the_order_of_policies_counts_within_their_tier():
    members = [
        tier("early", order=1),
        policy("last", tier="early", order=9),
        policy("first", order=1),
        policy("early", tier="early", order=2),
    ]
    assert order_of_evaluation(*members) == [("early", ("early", "last")), ("default", ("first",))]


def test_a_tier_without_policy_for_the_endpoint_is_not_there():
    assert order_of_evaluation(tier("empty", order=1), policy("plain")) == [("default", ("plain",))]


@pytest.mark.parametrize("name", ["default", "kube-admin", "kube-baseline"])
def test_a_fixed_tier_need_not_be_defined(name):
    assert order_of_evaluation(policy("plain", tier=name)) == [(name, ("plain",))]


def test_a_policy_in_a_tier_that_is_not_there_is_refused():
    parsed, findings = parse_all([policy("plain", tier="security"), tier("platform")])
    assert findings == []
    (finding,) = undefined_tiers(parsed)
    assert finding.path == "spec.tier"
    assert finding.message == (
        "found 'security', and there is no Tier of that name; "
        "there are: default, kube-admin, kube-baseline, platform"
    )


@pytest.mark.parametrize(
    "name, spec, path",
    [
        ("a.b", {}, "metadata.name"),
        ("x" * 64, {}, "metadata.name"),
        ("platform", {"order": "first"}, "spec.order"),
        ("platform", {"defaultAction": "Allow"}, "spec.defaultAction"),
        ("default", {"order": 5}, "spec"),
        ("kube-admin", {"order": 1000}, "spec"),
    ],
)
def test_a_tier_that_cannot_be_is_refused_with_its_path(name, spec, path):
    _parsed, (finding,) = parse_all([tier(name, **spec)])
    assert finding.path == path


@pytest.mark.parametrize("case", corpus.cases("validator.json", lambda case: case["kind"] == "Tier"))
def test_the_corpus_on_tiers(case):
    _parsed, findings = parse_all([case["object"]])
    assert (findings == []) is case["valid"], findings
