# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine dies at any moment: the old policy or the new one is in force, whole, and the next run mends.

An undisturbed run tells which effects there are. Then, for each of them, a run is killed right before it, and
one after the last.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.machine import requests
from tests.machine.examples import NEW, OLD
from tests.machine.host import Host, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

APPLY_OLD, APPLY_NEW = requests.apply(OLD), requests.apply(NEW)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running() as started:
        yield started


def nothing(host: Host) -> None:
    host.answer(requests.REMOVE)


def old_policy(host: Host) -> None:
    host.answer(APPLY_OLD)


def drifted_old_policy(host: Host) -> None:
    old_policy(host)
    host.let_everything_in()


@dataclass(frozen=True)
class Case:
    """A run on a host; `mend` is the next one, if that is not the same again."""

    prepare: Callable[[Host], None]
    request: Mapping[str, Any]
    mend: Mapping[str, Any] | None = None


CASES = {
    "first install": Case(nothing, APPLY_OLD),
    "change": Case(old_policy, APPLY_NEW),
    "change that is taken back": Case(old_policy, APPLY_NEW, mend=APPLY_OLD),
    "repair after drift": Case(drifted_old_policy, APPLY_OLD),
    "change after drift": Case(drifted_old_policy, APPLY_NEW),
    "removal": Case(drifted_old_policy, requests.REMOVE),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_killed_at_any_moment_leaves_one_policy_whole_and_the_next_run_mends(
    host: Host, name: str, tell: Callable[[str], None]
) -> None:
    case = CASES[name]
    mend = case.mend or case.request
    case.prepare(host)
    before = host.enforces()
    undisturbed = host.machine.serve(case.request)
    assert undisturbed.answer is not None
    assert undisturbed.answer["changed"] is True
    after = host.enforces()
    assert before.fates != after.fates, "these packets tell nothing"
    host.answer(mend)
    mended = host.holds()

    left: Counter[str] = Counter()
    for number, effect in enumerate([*undisturbed.effects, "the answer"]):
        where = f"{name}, killed before effect {number}, {effect}"
        case.prepare(host)
        assert host.machine.serve(case.request, kill_before=number).answer is None, where
        found = host.enforces()
        assert found in (before, after), where
        left["old" if found == before else "new"] += 1
        host.answer(mend)
        assert host.holds() == mended, where
        assert host.answer(mend)["changed"] is False, where
    assert left["old"]
    assert left["new"]
    tell(f"killed at {left.total()} moments of a {name}: {left['old']} left the old, {left['new']} the new")
