# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nft of another Debian release, on this machine's kernel.

It is taken out of that release's packages, with the libraries it needs, and kept below build/. Nothing of it
is installed: its own loader runs it from there.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab import command
from tests.machine.machine import CHECKOUT

_CACHE = CHECKOUT / "build" / "userlands"
# base-files has the links that the libraries' paths lead through.
_PACKAGES = ("nftables", "base-files")
_BUILD_SECONDS = 300


class UnavailableError(RuntimeError):
    """The packages of a release cannot be had here; the text says why."""


@dataclass(frozen=True)
class Release:
    """A Debian release, and the version of nft that it has."""

    suite: str
    nft: str


RELEASES: Final = (Release("bullseye", "0.9.8"), Release("trixie", "1.1.3"))


def nft_command(release: Release) -> tuple[str, ...]:
    """The command that runs the release's nft, which is fetched if it is not there yet."""
    root = _CACHE / release.suite
    if not root.is_dir():
        _fetch(release.suite, root)
    libraries = sorted({str(path.parent) for path in root.glob("usr/lib/*/libnftables.so.1")})
    libraries += sorted({str(path.parent) for path in root.glob("lib/*/libc.so.6")})
    (loader, *_others) = root.glob("lib*/ld-linux*.so.*")
    if loader.is_symlink() and loader.readlink().is_absolute():
        # It leads to a place in that root, not in ours.
        loader = root / loader.readlink().relative_to("/")
    return str(loader), "--library-path", ":".join(libraries), str(root / "usr/sbin/nft")


def _fetch(suite: str, root: Path) -> None:
    """Make the directory at once, so that it is whole wherever it is."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as place:
        fresh = Path(place, "root")
        argv = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(_PACKAGES)}", suite]
        try:
            command.run([*argv, str(fresh)], timeout=_BUILD_SECONDS)
        except (OSError, command.CommandError, TimeoutError) as error:
            raise UnavailableError(f"no packages of Debian {suite}: {error}") from error
        # Somebody else may have been faster.
        if not root.is_dir():
            fresh.replace(root)
