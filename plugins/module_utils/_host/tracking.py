# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What connection tracking holds, and which way packets go: the kernel's side of tracked_flows.py."""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import socket
import typing as t

from .._netlink import conntrack, routes
from .._netlink.connection import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from .._netlink.messages import NetlinkError

if t.TYPE_CHECKING:
    from .._netlink.conntrack import Entry, Tuple

_ROUTES_KEPT = 1 << 15
"""Asking for one takes some thirty microseconds, and keeping one some hundred bytes."""
_ATTEMPTS = 5
"""Addresses that come or go while they are listed make the list useless: containers start and stop."""


class Route(t.NamedTuple):
    """Where packets to an address go: to the host itself, or out of an interface, None where not one."""

    is_local: bool
    interface: str | None


class Tracking(t.Protocol):
    """What tracked_flows.py needs of a host. Everything raises NetlinkError where the kernel refuses."""

    def entries(self, wanted: t.Callable[[Tuple], bool]) -> t.Iterable[Entry]:
        """The tracked flows whose original tuple is wanted, one by one; none where nothing is tracked."""

    def delete(self, entry: Entry) -> bool:
        """Delete one; False where it is not there any more, or cannot be deleted."""

    def route(self, version: int, destination: int, source: int | None) -> Route | None:
        """The route to an address from one of the host's own, or from any; None where there is none."""

    def addresses(self) -> t.Mapping[str, t.Sequence[str]]:
        """The addresses of every interface by its name."""


class LinuxTracking:
    """The tracking of the network namespace that this process is in. Raises NetlinkError."""

    def __init__(self, flows: Netlink, ways: Netlink) -> None:
        """`flows` speaks NETLINK_NETFILTER, `ways` NETLINK_ROUTE."""
        self._flows = flows
        self._ways = ways
        self._name = functools.lru_cache(maxsize=4096)(_name)
        self.route = functools.lru_cache(maxsize=_ROUTES_KEPT)(self._route)

    def entries(self, wanted: t.Callable[[Tuple], bool]) -> t.Iterable[Entry]:
        """See Tracking.entries."""
        return () if conntrack.is_empty() else conntrack.entries(self._flows, wanted)

    def delete(self, entry: Entry) -> bool:
        """See Tracking.delete."""
        return conntrack.delete(self._flows, entry)

    def _route(self, version: int, destination: int, source: int | None) -> Route | None:
        found = routes.route(self._ways, version, destination, source)
        return None if found is None else Route(found.is_local, self._name(found.link))

    def addresses(self) -> t.Mapping[str, t.Sequence[str]]:
        """See Tracking.addresses."""
        found: dict[str, list[str]] = {}
        for version, number, link in self._addresses():
            kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
            found.setdefault(self._name(link) or "", []).append(str(kind(number)))
        return found

    def _addresses(self) -> list[routes.Address]:
        for _unused in range(_ATTEMPTS - 1):
            try:
                return list(routes.addresses(self._ways))
            except NetlinkError as error:
                if error.errno != errno.EINTR:
                    raise
        return list(routes.addresses(self._ways))


def _name(link: int | None) -> str | None:
    try:
        return None if link is None else socket.if_indextoname(link)
    except OSError:  # gone in the meantime
        return None


@contextlib.contextmanager
def tracking() -> t.Iterator[Tracking]:
    """The tracking of this host, until the end of the block. Raises NetlinkError."""
    with Netlink(NETLINK_NETFILTER) as flows, Netlink(NETLINK_ROUTE) as ways:
        yield LinuxTracking(flows, ways)
