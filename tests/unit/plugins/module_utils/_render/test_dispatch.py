# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._render import dispatch
from ansible_collections.netpolicy.host.plugins.module_utils._render.dispatch import Class

PORTS = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda pair: (min(pair), max(pair)))
ASKED = st.dictionaries(st.integers(0, 9), st.lists(PORTS, min_size=1, max_size=3), max_size=8)


def asks_for(asked: dict[int, list[tuple[int, int]]], port: int) -> set[int]:
    return {index for index, ranges in asked.items() if any(low <= port <= high for low, high in ranges)}


def test_ports_that_the_same_rules_ask_for_are_one_class():
    asked = {0: [(80, 80)], 2: [(80, 90)], 5: [(443, 443)]}
    assert dispatch.classes(asked, 6, 1) == [
        Class((80, 80), (0, 2)),
        Class((81, 90), (2,)),
        Class((443, 443), (5,)),
    ]


@given(ASKED)
def test_a_class_has_the_rules_that_ask_for_its_ports_and_no_others(asked):
    found = dispatch.classes(asked, 10, 1)
    for port in range(22):
        members = [set(one.members) for one in found if one.ports[0] <= port <= one.ports[1]]
        wanted = asks_for(asked, port)
        assert members == ([wanted] if wanted else [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ASKED, st.integers(0, 30), st.integers(0, 5))
def test_within_a_bound_classes_have_all_rules_that_ask_for_their_ports(monkeypatch, asked, bound, between):
    monkeypatch.setattr(dispatch, "FLOOR", bound)
    monkeypatch.setattr(dispatch, "GROWTH", 0)
    found = dispatch.classes(asked, 10, between)
    assert found == [] or sum(len(one.members) * (1 + between) + between for one in found) <= bound
    for port in range(22) if found else ():
        members = [set(one.members) for one in found if one.ports[0] <= port <= one.ports[1]]
        assert len(members) <= 1
        assert asks_for(asked, port) <= set().union(*members)


MANY = 3000
SHAPES = {
    "each its port": {index: [(index, index)] for index in range(MANY)},
    "each all ports but a few": {index: [(index, 65535 - index)] for index in range(MANY)},
    "every other one": {index: [(index, index)] for index in range(0, MANY, 2)},
}


@pytest.mark.parametrize("asked", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("between", [0, 30, MANY])
def test_very_many_rules_stay_within_the_bound(asked, between):
    found = dispatch.classes(asked, MANY, between)
    size = sum(len(one.members) * (1 + between) + between for one in found)
    assert size <= max(dispatch.FLOOR, dispatch.GROWTH * MANY)


def test_heavy_rules_are_copied_less_often():
    asked = {index: [(index, index + 50)] for index in range(500)}
    light = dispatch.classes(asked, 500, 0)
    heavy = dispatch.classes(asked, 500, 0, lambda _index: 10)
    assert 1 < len(heavy) < len(light)
    assert sum(len(one.members) * 10 for one in heavy) <= dispatch.FLOOR


def test_each_port_of_very_many_has_a_class_of_its_own():
    assert len(dispatch.classes(SHAPES["each its port"], MANY, 0)) == MANY
