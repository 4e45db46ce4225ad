# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in memory: files, one lock, and the part of nftables that our own scripts use.

The kernel's rules about references are kept, because the order of our commands depends on them: nothing may
mention what does not exist, and nothing that is mentioned can be deleted. A script is one transaction.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import ipaddress
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.netpolicy.host.plugins.module_utils._host import system, tracking
from ansible_collections.netpolicy.host.plugins.module_utils._netlink import conntrack, messages
from ansible_collections.netpolicy.host.plugins.module_utils._render import ruleset

_MENTIONED = re.compile(
    r'(?:jump|goto) (?P<chain>[^\s,}]+)|@(?P<set>(?!th,)\S+)|counter name "(?P<counter>[^"]+)"'
)
_HOOK = re.compile(r"type filter hook (\w+) priority (\w+); policy accept;")
_COMMENT = re.compile(r' comment "([^"]*)"$')
_ELEMENTS = re.compile(r"elements = \{(.*?)\}", re.DOTALL)


class ScriptError(Exception):
    """The kernel or nft would refuse this script."""


@dataclass
class Object:
    """A counter, a set, a map or a chain: what it is, and its elements or rules."""

    kind: str
    settings: str = ""
    members: list[str] = field(default_factory=list)
    packets: int = 0
    bytes: int = 0

    def mentions(self) -> t.Iterator[tuple[str, str]]:
        """The chains, counters, sets and maps that its elements or rules refer to."""
        for member in self.members if self.kind in ("chain", "map") else ():
            for found in _MENTIONED.finditer(member):
                kind = found.lastgroup or ""
                yield kind, found.group(kind)


class MemoryTracking:
    """See tracking.Tracking. The host has 10.0.0.1 and fd00::1 on eth0, whence all routes lead."""

    def __init__(self) -> None:
        self.flows: list[conntrack.Entry] = []
        self.deleted: list[conntrack.Entry] = []
        self.fail_at: int | None = None
        """Number of the deletion, counted from 0, that the kernel refuses."""
        self.fail_to_list = False
        self.own = {"eth0": ["10.0.0.1", "fd00::1"], "lo": ["127.0.0.1", "::1"]}
        self.ways: dict[str, str] = {}
        """The interfaces of peers that are not on eth0; without a name where there is no one such."""

    def entries(self, wanted: t.Callable[[conntrack.Tuple], bool]) -> t.Iterable[conntrack.Entry]:
        if self.fail_to_list:
            raise messages.NetlinkError("list the tracked connections", errno.EPERM)
        return iter([entry for entry in self.flows if wanted(entry.original)])

    def delete(self, entry: conntrack.Entry) -> bool:
        if len(self.deleted) == self.fail_at:
            raise messages.NetlinkError("delete a tracked connection", errno.EPERM)
        self.deleted.append(entry)
        self.flows.remove(entry)
        return True

    def route(self, version: int, destination: int, source: int | None) -> tracking.Route | None:
        del source
        address = str((ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)(destination))
        if any(address in known for known in self.own.values()):
            return tracking.Route(True, "lo")
        return tracking.Route(False, self.ways.get(address, "eth0") or None)

    def addresses(self) -> t.Mapping[str, t.Sequence[str]]:
        return self.own


Table = dict[str, Object]  # by name: the names that we give are unique across kinds


