# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine dies while nft works for it: nft goes on alone, with as much of its script as it has got."""

from __future__ import annotations

import fcntl
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._host import paths
from tests.machine import fatal_nft, requests
from tests.machine.examples import LARGE, NEW, OLD
from tests.machine.host import Host, running
from tests.machine.serve import OWN_NFT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PIPE = 65536
"""Bytes that a pipe holds (man 7 pipe): the engine waits for nft to read before it writes more."""
PATIENCE = 20.0


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running([sys.executable, fatal_nft.__file__, str(OWN_NFT)]) as started:
        yield started


def kill_in_script(host: Host, request: Mapping[str, Any], number: int, after: int) -> bool:
    """Have a run die in its nft script of that number; False where it has no such script."""
    order = host.machine.path(str(fatal_nft.ORDER))
    order.write_text(json.dumps({"script": number, "bytes": after}))
    killed = host.machine.serve(request).answer is None
    assert killed is not order.exists()
    order.unlink(missing_ok=True)
    return killed


def wait_for_nft(host: Host) -> None:
    """Wait until nobody holds the engine's lock."""
    deadline = time.monotonic() + PATIENCE
    with host.machine.path(paths.LOCK_FILE).open("rb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                assert time.monotonic() < deadline, "nft still works"
                time.sleep(0.01)
            else:
                return


CASES = {
    "change": (OLD, NEW),
    "change to a large one": (OLD, LARGE),
    "change from a large one": (LARGE, OLD),
}


@pytest.mark.parametrize("name", CASES)
def test_a_policy_is_whole_and_the_next_run_mends(host: Host, name: str) -> None:
    before, after = CASES[name]
    request = requests.apply(after)

    def prepare() -> None:
        host.answer(requests.apply(before))

    prepare()
    old = host.enforces()
    host.answer(request)
    new, mended = host.enforces(), host.holds()
    deaths = 0
    for number in range(20):
        prepare()
        # A large script is cut off where the pipe is full; a small one is there at once, and whole.
        large = "to a large one" in name and number == 0
        if not kill_in_script(host, request, number, PIPE if large else 1):
            break
        deaths += 1
        wait_for_nft(host)
        where = f"{name}, script {number}"
        assert host.enforces() in (old, new), where
        host.answer(request)
        assert host.holds() == mended, where
        assert host.answer(request)["changed"] is False, where
    assert deaths


def test_a_repair_that_is_cut_off_leaves_what_there_was(host: Host) -> None:
    host.answer(requests.apply(LARGE))
    mended = host.holds()
    host.let_everything_in()
    drifted = host.enforces()
    assert kill_in_script(host, requests.apply(LARGE), 0, PIPE)
    wait_for_nft(host)
    assert host.enforces() == drifted
    host.answer(requests.apply(LARGE))
    assert host.holds() == mended


def test_the_next_run_waits_for_it(host: Host) -> None:
    host.answer(requests.apply(OLD))
    hold = host.machine.path(str(fatal_nft.HOLD))
    hold.touch()
    try:
        assert kill_in_script(host, requests.apply(NEW), 0, 1)
        for request in (requests.apply(NEW), requests.apply(OLD), requests.REMOVE):
            refused = host.machine.serve(request).answer
            assert refused is not None
            assert "another netpolicy.host run is changing this host" in refused["error"]
    finally:
        hold.unlink()
    wait_for_nft(host)
    assert host.answer(requests.apply(OLD))["changed"] is True
    assert host.answer(requests.apply(OLD))["changed"] is False
