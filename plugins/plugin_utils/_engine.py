# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Packs the engine for managed hosts: the private packages of module_utils as one executable zip file.

Its digest, which names it on the host, is that of the sources: equal sources are the same engine wherever
they were packed. The same zlib gives the same archive, byte for byte: members are sorted and dated alike.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGES = ("_policy", "_render", "_netlink", "_host")
ROOT = "netpolicy_host"
MODULE_UTILS = "ansible_collections.netpolicy.host.plugins.module_utils"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can date a member

MAIN = """\
import sys

from {root}._host.engine import main

sys.exit(main(archive=sys.argv[0], digest={digest!r}))
"""


@dataclass(frozen=True)
class Engine:
    """The packed engine: SHA-256 (hex) of its sources, and the zip file's bytes."""

    digest: str
    archive: bytes


@cache
def engine() -> Engine:
    """Pack the engine, once per process."""
    sources = {f"{ROOT}/__init__.py": b""}
    for package in PACKAGES:
        sources[f"{ROOT}/{package}/__init__.py"] = b""
        for path in sorted(_directory(package).glob("*.py")):
            sources[f"{ROOT}/{package}/{path.name}"] = path.read_bytes()
    digest = hashlib.sha256(MAIN.encode())
    for name, content in sorted(sources.items()):
        digest.update(b"%s %d\n" % (name.encode(), len(content)) + content)
    main = MAIN.format(root=ROOT, digest=digest.hexdigest())
    return Engine(digest.hexdigest(), _archive({"__main__.py": main.encode(), **sources}))


def _directory(package: str) -> Path:
    # The packages have no __init__.py, so each is found by its path, which may span several directories.
    return Path(next(iter(importlib.import_module(f"{MODULE_UTILS}.{package}").__path__)))


def _archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()
