# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host for the engine alone: a network namespace, and files of its own where the engine writes.

No ssh, no Ansible, no start-up: a process inside (serve.py) answers requests as the engine does on a managed
host, each in a child of its own, which can be told to kill itself on the way. The host's files are there as
long as that process is, and it ends with this one: nothing is left, however this one ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.machine.serve import READY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

CHECKOUT = Path(__file__).parents[2]
_COLLECTIONS = CHECKOUT / "build" / "collections"


@dataclass(frozen=True)
class Served:
    """What became of a request: the engine's answer, None if it was killed, and the effects it got to."""

    answer: Mapping[str, Any] | None
    effects: tuple[str, ...]


class Machine:
    """The host; a context manager.

    `entered` is the network namespace to be in. `nft` is the command of the host's nft, if that is not this
    machine's.
    """

    def __init__(
        self, entered: Callable[[], AbstractContextManager[None]], nft: Sequence[str] | None = None
    ) -> None:
        self._entered = entered
        self._nft = nft
        self._open = ExitStack()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start the process inside."""
        serve = [sys.executable, "-m", "tests.machine.serve", *(self._nft or ())]
        environment = {**os.environ, "PYTHONPATH": f"{_COLLECTIONS}:{CHECKOUT}"}
        with ExitStack() as opened:
            with self._entered():
                process = subprocess.Popen(
                    ["unshare", "--mount", "--propagation", "private", "--", *serve],
                    cwd=CHECKOUT,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            self._process = opened.enter_context(process)
            # Its input comes to an end first, and so does it.
            assert process.stdin is not None
            opened.callback(process.stdin.close)
            # Before that, its files are those of the machine.
            if self._line() != READY:
                raise RuntimeError(f"the host's process ended with {process.wait()}")
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process inside, and with it the files."""
        self._open.close()

    def serve(self, request: Mapping[str, Any], kill_before: int | None = None) -> Served:
        """Have the engine serve a request.

        It kills itself before the effect of that number, counted from 0; the number after the last one is the
        moment before it says that it is done.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"request": request, "kill_before": kill_before}) + "\n")
        self._process.stdin.flush()
        line = self._line()
        if not line:
            raise RuntimeError(f"the host's process ended with {self._process.wait()}")
        served = json.loads(line)
        return Served(served["answer"], tuple(served["effects"]))

    def _line(self) -> str:
        """What the process inside says next; empty when it has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def path(self, path: str) -> Path:
        """Where a path of the host is, seen from here. Absolute symbolic links lead astray."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/root{path}")
