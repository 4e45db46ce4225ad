# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import changes, describe, model
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import (
    host,
    policy,
    rule,
)


@given(samples.host_policies())
def test_nothing_changes_from_a_policy_to_itself(one):
    assert changes.changes(one, one) == ([], [])
    assert changes.changes(None, one) == ([], describe.lines(one))
    assert changes.changes(one, None) == (describe.lines(one), [])


@given(samples.host_policies(), samples.host_policies())
def test_what_changes_shows(one, other):
    gone, come = changes.changes(one, other)
    same = describe.describe(one) == describe.describe(other)
    assert ((gone, come) == ([], [])) == same


def test_a_rule_that_comes_is_one_line_of_its_policy():
    rules = [rule(protocol=number) for number in range(1, 60)]
    before, after = (host([policy("web", members)]) for members in (rules, [rule(model.DENY), *rules]))
    assert changes.changes(before, after) == ([], ["GlobalNetworkPolicy/web ingress: deny"])


def with_members(*nets: str) -> model.HostPolicy:
    sets = {"s:clients": model.AddressSet('role == "client"', nets)}
    return host([policy("web", [rule(source=model.Side(("s:clients",)))])], sets=sets)


def test_a_set_that_changes_tells_how_many_come_and_go_and_the_first_of_them():
    before = with_members(*(f"10.0.0.{one}/32" for one in range(2, 12, 2)))
    after = with_members(*(f"10.0.0.{one}/32" for one in range(4, 40, 2)))
    title = 'set [role == "client"]'
    assert changes.changes(before, after) == (
        [f"{title}: 5 members", f"{title}: 10.0.0.2/32"],
        [
            f"{title}: 18 members, +14 -1",
            *(f"{title}: 10.0.0.{one}/32" for one in (12, 14, 16, 18, 20)),
        ],
    )


LINES = st.integers(0, 400).map(lambda number: [f"line {index}" for index in range(number)])


@given(LINES, LINES)
def test_no_more_is_shown_than_a_screen_takes(gone, come):
    shown_gone, shown_come = changes.cut((gone, come))
    assert len(shown_gone) + len(shown_come) <= changes.LIMIT
    if len(gone) + len(come) <= changes.LIMIT:
        assert (shown_gone, shown_come) == (gone, come)
    else:
        *kept, last = shown_come
        assert (shown_gone, kept) == (gone[: len(shown_gone)], come[: len(kept)])
        left_out = len(gone) + len(come) - len(shown_gone) - len(kept)
        assert last == f"... and {left_out} more lines; netpolicy_compiled_dest keeps the whole policy"
        assert len(shown_gone) + len(shown_come) == changes.LIMIT
