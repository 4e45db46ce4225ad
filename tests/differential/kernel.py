# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host made of nothing but the kernel: interfaces, nft, and an observer that tells what became of a packet.

Packets that arrive are injected as whole Ethernet frames at the other end of a cable, or into lo; packets
that the host sends leave through raw sockets.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import ruleset
from tests.differential import observer
from tests.differential.namespace import Namespace
from tests.differential.observer import Fate
from tests.differential.packets import Sample, ip_packets
from tests.differential.pools import CABLES, INTERFACES, LOOPBACK
from tests.lab import command, network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType


# One more, for what the test sends on its own account; no endpoint is ever on it.
_SENTINEL_INTERFACE = "sentinel"

# Linux sends IPv6 only from an interface that has an address, whatever the packet says. No sample uses these.
_OWN_IPV6 = "fe80:6e70:6f6c::{index:x}"
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_PATIENCE = 10.0
_ATTEMPTS = 3
_MAX_PACKETS = 900  # on the wire; below net.core.netdev_max_backlog, 1000


class LostError(RuntimeError):
    """A packet did not reach the hooks at all: the test is broken, or the machine is too slow for it."""


@dataclass(frozen=True)
class Observation:
    """What a batch of packets met: the fate of each, and each counter's increase (packets, bytes)."""

    fates: tuple[Fate, ...]
    counted: Mapping[str, tuple[int, int]]

    def __add__(self, other: Observation) -> Observation:
        """What both batches met."""
        names = self.counted.keys() | other.counted.keys()
        pairs = ((name, self.counted.get(name, (0, 0)), other.counted.get(name, (0, 0))) for name in names)
        return Observation(
            self.fates + other.fates, {name: (one[0] + two[0], one[1] + two[1]) for name, one, two in pairs}
        )


