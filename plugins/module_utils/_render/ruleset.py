# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Our nftables table as a value, its text, and the steps from one such table to another.

Chains, sets and maps are named by their content: the name ends in a hash of what they hold and, through
the names they mention, of all that they refer to. An object of that name in the kernel is therefore
the wanted one, a change does not edit what packets are using, and the plan of a change is a comparison of
names. Counters are named by what they count and live as long as that does. Large sets may be changed where
they are, if nothing else changes (_host/in_place.py).

A change takes three nft transactions. First all that is missing is added, where no packet reaches it; then
the base chains are pointed at it; then what nothing refers to any more is removed. One transaction for
all of it lets packets through: those already on their way through an old chain look up maps whose elements
are gone by then (nf_tables_api.c, nft_map_deactivate).
"""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

FAMILY = "inet"
TABLE = "netpolicy_host"
ELEMENTS_PER_LINE = 8
INTERVALS = ("interval",)
"""The flags of a set of address ranges."""
LARGE = 5000
"""Sets of more networks than this go to the kernel without nft, which takes 700 MiB for a million."""


@dataclass(frozen=True)
class Set:
    """A set: of disjoint CIDRs of one IP version with the flags INTERVALS, of exact elements without."""

    name: str
    type: str
    elements: tuple[str, ...]
    flags: tuple[str, ...] = INTERVALS

    @property
    def settings(self) -> tuple[str, ...]:
        """What the set is, as `nft` reads it; its elements apart."""
        return (f"type {self.type}", *([f"flags {','.join(self.flags)}"] if self.flags else []))

    @property
    def members(self) -> tuple[str, ...]:
        """Its elements, as `nft` reads them."""
        return self.elements

    @property
    def version(self) -> int:
        """The IP version of its addresses."""
        return 6 if self.type.startswith("ipv6_addr") else 4

    @property
    def is_large(self) -> bool:
        """Whether it is filled, and changed, element by element."""
        return self.flags == INTERVALS and len(self.elements) > LARGE


@dataclass(frozen=True)
class InterfaceMap:
    """A verdict map from interface name to the verdict for its packets."""

    name: str
    elements: tuple[tuple[str, str], ...]

    @property
    def settings(self) -> tuple[str, ...]:
        """What the map is, as `nft` reads it; its elements apart."""
        return ("type ifname : verdict",)

    @property
    def members(self) -> tuple[str, ...]:
        """Its elements, as `nft` reads them."""
        return tuple(f'"{interface}" : {verdict}' for interface, verdict in self.elements)


@dataclass(frozen=True)
class Chain:
    """A chain without hook: its rules' statements, in order."""

    name: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class BaseChain:
    """A hooked chain: its rules' statements, in order."""

    name: str
    hook: str
    priority: str
    rules: tuple[str, ...]
    type: str = "filter"

    @property
    def mark(self) -> str:
        """Identifies its content in the kernel's table: the comment of its first rule."""
        return content_name(self.name, self.head, *self.rules)

    @property
    def head(self) -> str:
        """What it is, as `nft` reads it; its rules apart."""
        return f"type {self.type} hook {self.hook} priority {self.priority}; policy accept;"

    @property
    def statements(self) -> list[str]:
        """Its rules as `nft` reads them."""
        first, *others = self.rules
        return [f'{first} comment "{self.mark}"', *others]


@dataclass(frozen=True)
class Ruleset:
    """The whole table. Chains stand before the chains that jump to them."""

    counters: tuple[str, ...] = ()
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()
    maps: tuple[InterfaceMap, ...] = ()
    bases: tuple[BaseChain, ...] = ()


@dataclass(frozen=True)
class Names:
    """What the table in the kernel consists of, by name; `bases` has each base chain's mark."""

    counters: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    chains: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()
    bases: tuple[tuple[str, str | None], ...] = ()


def content_name(label: str, *content: str) -> str:
    """A name for an object of this content: readable label, then 64 bits of its hash."""
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()
    return f"{label}-{digest[:16]}"


