# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What of ours is on the host: the installed policy's record, the engine's file, the table in the kernel."""

from __future__ import annotations

import functools
import hashlib
import json
import typing as t
from dataclasses import dataclass, field, replace

from .._policy import model, read
from .._render import lacks, nftables, ruleset
from . import drift, provenance
from .paths import CONFIG_DIRECTORY, ENGINE_DIRECTORY, POLICY_FILE
from .system import Damaged, Host, HostError, Listing, NftMissing, is_unfinished

if t.TYPE_CHECKING:
    from .provenance import Provenance

RECORD_FORMAT = 1
ELEMENTS_COMPARED = 5000
"""More are not read back at every run: listing 200 000 takes nft seconds."""


Addresses = t.Mapping[str, t.Sequence[str]]
"""The addresses of each interface of the host, by its name."""


def located(policy: model.HostPolicy, addresses: Addresses | None) -> model.HostPolicy:
    """The policy with what the host itself says of its addresses, if it was asked; inventories know less."""
    if addresses is None:
        return policy
    return replace(policy, interfaces={name: tuple(known) for name, known in sorted(addresses.items())})


@dataclass(frozen=True)
class Record:
    """What the host knows of the installed policy. It can be trusted without the policy being understood."""

    policy: model.HostPolicy | None
    """None where another version wrote it in a form that this one does not read."""
    digest: str
    engine: str
    """Digest of the engine that installed it."""
    fingerprint: str
    """Of the kernel's table right after the policy was applied."""
    nft: str
    """Version of nft at that time: another one may list the same table in other words."""
    applied: str
    """When, UTC, ISO 8601."""
    whole: bool
    """Whether the fingerprint covers the elements of sets: another engine may decide that otherwise."""
    provenance: Provenance | None = None
    """None where an engine that did not know of it yet wrote the record."""
    prints: drift.Prints | None = None
    """Of the lines of that table; None without one, or where an engine that did not keep them wrote it."""
    aliases: t.Mapping[str, str] = field(default_factory=dict)
    """The names of sets that were changed where they are; see in_place.py."""
    addresses: Addresses | None = None
    """Of the host's interfaces, as far as the table relies on them; None where it does not."""

    @functools.cached_property
    def ruleset(self) -> ruleset.Ruleset | None:
        """The table as it was installed; None where this version cannot read, or enforce, the policy."""
        if self.policy is None or lacks.unenforced(self.policy):
            return None
        return nftables.render(located(self.policy, self.addresses), self.aliases)


@dataclass(frozen=True)
class State:
    """What the host holds of ours. `notes` are for the user."""

    record: Record | None
    table: Listing | None
    engines: t.Mapping[str, str]
    """Engine files on the host: path to SHA-256 of the content, empty where it is no file."""
    has_nft: bool = True
    interfaces: t.Mapping[str, str | None] = field(default_factory=dict)
    """The network interfaces; with each, why raw sees no packets of it, or None where it does."""
    leftovers: tuple[str, ...] = ()
    """Our directories that exist."""
    litter: tuple[str, ...] = ()
    """Files that were never finished, because the engine was killed while it wrote them."""
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def names(self) -> ruleset.Names | None:
        """Names of the objects in the kernel's table; None without a table."""
        return None if self.table is None else ruleset.names_in(self.table.json)

    @functools.cached_property
    def drift(self) -> tuple[str, ...]:
        """How the kernel differs from the installed policy, elements of large sets apart."""
        if self.record is None:
            return () if self.table is None else ("the table exists, but no policy is installed",)
        if self.table is None:
            return ("the table is missing",)
        if fingerprint(self.table) == self.record.fingerprint or self._is_told_otherwise(self.record):
            return ()
        told: list[str] = []
        if self.record.prints is not None and nft_version(self.table) == self.record.nft:
            told = drift.differences(
                self.record.prints, self.table.text, self.record.policy, self.record.ruleset
            )
        return tuple(told) or ("the table was changed by something else",)

    def _is_told_otherwise(self, record: Record) -> bool:
        """Whether it is the same table, listed by another version of nft: then the names must do."""
        # Without a fingerprint the engine was killed in the middle of a change: nothing is vouched for.
        if not record.fingerprint or nft_version(self.table) == record.nft:
            return False
        table = record.ruleset
        return table is not None and self.names == ruleset.names(table)


def endpoint_notes(policy: model.HostPolicy, interfaces: t.Mapping[str, str | None]) -> list[str]:
    """What to tell the user of endpoints whose interface is not there, or that raw sees no packets of."""
    notes = []
    for endpoint in policy.endpoints:
        interface = endpoint.interface
        if interface in (None, model.EVERY_INTERFACE):
            continue
        if interface not in interfaces:
            notes.append(
                f"endpoint {endpoint.name}: there is no interface {interface} on this host, only "
                f"{', '.join(interfaces)}; its policy waits for one"
            )
        elif interfaces[interface] is not None:
            notes.append(
                f"endpoint {endpoint.name}: interface {interface} is {interfaces[interface]}, whose packets "
                "do not carry its name when policy judges them; name the interface that has the addresses"
            )
    return notes


def address_notes(policy: model.HostPolicy, has_address: t.Callable[[str], bool]) -> list[str]:
    """What to tell the user of addresses by which other hosts know this one, and that it does not have.

    Those of an endpoint that is found by its addresses may be on any one of them.
    """
    notes = []
    for endpoint in policy.endpoints:
        missing = [address for address in endpoint.addresses if not has_address(address)]
        if missing and (endpoint.interface is not None or missing == list(endpoint.addresses)):
            notes.append(
                f"endpoint {endpoint.name}: this host does not have the address {', '.join(missing)}, by "
                "which the policies of other hosts know it; see expectedIPs or netpolicy_addresses"
            )
    return notes


