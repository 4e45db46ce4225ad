# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that a change of policy gives back to connection tracking are never overlooked."""

from __future__ import annotations

import dataclasses
import itertools
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, released, verdict
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import flow_samples, samples

WIDE = model.AddressSet("", ("10.0.0.0/8",))
WEB = samples.rule(protocol=model.TCP, source=model.Side(("s:one",)), destination=model.Side((), ((80, 90),)))


def host(
    *rules: model.Rule, members: model.AddressSet = WIDE, failsafes: model.Failsafes | None = None
) -> model.HostPolicy:
    return samples.host([samples.policy("web", ingress=rules)], sets={"s:one": members}, failsafes=failsafes)


BEFORE = host(WEB)


@pytest.mark.parametrize(
    "after",
    [
        BEFORE,
        host(WEB, samples.rule(model.DENY)),
        host(samples.rule(protocol=model.TCP)),
        host(dataclasses.replace(WEB, destination=model.Side((), ((80, 90), (443, 443))))),
        host(WEB, members=model.AddressSet("", ("10.0.0.0/8", "192.0.2.0/24"))),
        host(samples.rule(model.PASS, protocol=model.UDP), WEB),
    ],
    ids=["same", "denied", "wider rule", "more ports", "more peers", "about UDP"],
)
def test_what_only_widens_releases_nothing(after):
    assert not released.may_release_tcp(BEFORE, after)


@pytest.mark.parametrize(
    "after",
    [
        None,
        host(),
        dataclasses.replace(BEFORE, endpoints=()),
        host(dataclasses.replace(WEB, destination=model.Side((), ((80, 80),)))),
        host(WEB, members=model.AddressSet("", ("10.0.0.0/9",))),
        host(samples.rule(model.PASS, protocol=model.TCP), WEB),
        host(WEB, failsafes=model.Failsafes((model.Failsafe(model.TCP, 80),))),
    ],
    ids=["removed", "no rule", "no endpoint", "fewer ports", "fewer peers", "passed on", "failsafe"],
)
def test_what_narrows_may_release(after):
    assert released.may_release_tcp(BEFORE, after)


def test_what_was_never_untracked_is_not_released():
    assert not released.may_release_tcp(host(samples.rule(protocol=model.UDP)), None)
    assert not released.may_release_tcp(host(samples.rule(model.DENY)), None)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(st.data(), flow_samples.deciding_policies(), st.integers(0, 2**32 - 1))
def test_no_release_is_overlooked(data, before, seed):
    """Not one packet that was untracked is tracked under a policy that is said to release none."""
    after = data.draw(st.one_of(flow_samples.deciding_policies(), edited(before)))
    if released.may_release_tcp(before, after):
        return
    for way in itertools.islice(flow_samples.ways(before, Random(seed)), 100):
        for direction in (model.INGRESS, model.EGRESS):
            then, now = (
                verdict.raw(policy, flow_samples.packet("eth0", direction, way)) for policy in (before, after)
            )
            was_untracked = then.action == model.ALLOW and not then.tracked
            is_tracked = now.action == model.ALLOW and now.tracked
            assert not (way[1] == model.TCP and was_untracked and is_tracked), (direction, way)


@st.composite
def edited(draw: st.DrawFn, policy: model.HostPolicy) -> model.HostPolicy:
    """The policy with a rule more or less in it, or another set."""
    members = dict(policy.policies)
    key = draw(st.sampled_from(sorted(members)))
    changed = []
    for direction in (model.INGRESS, model.EGRESS):
        rules = list(members[key].rules(direction))
        at = draw(st.integers(0, len(rules)))
        rules[at : at + draw(st.integers(0, 1))] = draw(st.lists(flow_samples.rules(), max_size=1))
        changed.append(tuple(rules))
    members[key] = dataclasses.replace(members[key], ingress=changed[0], egress=changed[1])
    sets = {**policy.sets, **({"n:wide": policy.sets["n:inner"]} if draw(st.booleans()) else {})}
    return dataclasses.replace(policy, policies=members, sets=sets)
