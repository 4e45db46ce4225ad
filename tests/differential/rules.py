# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules to try: a few criteria each, of all that a rule can ask for.

A rule that asks for everything matches nothing. So the criteria of a rule are drawn first, all kinds alike,
and then what each of them says.

Left out is what no resource can say: numbers of ports without a protocol that has them, and named ports of a
protocol that has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.pools import ICMP_CODES, ICMP_TYPES, PORT_SET_NAMES, PORTS, PROTOCOLS, SET_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_ACTIONS: Final = (model.ALLOW, model.ALLOW, model.DENY, model.DENY, model.PASS, model.LOG)
# Of rules that only exclude something: those behind one that decides are out of reach.
_ACTIONS_OF_BROAD: Final = (*(model.LOG,) * 4, model.ALLOW, model.DENY, model.PASS)
_ICMP: Final = ("icmp", "not_icmp")
_NUMBERS: Final = ("ports", "not_ports")
_SIDES: Final = ("source", "destination")
_OF_A_SIDE: Final = ("sets", "not_sets", "ports", "not_ports", "named_ports", "not_named_ports")
# ICMP twice: half of it is for the other IP version.
_CRITERIA: Final = (
    "protocol",
    "not_protocol",
    "ip_version",
    *_ICMP,
    *_ICMP,
    *((side, name) for side in _SIDES for name in _OF_A_SIDE),
)
_HOW_MANY: Final = (0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 6)


@dataclass(frozen=True)
class Palette:
    """What the rules of one policy choose from: a few ports make many of them collide."""

    ports: tuple[int, ...]
    protocols: tuple[int, ...]
    is_crowded: bool

    @classmethod
    def wide(cls) -> Palette:
        """Everything."""
        return cls(PORTS, model.PORT_PROTOCOLS, is_crowded=False)

    @classmethod
    def narrow(cls, chance: Random) -> Palette:
        """Two or three ports and their neighbours, of mostly one protocol."""
        ports = chance.sample(PORTS, chance.choice((2, 3)))
        beside = {(port + step) % 65536 for port in ports for step in (-1, 0, 1)}
        main = chance.choice(model.PORT_PROTOCOLS)
        return cls(tuple(sorted(beside)), (*(main,) * 5, *model.PORT_PROTOCOLS), is_crowded=True)


def rule(chance: Random, origin: model.Origin, palette: Palette) -> model.Rule:
    """One rule."""
    asked = set(chance.sample(_CRITERIA, chance.choice(_HOW_MANY)))
    if palette.is_crowded and chance.random() < 0.8:
        # A crowd of rules that ask for nothing would hide behind the first of them.
        asked.add((chance.choice(_SIDES), "ports"))
    source, destination = (
        model.Side(**{name: _of_a_side(chance, name, palette) for name in _names(asked, side)})
        for side in _SIDES
    )
    made = model.Rule(
        origin,
        chance.choice(_ACTIONS if _is_narrow(asked) else _ACTIONS_OF_BROAD),
        protocol=_protocol(chance, asked, palette),
        source=source,
        destination=destination,
        icmp=_icmp(chance) if "icmp" in asked else None,
        not_icmp=_icmp(chance) if "not_icmp" in asked else None,
    )
    if "not_protocol" in asked:
        others = tuple(number for number in PROTOCOLS if number != made.protocol)
        made = replace(made, not_protocol=chance.choice(others))
    if "ip_version" in asked:
        made = replace(made, ip_version=chance.choice((4, 6)))
    return made


def _is_narrow(asked: set[Any]) -> bool:
    wanted = {
        "protocol",
        "icmp",
        *((side, name) for side in _SIDES for name in ("sets", "ports", "named_ports")),
    }
    return bool(asked & wanted)


def _names(asked: set[Any], side: str) -> list[str]:
    return [name for name in _OF_A_SIDE if (side, name) in asked]


def _protocol(chance: Random, asked: set[Any], palette: Palette) -> int | None:
    """A protocol that goes with what else the rule asks for."""
    if any((side, name) in asked for side in _SIDES for name in _NUMBERS):
        return chance.choice(palette.protocols)
    if "protocol" not in asked:
        return None
    if any((side, name) in asked for side in _SIDES for name in ("named_ports", "not_named_ports")):
        return chance.choice(palette.protocols)
    if asked & set(_ICMP):
        return chance.choice((*model.ICMP_PROTOCOLS, *model.ICMP_PROTOCOLS, model.TCP))
    return chance.choice(PROTOCOLS)


def _of_a_side(chance: Random, name: str, palette: Palette) -> tuple[Any, ...]:
    if name in _NUMBERS:
        return port_ranges(chance, palette.ports)
    pool = SET_NAMES if name in ("sets", "not_sets") else PORT_SET_NAMES
    return tuple(chance.sample(pool, chance.choice((1, 1, 2))))


def _icmp(chance: Random) -> model.Icmp:
    return model.Icmp(chance.choice(ICMP_TYPES), chance.choice((None, None, *ICMP_CODES)))


def port_ranges(chance: Random, ports: Sequence[int]) -> tuple[model.PortRange, ...]:
    """Disjoint, sorted ranges that end at, or just beside, these ports."""
    ranges: list[model.PortRange] = []
    wanted = (_ends(chance, ports) for _unused in range(chance.choice((1, 1, 2, 3, 8))))
    for first, last in sorted(wanted):
        if not ranges or first > ranges[-1][1]:
            ranges.append((first, last))
    return tuple(ranges)


def _ends(chance: Random, ports: Sequence[int]) -> model.PortRange:
    first = chance.choice(ports)
    if chance.random() < 0.6:
        return first, first
    # Beside a port of the pool, not always at it: so ranges of two rules touch or overlap by one.
    last = min(max(chance.choice(ports) + chance.choice((-1, 0, 0, 1)), 0), 65535)
    return min(first, last), max(first, last)
