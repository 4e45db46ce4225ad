# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The managed host as the engine sees it: its nft, and its files. The only effects are here."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import typing as t

from .._netlink import set_elements
from .._netlink.messages import NetlinkError
from . import links, tracking
from .paths import LOCK_FILE

if t.TYPE_CHECKING:
    from .._render.ruleset import SetChange

NFT_TIMEOUT = 120  # seconds; a million networks load in a tenth of that
_STABLE = ("-s", "-n")  # no counters; numbers, not names that a file on the host may change
SEARCH_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"


class HostError(Exception):
    """Something on the host does not work as needed; the message is for the user, whole."""


class Uncertain(HostError):
    """It is not known whether a change of the kernel's table has happened."""


class NftMissing(HostError):
    """There is no nft command on the host."""


class Damaged(HostError):
    """A file of ours cannot be read, though it is there."""


class Listing(t.NamedTuple):
    """Our table as the kernel holds it: nft's JSON without the elements of sets and maps, and its text
    without counters and, unless asked for, without the elements of sets."""

    json: t.Mapping[str, t.Any]
    text: str


def is_unfinished(path: str, of: str) -> bool:
    """Whether `path` is what a write of the file `of` leaves when it is killed before it is done."""
    return path.startswith(f"{os.path.dirname(of)}/{_temporary_prefix(of)}")


def _temporary_prefix(path: str) -> str:
    return f".{os.path.basename(path)}."


@contextlib.contextmanager
def _netlink_errors() -> t.Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        # Answers were lost (man 7 netlink).
        kind = Uncertain if error.errno == errno.ENOBUFS else HostError
        raise kind(str(error)) from error


class Host(t.Protocol):
    """What the engine needs of a host."""

    def table(self, family: str, name: str, whole: bool = False) -> Listing | None:
        """List one table; None where there is no such table. Elements of its sets only if `whole`.

        A table that nft lists in a way that cannot be read has an empty listing.
        """

    def nft(self, script: str) -> None:
        """Run a script as one transaction. Raises HostError; then nothing of it has happened."""

    def fill_set(self, table: str, name: str, version: int, elements: t.Iterable[str]) -> None:
        """Add CIDRs to a set that no packet meets yet. Raises HostError; then some may be in it."""

    def change_sets(self, table: str, changes: t.Iterable[SetChange]) -> None:
        """Change sets in one transaction. Raises HostError; then nothing of it has happened."""

    def set_elements(self, table: str, name: str, version: int) -> list[str]:
        """The CIDRs of a set. Raises HostError, also where the set changes meanwhile."""

    def read(self, path: str) -> bytes | None:
        """A file's content; None where there is no such file."""

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Replace a file as a whole; directories are made as needed."""

    def files(self, directory: str) -> list[str] | None:
        """Paths of the files in a directory; None where there is no such directory."""

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it; nothing to do where there is none."""

    def interfaces(self) -> dict[str, str | None]:
        """The names of the network interfaces; with each, why raw sees no packets of it, if it does not."""

    def has_address(self, address: str) -> bool:
        """Whether an IP address is one of the host's own, on whatever interface."""

    def addresses(self) -> t.Mapping[str, t.Sequence[str]]:
        """The addresses of every interface by its name. Raises HostError."""

    def tracking(self) -> t.ContextManager[tracking.Tracking]:
        """The host's connection tracking and routes, open for the block. All of it may raise NetlinkError."""

    def lock(self) -> t.ContextManager[None]:
        """Keep every other engine on this host out. Raises HostError where one is at work."""


