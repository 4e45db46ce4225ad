# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that makes many new short TCP connections, each with one request that must be answered rightly.

``connections`` runs it inside a host's network: ``python load.py '{"address": …}'`` prints an Outcome as
JSON. It stands alone on purpose and imports nothing of the lab.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Lets the kernel choose the port when it connects, so that destinations may share one. Not in Python's socket
# yet.
_IP_BIND_ADDRESS_NO_PORT = 24


@dataclass(frozen=True)
class Protocol:
    """What to say after connecting, and how the right answer begins."""

    request: bytes
    answer: bytes


PROTOCOLS = {
    "memcached": Protocol(b"version\r\n", b"VERSION "),
    "redis": Protocol(b"PING\r\n", b"+PONG\r\n"),
    "ssh": Protocol(b"", b"SSH-2.0-"),
}


@dataclass(frozen=True)
class Load:
    """``number`` connections to ``address`` and ``port``, at most ``concurrency`` at a time.

    Each may take ``timeout`` seconds from its start to its answer. ``sources`` are local addresses to connect
    from, in turn; without them the kernel chooses.
    """

    address: str
    port: int
    protocol: str
    number: int
    concurrency: int
    timeout: float
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a load. ``reasons`` counts the failures: timeout, ECONNREFUSED, wrong answer, …"""

    attempted: int
    succeeded: int
    failed: int
    seconds: float
    reasons: Mapping[str, int] = field(default_factory=dict)


async def _one(load: Load, family: socket.AddressFamily, source: str | None) -> str | None:
    """Make one connection; None when it was answered rightly, otherwise the reason."""
    protocol = PROTOCOLS[load.protocol]
    loop = asyncio.get_running_loop()
    answer = b""
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        if source is not None:
            connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source, 0))
        try:
            async with asyncio.timeout(load.timeout):
                await loop.sock_connect(connection, (load.address, load.port))
                await loop.sock_sendall(connection, protocol.request)
                while len(answer) < len(protocol.answer):
                    part = await loop.sock_recv(connection, 4096)
                    if not part:
                        return "closed"
                    answer += part
        except TimeoutError as error:
            # The kernel may give up before us; that is its ETIMEDOUT, and the same to whoever waits.
            return "timeout" if error.errno is None else "ETIMEDOUT"
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))
    return None if answer.startswith(protocol.answer) else "wrong answer"


async def run(load: Load) -> Outcome:
    """Make all connections of a load. OSError when a source address is not one of this host's."""
    family = socket.AF_INET6 if ":" in load.address else socket.AF_INET
    # As many workers as connections may be open at once take numbers from one counter.
    numbers = iter(range(load.number))
    reasons: Counter[str | None] = Counter()

    async def work() -> None:
        for number in numbers:
            source = load.sources[number % len(load.sources)] if load.sources else None
            reasons[await _one(load, family, source)] += 1

    started = time.monotonic()
    await asyncio.gather(*(work() for _unused in range(min(load.concurrency, load.number))))
    seconds = time.monotonic() - started
    succeeded = reasons.pop(None, 0)
    named = {str(reason): count for reason, count in reasons.items()}
    return Outcome(load.number, succeeded, load.number - succeeded, round(seconds, 3), named)


def main(arguments: Sequence[str]) -> int:
    """Run the load given as JSON and print its outcome as JSON."""
    data = json.loads(arguments[0])
    load = Load(**{**data, "sources": tuple(data["sources"])})
    print(json.dumps(asdict(asyncio.run(run(load)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
