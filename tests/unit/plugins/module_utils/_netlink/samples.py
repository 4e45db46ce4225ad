# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks for tests of sets: none overlaps with another, and many lie side by side."""

from __future__ import annotations

import ipaddress
import typing as t

if t.TYPE_CHECKING:
    import random

WHOLE = {4: "0.0.0.0/0", 6: "::/0"}


def disjoint(choice: random.Random, version: int, cuts: int, whole: str | None = None) -> list[str]:
    """Networks that make up all addresses (or those of `whole`), in no order: some large, some one address.

    Each cut takes one network, of any length, out of one that there is, and leaves the rest of that as
    networks.
    """
    networks: list[t.Any] = [ipaddress.ip_network(whole or WHOLE[version])]
    for _cut in range(cuts):
        index = choice.randrange(len(networks))
        large = networks[index]
        length = choice.randint(large.prefixlen, large.max_prefixlen)
        offset = choice.choice((0, -1, choice.getrandbits(length - large.prefixlen)))
        address = int(large[0]) + (offset % 2 ** (length - large.prefixlen) << large.max_prefixlen - length)
        small = type(large)((address, length))
        networks[index : index + 1] = [small, *large.address_exclude(small)]
    choice.shuffle(networks)
    return [str(network) for network in networks]