class Kernel:
    """The host under test, in a network namespace of its own; a context manager.

    Its connections are tracked, and fragments put together before raw sees them; without `tracking` neither.
    `nft` is the command of the host's nft. An older one cannot always read what a newer one has written.
    """

    def __init__(self, nft: Sequence[str] = ("nft",), *, tracking: bool = True) -> None:
        self._nft = nft
        self.tracking = tracking
        self._open = ExitStack()
        self._injectors: dict[str, socket.socket] = {}
        self._frame_heads: dict[str, dict[int, bytes]] = {}
        self._senders: dict[tuple[str, int], socket.socket] = {}

    def __enter__(self) -> Self:
        """Make the namespaces, cables, sockets and the observer."""
        with ExitStack() as opened:
            self._host, peer = Namespace(), Namespace()
            opened.callback(self._host.close)
            opened.callback(peer.close)
            self._build(peer)
            with peer.entered():
                self._injectors = {
                    name: opened.enter_context(_injector(f"p{index}")) for index, name in _cables()
                }
            with self._host.entered():
                self._injectors[LOOPBACK] = opened.enter_context(_injector(LOOPBACK))
                self._senders = {
                    (name, version): opened.enter_context(_sender(name, version))
                    for name in INTERFACES
                    for version in (4, 6)
                }
            self.nft(observer.table(_SENTINEL_INTERFACE, tracking=self.tracking))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of everything."""
        self._open.close()

    def _build(self, peer: Namespace) -> None:
        # To lo Linux routes only what it takes for its own.
        lines = [
            "link set lo up",
            "route add default dev lo metric 99",
            "route add local ::/0 dev lo table local",
        ]
        self._frame_heads[LOOPBACK] = _frame_heads("00:00:00:00:00:00", "00:00:00:00:00:00")
        for index, name in _cables():
            mac = f"02:00:00:00:00:{index:02x}"
            far = f"02:00:00:00:01:{index:02x}"
            self._frame_heads[name] = _frame_heads(mac, far)
            lines += [
                f"link add {name} address {mac} type veth peer name p{index} address {far} netns {peer.path}",
                f"link set {name} addrgenmode none up",
                f"addr add {_OWN_IPV6.format(index=index + 1)}/128 dev {name} nodad",
                f"route add default dev {name} metric {index + 1}",
                f"route add ::/0 dev {name} metric {index + 1}",
            ]
        with self._host.entered():
            network.apply(lines)
        with peer.entered():
            # The far ends have nothing to say of their own.
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
            network.apply([f"link set p{index} up" for index, _unused in _cables()])

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Processes started in the block by this thread run on the host."""
        with self._host.entered():
            yield

    def nft(self, script: str) -> None:
        """Load a script, as `nft -f` does; CommandError with nft's message if the kernel refuses it."""
        with self._host.entered():
            command.run([*self._nft, "-f", "-"], stdin=script)

    def listing(self, option: str = "--terse") -> Mapping[str, Any] | None:
        """Our table as `nft --json --terse list table` shows it; None where there is none."""
        with self._host.entered():
            argv = [*self._nft, "--json", option, "list", "table", ruleset.FAMILY, ruleset.TABLE]
            result = command.run(argv, check=False)
        if result.returncode == 0:
            listing: Mapping[str, Any] = json.loads(result.stdout)
            return listing
        if "No such file or directory" in result.stderr:
            return None
        raise command.CommandError(result)

    def clear(self) -> None:
        """Remove our table if there is one."""
        if self.listing() is not None:
            self.nft("".join(step.script for step in ruleset.removal()))

    def observe(self, samples: Sequence[Sample]) -> Observation:
        """Send the packets, and tell what became of each."""
        found = Observation((), {})
        for batch in _batches(samples):
            found += self._observe_patiently(batch)
        return found

    def _observe_patiently(self, samples: Sequence[Sample]) -> Observation:
        """A busy machine loses a packet now and then before any hook has seen it.

        That says nothing of a policy: the batch is sent again, and only what is lost again and again is an
        error.
        """
        for _unused in range(_ATTEMPTS - 1):
            try:
                return self._observe(samples)
            except LostError:
                continue
        return self._observe(samples)

    def _observe(self, samples: Sequence[Sample]) -> Observation:
        # From 1 on: see observer.py.
        keyed = tuple(enumerate(samples, 1))

        def send() -> None:
            for key, sample in keyed:
                self._send(sample, key)

        seen, counted = self._seen(send, last=len(samples))
        lost = [sample for key, sample in keyed if key not in seen[observer.ARRIVED]]
        if lost:
            raise LostError(f"these packets never reached the raw hooks: {lost}")
        return Observation(tuple(observer.fate(sample, key, seen) for key, sample in keyed), counted)

    def observe_bytes(self, interface: str, version: int, data: bytes) -> Observation:
        """Let one packet arrive, as bytes that carry the key 1, and tell whether raw let it pass."""
        seen, counted = self._seen(lambda: self._inject(interface, version, data), last=1)
        if 1 not in seen[observer.ARRIVED]:
            raise LostError("the packet never reached the raw hooks")
        return Observation((Fate.ALLOW if 1 in seen[observer.PASSED] else Fate.DENY,), counted)

    def _seen(
        self, send: Callable[[], None], *, last: int
    ) -> tuple[Mapping[str, frozenset[int]], dict[str, tuple[int, int]]]:
        """Which keys each stage of the observer saw, up to the `last`, and what was counted."""
        stages = observer.stages(tracking=self.tracking)
        self.nft("".join(f"flush set inet {observer.TABLE} {stage}\n" for stage in stages))
        before = self._counters()
        # One CPU has one queue of arriving packets for all interfaces: what is sent last is judged last.
        with _on_one_cpu():
            send()
            self._send(_SENTINEL, last + 1)
        self._wait_for(last + 1)
        seen = {stage: self._recorded(stage) for stage in stages}
        counted = {
            name: (value[0] - before[name][0], value[1] - before[name][1])
            for name, value in self._counters().items()
            if value != before[name]
        }
        return seen, counted

    def _send(self, sample: Sample, key: int) -> None:
        for data in ip_packets(sample, key):
            if sample.direction == model.INGRESS:
                self._inject(sample.interface, sample.version, data)
                continue
            try:
                self._senders[sample.interface, sample.version].sendto(data, (str(sample.dst), 0))
            except PermissionError:
                # So the kernel tells a sender that its packet was dropped; the observer drops them all.
                continue

    def _inject(self, interface: str, version: int, data: bytes) -> None:
        self._injectors[interface].send(self._frame_heads[interface][version] + data)

    def _wait_for(self, sentinel: int) -> None:
        """Wait until the last packet of a batch has come; all others are through by then."""
        deadline = time.monotonic() + _PATIENCE
        while sentinel not in self._recorded(observer.ARRIVED):
            if time.monotonic() > deadline:
                raise LostError(f"the last packet of a batch did not arrive within {_PATIENCE} seconds")
            time.sleep(0.001)

    def _recorded(self, stage: str) -> frozenset[int]:
        """The keys that a stage of the observer has recorded."""
        with self._host.entered():
            argv = [*self._nft, "--json", "list", "set", "inet", observer.TABLE, stage]
            listing = json.loads(command.run(argv).stdout)
        return frozenset(
            key for item in listing["nftables"] if "set" in item for key in item["set"].get("elem", ())
        )

    def _counters(self) -> dict[str, tuple[int, int]]:
        return ruleset.counters_in(self.listing() or {})


_SENTINEL = Sample(
    direction=model.INGRESS,
    interface=_SENTINEL_INTERFACE,
    protocol=model.UDP,
    src=ip_address("192.0.2.1"),
    dst=ip_address("192.0.2.2"),
    sport=1,
    dport=1,
)


def _batches(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    """The samples in batches that the queue of arriving packets holds."""
    start, size = 0, 0
    for end, sample in enumerate(samples):
        size += len(sample.cuts) + 1
        if size > _MAX_PACKETS:
            yield samples[start:end]
            start, size = end, len(sample.cuts) + 1
    yield samples[start:]


def _cables() -> Iterator[tuple[int, str]]:
    """The host's cables, numbered; the other end of number 1 is called p1."""
    return enumerate((*CABLES, _SENTINEL_INTERFACE))


def _frame_heads(destination: str, source: str) -> dict[int, bytes]:
    """What stands before the IP header, by IP version."""
    addresses = bytes.fromhex((destination + source).replace(":", ""))
    return {version: addresses + ethertype.to_bytes(2, "big") for version, ethertype in _ETHERTYPES.items()}


def _injector(name: str) -> socket.socket:
    """A socket that sends whole frames from an interface of the current namespace."""
    # Protocol 0: it receives nothing.
    injector = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    injector.bind((name, 0))
    return injector


def _sender(interface: str, version: int) -> socket.socket:
    """A socket that sends packets with their IP header as given, out of that interface."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return sender


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Keep this thread on one CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
