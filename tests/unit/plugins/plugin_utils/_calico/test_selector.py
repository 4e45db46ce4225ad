# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import selector
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import corpus

# -- one term ----------------------------------------------------------------------------------------

PRESENT, OTHER, MISSING = {"k": "value"}, {"k": "other"}, {"x": "value"}


@pytest.mark.parametrize(
    "text, present, other, missing",
    [
        ("k == 'value'", True, False, False),
        ("k != 'value'", False, True, True),
        ("k in {'value', 'x'}", True, False, False),
        ("k in {}", False, False, False),
        ("k not in {'value', 'x'}", False, True, True),
        ("k not in {}", True, True, True),
        ("k contains 'alu'", True, False, False),
        ("k contains ''", True, True, False),
        ("k starts with 'val'", True, False, False),
        ("k starts with ''", True, True, False),
        ("k ends with 'lue'", True, False, False),
        ("k ends with ''", True, True, False),
        ("has(k)", True, True, False),
        ("!has(k)", False, False, True),
        ("all()", True, True, True),
        ("global()", True, True, True),
        ("", True, True, True),
        (" \t", True, True, True),
    ],
)
def test_terms(text, present, other, missing):
    found = selector.parse(text)
    assert [found.matches(labels) for labels in (PRESENT, OTHER, MISSING)] == [present, other, missing]


@pytest.mark.parametrize(
    "text, matches",
    [
        # ! binds tightest, then &&, then ||.
        ("has(a) || has(b) && has(c)", True),
        ("(has(a) || has(b)) && has(c)", False),
        ("!has(a) || has(a)", True),
        ("!(has(a) || has(c))", False),
        ("!a == 'x'", True),
        ("!a == '1'", False),
        ("!!has(a)", True),
        ("!!!has(a)", False),
        ("! ! has(a)", True),
        ("has(a) && has(b) && has(c)", False),
        ("has(c) || has(d) || has(a)", True),
        ("((((has(a)))))", True),
    ],
)
def test_operators_bind_as_in_calico(text, matches):
    assert selector.parse(text).matches({"a": "1"}) == matches


def test_values_are_compared_byte_by_byte():
    assert not selector.parse("a == 'B'").matches({"a": "b"})
    assert not selector.parse("A == 'b'").matches({"a": "b"})
    assert selector.parse("a == ''").matches({"a": ""})


# -- what can be written -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, canonical",
    [
        ("", "all()"),
        ("  ", "all()"),
        ("all( )", "all()"),
        ("global(\t)", "global()"),
        ("has( a )", "has(a)"),
        ("a=='b'", 'a == "b"'),
        ("a\t==\t'b' ", 'a == "b"'),
        ("a == '\"'", "a == '\"'"),
        ('a == "it\'s"', 'a == "it\'s"'),
        ("a == 'two\nlines'", 'a == "two\nlines"'),
        ("a in{'c','b','c'}", 'a in {"b", "c"}'),
        ("a in {'b',}", 'a in {"b"}'),
        ("a in { }", "a in {}"),
        ("a notin {'b'}", 'a not in {"b"}'),
        ("a not \t in {'b'}", 'a not in {"b"}'),
        ("a startswith'b'", 'a starts with "b"'),
        ("a starts  with 'b'", 'a starts with "b"'),
        ("a endswith 'b'", 'a ends with "b"'),
        ("a contains'b'", 'a contains "b"'),
        ("(has(a))", "has(a)"),
        ("!(has(a))", "!has(a)"),
        ("!!has(a)", "has(a)"),
        ("has(a)&&has(b)", "(has(a) && has(b))"),
        ("has(a) && (has(b) && has(c))", "(has(a) && (has(b) && has(c)))"),
        ("has(a) && has(b) || has(c)", "((has(a) && has(b)) || has(c))"),
        ("!(has(a) || has(b))", "!(has(a) || has(b))"),
        # Words are labels where no operator can stand.
        ("in in {'a'}", 'in in {"a"}'),
        ("not == 'x'", 'not == "x"'),
        ("not not in {'x'}", 'not not in {"x"}'),
        ("has == 'x'", 'has == "x"'),
        ("all == 'x'", 'all == "x"'),
        ("allx == 'x'", 'allx == "x"'),
        ("contains contains 'x'", 'contains contains "x"'),
        ("starts starts with 'x'", 'starts starts with "x"'),
        ("a.b/c-d_e == 'x'", 'a.b/c-d_e == "x"'),
        ("-/. == 'x'", '-/. == "x"'),
        (f"{'a' * 512} == 'x'", f'{"a" * 512} == "x"'),
        (f"has({'a' * 512})", f"has({'a' * 512})"),
    ],
)
def test_canonical_text(text, canonical):
    assert selector.parse(text).canonical == canonical


def test_a_negated_negation_has_the_text_that_calico_gives_it():
    """Read again it is no negation at all; all other canonical text reads back as an equal selector."""
    found = selector.parse("!(!has(a))")
    assert found.canonical == "!!has(a)"
    assert selector.parse(found.canonical) == selector.parse("has(a)")
    for labels in ({"a": ""}, {}):
        assert found.matches(labels) == selector.parse("has(a)").matches(labels)


