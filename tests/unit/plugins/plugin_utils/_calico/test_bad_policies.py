# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user is told of a bad resource: every document of bad_policies.yml, one by one and all at once."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible.parsing.utils.yaml import from_yaml

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import kinds
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import fields

if t.TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding

FILE = next(
    parent / "tests/fixtures/bad_policies.yml"
    for parent in Path(__file__).parents
    if (parent / "tests/fixtures").is_dir()
)
COMMENT = re.compile(r"# (?P<title>.+?)\n# path: ?(?P<path>\S*)\n# message: (?P<message>.+(?:\n#   .+)*)\n")
ARROW = "# <-"


@dataclass(frozen=True)
class Bad:
    """A bad resource, and what is to be said of it."""

    title: str
    path: str
    message: str
    place: str
    value: t.Any


def documents() -> list[Bad]:
    """All of the file. Each is loaded alone, on the lines on which it stands."""
    found = []
    text = FILE.read_text(encoding="utf-8")
    for start in re.finditer(r"^---\n", text, re.MULTILINE):
        document = re.split(r"^---\n", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
        comment = COMMENT.match(document)
        assert comment, f"no title, path and message in the comment of:\n{document}"
        first = text.count("\n", 0, start.end()) + 1
        arrows = [first + number for number, line in enumerate(document.split("\n")) if line.endswith(ARROW)]
        assert len(arrows) == 1, f"not one line with an arrow in:\n{document}"
        found.append(
            Bad(
                title=comment["title"].replace("\n# ", " "),
                path=comment["path"],
                message=comment["message"].replace("\n#   ", " "),
                place=f"{FILE}:{arrows[0]}",
                value=from_yaml("\n" * (first - 1) + document, file_name=str(FILE)),
            )
        )
    return found


DOCUMENTS = documents()


def findings(*members: t.Any) -> list[Finding]:
    parsed, findings = kinds.parse_all(members)
    return [*findings, *kinds.undefined_tiers(parsed)]


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.title) for bad in DOCUMENTS])
def test_a_bad_resource_is_refused_with_its_place_its_path_and_the_reason(bad):
    found = [(finding.path, finding.message, finding.place) for finding in findings(bad.value)]
    assert found == [(bad.path, bad.message, bad.place)]


def test_there_are_a_hundred_of_them_and_each_is_bad_in_a_way_of_its_own():
    assert len(DOCUMENTS) >= 100
    seen: dict[tuple[str, str], str] = {}
    for bad in DOCUMENTS:
        title = seen.setdefault((_shape_of_path(bad.path), _shape_of_message(bad.message)), bad.title)
        assert title == bad.title, f"the same badness twice: {title} / {bad.title}"


def test_all_are_reported_at_once():
    def said(members: t.Iterable[Finding]) -> list[str]:
        return sorted(map(str, members))

    alone = [finding for bad in DOCUMENTS for finding in findings(bad.value)]
    assert said(findings(*(bad.value for bad in DOCUMENTS))) == said(alone)


def test_every_field_that_can_be_bad_is_in_one_of_them():
    told = {_shape_of_path(bad.path) for bad in DOCUMENTS}
    prefixes = {fields.RULE: "RULE.", fields.ENTITY: "RULE.ENTITY."}
    unheard = [
        f"{table} {field.path}"
        for table, members in fields.tables().items()
        for field in members
        if field.treatment != fields.IGNORED
        and not any(path.startswith(_shape_of_path(prefixes.get(table, "") + field.path)) for path in told)
    ]
    assert unheard == []


_ALIKE = (
    (r"\[\d+\]", "[]"),
    (r"spec\.(ingress|egress)(\[\])?", "RULE"),
    (r"(?:^|RULE\.)(source|destination)\b", "RULE.ENTITY"),
    (r"\bnotICMP\b", "icmp"),
    (r"\bfailsafe(In|Out)boundHostPorts\b", "FAILSAFES"),
)
"""What is read by the same part of a table."""


def _shape_of_path(path: str) -> str:
    for pattern, shape in _ALIKE:
        path = re.sub(pattern, shape, path)
    return path


def _shape_of_message(message: str) -> str:
    """The message without what the user wrote: any text, and any number except the limits."""
    found, comma, allowed = message.partition(", allowed:")
    found = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", found)
    return re.sub(r"(?<![\w.])[-+]?\d[\w.]*", "0", found) + comma + allowed
