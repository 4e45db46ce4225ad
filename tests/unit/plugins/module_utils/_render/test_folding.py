# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import folding
from ansible_collections.netpolicy.host.plugins.module_utils._render.matches import ANYTHING, Known
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import host, rule

SETS = {
    "wide": model.AddressSet("wide", ("10.0.0.0/8",), ("fd00::/8",)),
    "narrow": model.AddressSet("narrow", ("10.0.0.0/24", "192.0.2.1/32")),
    "none": model.AddressSet("none"),
}
POLICY = host([], sets=SETS)


def to(name: str, action: str = model.ALLOW, **fields: object) -> model.Rule:
    return rule(action, destination=model.Side((name,)), **fields)


RANGES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 5)).map(
        lambda one: (min(one[:2]), max(one[:2]), one[2])
    ),
    max_size=8,
)


@given(RANGES)
def test_of_ranges_that_overlap_the_first_rule_stays(ranges):
    found = folding.first_matches(ranges)
    for number in range(22):
        wanted = min((index for first, last, index in ranges if first <= number <= last), default=None)
        assert [index for first, last, index in found if first <= number <= last] == (
            [] if wanted is None else [wanted]
        )
    # No more elements than it needs.
    assert all(one[1] + 1 < other[0] or one[2] != other[2] for one, other in zip(found, found[1:]))


def test_rules_that_ask_for_one_address_fold():
    rules = [to("narrow"), to("none"), to("wide", model.DENY, ip_version=4)]
    (fold,) = folding.folds(rules, POLICY, ANYTHING)
    assert fold == folding.Fold("dport", rules)
    assert folding.elements(fold, POLICY, 4) == [
        ("10.0.0.0-10.0.0.255", 0),
        ("10.0.1.0-10.255.255.255", 2),
        ("192.0.2.1", 0),
    ]
    assert folding.elements(fold, POLICY, 6) == []


OTHERS = {
    "a rule that passes on": to("wide", model.PASS),
    "a rule that logs": to("wide", model.LOG),
    "a rule of another protocol": to("wide", protocol=model.UDP),
    "a rule without an address": rule(model.ALLOW),
    "a rule with a port": rule(
        model.ALLOW, protocol=model.TCP, destination=model.Side(("wide",), ((80, 80),))
    ),
    "a rule with two sets": rule(model.ALLOW, destination=model.Side(("wide", "narrow"))),
    "a rule that excludes": rule(model.ALLOW, destination=model.Side(not_sets=("wide",))),
    "a rule for both sides": rule(
        model.ALLOW, source=model.Side(("wide",)), destination=model.Side(("wide",))
    ),
    "a rule for the other side": rule(model.ALLOW, source=model.Side(("wide",))),
    "a rule for what is not a protocol": to("wide", not_protocol=model.UDP),
    "a rule for ICMP": to("wide", icmp=model.Icmp(8)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_no_rule_is_folded_with(other):
    three = [to("wide"), to("narrow"), to("wide")]
    assert list(folding.folds([*three, other, *three], POLICY, ANYTHING)) == [
        folding.Fold("dport", three),
        other,
        folding.Fold("dport", three),
    ]


def test_what_is_known_need_not_be_asked_for():
    rules = [to("wide", protocol=model.TCP), to("wide"), to("wide", not_protocol=model.UDP)]
    assert list(folding.folds(rules, POLICY, Known(model.TCP))) == [folding.Fold("dport", rules)]


def test_few_rules_and_very_many_networks_are_not_folded(monkeypatch):
    few = [to("wide")] * 2
    assert list(folding.folds(few, POLICY, ANYTHING)) == few
    rules = [to("wide")] * 3
    monkeypatch.setattr(folding, "MOST_OF_ONE", 1)
    assert list(folding.folds(rules, POLICY, ANYTHING)) == rules
    monkeypatch.undo()
    monkeypatch.setattr(folding, "MOST", 5)
    assert list(folding.folds(rules, POLICY, ANYTHING)) == rules
