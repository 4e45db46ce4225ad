# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command takes: its time, and its memory at the peak."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.command import CommandError, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

# How often a command's memory is looked at, in seconds. The peak is the kernel's own, so that only what is
# added after the last look is missed.
_LOOK = 0.005


@dataclass(frozen=True)
class Footprint:
    """Seconds, and the most memory (resident set, MiB) that a process had."""

    seconds: float
    mebibytes: float


def of_command(argv: Sequence[str], stdin: str, *, limit: float) -> Footprint:
    """Run a command; CommandError if it fails, TimeoutError if it takes more than `limit` seconds."""
    with tempfile.TemporaryFile("w+") as source, tempfile.TemporaryFile("w+") as output:
        source.write(stdin)
        source.seek(0)
        # It must not outlive us: it may hold a namespace, and more memory than all the rest.
        lifeline = ["setpriv", "--pdeathsig=KILL", *argv]
        started = time.perf_counter()
        with subprocess.Popen(lifeline, stdin=source, stdout=output, stderr=output) as process:
            peak = _watch(process, started + limit)
        seconds = time.perf_counter() - started
        if process.returncode:
            output.seek(0)
            raise CommandError(Result(list(argv), process.returncode, output.read(), ""))
    return Footprint(seconds, peak / 1024)


def _watch(process: subprocess.Popen[bytes], deadline: float) -> int:
    """Wait for the end of a process; its peak in KiB. Kills it and raises TimeoutError at the deadline."""
    # wait4(2) reports a peak too, but that begins with the memory of the process that started this one.
    peak = 0
    handle = os.pidfd_open(process.pid)
    try:
        while True:
            peak = max(peak, _peak(process.pid))
            if select.select([handle], [], [], _LOOK)[0]:
                return peak
            if time.perf_counter() > deadline:
                process.kill()
                raise TimeoutError(f"{process.args!r} takes too long")
    finally:
        os.close(handle)


def _peak(pid: int) -> int:
    """The peak of a process's resident set so far, in KiB; 0 when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
