# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel with the nftables table that we write does what the reference says, packet for packet."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from tests.differential.explore import Hits, explore
from tests.differential.kernel import LostError
from tests.differential.packets import EXTENSIONS, PLAIN
from tests.differential.scenario import CHANGE, REPAIR, TEXT, UNDONE
from tests.differential.transport import FLAWS
from tests.lab.command import CommandError

SCENARIOS = 60
PACKETS = 70
SOAK_PACKETS = int(os.environ.get("NETPOLICY_SOAK_PACKETS") or 200_000)

if TYPE_CHECKING:
    from tests.differential.kernel import Kernel

# Far below what any seed gives: a run that misses one of these has tested less than it seems to.
LEAST = {
    "packets": 5000,
    "allow": 500,
    "deny": 500,
    "pass": 300,
    "log": 300,
    "fell through": 500,
    "decided after the first tier": 200,
    "discovery": 100,
    "failsafe inbound": 50,
    "failsafe outbound": 50,
    "reply from failsafe inbound": 50,
    "reply from failsafe outbound": 50,
    "no endpoint": 100,
    "ingress": 1500,
    "egress": 1500,
    "IPv4": 1500,
    "IPv6": 1500,
    f"loaded by {TEXT}": 10,
    f"loaded by {CHANGE}": 10,
    f"loaded by {UNDONE}": 3,
    f"loaded by {REPAIR}": 3,
    **{f"IPv{version} {name}": 50 for version in (4, 6) for name in EXTENSIONS[version] if name != PLAIN},
    **dict.fromkeys(FLAWS, 50),
    **{f"cut after {shown} bytes": 10 for shown in (0, 1, 2, 3, 4, 5, 7, 8, 19)},
}
REASSEMBLED = {"in 2 fragments": 150, "in 3 fragments": 150}
ALONE = {"first fragment alone": 100}
# A field is there in so many policies; it helped to decide, and alone kept off, so many packets.
LEAST_OF_A_FIELD = {"there": 5, "decided": 15, "kept_off": 1}


def _round(kernel: Kernel, seed: int, *, scenarios: int, packets: int, tally: bool) -> Hits:
    try:
        return explore(kernel, seed, examples=scenarios, packets=packets, tally=tally)
    except (AssertionError, CommandError, LostError) as error:
        error.add_note(f"To repeat it: the same test with NETPOLICY_SEED={seed}")
        raise


def _missed(hits: Hits, least: dict[str, int]) -> list[str]:
    return [
        f"{name}: {hits.branches[name]}, not {number}"
        for name, number in least.items()
        if hits.branches[name] < number
    ]


def test_the_kernel_does_what_the_reference_says(kernel, run_seed, figures):
    hits = _round(kernel, run_seed, scenarios=SCENARIOS, packets=PACKETS, tally=True)
    figures.merge(hits)

    assert not _missed(hits, LEAST | REASSEMBLED)
    assert not hits.fields.missed(**LEAST_OF_A_FIELD)


def test_it_does_so_where_connections_are_not_tracked(untracking_kernel, run_seed, figures):
    hits = _round(untracking_kernel, run_seed, scenarios=SCENARIOS // 4, packets=PACKETS, tally=False)
    figures.merge(hits)

    assert not _missed(hits, ALONE)


@pytest.mark.soak
def test_it_does_so_for_very_many_packets(kernel, untracking_kernel, run_seed, figures):
    # In rounds, so that the one that fails can be repeated alone, and all of them be run in parts.
    for seed in itertools.count(run_seed):
        for each, scenarios in ((kernel, 100), (untracking_kernel, 25)):
            figures.merge(_round(each, seed, scenarios=scenarios, packets=250, tally=False))
        if figures.branches["packets"] >= SOAK_PACKETS:
            break