def names(ruleset: Ruleset) -> Names:
    """The names that the kernel's table has when it is this ruleset."""
    return Names(
        counters=frozenset(ruleset.counters),
        sets=frozenset(member.name for member in ruleset.sets),
        chains=frozenset(chain.name for chain in ruleset.chains),
        maps=frozenset(member.name for member in ruleset.maps),
        bases=tuple(sorted((base.name, base.mark) for base in ruleset.bases)),
    )


def names_in(listing: t.Mapping[str, t.Any]) -> Names:
    """Read `nft --json list table` of our table (with or without set elements) into names.

    Unknown objects are ignored: the JSON's shape has changed between releases of nft.
    """
    found: dict[str, set[str]] = {"counter": set(), "set": set(), "chain": set(), "map": set()}
    bases: dict[str, str | None] = {}
    for item in listing.get("nftables", []):
        for kind, value in item.items():
            if kind == "chain" and "hook" in value:
                bases.setdefault(value["name"], None)
            elif kind in found:
                found[kind].add(value["name"])
            elif kind == "rule" and value["chain"] in bases:
                bases[value["chain"]] = bases[value["chain"]] or value.get("comment")
    return Names(
        counters=frozenset(found["counter"]),
        sets=frozenset(found["set"]),
        chains=frozenset(found["chain"]),
        maps=frozenset(found["map"]),
        bases=tuple(sorted(bases.items())),
    )


def nft_version(listing: t.Mapping[str, t.Any]) -> str:
    """The version of nft that made a listing; empty where it does not say."""
    for item in listing.get("nftables", []):
        if "metainfo" in item:
            return str(item["metainfo"].get("version", ""))
    return ""


def counters_in(listing: t.Mapping[str, t.Any]) -> dict[str, tuple[int, int]]:
    """Packets and L3 bytes of every named counter in `nft --json list table` of our table."""
    return {
        item["counter"]["name"]: (item["counter"]["packets"], item["counter"]["bytes"])
        for item in listing.get("nftables", [])
        if "counter" in item
    }


# -- text --------------------------------------------------------------------------------------------


def text(ruleset: Ruleset) -> str:
    """The ruleset as one file for `nft -f`, loadable where the table does not exist."""
    lines = [f"table {FAMILY} {TABLE} {{"]
    blocks = [_body(f"counter {name}", []) for name in ruleset.counters]
    blocks += [_block("set", member) for member in ruleset.sets]
    blocks += [_body(f"chain {chain.name}", chain.rules) for chain in ruleset.chains]
    blocks += [_block("map", member) for member in ruleset.maps]
    blocks += [_body(f"chain {base.name}", [base.head, *base.statements]) for base in ruleset.bases]
    for block in blocks:
        lines += [f"\t{line}" for line in block] + [""]
    if blocks:
        lines.pop()
    return "\n".join([*lines, "}", ""])


def _block(kind: str, member: Set | InterfaceMap) -> list[str]:
    rows = [
        ", ".join(member.members[start : start + ELEMENTS_PER_LINE])
        for start in range(0, len(member.members), ELEMENTS_PER_LINE)
    ]
    elements = ["elements = {"] + [f"\t{row}," for row in rows[:-1]] + [f"\t{rows[-1]}", "}"] if rows else []
    return _body(f"{kind} {member.name}", list(member.settings) + elements)


def _body(head: str, lines: t.Iterable[str]) -> list[str]:
    return [f"{head} {{"] + [f"\t{line}" for line in lines] + ["}"]


# -- change ------------------------------------------------------------------------------------------


