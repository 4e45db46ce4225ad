# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of networks in the kernel: filled, changed and read by us, and by nft."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from ansible_collections.netpolicy.host.plugins.module_utils._netlink import set_elements
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.set_elements import Change
from tests.differential.namespace import Namespace

from .measure import Row, measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZES = (1000, 100_000, 1_000_000)
# Above this nft takes a minute and more than a GiB for one element, and the kernel minutes for a listing.
BEARABLE = 100_000
TABLE = "netpolicy_host"
EMPTY = f"table inet {TABLE} {{ set large {{ type ipv4_addr; flags interval; }}; }}"
FLUSH = f"flush set inet {TABLE} large"
ONE = "198.51.100.0/24"


def rows() -> Iterator[Row]:
    """Rows for each number of networks and what is done with them, with the memory it takes at its peak."""
    for size in SIZES:
        yield from _in_a_process_of_its_own(_rows, size)


def _rows(size: int) -> list[Row]:
    networks = _apart(size)
    with closing(Namespace()) as own, own.entered():
        _nft(EMPTY)
        # Ours first, while there is no memory yet that others have given back.
        parts, parts_memory = measured(partial(set_elements.fill, TABLE, "large", 4, networks))
        _nft(FLUSH)
        whole, whole_memory = measured(partial(_change, add=networks))
        _nft(FLUSH)
        text = f"add element inet {TABLE} large {{ {', '.join(networks)} }}\n"
        nft, _memory = measured(partial(_nft, text))
        names = f"{size} networks, +{parts_memory:.0f} MB", f"{size} networks, +{whole_memory:.0f} MB"
        rows = [
            Row(f"fill in parts, {names[0]}", parts, nft, "nft -f of all elements"),
            Row(f"fill in one transaction, {names[1]}", whole, nft, "nft -f of all elements"),
        ]
        ours, _memory = measured(partial(_change, add=[ONE]))
        _change(remove=[ONE])
        other, other_is = nft, "nft -f of all elements"
        if size <= BEARABLE:
            other, _memory = measured(partial(_nft, f"add element inet {TABLE} large {{ {ONE} }}"))
            other_is = "nft add element"
            _change(remove=[ONE])
        rows.append(Row(f"add one network to {size}", ours, other, other_is))
        if size <= BEARABLE:
            ours, memory = measured(_read)
            other, _memory = measured(_list)
            rows.append(Row(f"read {size} networks, +{memory:.0f} MB", ours, other, "nft --json list set"))
    return rows


def _apart(size: int) -> list[str]:
    """Networks of two addresses, none of them beside another."""
    return [f"{1 + (n >> 18)}.{n >> 10 & 255}.{n >> 2 & 255}.{(n & 3) * 64}/31" for n in range(size)]


def _change(add: list[str] | None = None, remove: list[str] | None = None) -> None:
    set_elements.change(TABLE, [Change("large", 4, add or [], remove or [])])


def _read() -> None:
    for _network in set_elements.elements(TABLE, "large", 4):
        pass


def _list() -> None:
    command = ["nft", "--json", "list", "set", "inet", TABLE, "large"]
    json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def _nft(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


def _in_a_process_of_its_own(work: Callable[[int], list[Row]], size: int) -> list[Row]:
    """What memory an earlier row gave back would hide what a later one takes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (size,))