class MemoryHost:
    """See system.Host. What tests set and look at is public."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str], Table] = {}
        self.contents: dict[str, tuple[bytes, int]] = {}
        self.directories: set[str] = set()
        """Directories that were made for a file, and stay without it."""
        self.has_nft = True
        self.nft_version = "1.0.6"
        """Another version lists the same table in other words."""
        self.fail_at: int | None = None
        """Number of the nft script, counted from 0, that the kernel refuses."""
        self.scripts: list[str] = []
        """Every script that was given to nft, the refused one too."""
        self.effects = 0
        """How often the host was changed or locked."""
        self.locked = False
        self.foreign: set[str] = set()
        """Addresses that the host does not have."""
        self.tracked = MemoryTracking()

    def interfaces(self) -> dict[str, str | None]:
        """See system.Host. There is every interface that samples speak of."""
        return {"eth0": None, "eth1": None, "lo": None}

    def has_address(self, address: str) -> bool:
        """See system.Host. All addresses are the host's own, but those of `foreign`."""
        return address not in self.foreign

    # -- what tests ask ------------------------------------------------------------------------------

    @property
    def ours(self) -> Table:
        """Our table; empty where there is none."""
        return self.tables.get(("inet", "netpolicy_host"), {})

    def state(self) -> t.Any:
        """All that a host holds, to compare."""
        return copy.deepcopy((self.tables, self.contents, self.directories))

    def is_clean(self) -> bool:
        """Whether nothing of ours, or of anybody else, is left."""
        return not (self.tables or self.contents or self.directories)

    def in_force(self) -> dict[str, Object]:
        """What packets meet: the hooked chains of our table and all that can be reached from them."""
        table = self.ours
        names = [name for name, one in table.items() if one.settings.startswith("type filter hook")]
        reached: dict[str, Object] = {}
        while names:
            name = names.pop()
            if name not in reached:
                reached[name] = table[name]
                names += [other for _kind, other in table[name].mentions()]
        return reached

    # -- Host ----------------------------------------------------------------------------------------

    def table(self, family: str, name: str, whole: bool = False) -> system.Listing | None:
        self._need_nft()
        table = self.tables.get((family, name))
        if table is None:
            return None
        version = {"metainfo": {"version": self.nft_version}}
        text = _as_text(family, name, table, whole)
        return system.Listing(
            {"nftables": [version, *_as_json(family, name, table)]}, f"# {self.nft_version}\n{text}"
        )

    def nft(self, script: str) -> None:
        self._need_nft()
        number = len(self.scripts)
        self.scripts.append(script)
        self.effects += 1
        if number == self.fail_at:
            raise system.HostError("nft -f -: Error: Device or resource busy")
        after = copy.deepcopy(self.tables)
        try:
            _Script(after).run(script)
        except ScriptError as error:
            raise system.HostError(f"nft -f -: Error: {error}") from error
        self.tables = after

    def fill_set(self, table: str, name: str, version: int, elements: t.Iterable[str]) -> None:
        self.change_sets(table, [ruleset.SetChange(name, version, tuple(elements), ())])

    def set_elements(self, table: str, name: str, version: int) -> list[str]:
        del version
        return list(self.tables["inet", table][name].members)

    def change_sets(self, table: str, changes: t.Iterable[ruleset.SetChange]) -> None:
        changed = list(changes)
        number = len(self.scripts)
        self.scripts.append(f"change {', '.join(change.name for change in changed)}")
        self.effects += 1
        if number == self.fail_at:
            raise system.HostError("change sets: Device or resource busy")
        for change in changed:
            members = self.tables["inet", table][change.name].members
            kept = [member for member in members if member not in set(change.remove)]
            assert len(kept) == len(members) - len(change.remove)
            members[:] = [*kept, *change.add]

    def read(self, path: str) -> bytes | None:
        return self.contents[path][0] if path in self.contents else None

    def write(self, path: str, content: bytes, mode: int) -> None:
        self.effects += 1
        self.contents[path] = (content, mode)
        self.directories.add(path.rpartition("/")[0])

    def files(self, directory: str) -> list[str] | None:
        if directory not in self.directories:
            return None
        return sorted(path for path in self.contents if path.rpartition("/")[0] == directory)

    def remove(self, path: str) -> None:
        self.effects += 1
        gone = [one for one in self.contents if one == path or one.startswith(f"{path}/")]
        for one in gone:
            del self.contents[one]
        self.directories.discard(path)

    def addresses(self) -> t.Mapping[str, t.Sequence[str]]:
        return self.tracked.own

    def tracking(self) -> t.ContextManager[tracking.Tracking]:
        return contextlib.nullcontext(self.tracked)

    @contextlib.contextmanager
    def lock(self) -> t.Iterator[None]:
        if self.locked:
            raise system.HostError("another netpolicy.host run is changing this host")
        self.effects += 1
        self.locked = True
        try:
            yield
        finally:
            self.locked = False

    def _need_nft(self) -> None:
        if not self.has_nft:
            raise system.NftMissing("nft is not installed on this host; install the package nftables")


