# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel with the nftables table that we write does what the reference says, packet for packet."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from tests.differential.explore import explore
from tests.differential.kernel import LostError
from tests.differential.scenario import CHANGE, REPAIR, TEXT, UNDONE
from tests.lab.command import CommandError

PACKETS = 1000
SCENARIOS = 100
SOAK_PACKETS = int(os.environ.get("NETPOLICY_SOAK_PACKETS") or 200_000)

if TYPE_CHECKING:
    from collections import Counter

    from tests.differential.kernel import Kernel

# Far below what any seed gives: a run that misses one of these has tested less than it seems to.
LEAST = {
    "packets": PACKETS,
    "allow": 100,
    "deny": 80,
    "fell through": 100,
    "pass": 100,
    "decided after the first tier": 100,
    "discovery": 30,
    "failsafe inbound": 10,
    "failsafe outbound": 10,
    "reply from failsafe inbound": 10,
    "reply from failsafe outbound": 10,
    "no endpoint": 30,
    "ingress": 300,
    "egress": 300,
    "IPv4": 200,
    "IPv6": 200,
    f"loaded by {TEXT}": 10,
    f"loaded by {CHANGE}": 10,
    f"loaded by {UNDONE}": 3,
    f"loaded by {REPAIR}": 3,
}


def _round(kernel: Kernel, seed: int, packets: int) -> Counter[str]:
    try:
        hits = explore(kernel, seed, examples=SCENARIOS, packets=packets)
    except (AssertionError, CommandError, LostError) as error:
        error.add_note(f"To repeat it: the same test with NETPOLICY_SEED={seed}")
        raise
    missed = {name: f"{hits[name]}, not {least}" for name, least in LEAST.items() if hits[name] < least}
    assert not missed, f"NETPOLICY_SEED={seed} hit too little: {missed}"
    return hits


def test_the_kernel_does_what_the_reference_says(kernel, run_seed, figures):
    figures += _round(kernel, run_seed, 25)


@pytest.mark.soak
def test_it_does_so_for_very_many_packets(kernel, run_seed, figures):
    # In rounds, so that the one that fails can be repeated alone.
    for seed in itertools.count(run_seed):
        figures += _round(kernel, seed, 100)
        if figures["packets"] >= SOAK_PACKETS:
            break
