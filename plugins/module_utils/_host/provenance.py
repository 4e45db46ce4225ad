# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Where an installed policy comes from: whose it is, and how much of an inventory the run had seen.

It stands beside the HostPolicy, in the compiled policies, in requests and in the record on the host. It is no
part of it: a new host somewhere in the inventory must not change what all others enforce.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Extent:
    """How much of an inventory a run has seen."""

    id: str
    """Of the inventory's sources, by their paths. It tells people inventories apart; nothing hangs on it."""
    hosts: int
    hosts_with_policy: int
    endpoints: int
    """Host endpoints that are enforced on these hosts."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """How much, wherever the inventory is kept."""
        return self.hosts, self.hosts_with_policy, self.endpoints


@dataclass(frozen=True)
class Provenance:
    """The owner of a policy, and the extent of the inventory that it was compiled from."""

    owner: str
    inventory: Extent

    def tells_the_same(self, other: Provenance) -> bool:
        """Whether they differ at most in where the inventory is kept, which may change with every run."""
        return (self.owner, self.inventory.counts) == (other.owner, other.inventory.counts)


def to_dict(value: Provenance | Extent) -> dict[str, t.Any]:
    """Either as plain data; the shape is part of the public contract (module policy_info)."""
    return asdict(value)


def from_dict(data: t.Any) -> Provenance:
    """Read a provenance; what a later version has added is passed over. Raises TypeError or KeyError."""
    return Provenance(owner=_text(data, "owner"), inventory=extent_from_dict(data["inventory"]))


def extent_from_dict(data: t.Any) -> Extent:
    """Read an extent, in the same way."""
    return Extent(
        id=_text(data, "id"),
        hosts=_count(data, "hosts"),
        hosts_with_policy=_count(data, "hosts_with_policy"),
        endpoints=_count(data, "endpoints"),
    )


def _text(data: t.Any, key: str) -> str:
    if not isinstance(data[key], str):
        raise TypeError(f"{key}: found {data[key]!r}, expected a string")
    return str(data[key])


def _count(data: t.Any, key: str) -> int:
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{key}: found {value!r}, expected a number from 0 on")
    return value
