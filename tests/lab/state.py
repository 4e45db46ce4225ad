# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which labs there are on this machine, and who owns them.

Every lab has a directory ``STATE/<id>`` from before its first namespace until after its last; ``lab.json`` in
it holds the plan and the owner. The owner is a process: when it is gone, what it left may be removed by
anyone. A lab without an owner (one that the command line made) lives until it is taken down or the machine is
restarted.
"""

from __future__ import annotations

import fcntl
import json
import random
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plan import ID_COUNT, ID_DIGITS, Plan, as_data, from_data, is_lab_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STATE = Path("/run/netpolicy-lab")
_RECORD = "lab.json"
_CLAIM = "claim-"


@dataclass(frozen=True)
class Owner:
    """A process, told apart from later ones with the same number by when it started, in ticks since boot."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return _started(self.pid) == self.started


def owner(pid: int) -> Owner:
    """The process ``pid`` as an owner; ProcessLookupError when there is none."""
    started = _started(pid)
    if started is None:
        raise ProcessLookupError(pid)
    return Owner(pid, started)


def _started(pid: int) -> int | None:
    """When the process started, in ticks since boot; None when it is gone or only waits to be collected."""
    try:
        # The name, in parentheses, may hold anything; the fields after it are plain.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """What tells this run of the machine's kernel from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Record:
    """What is known about a lab: its plan, its owner (or None), and the run of the kernel it belongs to."""

    plan: Plan
    owner: Owner | None
    boot: str

    @property
    def dead(self) -> bool:
        """Whether nobody can want this lab any more."""
        return self.boot != boot_id() or (self.owner is not None and not self.owner.alive)


def directory(lab_id: str) -> Path:
    """The directory of the lab ``lab_id``."""
    return STATE / lab_id


def read(lab_id: str) -> Record:
    """The record of a lab; FileNotFoundError when there is no such lab."""
    data = json.loads((directory(lab_id) / _RECORD).read_text())
    held_by = data["owner"]
    return Record(from_data(data["plan"]), Owner(**held_by) if held_by else None, data["boot"])


def _write(folder: Path, record: Record) -> None:
    data: dict[str, Any] = {
        "plan": as_data(record.plan),
        "owner": asdict(record.owner) if record.owner else None,
        "boot": record.boot,
    }
    (folder / _RECORD).write_text(json.dumps(data, indent=1))


def labs() -> Iterator[Record]:
    """The labs of this machine."""
    for path in sorted(STATE.glob("*")) if STATE.is_dir() else []:
        if is_lab_id(path.name):
            try:
                yield read(path.name)
            except FileNotFoundError:
                # It went away while we looked.
                continue


@contextmanager
def locked() -> Iterator[None]:
    """Only one process at a time claims or removes labs."""
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (STATE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def claim(make: Callable[[str], Plan], held_by: Owner | None) -> Record:
    """Give a new lab an id that is free, and write it down at once; ``make`` plans the lab for an id.

    The record appears whole or not at all, so a crash leaves either nothing or a lab that says whose it was.
    """
    with locked():
        _drop_unfinished_claims()
        used = {path.name for path in STATE.iterdir()}
        free = [lab_id for number in range(ID_COUNT) if (lab_id := f"{number:0{ID_DIGITS}x}") not in used]
        if not free:
            raise RuntimeError(f"all {ID_COUNT} lab ids are in use; look at {STATE}")
        record = Record(make(random.choice(free)), held_by, boot_id())
        folder = Path(tempfile.mkdtemp(prefix=_CLAIM, dir=STATE))
        _write(folder, record)
        folder.chmod(0o755)
        folder.rename(directory(record.plan.id))
    return record


def _drop_unfinished_claims() -> None:
    """Remove what a crash in the middle of ``claim`` left; the caller holds the lock."""
    for path in STATE.glob(f"{_CLAIM}*"):
        shutil.rmtree(path, ignore_errors=True)
