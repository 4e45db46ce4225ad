# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The compiled policies of an inventory as files on the controller: one for each host that has an endpoint.

`index.json` maps host names to file and digest. The directory is named by the digest of all policies and
appears whole or not at all, so runs side by side share it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX = "index.json"


class ArtefactError(Exception):
    """The compiled policies cannot be read or written; the message is for the user."""


@dataclass(frozen=True)
class HostArtefact:
    """One host's policy as it crosses to the host: JSON text and digest."""

    digest: str
    policy: str


def digest_of(policies: Mapping[str, model.HostPolicy]) -> str:
    """SHA-256 (hex) over all hosts' policies."""
    return _digest({host: model.digest(policy) for host, policy in policies.items()})


def _digest(digests: Mapping[str, str]) -> str:
    lines = [f"{json.dumps(host)} {digest}\n" for host, digest in sorted(digests.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write(policies: Mapping[str, model.HostPolicy], parent: Path) -> Path:
    """Write the policies below `parent`, readable by this user only, and return their directory."""
    digests = {host: model.digest(policy) for host, policy in policies.items()}
    directory = parent / (f"netpolicy-{_digest(digests)[:16]}")
    if (directory / INDEX).exists():
        return directory
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".netpolicy-", dir=parent))
        index = {}
        for host, policy in policies.items():
            file = f"{quote(host, safe='')}.json"
            _write(temporary / file, model.dumps(policy))
            index[host] = {"file": file, "digest": digests[host]}
        _write(temporary / INDEX, json.dumps(index, sort_keys=True))
        _put_in_place(temporary, directory)
    except OSError as error:
        raise ArtefactError(f"cannot write the compiled policies below {parent}: {error}") from error
    return directory


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _put_in_place(temporary: Path, directory: Path) -> None:
    try:
        temporary.rename(directory)
    except OSError:
        shutil.rmtree(temporary)
        # Another run was faster; its directory has the same name, so the same content.
        if not (directory / INDEX).exists():
            raise


def read(directory: Path, host: str) -> HostArtefact | None:
    """A host's artefact; None where the host has no endpoint. Raises ArtefactError."""
    try:
        index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        entry = index.get(host)
        if entry is None:
            return None
        policy = (directory / entry["file"]).read_text(encoding="utf-8")
        return HostArtefact(digest=entry["digest"], policy=policy)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArtefactError(
            f"cannot read the compiled policies in {directory}: {error}; pass the result of "
            "netpolicy.host.compile of the same run"
        ) from error
