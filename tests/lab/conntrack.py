# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection tracking table of a host: counting, reading, filling and emptying it.

The limit on entries belongs to the machine but is applied to each network namespace by itself, so a host's
table can be filled to the brim while the machine's stays as it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from .command import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .host import Host

_LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"
# The range set aside for benchmarks (RFC 2544): no host of any lab has these addresses.
FILL_SOURCES = "198.18"
RESERVE_SOURCES = "198.19"
_FIRST_PORT, _LAST_PORT = 1024, 65535
_PROBE_PORT = 9

_FIELD = re.compile(r"(src|dst|sport|dport)=(\S+)")


class NotTrackingError(RuntimeError):
    """The kernel tracks no connections in that host, so its table says nothing."""


@dataclass(frozen=True)
class Entry:
    """A tracked connection, in its original direction; ports are 0 where the protocol has none."""

    protocol: str
    src: str
    dst: str
    sport: int
    dport: int
    line: str


def limit() -> int:
    """The number of entries that each network namespace of this machine may have."""
    return int(_LIMIT.read_text())


def count(host: Host) -> int:
    """The number of entries of the host."""
    return int(host.run("cat", _COUNT).stdout)


def entries(
    host: Host,
    *,
    protocol: str | None = None,
    src: str | None = None,
    dst: str | None = None,
    sport: int | None = None,
    dport: int | None = None,
    ipv6: bool = False,
) -> list[Entry]:
    """The entries of one address family whose original direction matches everything that is given.

    ``src`` and ``dst`` are addresses or, in CIDR notation, networks. Ports need a ``protocol``.
    """
    selection = _selection(protocol=protocol, src=src, dst=dst, sport=sport, dport=dport)
    listing = host.run("conntrack", "-L", "-f", "ipv6" if ipv6 else "ipv4", *selection).stdout
    return [_entry(line) for line in listing.splitlines() if line.strip()]


def _selection(
    *,
    protocol: str | None = None,
    src: str | None = None,
    dst: str | None = None,
    sport: int | None = None,
    dport: int | None = None,
) -> list[str]:
    """The options of conntrack(8) that select entries."""
    given = {"-p": protocol, "-s": src, "-d": dst, "--sport": sport, "--dport": dport}
    return [word for option, value in given.items() if value is not None for word in (option, str(value))]


def _entry(line: str) -> Entry:
    """A line of ``conntrack -L`` as a value; the original direction comes first on it."""
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(line):
        fields.setdefault(name, value)
    ports = (int(fields.get("sport", 0)), int(fields.get("dport", 0)))
    return Entry(line.split(maxsplit=1)[0], fields["src"], fields["dst"], *ports, line)


def flush(host: Host) -> None:
    """Forget every connection of the host."""
    host.run("conntrack", "-F")


def delete(host: Host, *, src: str) -> int:
    """Forget the IPv4 connections from an address or a network (CIDR); return how many there were."""
    return _delete(host, _selection(src=src))


def _delete(host: Host, selection: list[str]) -> int:
    result = host.run("conntrack", "-D", "-f", "ipv4", *selection, check=False)
    # The code is 1 also when nothing matched; the last line of the report tells which it was.
    report = re.search(r"(\d+) flow entries have been deleted", result.stderr)
    if report is None:
        raise CommandError(result)
    return int(report[1])


def is_tracking(host: Host) -> bool:
    """Whether the kernel tracks the host's connections, found out by sending it a datagram from itself.

    It does once there is a rule about connection states. A table that is full shows nothing: ValueError then.
    """
    if count(host) >= limit():
        raise ValueError(f"the table of {host.name} is full: nothing new is tracked whether it tracks or not")
    script = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', {_PROBE_PORT}))"
    host.run("python3", "-c", script)
    # Deleted at once: it would expire in the middle of a test and make room for one connection more.
    return _delete(host, _selection(protocol="udp", dst="127.0.0.1", dport=_PROBE_PORT)) > 0


def fill(host: Host, *, dst: str, dport: int = 443, room: int = 0, sources: str = FILL_SOURCES) -> int:
    """Fill the host's table with established connections until ``room`` more fit; return how many it has.

    The connections are from ``sources``.0.1, .0.2, … to ``dst`` and ``dport``. The kernel counts them as
    assured, so it does not throw them out in favour of new ones. Closing ones it does throw out
    when the table is nearly full: ``flush`` first where not a single new one may get through.
    Raises NotTrackingError when the host tracks nothing, RuntimeError when the table does not fill.
    """
    if count(host) < limit() and not is_tracking(host):
        raise NotTrackingError(
            f"host {host.name} tracks no connections: it needs rules on their state (see firewall.stateful)"
        )
    wanted = limit() - room
    flows = _flows(sources)
    # Some entries may come or go by themselves meanwhile, and some of these may be there already: look, and
    # add.
    for _unused in range(5):
        missing = wanted - count(host)
        if missing <= 0:
            break
        lines = (
            f"-I -p tcp -s {src} -d {dst} --sport {sport} --dport {dport} --state ESTABLISHED -t 3600"
            " -u SEEN_REPLY,ASSURED\n"
            for src, sport in islice(flows, missing)
        )
        host.run("conntrack", "-R", "-", stdin="".join(lines), check=False)
    if (reached := count(host)) < wanted:
        raise RuntimeError(f"the table of {host.name} has {reached} entries, not {wanted}")
    return reached


def _flows(sources: str) -> Iterator[tuple[str, int]]:
    """Sources of connections, each once."""
    for number in range(1 << 16):
        for port in range(_FIRST_PORT, _LAST_PORT + 1):
            yield f"{sources}.{number >> 8}.{(number & 0xFF) + 1}", port