def fingerprint(table: Listing | None) -> str:
    """What identifies the table's rules, on this host, with this nft. Empty without a table."""
    return "" if table is None else hashlib.sha256(table.text.encode()).hexdigest()


def nft_version(table: Listing | None) -> str:
    """The version of nft that listed the table. Empty without a table."""
    return "" if table is None else ruleset.nft_version(table.json)


def read_state(host: Host) -> State:
    """Read all of it. A host without nft holds no table; a record that is damaged counts as none.

    Raises HostError for a record that a newer engine wrote: what it says must not be undone unread.
    """
    notes = []
    record = None
    try:
        content = host.read(POLICY_FILE)
        record = None if content is None else _record(content)
    except (Damaged, ValueError, KeyError, TypeError, RecursionError) as error:
        notes.append(f"{POLICY_FILE} cannot be read and counts as absent: {error}")
    table, has_nft = None, True
    try:
        whole = record is not None and record.whole
        table = host.table(ruleset.FAMILY, ruleset.TABLE, whole=whole)
    except NftMissing as error:
        has_nft = False
        notes.append(str(error))
    files = {directory: host.files(directory) for directory in (CONFIG_DIRECTORY, ENGINE_DIRECTORY)}
    return State(
        record=record,
        table=table,
        engines={path: _sha256(host, path) for path in files[ENGINE_DIRECTORY] or ()},
        has_nft=has_nft,
        interfaces=host.interfaces(),
        leftovers=tuple(directory for directory, members in files.items() if members is not None),
        litter=tuple(path for path in files[CONFIG_DIRECTORY] or () if is_unfinished(path, POLICY_FILE)),
        notes=tuple(notes),
    )


def has_few_elements(policy: model.HostPolicy) -> bool:
    """Whether the elements of the policy's sets are few enough to be read back at every run."""
    elements = sum(len(members.v4) + len(members.v6) for members in policy.sets.values())
    return elements <= ELEMENTS_COMPARED


def _sha256(host: Host, path: str) -> str:
    try:
        return hashlib.sha256(host.read(path) or b"").hexdigest()
    except Damaged:
        return ""


def _record(content: bytes) -> Record:
    data = json.loads(content.decode())
    for found, known in ((data["format"], RECORD_FORMAT), (data["policy"]["format"], model.FORMAT)):
        if isinstance(found, int) and found > known:
            raise HostError(
                f"{POLICY_FILE} was written by a newer version of netpolicy.host (format {found}, this "
                f"version reads {known}); use that version, or remove the policy with it first"
            )
    if data["format"] != RECORD_FORMAT:
        raise ValueError(f"found format {data['format']!r}, this engine reads {RECORD_FORMAT}")
    texts = {key: data[key] for key in ("digest", "engine", "fingerprint", "nft", "applied")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise TypeError(f"{key}: found {value!r}, expected a string")
    whole = data["whole"] is True
    origin = provenance.from_dict(data["provenance"]) if "provenance" in data else None
    more: dict[str, t.Any] = {
        "prints": _prints(data.get("prints")),
        "aliases": _aliases(data.get("aliases", {})),
        "addresses": _addresses(data.get("addresses")),
    }
    if data["policy"]["format"] != model.FORMAT:
        return Record(policy=None, whole=whole, provenance=origin, **more, **texts)
    policy = read.from_dict(data["policy"])
    if policy.digest != texts["digest"]:
        # Whoever asks by digest whether the policy is there must get the policy of that digest.
        raise ValueError("the policy is not the one that was installed")
    return Record(policy=policy, whole=whole, provenance=origin, **more, **texts)


def _aliases(value: t.Any) -> t.Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise TypeError(f"aliases: found {value!r}, expected names")
    return value


def _addresses(value: t.Any) -> Addresses | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(
        isinstance(known, list) and all(isinstance(one, str) for one in known) for known in value.values()
    ):
        raise TypeError(f"addresses: found {value!r}, expected lists of addresses")
    return value


def _prints(value: t.Any) -> drift.Prints | None:
    """As they were kept; what is not of that form vouches for nothing."""
    if not isinstance(value, dict):
        return None
    whole = all(
        isinstance(lines, list) and all(isinstance(line, str) for line in lines) for lines in value.values()
    )
    return value if whole else None


def record_content(
    policy: model.HostPolicy,
    engine: str,
    table: Listing | None,
    applied: str,
    origin: Provenance | None,
    aliases: t.Mapping[str, str],
    addresses: Addresses | None,
) -> bytes:
    """The record of a policy that has just been applied, as its file keeps it."""
    data = {
        "format": RECORD_FORMAT,
        "digest": policy.digest,
        "engine": engine,
        "fingerprint": fingerprint(table),
        "nft": nft_version(table),
        "applied": applied,
        "whole": has_few_elements(policy),
        # Engines that do not know these pass them over: they need no format of their own.
        **({} if origin is None else {"provenance": provenance.to_dict(origin)}),
        **({} if table is None else {"prints": drift.prints(table.text)}),
        **({"aliases": dict(aliases)} if aliases else {}),
        **(
            {}
            if addresses is None
            else {"addresses": {name: list(known) for name, known in addresses.items()}}
        ),
        "policy": model.to_dict(policy),
    }
    return f"{json.dumps(data, sort_keys=True, indent=1)}\n".encode()
