# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The compiled policies of an inventory as files on the controller.

Every host of the inventory is in them, also one without an endpoint, so that a host that compile has never
seen is not taken for such a one. For a run they stand in one file, `policies`, and `index.json` says where in
it each host's is: creating a file for each of thousands of hosts takes longer than compiling them. For
review there is a `hosts/<name>.json` for each host instead, indented.

In both, `summary.json` is written last. It says of the inventory what is the same for all hosts: it changes
with every new host, and the hosts' own files, which people compare, do not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ansible_collections.netpolicy.host.plugins.module_utils._host import provenance
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Policies: t.TypeAlias = "Mapping[str, model.HostPolicy | None]"
"""Every host of an inventory with its policy; None without an endpoint."""

HOSTS, PACKED, INDEX, SUMMARY = "hosts", "policies", "index.json", "summary.json"
MAX_FILE_NAME = 200


class ArtefactError(Exception):
    """The compiled policies cannot be read or written; the message is for the user."""


@dataclass(frozen=True)
class HostArtefact:
    """One host's policy: its digest, its HostPolicy as plain data, and the size of that in bytes as JSON.

    A host without an endpoint has neither digest nor policy. `inventory` is what all of it was compiled from.
    """

    digest: str | None
    policy: Mapping[str, t.Any] | None
    size: int
    inventory: provenance.Extent


def digest_of(policies: Policies) -> str:
    """SHA-256 (hex) over all hosts' policies: what they mean, not where they were written."""
    return _digest({host: policy.digest for host, policy in policies.items() if policy is not None})


def _digest(texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for host, text in sorted(texts.items()):
        digest.update(f"{json.dumps(host)} {text}\n".encode())
    return digest.hexdigest()


def write_temporary(policies: Policies, extent: provenance.Extent, parent: Path) -> Path:
    """Write the policies below `parent` and return their directory.

    The directory is named by all that is in it and appears whole, so that runs side by side share it.
    """
    summary = _summary(policies, extent)
    directory = parent / f"netpolicy-{_content(policies, summary)[:16]}"
    if (directory / SUMMARY).exists():
        return directory
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".netpolicy-", dir=parent))
        _pack(temporary, policies)
        _write(temporary / SUMMARY, [summary])
        try:
            temporary.rename(directory)
        except OSError:
            shutil.rmtree(temporary)
            # Another run was faster; its directory has the same name, so the same content.
            if not (directory / SUMMARY).exists():
                raise
    except OSError as error:
        raise ArtefactError(f"cannot write the compiled policies below {parent}: {error}") from error
    return directory


def _content(policies: Policies, summary: str) -> str:
    """A digest of all that is written, where rules were written included."""
    texts = {
        host: policy.digest + model.places_text(policy) if policy is not None else ""
        for host, policy in policies.items()
    }
    return _digest({PACKED: _digest(texts), SUMMARY: summary})


def _pack(directory: Path, policies: Policies) -> None:
    """Write all policies into one file, a line a host, and where in it each one's line is."""
    lines = ((host, f"{_text(policy)}\n".encode()) for host, policy in policies.items())
    index: dict[str, tuple[int, int]] = {}
    end = 0
    with _opened(directory / PACKED) as packed:
        for host, line in lines:
            packed.write(line)
            index[host] = (end, len(line))
            end += len(line)
    _write(directory / INDEX, [json.dumps(index)])


def write_review(policies: Policies, extent: provenance.Extent, directory: Path) -> Path:
    """Write the policies into `directory`, a file a host, indented, so that versions can be compared."""
    if not (directory / SUMMARY).exists() and directory.is_dir() and any(directory.iterdir()):
        raise ArtefactError(
            f"{directory} holds other things than compiled policies; name a directory of its own"
        )
    try:
        (directory / HOSTS).mkdir(parents=True, exist_ok=True)
        for host, policy in policies.items():
            indented = json.dumps(json.loads(_text(policy)), indent=1, sort_keys=True)
            _write(_file(directory, host), [indented, "\n"])
        _write(directory / SUMMARY, [_summary(policies, extent)])
        wanted = {_file(directory, host) for host in policies}
        for stale in set((directory / HOSTS).glob("*.json")) - wanted:
            stale.unlink()
    except OSError as error:
        raise ArtefactError(f"cannot write the compiled policies to {directory}: {error}") from error
    return directory


def _text(policy: model.HostPolicy | None) -> str:
    if policy is None:
        return '{"digest":null,"policy":null}'
    return f'{{"digest":{json.dumps(policy.digest)},"policy":{model.dumps(policy)}}}'


def _summary(policies: Policies, extent: provenance.Extent) -> str:
    summary = {"digest": digest_of(policies), "inventory": provenance.to_dict(extent)}
    return json.dumps(summary, indent=1, sort_keys=True) + "\n"


def count(policies: Policies) -> int:
    """How many hosts have a policy."""
    return sum(policy is not None for policy in policies.values())


def _file(directory: Path, host: str) -> Path:
    name = quote(host, safe="")
    if len(name) > MAX_FILE_NAME:
        name = f"{name[:MAX_FILE_NAME]}-{hashlib.sha256(host.encode()).hexdigest()[:16]}"
    return directory / HOSTS / f"{name}.json"


def _write(path: Path, texts: Iterable[str]) -> None:
    with _opened(path) as file:
        file.writelines(text.encode() for text in texts)


def _opened(path: Path) -> t.BinaryIO:
    """A new or emptied file that nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def read(directory: Path, host: str) -> HostArtefact:
    """A host's artefact. Raises ArtefactError, also for a host that was not in the inventory."""
    hint = "pass the result of netpolicy.host.compile of the same run"
    if not (directory / SUMMARY).is_file():
        raise ArtefactError(f"there are no compiled policies in {directory}; {hint}")
    try:
        text = _packed(directory, host) if (directory / INDEX).exists() else _reviewed(directory, host)
        if text is None:
            raise ArtefactError(f"host {host} was not in the inventory that was compiled; {hint}")
        content = json.loads(text)
        return HostArtefact(
            digest=content["digest"],
            policy=content["policy"],
            size=len(text),
            inventory=_extent(directory),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"cannot read the compiled policy in {directory}: {error}; {hint}") from error


def _packed(directory: Path, host: str) -> bytes | None:
    found = json.loads((directory / INDEX).read_bytes()).get(host)
    if found is None:
        return None
    begin, size = found
    with (directory / PACKED).open("rb") as packed:
        packed.seek(begin)
        return packed.read(size)


def _reviewed(directory: Path, host: str) -> bytes | None:
    file = _file(directory, host)
    return file.read_bytes() if file.exists() else None


def _extent(directory: Path) -> provenance.Extent:
    summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    return provenance.extent_from_dict(summary["inventory"])
