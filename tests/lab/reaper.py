# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing labs: in order, after a crash, and later.

There is one way to remove a lab, ``destroy``, which needs nothing but the lab's id and may be repeated. Its
owner calls it at the end; a small process of its own calls it when the owner dies (``python -m
tests.lab.reaper ID``); and the start of any lab calls it for labs whose owner died together with that
process.

What belongs to a lab is known by name: the network namespaces ``np-<id>-…``, the processes inside them, the
lab's directory and what is mounted below it. Nothing else is touched.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from . import network, state
from .plan import is_lab_id, namespace_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAMESPACES = Path("/run/netns")
# How long killed processes may take to go, and commands that the owner had just started to arrive, in
# seconds.
_PATIENCE = 10.0
_SETTLING = 0.2


class NotRemovedError(RuntimeError):
    """A lab could not be removed; the text says what is left."""


def namespaces_of(lab_id: str) -> list[str]:
    """The names of the lab's network namespaces that exist."""
    prefix = namespace_prefix(lab_id)
    return sorted(path.name for path in NAMESPACES.glob(f"{prefix}*"))


def processes_of(names: Iterable[str]) -> Iterator[int]:
    """The processes inside the network namespaces of these names."""
    inside = _identities(names)
    for path in Path("/proc").glob("[0-9]*"):
        if _network_of(int(path.name)) in inside:
            yield int(path.name)


def _identities(names: Iterable[str]) -> set[tuple[int, int]]:
    """What the kernel knows network namespaces by."""
    found = set()
    for name in names:
        with suppress(FileNotFoundError):
            info = (NAMESPACES / name).stat()
            found.add((info.st_dev, info.st_ino))
    return found


def _network_of(pid: int) -> tuple[int, int] | None:
    """The identity of a process's network namespace; None when the process is gone."""
    try:
        info = Path(f"/proc/{pid}/ns/net").stat()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return info.st_dev, info.st_ino


def mounts_of(lab_id: str) -> list[Path]:
    """The mount points below the lab's directory in this mount namespace, the innermost first."""
    folder = state.directory(lab_id)
    points = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted(
        (point for point in points if folder in point.parents), key=lambda p: len(p.parts), reverse=True
    )


def kill(names: Iterable[str]) -> None:
    """End every process inside the network namespaces of these names; NotRemovedError when one stays."""
    names = list(names)
    deadline = time.monotonic() + _PATIENCE
    inside = _identities(names)
    while pids := list(processes_of(names)):
        if time.monotonic() > deadline:
            raise NotRemovedError(f"processes {pids} in {', '.join(names)} do not end")
        for pid in pids:
            # A handle first, then a second look: by now the number may belong to somebody else.
            with suppress(ProcessLookupError), _handle(pid) as handle:
                if _network_of(pid) in inside:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        time.sleep(0.01)


@contextmanager
def _handle(pid: int) -> Iterator[int]:
    """A handle on a process, which never means another one; ProcessLookupError when it is gone."""
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def _remove(lab_id: str) -> None:
    """Remove a lab; the caller holds the lock."""
    kill(namespaces_of(lab_id))
    if names := namespaces_of(lab_id):
        network.apply([f"netns del {name}" for name in names], keep_going=True)
    for point in mounts_of(lab_id):
        # Lazily: the kernel may still be taking down the hosts' own mounts of it.
        subprocess.run(["umount", "--lazy", str(point)], check=False, capture_output=True)
    if left := [*namespaces_of(lab_id), *map(str, mounts_of(lab_id))]:
        raise NotRemovedError(f"lab {lab_id}: cannot remove {', '.join(left)}")
    # Only now that nothing is mounted there any more is it safe to delete what the directory holds.
    with suppress(FileNotFoundError):
        shutil.rmtree(state.directory(lab_id))


def destroy(lab_id: str) -> None:
    """Remove all of a lab; no error when it is gone already, NotRemovedError when something stays."""
    with state.locked():
        _remove(lab_id)


def reap() -> list[str]:
    """Remove every lab whose owner is dead, and return their ids."""
    removed = []
    with state.locked():
        for record in list(state.labs()):
            if record.dead:
                _remove(record.plan.id)
                removed.append(record.plan.id)
    return removed


def watch(lab_id: str, watched: state.Owner) -> None:
    """Wait until the owner dies, then remove its lab if it is still there."""
    with suppress(ProcessLookupError), _handle(watched.pid) as handle:
        if watched.alive:
            select.select([handle], [], [])
    # Commands that the owner had just started get to where they can be found.
    time.sleep(_SETTLING)
    # The id may have been given to somebody else after the owner took the lab down in order.
    with state.locked(), suppress(FileNotFoundError):
        if state.read(lab_id).owner == watched:
            _remove(lab_id)


def start_watching(lab_id: str) -> subprocess.Popen[bytes]:
    """Start the process that removes the lab should its owner die; to be ended once the lab is gone."""
    # A session of its own: what ends the owner's whole process group must not end this one with it.
    return subprocess.Popen(
        [sys.executable, "-m", "tests.lab.reaper", lab_id],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(arguments: list[str]) -> int:
    """Watch the owner of the lab named on the command line."""
    if len(arguments) != 1 or not is_lab_id(arguments[0]):
        print("usage: python -m tests.lab.reaper ID", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        watched = state.read(arguments[0]).owner
    except FileNotFoundError:
        return 0
    if watched is not None:
        watch(arguments[0], watched)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
