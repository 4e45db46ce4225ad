# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs for the integration tests: real hosts in namespaces, real ssh, real playbooks."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.lab import Lab
from tests.lab.scenario import SCENARIOS, Stage, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.plan import HostSpec


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is here when it cannot run, and say why."""
    if os.geteuid() == 0:
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs root: it makes network namespaces and mounts"))


_TOLD: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what tests have to tell of what they did."""
    if _TOLD:
        terminalreporter.section("told by tests")
        for line in _TOLD:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tell() -> Callable[[str], None]:
    """Have the end of the run show a line: how much a test has tried."""
    return _TOLD.append


@pytest.fixture(scope="module")
def labs() -> Iterator[Callable[..., Lab]]:
    """``labs("server", HostSpec(…))`` starts a lab that lives as long as the module's tests."""
    with ExitStack() as stack:

        def up(*hosts: str | HostSpec) -> Lab:
            return stack.enter_context(Lab.up(*hosts))

        yield up


@pytest.fixture(scope="module")
def memcached_stage() -> Iterator[Stage]:
    """The first published policy's hosts: memcached behind a firewall, two clients and an outsider."""
    with running(SCENARIOS["memcached"]) as stage:
        yield stage


@pytest.fixture(scope="module")
def redis_stage() -> Iterator[Stage]:
    """The second published policy's hosts: redis behind a firewall, two clients and an outsider."""
    with running(SCENARIOS["redis"]) as stage:
        yield stage
