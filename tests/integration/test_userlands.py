# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nft of other releases: it takes what we write, and what it tells of the table is understood."""

from __future__ import annotations

import os
import shutil
from itertools import islice
from random import Random, SystemRandom
from typing import TYPE_CHECKING

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._host import paths
from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables
from tests.differential.compare import expected
from tests.differential.kernel import Kernel
from tests.differential.samples import samples
from tests.lab import command
from tests.load.guarded import policies
from tests.machine import requests, snapshot
from tests.machine.examples import CONTRADICTORY, LARGE
from tests.machine.machine import Machine
from tests.machine.userland import RELEASES, UnavailableError, nft_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
    from tests.machine.userland import Release

SEED = int(os.environ.get("NETPOLICY_SEED") or SystemRandom().randrange(1_000_000))
POLICIES = [CONTRADICTORY, *policies(12, SEED)]
PACKETS = 60


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: f"nft-{release.nft}")
def nft(request: pytest.FixtureRequest) -> tuple[str, ...]:
    release: Release = request.param
    try:
        argv = nft_command(release)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert f"v{release.nft} " in command.run([*argv, "--version"]).stdout
    return argv


@pytest.fixture(scope="module")
def kernel(nft: tuple[str, ...]) -> Iterator[Kernel]:
    with Kernel(nft) as running:
        yield running


@pytest.fixture
def machine(kernel: Kernel, nft: tuple[str, ...]) -> Iterator[Machine]:
    kernel.clear()
    with Machine(kernel.entered, nft) as running:
        yield running


def assert_enforces(kernel: Kernel, policy: model.HostPolicy) -> None:
    tried = tuple(islice(samples(policy, Random(SEED)), PACKETS))
    differences = expected(policy, tried).differences(policy, kernel.observe(tried))
    assert differences == (), f"NETPOLICY_SEED={SEED}"


def test_it_loads_the_ruleset_as_text(kernel: Kernel, nft: tuple[str, ...]) -> None:
    for policy in POLICIES:
        kernel.clear()
        with kernel.entered():
            command.run([*nft, "-f", "-"], stdin=nftables.text(policy))
        assert_enforces(kernel, policy)


def test_the_engine_changes_policies_with_it(kernel: Kernel, machine: Machine) -> None:
    for policy in POLICIES:
        assert requests.answer(machine, requests.apply(policy))["changed"] is True
        assert_enforces(kernel, policy)
        assert requests.answer(machine, requests.INFO)["drift"] == []
        assert requests.answer(machine, requests.apply(policy))["changed"] is False
    requests.answer(machine, requests.REMOVE)
    assert snapshot.table(kernel) is None


def test_the_engine_sees_a_change_by_hand_with_it_and_takes_it_back(kernel: Kernel, machine: Machine) -> None:
    for policy in POLICIES[:4]:
        requests.answer(machine, requests.apply(policy))
        whole = snapshot.table(kernel)
        for script in by_hand(kernel):
            kernel.nft(script)
            assert requests.answer(machine, requests.INFO)["drift"] != [], script
            assert requests.answer(machine, requests.apply(policy))["changed"] is True
            assert requests.answer(machine, requests.INFO)["drift"] == []
            assert snapshot.table(kernel) == whole


def by_hand(kernel: Kernel) -> Iterator[str]:
    """What people may do to the table: scripts, each for the table as it then is."""
    table = snapshot.table(kernel)
    assert table is not None
    chains = [name.partition(" ")[2] for name in table if name.startswith("chain ")]
    yield f"insert rule inet netpolicy_host {chains[0]} accept\n"
    yield f"flush chain inet netpolicy_host {chains[-1]}\n"
    for name, value in table.items():
        if name.startswith("set ") and value.get("elem"):
            yield f"flush set inet netpolicy_host {name.partition(' ')[2]}\n"
            break


def keeps(kernel: Kernel, machine: Machine, policy: model.HostPolicy) -> None:
    """The policy that this machine's nft has installed is to the other one the same."""
    with Machine(kernel.entered) as before:
        requests.answer(before, requests.apply(policy))
        for directory in (paths.CONFIG_DIRECTORY, paths.ENGINE_DIRECTORY):
            shutil.rmtree(machine.path(directory), ignore_errors=True)
            shutil.copytree(before.path(directory), machine.path(directory))
    assert requests.answer(machine, requests.INFO)["drift"] == []
    assert requests.answer(machine, requests.apply(policy))["changed"] is False
    assert requests.answer(machine, requests.INFO)["drift"] == []


def dispatches(policy: model.HostPolicy) -> bool:
    """Whether its table finds rules by port, by protocol or by address."""
    return " vmap {" in nftables.text(policy)


def test_a_host_whose_nft_becomes_another_keeps_its_policy(
    kernel: Kernel, machine: Machine, nft: tuple[str, ...]
) -> None:
    for policy in POLICIES:
        if not (dispatches(policy) and "bullseye" in nft[0]):
            keeps(kernel, machine, policy)


def test_that_policy_may_find_its_rules_by_port(
    kernel: Kernel, machine: Machine, nft: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    if "bullseye" in nft[0]:
        reason = "nft 0.9.8 dies of a map from ports or addresses to verdicts that a newer one has written"
        request.applymarker(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
    assert dispatches(LARGE)

    keeps(kernel, machine, LARGE)
