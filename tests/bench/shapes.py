# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that the raw path is measured with, written for no firewall in particular.

Every rule permits UDP from networks of its own, so one packet can match one rule at most, and whoever judges
it right has found that rule.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES: Final = (5, 20, 100, 1000, 10_000)
"""Numbers of rules."""
SET_SIZES: Final = (1000, 100_000, 1_000_000)
"""Numbers of networks in the one rule of Shape.ONE_SET."""
NETS_OF_A_RULE: Final = 4

UNKNOWN_SOURCE: Final = "198.51.100.9"
"""An address that no rule mentions."""

_FIRST_NET = 20 << 24  # 20.0.0.0
_FIRST_PORT = 10_000


class Shape(enum.Enum):
    """What the rules ask for, as people say it."""

    PORTS = "each rule a port and addresses"
    ADDRESSES = "each rule addresses only"
    MIXED = "every other rule without port"
    ONE_SET = "one rule, a port and many addresses"


@dataclass(frozen=True)
class Rule:
    """Permits UDP to a port (None: to any) from networks; they are disjoint, sorted and not adjacent."""

    port: int | None
    nets: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """Rules in their order, and the packets to judge by them: their port, and a source for the last rule."""

    shape: Shape
    size: int
    rules: tuple[Rule, ...]
    port: int
    source: str

    @property
    def sources(self) -> dict[bool, str]:
        """A source that the last rule permits and one that no rule mentions, by whether it is permitted.

        Both come to the last rule's port: a dispatch by port cannot send away what no rule permits.
        """
        return {True: self.source, False: UNKNOWN_SOURCE}


def workload(shape: Shape, size: int) -> Workload:
    """As many rules, or a rule of as many networks."""
    if shape is Shape.ONE_SET:
        rules = [Rule(_FIRST_PORT, tuple(map(_net, range(size))))]
    else:
        rules = [
            Rule(
                port=_FIRST_PORT + index if _has_port(shape, size - 1 - index) else None,
                nets=tuple(_net(NETS_OF_A_RULE * index + number) for number in range(NETS_OF_A_RULE)),
            )
            for index in range(size)
        ]
    last = rules[-1]
    return Workload(
        shape=shape,
        size=size,
        rules=tuple(rules),
        port=_FIRST_PORT + len(rules) - 1,
        source=last.nets[-1].removesuffix("0/24") + "9",
    )


def workloads() -> Iterator[Workload]:
    """All that is measured; what takes longest to load comes last."""
    for size in SIZES:
        if size == SIZES[-1]:
            for networks in SET_SIZES:
                yield workload(Shape.ONE_SET, networks)
        for shape in (Shape.PORTS, Shape.ADDRESSES, Shape.MIXED):
            yield workload(shape, size)


def _has_port(shape: Shape, from_the_end: int) -> bool:
    # Of mixed rules the last has a port, and is behind as many that could match before it as can be.
    return shape is Shape.PORTS or (shape is Shape.MIXED and from_the_end % 2 == 0)


def _net(number: int) -> str:
    """Every second /24, so that none of them become one."""
    address = _FIRST_NET + (number << 9)
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.0/24"
