# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.netpolicy.host.plugins.test import labels

SELECTED_BY = labels.TestModule().tests()["selected_by"]


def test_the_name_is_a_contract():
    assert set(labels.TestModule().tests()) == {"selected_by"}


@pytest.mark.parametrize(
    "given_labels, selector, selected",
    [
        ({"role": "db"}, "role == 'db'", True),
        ({"role": "web"}, "role == 'db'", False),
        ({}, "role == 'db'", False),
        ({}, "", True),
        ({"role": ""}, "has(role)", True),
    ],
)
def test_labels_are_selected(given_labels, selector, selected):
    assert SELECTED_BY(given_labels, selector) is selected


@pytest.mark.parametrize(
    "given_labels, selector, message",
    [
        ("role", "all()", "found 'role', expected a mapping of labels"),
        (None, "all()", "found null, expected a mapping of labels"),
        ({}, None, "selector: found null, expected a string"),
        ({}, ["all()"], "selector: found a list, expected a string"),
        ({}, "role = 'db'", "column 6: expected an operator (==, !=, in, not in, "),
        ({"a": 5}, "a contains '5'", "label a: found 5, expected a string (quote it)"),
        ({"a": None}, "has(a)", "label a: found null, expected a string (quote it)"),
    ],
)
def test_bad_arguments_are_refused(given_labels, selector, message):
    with pytest.raises(AnsibleFilterError) as error:
        SELECTED_BY(given_labels, selector)
    assert str(error.value).startswith(f"netpolicy.host.selected_by: {message}")


def test_a_bad_selector_is_quoted_whole():
    with pytest.raises(AnsibleFilterError, match=r" in \"role = 'db'\""):
        SELECTED_BY({}, "role = 'db'")
