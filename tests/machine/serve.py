# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process inside a host of machine.py; it needs a mount namespace of its own.

Called as `python -m tests.machine.serve [NFT...]`. It says when it is ready; from then on a line of standard
input is a request, a line of standard output what became of it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.netpolicy.host.plugins.module_utils._host import engine
from ansible_collections.netpolicy.host.plugins.module_utils._host.system import SEARCH_PATH, LinuxHost
from ansible_collections.netpolicy.host.plugins.module_utils._host.transaction import EngineFile
from tests.machine import effects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Where the engine's files go. What the machine has there shines through, but for ours.
_LAYERED = ("/etc", "/usr/local/lib")
_OURS = ("/etc/netpolicy-host", "/usr/local/lib/netpolicy-host")
# In /run, which is the host's own.
_LAYERS = Path("/run/layers")
OWN_NFT = _LAYERS / "own-nft"
"""The machine's nft, where another one is in its place."""

READY = "ready"
"""The first line of output: the host's files are its own."""

# What stands for the engine's own file, which nothing here runs.
ENGINE = EngineFile(digest="e" * 64, content=bytes(range(256)) * 1024)


def main(nft: Sequence[str]) -> int:
    """Serve requests until there are no more."""
    _make_files()
    if nft:
        _make_nft(nft)
    # Let nobody take a word of nft's, or of anything else, for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    print(READY, file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_serve(asked["request"], asked["kill_before"])), file=answers, flush=True)
    return 0


def _make_files() -> None:
    # Made anew, it shows the interfaces of this network namespace.
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount("-t", "tmpfs", "tmpfs", "/run")
    for path in _LAYERED:
        layer = _LAYERS / path.strip("/")
        for part in ("upper", "work"):
            (layer / part).mkdir(parents=True)
        options = f"lowerdir={path},upperdir={layer}/upper,workdir={layer}/work"
        _mount("-t", "overlay", "-o", options, "overlay", path)
    for path in _OURS:
        shutil.rmtree(path, ignore_errors=True)


def _make_nft(command: Sequence[str]) -> None:
    """Put another nft in the place of the machine's own."""
    place = shutil.which("nft", path=SEARCH_PATH)
    assert place is not None
    OWN_NFT.touch()
    _mount("--bind", place, str(OWN_NFT))
    script = _LAYERS / "nft"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    script.chmod(0o755)
    _mount("--bind", str(script), place)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, stdin=subprocess.DEVNULL)


def _serve(request: Mapping[str, Any], kill_before: int | None) -> dict[str, Any]:
    """Serve one request in a child, and tell how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _serve_and_exit(request, kill_before, writer)
    os.close(writer)
    with os.fdopen(reader) as said:
        told = said.read()
    _unused, status = os.waitpid(child, 0)
    if told:
        assert status == 0
        return dict(json.loads(told))
    assert os.WTERMSIG(status) == signal.SIGKILL
    return {"answer": None, "effects": []}


def _serve_and_exit(request: Mapping[str, Any], kill_before: int | None, writer: int) -> None:
    seen: list[str] = []
    effects.watch(seen, kill_before)
    answer = engine.serve(LinuxHost(), ENGINE, request)
    if kill_before is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    with os.fdopen(writer, "w") as file:
        json.dump({"answer": answer, "effects": seen}, file)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