class SetChange(t.NamedTuple):
    """Networks that come into a set, and that leave it."""

    name: str
    version: int
    add: tuple[str, ...]
    remove: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A script for `nft -f`, which is one transaction, the one that takes it back, and what nft is no help
    with: sets that are to be filled after the script, or changed, all of them in one transaction."""

    script: str = ""
    undo: str = ""
    fills: tuple[Set, ...] = ()
    changes: tuple[SetChange, ...] = ()


def plan(live: Names | None, wanted: Ruleset) -> tuple[Step, ...]:
    """The steps from the table that the kernel holds (None: no such table) to the wanted one.

    The last steps have no undo: once packets take the new way, what is left to do is tidying up.
    """
    have = Names() if live is None else live
    now = names(wanted)
    undo = [_command("delete", "table")] if live is None else _removals(_union(have, now), have)
    steps = (
        Step(
            _script(_additions(live, wanted)),
            _script(undo),
            tuple(member for member in wanted.sets if member.is_large and member.name not in have.sets),
        ),
        Step(_script(_switch(dict(have.bases), wanted))),
        Step(_script(_removals(have, now))),
    )
    return tuple(step for step in steps if step.script)


def _additions(live: Names | None, wanted: Ruleset) -> list[str]:
    have = Names() if live is None else live
    add = [] if live is not None else [_command("add", "table")]
    add += [_command("add", "counter", name) for name in wanted.counters if name not in have.counters]
    add += [_definition("set", member) for member in wanted.sets if member.name not in have.sets]
    fresh = [chain for chain in wanted.chains if chain.name not in have.chains]
    add += [_command("add", "chain", chain.name) for chain in fresh]
    add += [_command("add", "rule", f"{chain.name} {rule}") for chain in fresh for rule in chain.rules]
    add += [_definition("map", member) for member in wanted.maps if member.name not in have.maps]
    return add


def _union(one: Names, other: Names) -> Names:
    return Names(
        counters=one.counters | other.counters,
        sets=one.sets | other.sets,
        chains=one.chains | other.chains,
        maps=one.maps | other.maps,
    )


def _switch(have: t.Mapping[str, str | None], wanted: Ruleset) -> list[str]:
    commands = []
    for base in wanted.bases:
        if have.get(base.name) == base.mark:
            continue
        commands.append(_command("add", "chain", f"{base.name} {{ {base.head} }}"))
        commands.append(_command("flush", "chain", base.name))
        commands += [_command("add", "rule", f"{base.name} {rule}") for rule in base.statements]
    kept = {base.name for base in wanted.bases}
    for name in sorted(set(have) - kept):
        commands.append(_command("flush", "chain", name))
        commands.append(_command("delete", "chain", name))
    return commands


def _removals(have: Names, keep: Names) -> list[str]:
    chains = sorted(have.chains - keep.chains)
    commands = [_command("delete", "map", name) for name in sorted(have.maps - keep.maps)]
    # Emptied first: a chain or a counter that a rule still mentions cannot be deleted.
    commands += [_command("flush", "chain", name) for name in chains]
    commands += [_command("delete", "chain", name) for name in chains]
    commands += [_command("delete", "set", name) for name in sorted(have.sets - keep.sets)]
    return commands + [_command("delete", "counter", name) for name in sorted(have.counters - keep.counters)]


def repair(wanted: Ruleset) -> tuple[Step, ...]:
    """Build the table anew: for one that somebody else has edited, whose names vouch for nothing.

    In one transaction, so that there is a table at every moment; some packets may meet neither. Counters
    restart.
    """
    return (Step(_command("delete", "table") + "\n" + text(wanted)),)


def removal() -> tuple[Step, ...]:
    """Remove the whole table, and nothing else."""
    return (Step(_command("delete", "table") + "\n"),)


def _definition(kind: str, member: Set | InterfaceMap) -> str:
    parts = list(member.settings)
    if member.members and not (isinstance(member, Set) and member.is_large):
        parts.append(f"elements = {{ {', '.join(member.members)} }}")
    return _command("add", kind, f"{member.name} {{ {'; '.join(parts)}; }}")


def _command(verb: str, kind: str, rest: str = "") -> str:
    return " ".join(part for part in (verb, kind, FAMILY, TABLE, rest) if part)


def _script(commands: t.Sequence[str]) -> str:
    return "".join(f"{command}\n" for command in commands)
