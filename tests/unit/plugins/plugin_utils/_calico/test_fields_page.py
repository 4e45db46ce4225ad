# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/calico-fields.md against the code's tables, and these against the fields that Calico has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import kinds
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import fields

ROOT = next(parent for parent in Path(__file__).parents if (parent / "galaxy.yml").is_file())
PAGE = ROOT / "docs/calico-fields.md"
CALICO = ROOT / "tests/fixtures/calico_fields.txt"

SECTIONS = {"A rule": fields.RULE, "Source and destination of a rule": fields.ENTITY}
"""Titles on the page of the tables whose names are not their titles."""
EVERY_KIND, REFUSED_KINDS = "Every kind", "Kinds that are refused"


def sections() -> dict[str, list[list[str]]]:
    """The rows of the page's tables by the title above them; a row is the texts of its cells."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _newline, body = section.partition("\n")
        rows = [line for line in body.splitlines() if line.startswith("|")][2:]
        found[title] = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]
    return found


ON_PAGE = sections()
IN_CODE = fields.tables()


@pytest.mark.parametrize("table", IN_CODE)
def test_the_page_has_the_fields_of_the_code_with_what_becomes_of_them(table):
    title = next((title for title, name in SECTIONS.items() if name == table), table)
    rows = ON_PAGE[title] + (ON_PAGE[EVERY_KIND] if table in kinds.KINDS else [])
    assert sorted((path, treatment) for path, treatment, _why in rows) == sorted(
        (field.path, field.treatment) for field in IN_CODE[table]
    )
    reasons = {path: why for path, _treatment, why in rows}
    for field in IN_CODE[table]:
        assert (field.reason or "") in reasons[field.path], field.path
        assert field.treatment == fields.SERVED or reasons[field.path], f"{field.path}: no reason"


def test_the_page_has_no_other_tables():
    assert set(ON_PAGE) == {*kinds.KINDS, *SECTIONS, EVERY_KIND, REFUSED_KINDS}


def test_the_page_has_the_kinds_that_are_refused_with_the_reason():
    assert dict(ON_PAGE[REFUSED_KINDS]) == kinds.UNSERVED_KINDS


def test_the_code_knows_every_field_that_calico_has():
    """What is inside of a field that is ignored or refused need not be known."""
    known = {(table, field.path): field.treatment for table, members in IN_CODE.items() for field in members}
    lines = [line for line in CALICO.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    listed = [(table, path) for table, _space, path in (line.partition(" ") for line in lines)]
    assert len(listed) > 250
    assert [(table, path) for table, path in listed if not _is_known(table, path, known)] == []


def _is_known(table: str, path: str, known: dict[tuple[str, str], str]) -> bool:
    steps = path.replace("[]", "").split(".")
    around = [".".join(steps[:count]) for count in range(1, len(steps))]
    return (table, path) in known or any(
        known.get((table, outer)) in (fields.IGNORED, fields.REFUSED) for outer in around
    )
