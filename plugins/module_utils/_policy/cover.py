# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Whether one rule certainly matches all that another one matches."""

from __future__ import annotations

import bisect
import ipaddress
import typing as t
from functools import lru_cache

if t.TYPE_CHECKING:
    from . import model

Ranges = tuple[tuple[int, ...], tuple[int, ...]]
"""First and last addresses of disjoint ranges, sorted."""


class Covers:
    """Compares rules of one policy."""

    def __init__(self, policy: model.HostPolicy) -> None:
        self._policy = policy
        self._ranges = lru_cache(maxsize=1024)(self._read_ranges)
        self._within = lru_cache(maxsize=65536)(self._compare)

    def covers(self, wide: model.Rule, narrow: model.Rule) -> bool:
        """Whether `wide` matches every packet that `narrow` does. False also where that is not certain."""
        return (
            wide.protocol in (None, narrow.protocol)
            and wide.ip_version in (None, narrow.ip_version)
            and (
                wide.not_protocol in (None, narrow.not_protocol)
                or (narrow.protocol is not None and narrow.protocol != wide.not_protocol)
            )
            and wide.not_icmp in (None, narrow.not_icmp)
            and _icmp_covers(wide.icmp, narrow.icmp)
            and self._side_covers(wide.source, narrow.source)
            and self._side_covers(wide.destination, narrow.destination)
        )

    def _side_covers(self, wide: model.Side, narrow: model.Side) -> bool:
        return (
            set(wide.not_sets) <= set(narrow.not_sets)
            and _ports_cover(wide, narrow)
            and all(any(self._within(inner, outer) for inner in narrow.sets) for outer in wide.sets)
        )

    def _compare(self, inner: str, outer: str) -> bool:
        if inner == outer:
            return True
        members = self._policy.sets[inner]
        if not members.v4 and not members.v6:
            return False  # nothing is inside of everything; that it is nothing is said elsewhere
        return all(_inside(self._ranges(inner, version), self._ranges(outer, version)) for version in (4, 6))

    def _read_ranges(self, name: str, version: int) -> Ranges:
        nets = [ipaddress.ip_network(net) for net in self._policy.sets[name].family(version)]
        pairs = sorted((int(net.network_address), int(net.broadcast_address)) for net in nets)
        return tuple(first for first, _last in pairs), tuple(last for _first, last in pairs)


def _inside(inner: Ranges, outer: Ranges) -> bool:
    for first, last in zip(*inner):
        at = bisect.bisect_right(outer[0], first) - 1
        if at < 0 or last > outer[1][at]:
            return False
    return True


def _icmp_covers(wide: model.Icmp | None, narrow: model.Icmp | None) -> bool:
    if wide is None:
        return True
    return narrow is not None and wide.type == narrow.type and wide.code in (None, narrow.code)


def _ports_cover(wide: model.Side, narrow: model.Side) -> bool:
    if wide.not_ports != narrow.not_ports and wide.not_ports:
        return False
    if not set(wide.not_named_ports) <= set(narrow.not_named_ports):
        return False
    if not wide.ports and not wide.named_ports:
        return True
    if not narrow.ports and not narrow.named_ports:
        return False
    return set(narrow.named_ports) <= set(wide.named_ports) and all(
        any(low <= first and last <= high for low, high in wide.ports) for first, last in narrow.ports
    )
