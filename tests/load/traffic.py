# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host under load, with a table around the raw hooks that counts what arrives and what gets past them.

Nothing but the rules is between the two counts: what a socket or a queue would lose was counted before. After
that every packet is dropped, so that the load is that of the rules alone.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from tests.bench.inject import Injector
from tests.differential.namespace import Namespace
from tests.differential.packets import Sample, ip_packet
from tests.lab import command, network
from tests.load.guarded import ALLOWED, ALLOWED_NETWORKS, DENIED, DENIED_NETWORKS, INTERFACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_MAC, _FAR_MAC = "02:00:00:00:00:01", "02:00:00:00:01:01"
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}

DENIED_RATE, ALLOWED_RATE = 500_000, 100_000
"""Packets a second that are sent if the machine can, of all samples together."""
_BURST_SECONDS = 0.05
"""As often a stream sends; a call takes the kernel about half of it to prepare, without using the CPU."""

_COUNTERS: Final = ("denied_sent", "denied_passed", "allowed_sent", "allowed_untracked", "allowed_tracked")


@dataclass(frozen=True)
class Counts:
    """How many packets arrived at the raw hooks, and what became of them."""

    denied_sent: int
    denied_passed: int
    allowed_sent: int
    allowed_untracked: int
    allowed_tracked: int

    @property
    def allowed_lost(self) -> int:
        """Packets that are allowed, and were dropped."""
        return self.allowed_sent - self.allowed_untracked - self.allowed_tracked


@dataclass
class _Stream:
    """The same packet again and again, at a rate."""

    frame: bytes
    rate: float
    errors: list[OSError] = field(default_factory=list)

    def run(self, injector: Injector, stop: threading.Event) -> None:
        burst = int(self.rate * _BURST_SECONDS)
        due = time.monotonic()
        while not stop.is_set():
            # A signal ends a call early: only the host knows how many packets arrived.
            with suppress(InterruptedError):
                injector.inject(self.frame, burst)
            # What a busy machine has missed is not made up for.
            due = max(due + _BURST_SECONDS, time.monotonic() - _BURST_SECONDS)
            stop.wait(max(0.0, due - time.monotonic()))


class Traffic:
    """The host, in a network namespace of its own; a context manager."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._streams = [
            _Stream(_frame(sample), rate / len(samples))
            for samples, rate in ((DENIED, DENIED_RATE), (ALLOWED, ALLOWED_RATE))
            for sample in samples
        ]

    def __enter__(self) -> Self:
        """Make the namespace and the counting table. OSError where the kernel cannot make such packets."""
        with ExitStack() as opened:
            self._host = Namespace()
            opened.callback(self._host.close)
            with self.entered():
                network.apply(
                    [
                        "link set lo up",
                        f"link add {INTERFACE} address {_MAC} type veth peer name far address {_FAR_MAC}",
                        f"link set {INTERFACE} addrgenmode none up",
                        "link set far addrgenmode none up",
                    ]
                )
                command.run(["nft", "-f", "-"], stdin=_table())
                self._injector = opened.enter_context(Injector(INTERFACE))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of everything."""
        self._open.close()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Processes started in the block by this thread run on the host."""
        with self._host.entered():
            yield

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Packets of all samples arrive during the block."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._flow, args=(stream, stop), daemon=True) for stream in self._streams
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        for stream in self._streams:
            for error in stream.errors:
                raise error

    def _flow(self, stream: _Stream, stop: threading.Event) -> None:
        try:
            with self.entered():
                stream.run(self._injector, stop)
        except OSError as error:
            stream.errors.append(error)

    def counts(self) -> Counts:
        """What was counted until now. While packets flow, some are between the two counts."""
        with self.entered():
            listing = json.loads(
                command.run(["nft", "--json", "list", "counters", "table", "inet", "load"]).stdout
            )
        return Counts(
            **{
                item["counter"]["name"]: item["counter"]["packets"]
                for item in listing["nftables"]
                if "counter" in item
            }
        )


def _frame(sample: Sample) -> bytes:
    head = bytes.fromhex((_MAC + _FAR_MAC).replace(":", "")) + _ETHERTYPES[sample.version].to_bytes(2, "big")
    return head + ip_packet(sample, 0)


def _table() -> str:
    denied, allowed = (
        tuple(zip(("ip", "ip6"), networks, strict=True)) for networks in (DENIED_NETWORKS, ALLOWED_NETWORKS)
    )
    before = [f"{family} saddr {net} counter name denied_sent" for family, net in denied]
    before += [f"{family} saddr {net} counter name allowed_sent" for family, net in allowed]
    after = [f"{family} saddr {net} counter name denied_passed drop" for family, net in denied]
    for family, net in allowed:
        after.append(f"{family} saddr {net} ct state untracked counter name allowed_untracked drop")
        after.append(f"{family} saddr {net} counter name allowed_tracked drop")
    lines = ["table inet load {", *(f"counter {name} {{ }}" for name in _COUNTERS)]
    # Right before raw (-300), and right after it.
    for name, priority, rules in (("before", -301, before), ("after", -299, [*after, "drop"])):
        lines += [f"chain {name} {{ type filter hook prerouting priority {priority};", *rules, "}"]
    return "\n".join([*lines, "}", ""])
