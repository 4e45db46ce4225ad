# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What a change of policy means to flows that connection tracking knows, or from now on does not know.

A flow that was tracked before its policy came keeps its entry, for up to five days, though no packet of it
is tracked any more: the table would not empty. So its entry is deleted. That is harmless if untracked policy
takes both directions, and harmful otherwise: the next packet that is tracked would be a stranger's. Where it
is not certain, the entry stays, and expires by itself.

Raw sees a packet before anything is translated. Of one that arrives it knows on which interface, of one that
the host sends, by which interface its route leaves:

- What a peer sends to the host: raw prerouting sees it as the peer sent it, before destination NAT. That is
  the original tuple, or of a connection that the host has opened the reply tuple.
- What the host sends: raw output sees it as the local process sent it, before source NAT, or before
  destination NAT is taken back. That is the original tuple, or of a connection that a peer has opened the
  reply tuple, in which the source is where destination NAT has led the original.
- What the host passes on: raw prerouting sees both directions, each on the interface toward its sender; raw
  output sees neither.

So each tuple is judged as it stands: at the egress of the way to its destination if its source is the host's
own, else at the ingress of the way to its source. Connection tracking does not know of interfaces, so routes
have to tell. They tell nothing certain of addresses that may be in use twice (in zones, link-local), nor of
what the host passes on by one and the same interface: that may be bridged past us. Such flows stay.
"""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

from .._netlink.conntrack import IPS_HW_OFFLOAD, IPS_OFFLOAD
from .._netlink.messages import NetlinkError
from .._policy import model, released
from .._policy.flows import UntrackedPolicy
from .system import HostError

if t.TYPE_CHECKING:
    from .._netlink.conntrack import Entry, Tuple
    from .system import Host
    from .tracking import Route, Tracking

TCP_LOOSE_FILE = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"
_LINK_LOCAL = 0xFE80 >> 6  # fe80::/10
_OFFLOADED = IPS_OFFLOAD | IPS_HW_OFFLOAD


@dataclass(frozen=True)
class Outcome:
    """How many entries were deleted, and what the user should know."""

    deleted: int = 0
    notes: tuple[str, ...] = ()


NOTHING = Outcome()


def follow(
    host: Host, before: model.HostPolicy | None, after: model.HostPolicy | None, *, check: bool
) -> Outcome:
    """Make connection tracking follow a change of policy, which is in force unless `check` (then only notes).

    Never raises: whatever becomes of entries, the policy is in force.
    """
    try:
        notes = _loose_notes(host, before, after)
        outcome = NOTHING if check or after is None else _forget(host, after)
    except Exception as error:  # noqa: BLE001  # our own mistake, told as such
        return Outcome(notes=(_remain(0, f"a defect in netpolicy.host, please report it: {error!r}"),))
    return Outcome(outcome.deleted, (*notes, *outcome.notes))


def _forget(host: Host, policy: model.HostPolicy) -> Outcome:
    """Delete the entries of all flows that the policy takes past connection tracking."""
    deleted = 0
    try:
        with host.tracking() as tracking:
            untracked = _Untracked(policy, tracking)
            # In most tables most entries are none of ours: the cheap question comes first.
            wanted = untracked.policy.might_take
            for entry in tracking.entries(wanted) if untracked.policy.takes_anything else ():
                deleted += untracked.has(entry) and tracking.delete(entry)
    except NetlinkError as error:
        return Outcome(deleted, (_remain(deleted, str(error)),))
    return Outcome(deleted)


def _remain(deleted: int, why: str) -> str:
    return (
        "the policy is in force, but not all entries of connections that it takes past connection tracking "
        f"could be deleted ({deleted} were; {why}); the others expire by themselves, after up to five days "
        "(net.netfilter.nf_conntrack_tcp_timeout_established); conntrack -L of package conntrack shows them"
    )


def _loose_notes(host: Host, before: model.HostPolicy | None, after: model.HostPolicy | None) -> list[str]:
    """What to tell where connections come back to a connection tracking that takes none in their middle."""
    if before is None or not _is_strict(host) or not released.may_release_tcp(before, after):
        return []
    note = (
        "net.netfilter.nf_conntrack_tcp_loose is 0 on this host: TCP connections that untracked policy took "
        "past connection tracking, and now does not any more, are invalid to it, and a firewall that drops "
        "what is invalid or not established cuts them off. Until they have ended, set it to 1 "
        "(sysctl -w net.netfilter.nf_conntrack_tcp_loose=1); or have them opened anew"
    )
    return [note]


def _is_strict(host: Host) -> bool:
    """Whether connection tracking takes no TCP connection of which it has not seen the beginning."""
    try:
        return (host.read(TCP_LOOSE_FILE) or b"").strip() == b"0"
    except HostError:
        return False


Place = tuple[str, str]
"""An interface, and ingress or egress."""


class _Untracked:
    """Tells the flows that a policy takes past connection tracking on this host."""

    def __init__(self, policy: model.HostPolicy, tracking: Tracking) -> None:
        interfaces = tracking.addresses()
        addresses = [ipaddress.ip_address(one) for known in interfaces.values() for one in known]
        self.policy = UntrackedPolicy(policy, interfaces)
        self._own = frozenset((one.version, int(one)) for one in addresses)
        self._route = tracking.route

    def has(self, entry: Entry) -> bool:
        """Whether both directions of a tracked flow are certainly untracked from now on."""
        if entry.zone or entry.status & _OFFLOADED:
            return False
        places = self._place(entry.original), self._place(entry.reply)
        return (
            # Ingress of one interface both ways is what is bridged, or is in another routing table (VRF).
            (places[0] != places[1] or places[0] is None)
            and self._takes(places[0], entry.original)
            and self._takes(places[1], entry.reply)
        )

    def _takes(self, place: Place | None, way: Tuple) -> bool:
        judge = None if place is None else self.policy.on(*place)
        return judge is not None and judge.takes(way)

    def _place(self, way: Tuple) -> Place | None:
        """Where raw sees the packets of a direction; None where that is not certain."""
        version, _protocol, source, destination, *_rest = way
        if version == 6 and _LINK_LOCAL in (source >> 118, destination >> 118):
            return None
        if (version, source) not in self._own:
            to_own = (version, destination) in self._own
            arriving = self._route(version, source, destination if to_own else None)
            # An address of ours that no interface has: a route of type local makes it so.
            if arriving is None or not arriving.is_local:
                return _at(arriving, model.INGRESS)
        leaving = self._route(version, destination, source)
        return None if leaving is None or leaving.is_local else _at(leaving, model.EGRESS)


def _at(route: Route | None, direction: str) -> Place | None:
    return None if route is None or route.interface is None else (route.interface, direction)
