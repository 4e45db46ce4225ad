# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host made of nothing but the kernel: interfaces, nft, and an observer that tells what became of a packet.

Packets that arrive are injected as whole Ethernet frames at the other end of a cable; packets that the host
sends leave through raw sockets. The observer, a table of its own around the raw hooks, records keys that the
packets carry. After that it drops every packet, so none is routed, answered or entered into the connection
table, and no packet depends on another.
"""

from __future__ import annotations

import enum
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
from tests.differential.namespace import Namespace
from tests.differential.packets import Sample, ip_packet
from tests.lab import command, network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

# Of the shapes that interface names have: plain, a VLAN's, and as long as the kernel allows.
INTERFACES = ("eth0", "eth1.20", "enp0s31f6np1v22")
# One more, for what the test sends on its own account; no endpoint is ever on it.
_SENTINEL_INTERFACE = "sentinel"

# Linux sends IPv6 only from an interface that has an address, whatever the packet says. No sample uses these.
_OWN_IPV6 = "fe80:6e70:6f6c::{index:x}"
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_PATIENCE = 10.0
_ATTEMPTS = 3
MAX_BATCH = 900  # below net.core.netdev_max_backlog, 1000 packets

# ICMPv6 that connection tracking leaves alone by itself (nf_conntrack_proto_icmpv6.c, noct_valid_new).
_NEVER_TRACKED = (*range(130, 137), 143)

# Before raw (-300): what got that far at all. Between raw and connection tracking (-200): what raw let pass,
# and what it marked. After connection tracking, at mangle (-150): what that made of it.
_FIELDS = {"ipv4": "@nh,32,16", "ipv6": "@nh,16,16"}  # identification; the flow label's lower bits
_STAGES = {
    "arrived": (-350, ""),
    "passed": (-250, ""),
    "untracked": (-250, "ct state untracked"),
    "tracked": (-150, "ct state != untracked"),
}


class Fate(enum.Enum):
    """What became of a packet."""

    DENY = "deny"
    UNTRACKED = "allow, untracked"
    TRACKED = "allow, tracked"
    # Raw and connection tracking disagree, which is never right.
    CONTRADICTION = "allow, but connection tracking did not do what raw said"


class LostError(RuntimeError):
    """A packet did not reach the hooks at all: the test is broken, or the machine is too slow for it."""


@dataclass(frozen=True)
class Observation:
    """What a batch of packets met: the fate of each, and each counter's increase (packets, bytes)."""

    fates: tuple[Fate, ...]
    counted: Mapping[str, tuple[int, int]]


class Kernel:
    """The host under test, in a network namespace of its own; a context manager.

    `nft` is the command of the host's nft. An older one cannot always read what a newer one has written.
    """

    def __init__(self, nft: Sequence[str] = ("nft",)) -> None:
        self._nft = nft
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
                self._senders = {
                    (name, version): opened.enter_context(_sender(name, version))
                    for _unused, name in _cables()
                    for version in (4, 6)
                }
            self.nft(_observer())
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of everything."""
        self._open.close()

    def _build(self, peer: Namespace) -> None:
        lines = ["link set lo up"]
        for index, name in _cables():
            mac = f"02:00:00:00:00:{index:02x}"
            far = f"02:00:00:00:01:{index:02x}"
            self._frame_heads[name] = {
                version: bytes.fromhex((mac + far).replace(":", "")) + ethertype.to_bytes(2, "big")
                for version, ethertype in _ETHERTYPES.items()
            }
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
        """Send the packets, and tell what became of each.

        A busy machine loses a packet now and then before any hook has seen it. That says nothing of a policy:
        the batch is sent again, and only what is lost again and again is an error.
        """
        for _unused in range(_ATTEMPTS - 1):
            try:
                return self._observe(samples)
            except LostError:
                continue
        return self._observe(samples)

    def _observe(self, samples: Sequence[Sample]) -> Observation:
        assert len(samples) <= MAX_BATCH
        self.nft("".join(f"flush set inet observer {stage}\n" for stage in _STAGES))
        before = self._counters()
        # The kernel's own IPv6 packets have flow label 0.
        keys = range(1, len(samples) + 1)
        sentinel = len(samples) + 1
        # One CPU has one queue of arriving packets for all interfaces: what is sent last is judged last.
        with _on_one_cpu():
            for key, sample in zip(keys, samples, strict=True):
                self._send(sample, key)
            self._send(_SENTINEL, sentinel)
        self._wait_for(sentinel)
        seen = {stage: self._recorded(stage) for stage in _STAGES}
        lost = [sample for key, sample in zip(keys, samples, strict=True) if key not in seen["arrived"]]
        if lost:
            raise LostError(f"these packets never reached the raw hooks: {lost}")
        after = self._counters()
        return Observation(
            fates=tuple(_fate(sample, key, seen) for key, sample in zip(keys, samples, strict=True)),
            counted={
                name: (value[0] - before[name][0], value[1] - before[name][1])
                for name, value in after.items()
                if value != before[name]
            },
        )

    def _send(self, sample: Sample, key: int) -> None:
        data = ip_packet(sample, key)
        if sample.direction == model.INGRESS:
            self._injectors[sample.interface].send(self._frame_heads[sample.interface][sample.version] + data)
            return
        try:
            self._senders[sample.interface, sample.version].sendto(data, (str(sample.dst), 0))
        except PermissionError:
            # So the kernel tells a sender that its packet was dropped; the observer drops them all.
            return

    def _wait_for(self, sentinel: int) -> None:
        """Wait until the last packet of a batch has come; all others are through by then."""
        deadline = time.monotonic() + _PATIENCE
        while sentinel not in self._recorded("arrived"):
            if time.monotonic() > deadline:
                raise LostError(f"the last packet of a batch did not arrive within {_PATIENCE} seconds")
            time.sleep(0.001)

    def _recorded(self, stage: str) -> frozenset[int]:
        """The keys that a stage of the observer has recorded."""
        with self._host.entered():
            argv = [*self._nft, "--json", "list", "set", "inet", "observer", stage]
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


def _fate(sample: Sample, key: int, seen: Mapping[str, frozenset[int]]) -> Fate:
    if key not in seen["passed"]:
        return Fate.DENY
    untracked = key in seen["untracked"]
    exempt = sample.version == 6 and sample.protocol == model.ICMPV6 and sample.icmp_type in _NEVER_TRACKED
    if (key in seen["tracked"]) is (untracked or exempt):
        return Fate.CONTRADICTION
    return Fate.UNTRACKED if untracked else Fate.TRACKED


def _cables() -> Iterator[tuple[int, str]]:
    """The host's interfaces, numbered; the other end of number 1 is called p1."""
    return enumerate((*INTERFACES, _SENTINEL_INTERFACE))


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


def _observer() -> str:
    """The observer's table."""
    lines = ["table inet observer {"]
    lines += [f"set {stage} {{ typeof @nh,16,16; size 65535; flags dynamic; }}" for stage in _STAGES]
    for hook in ("prerouting", "output"):
        for priority in sorted({priority for priority, _unused in _STAGES.values()}):
            head = f"type filter hook {hook} priority {priority}; policy accept;"
            lines.append(f"chain {hook}{-priority} {{ {head}")
            lines += [
                f"meta nfproto {family} {condition} add @{stage} {{ {field} }}"
                for stage, (when, condition) in _STAGES.items()
                if when == priority
                for family, field in _FIELDS.items()
            ]
            if priority == max(when for when, _unused in _STAGES.values()):
                lines.append("drop")
            lines.append("}")
    return "\n".join([*lines, "}", ""])


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Keep this thread on one CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