class LinuxHost:
    """The host this process runs on."""

    def __init__(self) -> None:
        self._lock: tuple[int, ...] = ()
        """The open lock, while it is held."""

    def table(self, family: str, name: str, whole: bool = False) -> Listing | None:
        """See Host.table."""
        if f"table {family} {name}" not in self._run(["list", "tables"]).splitlines():
            return None
        try:
            found = json.loads(self._run(["--json", "--terse", "list", "table", family, name]))
            maps = sorted(item["map"]["name"] for item in found["nftables"] if "map" in item)
        except (ValueError, KeyError, TypeError):
            # nft 1.0.6 writes broken JSON for a table with flags, which ours never has.
            return Listing({}, "")
        if whole:
            return Listing(found, self._run([*_STABLE, "list", "table", family, name]))
        # --terse leaves out the elements of maps, too; ours are small, and say which packets meet any rule.
        parts = [self._run([*_STABLE, "--terse", "list", "table", family, name])]
        parts += [self._run([*_STABLE, "list", "map", family, name, member]) for member in maps]
        return Listing(found, "".join(parts))

    def nft(self, script: str) -> None:
        """See Host.nft."""
        self._run(["-f", "-"], script)

    def fill_set(self, table: str, name: str, version: int, elements: t.Iterable[str]) -> None:
        """See Host.fill_set."""
        with _netlink_errors():
            set_elements.fill(table, name, version, elements)

    def change_sets(self, table: str, changes: t.Iterable[SetChange]) -> None:
        """See Host.change_sets."""
        with _netlink_errors():
            set_elements.change(table, [set_elements.Change(*change) for change in changes])

    def set_elements(self, table: str, name: str, version: int) -> list[str]:
        """See Host.set_elements."""
        with _netlink_errors():
            return list(set_elements.elements(table, name, version))

    def _run(self, arguments: list[str], script: str = "") -> str:
        command = shutil.which("nft", path=SEARCH_PATH)
        if command is None:
            raise NftMissing("nft is not installed on this host; install the package nftables")
        what = f"nft {' '.join(arguments)}"
        try:
            # Not run_command: this runs outside a module, too.
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                [command, *arguments],
                input=script,
                capture_output=True,
                text=True,
                errors="replace",
                env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
                # When this process is killed, nft goes on, and keeps the next engine out until it is done.
                pass_fds=self._lock,
                timeout=NFT_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Uncertain(f"{what}: no answer in {NFT_TIMEOUT} seconds") from None
        except OSError as error:
            raise HostError(f"{what}: {error.strerror}") from error
        if done.returncode != 0:
            raise HostError(f"{what}: {done.stderr.strip() or 'failed without a word'}")
        return done.stdout

    def read(self, path: str) -> bytes | None:
        """See Host.read."""
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Damaged(f"cannot read {path}: {error.strerror}") from error

    def write(self, path: str, content: bytes, mode: int) -> None:
        """See Host.write."""
        directory = os.path.dirname(path)
        try:
            os.makedirs(directory, mode=0o755, exist_ok=True)
            # In the same directory, so that the rename is atomic: a reader sees the old file or the new.
            handle, temporary = tempfile.mkstemp(dir=directory, prefix=_temporary_prefix(path))
        except OSError as error:
            raise HostError(f"cannot write {path}: {error.strerror}") from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            os.unlink(temporary)
            raise HostError(f"cannot write {path}: {error.strerror}") from error

    def files(self, directory: str) -> list[str] | None:
        """See Host.files."""
        try:
            return sorted(os.path.join(directory, name) for name in os.listdir(directory))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            return []
        except OSError as error:
            raise HostError(f"cannot read {directory}: {error.strerror}") from error

    def remove(self, path: str) -> None:
        """See Host.remove."""
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise HostError(f"cannot remove {path}: {error.strerror}") from error

    def interfaces(self) -> dict[str, str | None]:
        """See Host.interfaces."""
        return links.interfaces()

    def has_address(self, address: str) -> bool:
        """See Host.has_address."""
        return links.has_address(address)

    def addresses(self) -> t.Mapping[str, t.Sequence[str]]:
        """See Host.addresses."""
        with _netlink_errors(), tracking.tracking() as kernel:
            return kernel.addresses()

    def tracking(self) -> t.ContextManager[tracking.Tracking]:
        """See Host.tracking."""
        return tracking.tracking()

    @contextlib.contextmanager
    def lock(self) -> t.Iterator[None]:
        """See Host.lock."""
        handle = self._open_lock()
        self._lock = (handle,)
        try:
            yield
        finally:
            self._lock = ()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(LOCK_FILE)
            os.close(handle)

    @staticmethod
    def _open_lock() -> int:
        """Open and take the lock. Whoever held it last removed the file: it may not be the one opened."""
        while True:
            try:
                handle = os.open(LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise HostError(f"cannot lock {LOCK_FILE}: {error.strerror}") from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(handle).st_ino == os.stat(LOCK_FILE).st_ino:
                    return handle
            except FileNotFoundError:
                pass
            except OSError:
                os.close(handle)
                raise HostError(
                    f"another netpolicy.host run is changing this host (it holds {LOCK_FILE}); "
                    "try again when it is done"
                ) from None
            os.close(handle)
