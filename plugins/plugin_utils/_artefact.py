# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The compiled policies of an inventory as files on the controller.

There is a `hosts/<name>.json` for each host of the inventory, also for those without an endpoint, so that a
host that compile has never seen is not taken for one of these; and a `summary.json`, which is written last.
That says of the inventory what is the same for all hosts: it changes with every new host, and the hosts' own
files, which people compare, do not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ansible_collections.netpolicy.host.plugins.module_utils._host import provenance
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

if t.TYPE_CHECKING:
    from collections.abc import Mapping

Policies: t.TypeAlias = "Mapping[str, model.HostPolicy | None]"
"""Every host of an inventory with its policy; None without an endpoint."""

HOSTS, SUMMARY = "hosts", "summary.json"
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
    texts = {host: _text(policy) for host, policy in policies.items()}
    summary = _summary(policies, extent)
    directory = parent / f"netpolicy-{_digest({HOSTS: _digest(texts), SUMMARY: summary})[:16]}"
    if (directory / SUMMARY).exists():
        return directory
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".netpolicy-", dir=parent))
        _fill(temporary, texts, summary)
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


def write_review(policies: Policies, extent: provenance.Extent, directory: Path) -> Path:
    """Write the policies into `directory`, a file a host, indented, so that versions can be compared."""
    texts = {
        host: json.dumps(json.loads(_text(policy)), indent=1, sort_keys=True) + "\n"
        for host, policy in policies.items()
    }
    if not (directory / SUMMARY).exists() and directory.is_dir() and any(directory.iterdir()):
        raise ArtefactError(
            f"{directory} holds other things than compiled policies; name a directory of its own"
        )
    try:
        _fill(directory, texts, _summary(policies, extent))
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


def _fill(directory: Path, texts: Mapping[str, str], summary: str) -> None:
    (directory / HOSTS).mkdir(parents=True, exist_ok=True)
    for host, text in texts.items():
        _write(_file(directory, host), text)
    _write(directory / SUMMARY, summary)


def count(policies: Policies) -> int:
    """How many hosts have a policy."""
    return sum(policy is not None for policy in policies.values())


def _file(directory: Path, host: str) -> Path:
    name = quote(host, safe="")
    if len(name) > MAX_FILE_NAME:
        name = f"{name[:MAX_FILE_NAME]}-{hashlib.sha256(host.encode()).hexdigest()[:16]}"
    return directory / HOSTS / f"{name}.json"


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def read(directory: Path, host: str) -> HostArtefact:
    """A host's artefact. Raises ArtefactError, also for a host that was not in the inventory."""
    hint = "pass the result of netpolicy.host.compile of the same run"
    if not (directory / SUMMARY).is_file():
        raise ArtefactError(f"there are no compiled policies in {directory}; {hint}")
    try:
        text = _file(directory, host).read_text(encoding="utf-8")
        content = json.loads(text)
        return HostArtefact(
            digest=content["digest"],
            policy=content["policy"],
            size=len(text),
            inventory=_extent(directory),
        )
    except FileNotFoundError:
        raise ArtefactError(f"host {host} was not in the inventory that was compiled; {hint}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"cannot read the compiled policy in {directory}: {error}; {hint}") from error


def _extent(directory: Path) -> provenance.Extent:
    summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    return provenance.extent_from_dict(summary["inventory"])