@pytest.mark.parametrize(
    "text, column, expected",
    [
        ("a", 2, "an operator"),
        ("a = 'b'", 3, "an operator"),
        ("a inf 'b'", 3, "an operator"),
        ("a notinb {'b'}", 3, "an operator"),
        ("a == b", 6, "a quoted string"),
        ("'a' == b", 1, "a label"),
        ("a == 'b", 6, "a quoted string"),
        ("a == 'b\"", 6, "a quoted string"),
        ("a == ", 6, "a quoted string"),
        ("a in 'b'", 6, "'{'"),
        ("a in {,}", 7, "a quoted string"),
        ("a in {'b' 'c'}", 11, "',' or '}'"),
        ("a in {'b'", 10, "',' or '}'"),
        ("a in {'b',,}", 11, "a quoted string"),
        ("has (a)", 5, "an operator"),
        ("has(a b)", 4, "an operator"),
        ("has()", 4, "an operator"),
        ("all(x)", 4, "an operator"),
        ("(has(a)", 8, "')'"),
        ("()", 2, "a label"),
        ("has(a))", 7, "the end"),
        ("has(a) has(b)", 8, "the end"),
        ("has(a) & has(b)", 8, "the end"),
        ("has(a) | has(b)", 8, "the end"),
        ("has(a) &&", 10, "a label"),
        ("&& has(a)", 1, "a label"),
        ("!", 2, "a label"),
        ("has(a)\n", 7, "the end"),
        ("\nhas(a)", 1, "a label"),
        ("a\u00a0== 'b'", 2, "an operator"),
        ("ä == 'b'", 1, "a label"),
        (f"{'a' * 513} == 'x'", 513, "at most 512"),
    ],
)
def test_errors_tell_the_column_and_what_was_expected(text, column, expected):
    with pytest.raises(selector.SelectorError) as error:
        selector.parse(text)
    assert error.value.column == column
    assert str(error.value).startswith(f"column {column}: expected ")
    assert expected in str(error.value)


@pytest.mark.parametrize("text, found", [("a", "found the end"), ("a = 'b'", "found \"= 'b'\"")])
def test_errors_quote_what_was_found(text, found):
    with pytest.raises(selector.SelectorError, match=found):
        selector.parse(text)


# -- depth and size ----------------------------------------------------------------------------------


def nested(depth: int, inner: str = "has(a)") -> str:
    return "(" * depth + inner + ")" * depth


def test_parentheses_within_the_bound():
    assert selector.parse(nested(selector.MAX_DEPTH)).canonical == "has(a)"
    deepest = "has(a) && !(" * selector.MAX_DEPTH + "has(a)" + ")" * selector.MAX_DEPTH
    found = selector.parse(deepest)
    assert found.matches({"a": ""}) == (selector.MAX_DEPTH % 2 == 0)
    assert selector.parse(found.canonical) == found


@pytest.mark.parametrize("depth", [selector.MAX_DEPTH + 1, 100_000])
@pytest.mark.parametrize("opening", ["(", "!(", "has(a) && ("])
def test_deeper_nesting_is_refused(depth, opening):
    with pytest.raises(selector.SelectorError, match=f"at most {selector.MAX_DEPTH} parentheses"):
        selector.parse(opening * depth + "has(a)" + ")" * depth)


def test_the_bound_is_on_depth_not_on_number():
    many = " || ".join([nested(3)] * 200)
    assert selector.parse(many).matches({"a": ""})


@pytest.mark.parametrize(
    "text",
    ["!" * 100_000 + "has(a)", " && ".join(["has(a)"] * 20_000), " " * 100_000 + "has(a)"],
    ids=("negations", "operands", "spaces"),
)
def test_long_selectors(text):
    assert selector.parse(text).matches({"a": ""})


# -- identity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "all()", " all( ) "])
def test_the_id_that_calico_gives_to_all(text):
    assert selector.parse(text).unique_id == "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"


def test_a_value_that_is_no_text_has_an_id_too():
    """YAML can write half a surrogate pair, which cannot be encoded."""
    assert selector.parse("a == '\ud800'").unique_id.startswith("s:")


# -- any selector ------------------------------------------------------------------------------------

KEYS = ("a", "b", "in", "not", "has", "all", "a.b/c")
VALUES = ("", "x", "xy", "it's", '"', "y z", "\u00e4")
LABELS = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=4)
Predicate = Callable[[t.Mapping[str, str]], bool]
Term = tuple[str, Predicate]
"""A selector's text, and what it means, told without the parser."""


