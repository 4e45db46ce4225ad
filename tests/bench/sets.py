# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading, resolving and rendering one large set of addresses, beside what nft needs to load it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .measure import Row, fastest
from .rules import load, render
from .workload import endpoint, network_set, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (1000, 100_000)


def rows() -> Iterator[Row]:
    """One row for each number of networks."""
    for size in SIZES:
        # Every second /24, so that none of them become one.
        nets = [f"{1 + (n >> 15)}.{(n >> 7) & 255}.{(n & 127) * 2}.0/24" for n in range(size)]
        members = policy("policy", 1)
        members["spec"]["ingress"][0]["source"] = {"selector": "has(set)"}
        resources = [endpoint("host", "192.0.2.1"), members, network_set("large", nets)]

        text = render(resources)
        ours, other = fastest(partial(render, resources), partial(load, text))
        yield Row(f"parse, resolve and render a set of {size} networks", ours, other, "nft -f of the result")
