# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces without a name.

Only this process's file descriptor keeps such a namespace alive. When the process ends, in order or not, the
kernel removes it with all interfaces and tables, so there is nothing to clean up and no name to clash.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"
# The os module has these calls only from Python 3.12 on.
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A new network namespace, alive until `close`."""

    def __init__(self) -> None:
        home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_LIBC.unshare(_CLONE_NEWNET))
            try:
                self._handle = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                _check(_LIBC.setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    @property
    def path(self) -> str:
        """A path by which other processes reach the namespace, as `ip link ... netns` takes it."""
        return f"/proc/{os.getpid()}/fd/{self._handle}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets opened and processes started in the block by this thread belong to the namespace."""
        home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_LIBC.setns(self._handle, _CLONE_NEWNET))
            try:
                yield
            finally:
                _check(_LIBC.setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    def close(self) -> None:
        """Let go of it; the kernel removes it once no socket and no process is left inside."""
        os.close(self._handle)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