@st.composite
def _terms(draw: st.DrawFn) -> Term:
    space = st.sampled_from(("", " ", "\t "))
    key, value = draw(st.sampled_from(KEYS)), draw(st.sampled_from(VALUES))
    members = draw(st.lists(st.sampled_from(VALUES), max_size=3))

    def quoted(text: str) -> str:
        quotes = [quote for quote in "\"'" if quote not in text]
        quote = draw(st.sampled_from(quotes))
        return f"{quote}{text}{quote}"

    written_set = "{" + ",".join(draw(space) + quoted(member) + draw(space) for member in members) + "}"
    terms: list[Term] = [
        ("all()", lambda _labels: True),
        (f"has({draw(space)}{key}{draw(space)})", lambda labels: key in labels),
        (f"{key}{draw(space)}=={draw(space)}{quoted(value)}", lambda labels: labels.get(key) == value),
        (f"{key}{draw(space)}!={draw(space)}{quoted(value)}", lambda labels: labels.get(key) != value),
        (
            f"{key} contains{draw(space)}{quoted(value)}",
            lambda labels: key in labels and value in labels[key],
        ),
        (
            f"{key} starts{draw(space)}with{draw(space)}{quoted(value)}",
            lambda labels: key in labels and labels[key].startswith(value),
        ),
        (
            f"{key} ends{draw(space)}with{draw(space)}{quoted(value)}",
            lambda labels: key in labels and labels[key].endswith(value),
        ),
        (f"{key} in{draw(space)}{written_set}", lambda labels: key in labels and labels[key] in members),
        (
            f"{key} not{draw(space)}in{draw(space)}{written_set}",
            lambda labels: key not in labels or labels[key] not in members,
        ),
    ]
    return draw(st.sampled_from(terms))


def _larger(inner: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    """Parentheses around every operand: how operators bind is another test; so is a `!` before a `!`."""
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        inner.filter(lambda one: not one[0].startswith("!")).map(
            lambda one: (f"!({one[0]})", lambda labels: not one[1](labels))
        ),
        several.map(
            lambda ones: (
                " && ".join(f"({text})" for text, _meaning in ones),
                lambda labels: all(meaning(labels) for _text, meaning in ones),
            )
        ),
        several.map(
            lambda ones: (
                "||".join(f"( {text} )" for text, _meaning in ones),
                lambda labels: any(meaning(labels) for _text, meaning in ones),
            )
        ),
    )


SELECTORS = st.recursive(_terms(), _larger, max_leaves=6)


@given(SELECTORS, st.lists(LABELS, max_size=4))
def test_a_selector_matches_what_it_says(written, labels):
    text, meaning = written
    found = selector.parse(text)
    for one in labels:
        assert found.matches(one) == meaning(one)


@given(SELECTORS, st.lists(LABELS, max_size=4))
def test_canonical_text_reads_back_as_an_equal_selector(written, labels):
    found = selector.parse(written[0])
    again = selector.parse(found.canonical)
    assert again == found
    assert again.canonical == found.canonical
    assert again.unique_id == found.unique_id
    assert [again.matches(one) for one in labels] == [found.matches(one) for one in labels]


@given(SELECTORS, SELECTORS)
def test_ids_differ_as_canonical_texts_do(one, other):
    first, second = selector.parse(one[0]), selector.parse(other[0])
    assert (first.unique_id == second.unique_id) == (first.canonical == second.canonical)
    assert len(first.unique_id) == 40


PIECES = st.sampled_from(
    (
        "a",
        "in",
        "not",
        "has(",
        "all()",
        "(",
        ")",
        "!",
        "&&",
        "||",
        "==",
        "!=",
        "{",
        "}",
        ",",
        "'",
        '"',
        " ",
        "x'",
    )
)


@given(st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=12).map("".join)))
@example("\x00")
@example("a == '\ud800'")
def test_any_text_is_read_or_refused(text):
    try:
        found = selector.parse(text)
    except selector.SelectorError as error:
        column = error.column
    else:
        column = 1
        found.matches({"a": "x"})
        assert selector.parse(found.canonical).matches({"a": "x"}) == found.matches({"a": "x"})
    assert 1 <= column <= len(text) + 1


# -- the corpus --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", corpus.cases("selectors.json", lambda case: case["type"] == "match"))
def test_corpus_match(case):
    found = selector.parse(case["expr"])
    assert found.matches(case["labels"]) == case["matches"]
    assert selector.parse(found.canonical).matches(case["labels"]) == case["matches"]


@pytest.mark.parametrize("case", corpus.cases("selectors.json", lambda case: case["type"] == "valid"))
def test_corpus_valid(case):
    if case["valid"]:
        selector.parse(case["expr"])
    else:
        with pytest.raises(selector.SelectorError):
            selector.parse(case["expr"])


@pytest.mark.parametrize("case", corpus.cases("selectors.json", lambda case: case["type"] == "canonical"))
def test_corpus_canonical(case):
    found = selector.parse(case["expr"])
    assert found.canonical == case["canonical"]
    assert case.get("unique_id") in (None, found.unique_id)


# Of Calico's tokenizer and of its index of labels, which have no counterpart here.
NOT_APPLICABLE = ("tokens", "label_restriction", "label_prefix_visitor")


@pytest.mark.parametrize(
    "case", corpus.cases("selectors.json", lambda case: case["type"] not in ("match", "valid", "canonical"))
)
def test_corpus_not_applicable(case):
    assert case["type"] in NOT_APPLICABLE
    pytest.skip(f"not applicable: {case['type']} is internal to Calico")
