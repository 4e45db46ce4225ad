# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies change under load: no packet passes that all deny, none is lost that all allow, no count falls."""

from __future__ import annotations

import os
import time
from random import SystemRandom
from typing import TYPE_CHECKING

import pytest

from tests.lab import command
from tests.load.changes import change
from tests.load.guarded import ALLOWED_NETWORKS, DENIED_NETWORKS, policies
from tests.load.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = int(os.environ.get("NETPOLICY_SEED") or SystemRandom().randrange(1_000_000))
CHANGES = 30
SOAK_CHANGES = int(os.environ.get("NETPOLICY_SOAK_CHANGES") or 1000)
ROUND = 100
LEAST = 1000
"""Denied packets for each change, far below what any machine does: with fewer, a round has tested little."""


def _round(changes: int, seed: int) -> str:
    try:
        outcome = change(policies(changes + 1, seed))
    except AssertionError as error:
        error.add_note(f"To try it again: the same test with NETPOLICY_SEED={seed}")
        raise
    assert outcome.counts.denied_sent >= LEAST * changes, outcome
    return f"NETPOLICY_SEED={seed}: {outcome}"


@pytest.fixture(autouse=True)
def live_frames() -> None:
    """Skip where the kernel cannot make packets arrive by itself."""
    with Traffic() as traffic:
        try:
            with traffic.flowing():
                pass
        except OSError as error:
            pytest.skip(f"needs BPF_PROG_TEST_RUN with live frames, Linux 5.18: {error}")


FAULTY = f"""
table inet faulty {{
    chain prerouting {{
        type filter hook prerouting priority raw; policy accept;
        ip saddr {DENIED_NETWORKS[0]} numgen inc mod 1000 != 0 drop
        ip6 saddr {DENIED_NETWORKS[1]} drop
        ip saddr {ALLOWED_NETWORKS[0]} numgen inc mod 1000 == 0 drop
        ip saddr {ALLOWED_NETWORKS[0]} numgen inc mod 1000 == 0 accept
        notrack
    }}
}}
"""
"""A firewall that is wrong about few packets: it lets one through, drops one, and leaves one tracked."""


def test_few_packets_are_enough_to_be_noticed() -> None:
    with Traffic() as traffic:
        with traffic.entered():
            command.run(["nft", "-f", "-"], stdin=FAULTY)
        with traffic.flowing():
            time.sleep(0.5)
        counts = traffic.counts()
    for found, among in (
        (counts.denied_passed, counts.denied_sent),
        (counts.allowed_lost, counts.allowed_sent),
        (counts.allowed_tracked, counts.allowed_sent),
    ):
        # Of each two of three streams are IPv4, whose thousandth packet it is.
        assert 0 < found <= among / 1000 + 1, counts


def test_a_change_lets_nothing_through_and_loses_nothing(tell: Callable[[str], None]) -> None:
    tell(_round(CHANGES, SEED))


@pytest.mark.soak
def test_neither_do_very_many_changes(tell: Callable[[str], None]) -> None:
    # In rounds, so that the one that fails can be tried again alone.
    for number, start in enumerate(range(0, SOAK_CHANGES, ROUND)):
        tell(_round(min(ROUND, SOAK_CHANGES - start), SEED + number))
