# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An nft that kills whoever starts it, and then does its work, if it is told to.

Called as nft is, with the command of the real one before the arguments. `ORDER` is a file that says, once,
which script is the fatal one, counted from 0, and how many bytes of it must be there before. While `HOLD` is
there, the work waits.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import termios
import time
from pathlib import Path

ORDER, HOLD = Path("/run/fatal-nft"), Path("/run/hold-nft")


def main(command: list[str]) -> None:
    """Become the real nft, sooner or later."""
    if "-f" in command and ORDER.exists():
        order = json.loads(ORDER.read_text())
        if order["script"]:
            ORDER.write_text(json.dumps({**order, "script": order["script"] - 1}))
        else:
            ORDER.unlink()
            _kill_parent(order["bytes"])
    os.execv(command[0], command)  # noqa: S606  # a shell would only be in between


def _kill_parent(after: int) -> None:
    parent = os.getppid()
    while _waiting_bytes() < after:
        time.sleep(0.001)
    os.kill(parent, signal.SIGKILL)
    # Only then is what it has not written never written.
    while os.getppid() == parent:
        time.sleep(0.001)
    while HOLD.exists():
        time.sleep(0.001)


def _waiting_bytes() -> int:
    return int.from_bytes(fcntl.ioctl(0, termios.FIONREAD, bytes(4)), sys.byteorder)


if __name__ == "__main__":
    main(sys.argv[1:])
