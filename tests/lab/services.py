# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers inside a host. They end with the host, or before that with ``stop``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .host import Host

MEMCACHED_PORT = 11211
REDIS_PORT = 6379


@dataclass(frozen=True)
class Service:
    """A server that runs on ``host`` and listens on the TCP port ``port``, over IPv4 and IPv6.

    ``protocol`` is what it speaks, by the name that ``load`` knows it by; ``pid`` is its
    number inside the host.
    """

    host: Host
    protocol: str
    port: int
    pid: int

    def stop(self) -> None:
        """End the server and wait until it is gone."""
        self.host.kill(self.pid)


def memcached(host: Host, port: int = MEMCACHED_PORT) -> Service:
    """Start memcached; HostError when it does not come up."""
    size = ["-m", "64", "-c", "8192", "-b", "4096", "-t", "1"]
    return _start(
        host,
        "memcached",
        port,
        ["memcached", "-u", "nobody", "-p", str(port), "-U", "0", *size],
    )


def redis(host: Host, port: int = REDIS_PORT) -> Service:
    """Start redis, which keeps nothing on disk; HostError when it does not come up."""
    settings = {
        "port": str(port),
        "save": "",
        "appendonly": "no",
        "protected-mode": "no",
        "tcp-backlog": "4096",
        "dir": "/run",
    }
    flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return _start(host, "redis", port, ["redis-server", *flags, "--bind", "*", "-::*"])


def _start(host: Host, protocol: str, port: int, argv: Sequence[str]) -> Service:
    pid = host.spawn(*argv, log=f"/var/log/{protocol}-{port}.log")
    host.wait_for_port(port)
    return Service(host, protocol, port, pid)
