# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import shown
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples


@pytest.mark.parametrize(
    "value, text",
    [
        ({}, "a mapping"),
        ([], "a list"),
        ((), "a list"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ("a'b", '"a\'b"'),
        ("two\nlines", "'two\\nlines'"),
        (5, "5"),
        (1.5, "1.5"),
        (b"", "a value of type bytes"),
    ],
)
def test_values_as_yaml_has_them(value, text):
    assert shown.shown(value) == text


def test_very_long_numbers():
    assert shown.shown(10**60) == "1" + "0" * 60
    assert shown.shown(1 << 20000) == "a number of 20001 bits"


@given(samples.junk())
def test_whatever_it_is_it_is_short_and_on_one_line(value):
    text = shown.shown(value)
    assert 0 < len(text) <= shown.LONGEST
    assert text.isprintable()


@pytest.mark.parametrize("text", ["", "eth0", "GlobalNetworkPolicy/web", "wéb", "x" * 160])
def test_a_name_that_can_be_printed_stays_as_it_is(text):
    assert shown.name(text) == text


@given(st.text())
def test_a_name_is_short_and_on_one_line(text):
    assert shown.name(text).isprintable()
    assert len(shown.name(text)) <= 2 * shown.LONGEST
