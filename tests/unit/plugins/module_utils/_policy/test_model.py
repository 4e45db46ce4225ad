# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import dataclasses
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, read
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

SAMPLE = samples.written_out(samples.sample())
POSITIONS = list(samples.positions(SAMPLE))


def path(steps: samples.Steps) -> str:
    """A position as messages write it."""
    return "HostPolicy" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


# -- the serialised form -----------------------------------------------------------------------------


@given(samples.host_policies())
def test_what_is_written_is_read_back_equal(policy):
    assert read.loads(model.dumps(policy)) == policy


@given(samples.host_policies())
def test_the_text_is_ascii_and_does_not_depend_on_insertion_order(policy):
    turned = dataclasses.replace(
        policy,
        policies=dict(reversed(list(policy.policies.items()))),
        sets=dict(reversed(list(policy.sets.items()))),
        port_sets=dict(reversed(list(policy.port_sets.items()))),
        interfaces=dict(reversed(list(policy.interfaces.items()))),
        places=dict(reversed(list(policy.places.items()))),
    )
    assert model.dumps(policy).isascii()
    assert model.dumps(turned) == model.dumps(policy)
    assert turned.digest == policy.digest


@given(samples.host_policies())
def test_the_plain_form_holds_plain_data_only(policy):
    data = model.to_dict(policy)
    assert json.loads(json.dumps(data)) == data


def test_writing_does_not_share_lists_with_the_policy():
    policy = samples.sample()
    data = model.to_dict(policy)
    untouched = copy.deepcopy(data)
    data["sets"]["s:clients"]["v4"].append("0.0.0.0/0")
    data["places"]["x"] = "y"
    assert model.to_dict(policy) == untouched


# -- the digest --------------------------------------------------------------------------------------


@given(samples.host_policies(), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_the_digest_ignores_places(policy, places):
    assert dataclasses.replace(policy, places=places).digest == policy.digest


@pytest.mark.parametrize(
    "steps",
    [steps for steps in POSITIONS if steps and steps[0] not in ("places", "format")],
    ids=path,
)
def test_the_digest_counts_everything_else(steps):
    """Whatever is changed, or left out of a list: the policy is refused or has another digest."""
    value = samples.value_at(SAMPLE, steps)
    others: dict[type, list[t.Any]] = {
        str: ["other"],
        bool: [not value],
        int: [value + 1 if isinstance(value, int) else 0, None],
        type(None): [6, []],
    }
    changed = [samples.replaced(SAMPLE, steps, other) for other in others.get(type(value), [])]
    if isinstance(steps[-1], int):
        changed.append(samples.without(SAMPLE, steps))
    for data in changed:
        try:
            policy = read.from_dict(data)
        except read.PolicyFormatError:
            continue
        assert policy.digest != samples.sample().digest


# -- small parts -------------------------------------------------------------------------------------


def test_a_rules_path_names_policy_direction_and_index():
    assert model.Origin("GlobalNetworkPolicy", "web", "egress", 3).path == "GlobalNetworkPolicy/web/egress/3"


def test_tier_rules_are_those_of_its_policies_in_order():
    policy = samples.sample()
    tier = policy.endpoints[0].untracked[0]
    assert [rule.origin.path for rule in policy.tier_rules(tier, model.INGRESS)] == [
        "GlobalNetworkPolicy/web/ingress/0",
        "GlobalNetworkPolicy/web/ingress/1",
        "GlobalNetworkPolicy/base/ingress/0",
    ]
    assert [rule.origin.path for rule in policy.tier_rules(tier, model.EGRESS)] == [
        "GlobalNetworkPolicy/web/egress/0"
    ]
