# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints to try: by name, for every interface, by addresses, and several that want the same interface.

Left out is what no resource can say: two endpoints with the name of one interface, and one that has neither
an interface nor addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.pools import (
    CABLES,
    ENDPOINT_NAMES,
    INTERFACES,
    LOOPBACK,
    OWN_ADDRESSES,
    POLICY_NAMES,
    TIER_NAMES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

POLICY_KEYS: Final = {f"GlobalNetworkPolicy/{name}": name for name in POLICY_NAMES}
# The tier of each policy: what Pass does shows only where another tier follows.
_TIERS: Final = ((0, 1, 2), (0, 1, 1), (0, 0, 1), (1, 0, 0), (0, 0, 0))

_EVERY: Final = model.EVERY_INTERFACE
_FIRST, _SECOND, _UNGOVERNED = CABLES
# The last cable has no endpoint of its own. None: by addresses.
_LAYOUTS: Final[tuple[tuple[str | None, ...], ...]] = (
    (_FIRST, _SECOND),
    (_FIRST, _SECOND),
    (_FIRST,),
    (_EVERY,),
    (_FIRST, _EVERY),
    (_FIRST, _SECOND, _EVERY),
    (_EVERY, _EVERY, _SECOND),
    (LOOPBACK, _EVERY),
    (None,),
    (None, None),
    (_FIRST, None),
    (None, _SECOND, _EVERY),
    (None, None, _FIRST, _EVERY),
    (),
)


@dataclass(frozen=True)
class Layout:
    """Which endpoints there are, and which addresses the host's interfaces have, as far as is known."""

    endpoints: tuple[model.Endpoint, ...]
    interfaces: Mapping[str, tuple[str, ...]]


def layout(chance: Random) -> Layout:
    """Endpoints, each with its policies by tier. A policy is in one tier only."""
    wanted = chance.choice(_LAYOUTS)
    names = chance.sample(ENDPOINT_NAMES, len(wanted))
    numbers = chance.choice(_TIERS)
    tier_of = {key: TIER_NAMES[number] for key, number in zip(POLICY_KEYS, numbers, strict=True)}
    order = chance.sample(tuple(POLICY_KEYS), len(POLICY_KEYS))
    return Layout(
        endpoints=tuple(
            model.Endpoint(
                name=name,
                interface=interface,
                untracked=_tiers(chance, tier_of, order),
                addresses=_addresses(chance, interface),
            )
            for name, interface in zip(names, wanted, strict=True)
        ),
        interfaces=_known(chance) if None in wanted or chance.random() < 0.3 else {},
    )


def _tiers(chance: Random, tier_of: Mapping[str, str], order: list[str]) -> tuple[model.Tier, ...]:
    """Mostly all policies: one without can be reached only by those that have none."""
    skipped = chance.choice((None, None, None, *order))
    if chance.random() < 0.05:
        return ()
    return tuple(
        model.Tier(tier, tuple(key for key in order if tier_of[key] == tier and key != skipped))
        for tier in TIER_NAMES
    )


def _addresses(chance: Random, interface: str | None) -> tuple[str, ...]:
    """Where an interface is named, addresses choose none, not even another's."""
    fewest = 1 if interface is None else 0
    return tuple(chance.sample(OWN_ADDRESSES, chance.randint(fewest, 3)))


def _known(chance: Random) -> dict[str, tuple[str, ...]]:
    """Addresses of the interfaces; of some nothing is known, and two may have the same."""
    listed = {name: tuple(chance.sample(OWN_ADDRESSES, chance.randint(0, 3))) for name in INTERFACES}
    unknown = chance.choice((None, *INTERFACES))
    return {name: known for name, known in listed.items() if name != unknown}