class _Script:
    """Runs a script on tables, in place."""

    def __init__(self, tables: dict[tuple[str, str], Table]) -> None:
        self._tables = tables

    def run(self, script: str) -> None:
        rest = script
        while rest:
            if rest.startswith("table "):
                block, _end, rest = rest.partition("\n}\n")
                self._block(block)
            else:
                line, _end, rest = rest.partition("\n")
                self._command(line)

    def _command(self, line: str) -> None:
        verb, kind, family, name, *rest = line.split(" ", 4)
        key, operand = (family, name), rest[0] if rest else ""
        if kind == "table":
            self._table(verb, key)
            return
        if key not in self._tables:
            raise ScriptError(f"{line}: no such table")
        getattr(self, f"_{verb}")(self._tables[key], kind, operand)

    def _table(self, verb: str, key: tuple[str, str]) -> None:
        if verb == "add":
            self._tables.setdefault(key, {})
        elif verb == "delete" and key in self._tables:
            del self._tables[key]
        else:
            raise ScriptError(f"{verb} table {key}: no such table")

    def _add(self, table: Table, kind: str, operand: str) -> None:
        name, _space, body = operand.partition(" ")
        if kind == "rule":
            self._get(table, "chain", name).members.append(body)
        elif name not in table:
            table[name] = _object(kind, body.strip("{} "))
        elif kind != table[name].kind:
            raise ScriptError(f"add {kind} {name}: exists")
        self._check(table, table[name])

    def _flush(self, table: Table, kind: str, operand: str) -> None:
        self._get(table, kind, operand).members.clear()

    def _delete(self, table: Table, kind: str, operand: str) -> None:
        self._get(table, kind, operand)
        del table[operand]
        for name, one in table.items():
            if any(mentioned == operand for _kind, mentioned in one.mentions()):
                raise ScriptError(f"delete {kind} {operand}: {name} refers to it")

    def _block(self, block: str) -> None:
        """A whole table as text: within it the order of definitions does not matter."""
        head, *lines = block.split("\n")
        _word, family, name, _brace = head.split(" ")
        table = self._tables.setdefault((family, name), {})
        if table:
            raise ScriptError("this host does not know how to add a block to a table")
        kind = object_name = ""
        body: list[str] = []
        for line in lines:
            if line.startswith("\t\t"):
                body.append(line.strip())
            elif line == "\t}":
                table[object_name] = _object(kind, "\n".join(body))
            elif line:
                kind, object_name, _brace = line.strip().split(" ")
                body = []
        for one in table.values():
            self._check(table, one)

    def _check(self, table: Table, one: Object) -> None:
        for kind, mentioned in one.mentions():
            self._get(table, kind, mentioned)

    @staticmethod
    def _get(table: Table, kind: str, name: str) -> Object:
        found = table.get(name)
        kinds = ("set", "map") if kind == "set" else (kind,)
        if found is None or found.kind not in kinds:
            raise ScriptError(f"{kind} {name}: no such file or directory")
        return found


def _object(kind: str, body: str) -> Object:
    """An object from what stands between its braces, in either form of writing it."""
    if kind == "chain":
        hook = _HOOK.match(body)
        rules = [line for line in (body[hook.end() :] if hook else body).split("\n") if line]
        return Object(kind, hook.group() if hook else "", rules)
    elements = _ELEMENTS.search(body)
    settings = _ELEMENTS.sub("", body)
    return Object(
        kind,
        "; ".join(part.strip() for part in re.split(r"[;\n]", settings) if part.strip()),
        [one.strip() for one in re.split(r"[,\n]", elements.group(1)) if one.strip()] if elements else [],
    )


def _as_json(family: str, name: str, table: Table) -> list[dict[str, t.Any]]:
    """As `nft --json --terse list table` writes it: objects before rules, and no elements."""
    common = {"family": family, "table": name}
    items: list[dict[str, t.Any]] = [{"table": {"family": family, "name": name}}]
    rules = []
    for handle, (object_name, one) in enumerate(table.items()):
        value: dict[str, t.Any] = {**common, "name": object_name, "handle": handle}
        if one.kind == "counter":
            value.update(packets=one.packets, bytes=one.bytes)
        hook = _HOOK.match(one.settings)
        if hook:
            value.update(type="filter", hook=hook.group(1), prio=-300, policy="accept")
        items.append({one.kind: value})
        for rule in one.members if one.kind == "chain" else ():
            comment = _COMMENT.search(rule)
            listed = {**common, "chain": object_name, "expr": []}
            rules.append({"rule": {**listed, "comment": comment.group(1)} if comment else listed})
    return items + rules


def _as_text(family: str, name: str, table: Table, whole: bool) -> str:
    """As nft lays it out, in our own words: no counts, and elements of sets only if asked for."""
    lines = [f"table {family} {name} {{"]
    for object_name, one in table.items():
        lines.append(f"\t{one.kind} {object_name} {{")
        members = one.members if one.kind != "set" or whole else []
        lines += [f"\t\t{line}" for line in (one.settings, *members) if line]
        lines += ["\t}", ""]
    return "\n".join([*lines, "}", ""])
