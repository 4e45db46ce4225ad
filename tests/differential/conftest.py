# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels under test, and the seed of the run."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.differential.explore import Hits
from tests.differential.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEED = int(os.environ.get("NETPOLICY_SEED") or random.SystemRandom().randrange(1_000_000))
_FIGURES = Hits()


def pytest_report_header() -> str:
    """Say how to repeat this run."""
    return f"NETPOLICY_SEED={_SEED}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was compared, and what of it was hit how often."""
    if not _FIGURES.branches:
        return
    terminalreporter.section(f"compared with the kernel, NETPOLICY_SEED={_SEED}")
    terminalreporter.write_line(
        ", ".join(f"{name}: {number}" for name, number in sorted(_FIGURES.branches.items()))
    )
    if _FIGURES.fields.there:
        terminalreporter.section("by field of a policy: how many have it, packets decided and kept off by it")
        for line in _FIGURES.fields.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures() -> Hits:
    """What was hit how often, to be added to; the end of the run shows it."""
    return _FIGURES


@pytest.fixture(scope="session")
def run_seed() -> int:
    """What this run's random choices come from: NETPOLICY_SEED, or by chance."""
    return _SEED


@pytest.fixture(scope="session")
def kernel() -> Iterator[Kernel]:
    """A host that is nothing but a kernel; see kernel.py."""
    yield from _kernel(tracking=True)


@pytest.fixture(scope="session")
def untracking_kernel() -> Iterator[Kernel]:
    """The same, but nothing in it tracks connections, so that raw sees every fragment as it is."""
    yield from _kernel(tracking=False)


def _kernel(*, tracking: bool) -> Iterator[Kernel]:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    with Kernel(tracking=tracking) as running:
        yield running
