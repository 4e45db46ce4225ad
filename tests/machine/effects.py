# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The effects that a process has on its host, one by one, and a death before any of them.

Python itself tells of them (PEP 578): whoever opens a file, renames one or starts a program says so before it
is done. So no part of the engine is known here, and nothing that it comes to do later can be forgotten.
Between two effects nothing happens to the host: a death after one is the death before the next.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

_PLAIN = frozenset(
    {
        "fcntl.flock",
        "os.chmod",
        "os.chown",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
        "socket.sendmsg",
        "socket.sendto",
    }
)


def effect(event: str, arguments: tuple[Any, ...]) -> str | None:
    """An audit event in words; None where it leaves the host as it is."""
    if event == "subprocess.Popen":
        program, *words = (str(word) for word in arguments[1])
        return None if "list" in words else " ".join([Path(program).name, *words])
    if event == "open":
        path, _mode, flags = arguments
        # A number is a file that was opened before.
        return None if isinstance(path, int) or not _writes(flags) else f"open {path}"
    if event in _PLAIN:
        return f"{event.rpartition('.')[2]} {arguments[0]}"
    return None


def _writes(flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def watch(seen: list[str], kill_before: int | None) -> None:
    """From now on, note each effect of this process; end it before the one of that number."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        found = effect(event, arguments)
        if found is None:
            return
        if len(seen) == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(found)

    sys.addaudithook(hook)
