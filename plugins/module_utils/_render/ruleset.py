# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Our nftables table as a value, its text, and the steps from one such table to another.

Chains, sets and maps are named by their content: the name ends in a hash of what they hold and, through
the names they mention, of all that they refer to. An object of that name in the kernel is therefore
the wanted one, a change never edits what packets are using, and the plan of a change is a comparison of
names. Counters are named by the rule that they count and live as long as the rule does.

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


@dataclass(frozen=True)
class Set:
    """An interval set of addresses: disjoint CIDRs of one family (`type`: ipv4_addr or ipv6_addr)."""

    name: str
    type: str
    elements: tuple[str, ...]

    @property
    def settings(self) -> tuple[str, ...]:
        """What the set is, as `nft` reads it; its elements apart."""
        return (f"type {self.type}", "flags interval")

    @property
    def members(self) -> tuple[str, ...]:
        """Its elements, as `nft` reads them."""
        return self.elements


@dataclass(frozen=True)
class InterfaceMap:
    """A verdict map from interface name to the chain that judges its packets."""

    name: str
    elements: tuple[tuple[str, str], ...]

    @property
    def settings(self) -> tuple[str, ...]:
        """What the map is, as `nft` reads it; its elements apart."""
        return ("type ifname : verdict",)

    @property
    def members(self) -> tuple[str, ...]:
        """Its elements, as `nft` reads them."""
        return tuple(f'"{interface}" : goto {chain}' for interface, chain in self.elements)


@dataclass(frozen=True)
class Chain:
    """A chain without hook: its rules' statements, in order."""

    name: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class BaseChain:
    """A hooked chain: it dispatches by interface (`key`: iifname or oifname) through one map."""

    name: str
    hook: str
    priority: str
    key: str
    map: str

    @property
    def rule(self) -> str:
        """Its only rule. The comment tells a reader of the kernel's table which map is in use."""
        return f'{self.key} vmap @{self.map} comment "{self.map}"'


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
    """What the table in the kernel consists of, by name; `bases` says which map each base chain uses."""

    counters: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    chains: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()
    bases: tuple[tuple[str, str | None], ...] = ()


def content_name(label: str, *content: str) -> str:
    """A name for an object of this content: readable label, then 40 bits of its hash."""
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()
    return f"{label}-{digest[:10]}"


def names(ruleset: Ruleset) -> Names:
    """The names that the kernel's table has when it is this ruleset."""
    return Names(
        counters=frozenset(ruleset.counters),
        sets=frozenset(member.name for member in ruleset.sets),
        chains=frozenset(chain.name for chain in ruleset.chains),
        maps=frozenset(member.name for member in ruleset.maps),
        bases=tuple(sorted((base.name, base.map) for base in ruleset.bases)),
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
                bases[value["chain"]] = value.get("comment")
    return Names(
        counters=frozenset(found["counter"]),
        sets=frozenset(found["set"]),
        chains=frozenset(found["chain"]),
        maps=frozenset(found["map"]),
        bases=tuple(sorted(bases.items())),
    )


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
    blocks += [_body(f"chain {base.name}", [_hook(base), base.rule]) for base in ruleset.bases]
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


def _hook(base: BaseChain) -> str:
    return f"type filter hook {base.hook} priority {base.priority}; policy accept;"


# -- change ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Three scripts for `nft -f`, each one transaction; an empty one has nothing to do."""

    add: str = ""
    switch: str = ""
    remove: str = ""
    undo_add: str = ""
    """Takes `add` back, for when the switch fails."""


def change(live: Names | None, wanted: Ruleset) -> Change:
    """The steps from the table that the kernel holds (None: no such table) to the wanted one."""
    have = Names() if live is None else live
    add = [] if live is not None else [_command("add", "table")]
    add += [_command("add", "counter", name) for name in wanted.counters if name not in have.counters]
    add += [_definition("set", member) for member in wanted.sets if member.name not in have.sets]
    fresh = [chain for chain in wanted.chains if chain.name not in have.chains]
    add += [_command("add", "chain", chain.name) for chain in fresh]
    add += [_command("add", "rule", f"{chain.name} {rule}") for chain in fresh for rule in chain.rules]
    add += [_definition("map", member) for member in wanted.maps if member.name not in have.maps]
    now = names(wanted)
    undo = [_command("delete", "table")] if live is None else _removals(_union(have, now), have)
    return Change(
        add=_script(add),
        switch=_script(_switch(dict(have.bases), wanted)),
        remove=_script(_removals(have, now)),
        undo_add=_script(undo),
    )


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
        if have.get(base.name) == base.map:
            continue
        commands.append(_command("add", "chain", f"{base.name} {{ {_hook(base)} }}"))
        commands.append(_command("flush", "chain", base.name))
        commands.append(_command("add", "rule", f"{base.name} {base.rule}"))
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


def repair(wanted: Ruleset) -> str:
    """Build the table anew, in one transaction: for one that somebody else has edited. Counters restart."""
    return removal() + text(wanted)


def removal() -> str:
    """The script that removes the whole table, and nothing else."""
    return _script([_command("delete", "table")])


def _definition(kind: str, member: Set | InterfaceMap) -> str:
    parts = list(member.settings)
    if member.members:
        parts.append(f"elements = {{ {', '.join(member.members)} }}")
    return _command("add", kind, f"{member.name} {{ {'; '.join(parts)}; }}")


def _command(verb: str, kind: str, rest: str = "") -> str:
    return " ".join(part for part in (verb, kind, FAMILY, TABLE, rest) if part)


def _script(commands: t.Sequence[str]) -> str:
    return "".join(f"{command}\n" for command in commands)
