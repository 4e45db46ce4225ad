# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Lines of numbers, ports or addresses, cut into segments of which each is in the same sets throughout.

Where a number lies is then one binary search, however many sets there are and however many members they have.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import socket
import typing as t
from array import array

_FAMILIES = {4: (socket.AF_INET, 32), 6: (socket.AF_INET6, 128)}

Range = tuple[int, int]
"""First and last number."""

Numbers = t.Union["array[int]", "list[int]"]


class Segments:
    """The segments of a line from 0 on: in which sets each lies, as bits."""

    def __init__(self, edges: t.Mapping[int, t.Sequence[int]]) -> None:
        """`edges` are numbers, ascending, at which a set begins and ends in turn, by the set's bit.

        A bit may stand for several sets.
        """
        # Eight bytes for a number that fits, instead of an object: sets may have a million members.
        self._starts: Numbers = array("Q", (0,))
        if any(numbers and numbers[-1] >> 64 for numbers in edges.values()):
            self._starts = [0]
        self._members = [0]
        for at, bit in heapq.merge(*(zip(numbers, itertools.repeat(bit)) for bit, numbers in edges.items())):
            members = self._members[-1] ^ bit
            if at == self._starts[-1]:
                self._members[-1] = members
            else:
                self._starts.append(at)
                self._members.append(members)

    def at(self, number: int) -> int:
        """The bits of the sets in which a number lies."""
        return self._members[bisect.bisect_right(self._starts, number) - 1]


def network_edges(networks: t.Iterable[str], version: int) -> Numbers:
    """The edges of networks (CIDRs) of one IP version, as Segments takes them; addresses are numbers."""
    found: Numbers = array("Q") if version == 4 else []
    found.extend(range_edges(sorted(_range(network, version) for network in networks)))
    return found


def range_edges(ranges: t.Iterable[Range]) -> t.Iterator[int]:
    """The edges of ranges, which are sorted; they may touch and overlap."""
    end = -1
    for first, last in ranges:
        if first > end:
            if end >= 0:
                yield end
            yield first
        end = max(end, last + 1)
    if end >= 0:
        yield end


def _range(network: str, version: int) -> Range:
    family, bits = _FAMILIES[version]
    address, _slash, length = network.partition("/")
    first = int.from_bytes(socket.inet_pton(family, address), "big")
    return first, first + (1 << (bits - int(length))) - 1
