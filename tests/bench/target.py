# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that packets are sent to: a network namespace with one interface and one firewall.

Nothing in it tracks connections, so what a packet meets after the raw hook is the same whatever became of it
there: a route, and a socket whose buffer is full. Two hosts differ in the raw hook alone.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.namespace import Namespace
from tests.differential.packets import Sample, ip_packet
from tests.lab import command, network

from . import footprint
from .firewalls import INTERFACE
from .inject import BATCH, Injector

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .firewalls import Load

_ADDRESS = "198.18.0.1"
_MAC, _FAR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_ETHERTYPE_IPV4 = b"\x08\x00"
_SOURCE_PORT = 40_000
_PAYLOAD = 18  # makes the shortest frame of Ethernet

_PROC = Path("/proc/thread-self/net/snmp")
_SYSCTLS = Path("/proc/sys/net")

# After raw (-300) and before connection tracking (-200), which this table starts and which ends with it. It
# drops instead of counting, because to list one counter nft reads all rules and sets that there are.
_SIEVE: Final = """
table ip sieve {
  chain prerouting {
    type filter hook prerouting priority -250; policy accept;
    ct state untracked drop
  }
}
"""


class UnjudgedError(RuntimeError):
    """Packets did not meet what was to be measured, so there is nothing to report."""


class Target:
    """A host of its own, gone with this object or the process; a context manager.

    It gets packets to one port from some sources, known by keys; `sources` has the address of each.
    """

    def __init__(self, port: int, sources: Mapping[bool, str]) -> None:
        self._port = port
        self._frames = {key: _frame(source, port) for key, source in sources.items()}
        self._open = ExitStack()
        self._sent = 0

    def __enter__(self) -> Self:
        """Make the namespace, the interface and the socket, and fill the socket's buffer."""
        with ExitStack() as opened:
            self._namespace = Namespace()
            opened.callback(self._namespace.close)
            with self._namespace.entered():
                _build()
                sink = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                # The kernel makes it the least that it allows, a few packets.
                sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                sink.bind((_ADDRESS, self._port))
                self._injector = opened.enter_context(Injector(INTERFACE))
            self.inject(next(iter(self._frames)), BATCH)
            self._sent = self._refused()
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of everything."""
        self._open.close()

    def load(self, load: Load, *, limit: float) -> footprint.Footprint:
        """Run a command of a firewall on the host; see footprint.of_command."""
        with self._namespace.entered():
            return footprint.of_command(load.argv, load.script, limit=limit)

    def inject(self, key: bool, count: int) -> int:
        """Let as many packets of a source arrive; the nanoseconds of each on average."""
        with self._namespace.entered():
            nanoseconds = self._injector.inject(self._frames[key], count)
        self._sent += count
        return nanoseconds

    def check_untracked(self, expected: Mapping[bool, bool]) -> None:
        """UnjudgedError unless the firewall keeps those from connection tracking whom it should.

        All that it permits is untracked, and what it permits was judged by a rule.
        """
        with self._namespace.entered():
            command.run(["nft", "-f", "-"], stdin=_SIEVE)
        sent = self._sent
        for key, untracked in expected.items():
            before = self._refused()
            self.inject(key, BATCH)
            tracked = self._refused() - before
            if tracked != BATCH * (not untracked):
                raise UnjudgedError(f"{tracked} of {BATCH} packets went into connection tracking")
            sent += tracked
        # Those that went through the sieve are all that the socket will ever see of these.
        self._sent = sent
        with self._namespace.entered():
            command.run(["nft", "delete", "table", "ip", "sieve"])

    def check_delivered(self) -> None:
        """UnjudgedError unless every packet so far has got as far as the socket, and no further."""
        if (arrived := self._refused()) != self._sent:
            raise UnjudgedError(f"{arrived} of {self._sent} packets reached the socket")

    def _refused(self) -> int:
        """How many packets found the socket's buffer full."""
        with self._namespace.entered():
            lines = [line.split() for line in _PROC.read_text().splitlines() if line.startswith("Udp:")]
        return int(dict(zip(*lines, strict=True))["RcvbufErrors"])


def _build() -> None:
    """In a new namespace, an interface that is up and has the host's address."""
    # It has nothing to say of its own.
    (_SYSCTLS / "ipv6/conf/all/disable_ipv6").write_text("1")
    network.apply(
        [
            "link set lo up",
            f"link add {INTERFACE} address {_MAC} type veth peer name far address {_FAR_MAC}",
            "link set far up",
            f"link set {INTERFACE} up",
            f"addr add {_ADDRESS}/24 dev {INTERFACE}",
            # Sources are anywhere, and all of them come the right way.
            f"route add default dev {INTERFACE}",
        ]
    )
    for name in ("all", INTERFACE):
        (_SYSCTLS / f"ipv4/conf/{name}/rp_filter").write_text("0")


def _frame(source: str, port: int) -> bytes:
    sample = Sample(
        direction=model.INGRESS,
        interface=INTERFACE,
        protocol=model.UDP,
        src=ip_address(source),
        dst=ip_address(_ADDRESS),
        sport=_SOURCE_PORT,
        dport=port,
        payload=_PAYLOAD,
    )
    macs = bytes.fromhex((_MAC + _FAR_MAC).replace(":", ""))
    return macs + _ETHERTYPE_IPV4 + ip_packet(sample, key=0)
