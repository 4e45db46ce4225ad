# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running ``ansible-playbook`` against a lab with this checkout's collection, and reading what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHECKOUT = Path(__file__).parents[2]
COLLECTIONS = CHECKOUT / "build" / "collections"
_CALLBACKS = Path(__file__).with_name("callbacks")
_RESULTS_VARIABLE = "NETPOLICY_LAB_RESULTS"


@dataclass(frozen=True)
class HostStats:
    """The line of a host in the PLAY RECAP."""

    ok: int = 0
    changed: int = 0
    unreachable: int = 0
    failures: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True)
class TaskResult:
    """What a task came to on a host; ``outcome`` is ok, failed, unreachable or skipped."""

    host: str
    task: str
    action: str
    outcome: str
    result: Mapping[str, Any]

    @property
    def changed(self) -> bool:
        """Whether the task says that it changed the host."""
        return bool(self.result.get("changed", False))


@dataclass(frozen=True)
class PlaybookRun:
    """A finished run of ``ansible-playbook``: its exit code, its output, and what it did, task by task."""

    rc: int
    stdout: str
    stderr: str
    seconds: float
    stats: Mapping[str, HostStats] = field(default_factory=dict)
    results: tuple[TaskResult, ...] = ()

    @property
    def changed(self) -> int:
        """The number of changes on all hosts together."""
        return sum(stats.changed for stats in self.stats.values())

    @property
    def output(self) -> str:
        """Standard output and standard error, one after the other."""
        return f"{self.stdout}{self.stderr}"

    def of(
        self, *, task: str | None = None, action: str | None = None, host: str | None = None
    ) -> list[TaskResult]:
        """The results of tasks that match; ``task`` may be a part of its name, ``action`` a whole name."""
        return [
            each
            for each in self.results
            if (task is None or task in each.task)
            and (action is None or action == each.action)
            and (host is None or host == each.host)
        ]

    def check(self) -> PlaybookRun:
        """This run, if it ended well; PlaybookError with its output if not."""
        if self.rc:
            raise PlaybookError(self)
        return self


class PlaybookError(AssertionError):
    """A playbook did not end well; the text is its whole output."""

    def __init__(self, run: PlaybookRun) -> None:
        super().__init__(f"ansible-playbook ended with {run.rc}:\n{run.output}")
        self.run = run


def link_collection() -> Path:
    """Make this checkout visible as a collection, as ``make link`` does; return the collections path."""
    link = COLLECTIONS / "ansible_collections" / "netpolicy" / "host"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(CHECKOUT, link.parent), target_is_directory=True)
    return COLLECTIONS


def environment(directory: Path) -> dict[str, str]:
    """The environment in which ansible sees this checkout's collection and keeps its files in ``directory``.

    Settings of the person who runs this, from the environment or a file, do not count.
    """
    # A path that does not exist would be passed over in favour of the next place; the null device is refused.
    config = directory / "ansible.cfg"
    config.touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return kept | {
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_COLLECTIONS_PATH": str(link_collection()),
        "ANSIBLE_HOME": str(directory / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(directory / "ansible" / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_FORKS": "20",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
    }


def run(
    arguments: Sequence[str],
    *,
    enter: Callable[[Sequence[str]], list[str]],
    directory: Path,
    env: Mapping[str, str],
    timeout: float | None,
    binaries: Path | None,
) -> PlaybookRun:
    """Run ``ansible-playbook`` with these arguments.

    ``enter`` turns a command line into one that runs on the controller. ``binaries`` is the directory that
    holds ``ansible-playbook``; by default the one of this Python. ``env`` overrides the lab's own settings.
    ``timeout`` is in seconds: subprocess.TimeoutExpired after that. A playbook that fails is not an error
    here: see ``check``.
    """
    program = (binaries or Path(sys.executable).parent) / "ansible-playbook"
    if not program.exists():
        raise FileNotFoundError(f"no {program}: run this with the Python of a venv that has ansible-core")
    handle, name = tempfile.mkstemp(prefix="results-", dir=directory)
    os.close(handle)
    results = Path(name)
    settings = {
        **environment(directory),
        "ANSIBLE_CALLBACK_PLUGINS": str(_CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "lab_results",
        _RESULTS_VARIABLE: str(results),
        **env,
    }
    started = time.monotonic()
    done = subprocess.run(
        enter([str(program), *arguments]),
        env=settings,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    seconds = time.monotonic() - started
    stats, tasks = _read(results)
    results.unlink()
    return PlaybookRun(done.returncode, done.stdout, done.stderr, seconds, stats, tasks)


def _read(path: Path) -> tuple[dict[str, HostStats], tuple[TaskResult, ...]]:
    """What the callback wrote: a line of JSON for each result, and a last one with the recap."""
    stats: dict[str, HostStats] = {}
    tasks = []
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if "stats" in entry:
            stats = {host: HostStats(**numbers) for host, numbers in entry["stats"].items()}
        else:
            tasks.append(TaskResult(**entry))
    return stats, tuple(tasks)
