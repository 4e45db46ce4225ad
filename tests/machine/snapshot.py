# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host holds of ours, in a form that is equal wherever it means the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.netpolicy.host.plugins.module_utils._host import paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.differential.kernel import Kernel
    from tests.machine.machine import Machine

# What differs between two tables that are the same: numbers that the kernel gives, what rules have counted.
_PASSING = {"handle", "packets", "bytes"}
# What differs between two records of the same policy. The fingerprint depends on the order in which the
# kernel's objects were made; that it is right shows in a further run that finds no drift.
_PASSING_IN_RECORD = {"applied", "fingerprint"}

Table = dict[str, Any]
"""The objects of our table by kind and name; a chain has its rules, in order."""


def table(kernel: Kernel) -> Table | None:
    """Our table in the kernel; None where there is none."""
    listing = kernel.listing("--numeric")
    return None if listing is None else _objects(listing)


def _objects(listing: Mapping[str, Any]) -> Table:
    found: Table = {}
    for item in listing["nftables"]:
        ((kind, value),) = item.items()
        if kind == "rule":
            found[f"chain {value['chain']}"]["rules"].append(_lasting(value))
        elif kind not in ("metainfo", "table"):
            rules: dict[str, list[Any]] = {"rules": []} if kind == "chain" else {}
            found[f"{kind} {value['name']}"] = {**_lasting(value), **rules}
    return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(member) for key, member in value.items() if key not in _PASSING}
    if isinstance(value, list):
        return [_lasting(member) for member in value]
    return value


def in_force(whole: Table | None) -> Table:
    """What packets meet: the hooked chains, and all that can be reached from them."""
    by_name: dict[str, list[str]] = {}
    for key in whole or {}:
        by_name.setdefault(key.partition(" ")[2], []).append(key)
    reached: Table = {}
    waiting = [key for key, value in (whole or {}).items() if "hook" in value]
    while whole and waiting:
        key = waiting.pop()
        if key not in reached:
            reached[key] = whole[key]
            # A mention is the name of an object anywhere in a rule or an element, as a set's with an @.
            mentions = {text.removeprefix("@") for text in _texts(whole[key])}
            waiting += [other for name in mentions for other in by_name.get(name, ())]
    return reached


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


@dataclass(frozen=True)
class File:
    """A file: its mode and content, a directory's as None."""

    mode: int
    content: bytes | None


def files(machine: Machine) -> dict[str, File]:
    """Everything of ours among the host's files, by path."""
    found: dict[str, File] = {}
    for top in (paths.CONFIG_DIRECTORY, paths.ENGINE_DIRECTORY, paths.LOCK_FILE):
        place = machine.path(top)
        if place.exists():
            for path in (place, *sorted(place.rglob("*"))):
                found[f"{top}/{path.relative_to(place)}".removesuffix("/.")] = _file(path)
    return found


def _file(path: Path) -> File:
    mode = path.stat().st_mode & 0o7777
    if path.is_dir():
        return File(mode, None)
    content = path.read_bytes()
    if path.name == paths.POLICY_FILE.rpartition("/")[2]:
        record = {key: value for key, value in json.loads(content).items() if key not in _PASSING_IN_RECORD}
        content = json.dumps(record, sort_keys=True).encode()
    return File(mode, content)
