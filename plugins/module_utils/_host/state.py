# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What of ours is on the host: the installed policy's record, the engine's file, the table in the kernel."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from .._policy import model
from .._render import ruleset
from .paths import CONFIG_DIRECTORY, ENGINE_DIRECTORY, POLICY_FILE
from .system import Host, Listing, NftMissing

RECORD_FORMAT = 1


@dataclass(frozen=True)
class Record:
    """The installed policy as its file keeps it."""

    policy: model.HostPolicy
    digest: str
    engine: str
    """Digest of the engine that installed it."""
    fingerprint: str
    """Of the kernel's table right after the policy was applied."""
    applied: str
    """When, UTC, ISO 8601."""


@dataclass(frozen=True)
class State:
    """What the host holds of ours. `notes` are for the user."""

    record: Record | None
    table: Listing | None
    engines: tuple[str, ...]
    """Paths of the engine files on the host."""
    has_nft: bool = True
    leftovers: tuple[str, ...] = ()
    """Our directories that exist."""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> ruleset.Names | None:
        """Names of the objects in the kernel's table; None without a table."""
        return None if self.table is None else ruleset.names_in(self.table.json)

    @property
    def drift(self) -> tuple[str, ...]:
        """How the kernel differs from the installed policy, set elements apart; empty when it does not."""
        if self.record is None:
            return () if self.table is None else ("the table exists, but no policy is installed",)
        if self.table is None:
            return ("the table is missing",)
        if fingerprint(self.table) != self.record.fingerprint:
            return ("the table was changed by something else",)
        return ()


def fingerprint(table: Listing | None) -> str:
    """What identifies the table's rules, on this host, with this nft. Empty without a table."""
    return "" if table is None else hashlib.sha256(table.text.encode()).hexdigest()


def read(host: Host) -> State:
    """Read all of it. A host without nft holds no table; a record that cannot be read counts as none."""
    notes = []
    table, has_nft = None, True
    try:
        table = host.table(ruleset.FAMILY, ruleset.TABLE)
    except NftMissing as error:
        has_nft = False
        notes.append(str(error))
    record = None
    content = host.read(POLICY_FILE)
    if content is not None:
        try:
            record = _record(content)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            notes.append(f"{POLICY_FILE} cannot be read and counts as absent: {error}")
    files = {directory: host.files(directory) for directory in (CONFIG_DIRECTORY, ENGINE_DIRECTORY)}
    return State(
        record=record,
        table=table,
        engines=tuple(files[ENGINE_DIRECTORY]),
        has_nft=has_nft,
        leftovers=tuple(directory for directory, members in files.items() if members),
        notes=tuple(notes),
    )


def _record(content: bytes) -> Record:
    data = json.loads(content.decode())
    if data["format"] != RECORD_FORMAT:
        raise ValueError(f"found format {data['format']!r}, this engine reads {RECORD_FORMAT}")
    texts = {key: data[key] for key in ("digest", "engine", "fingerprint", "applied")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise TypeError(f"{key}: found {value!r}, expected a string")
    policy = model.from_dict(data["policy"])
    if model.digest(policy) != texts["digest"]:
        # Whoever asks by digest whether the policy is there must get the policy of that digest.
        raise ValueError("the policy is not the one that was installed")
    return Record(policy=policy, **texts)


def record_content(record: Record) -> bytes:
    """The record as its file keeps it."""
    data = {
        "format": RECORD_FORMAT,
        "digest": record.digest,
        "engine": record.engine,
        "fingerprint": record.fingerprint,
        "applied": record.applied,
        "policy": model.to_dict(record.policy),
    }
    return (f"{json.dumps(data, sort_keys=True, indent=1)}\n").encode()
