# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layer of files that makes a copy of the machine's root into a host of its own.

A host's root is an overlay: below, read-only, the machine's own root (or another one), above, in memory, what
this file writes and what the host then changes. The layer is a value first, a tree of files second.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OPERATOR = "ops"
_OPERATOR_ID = 61500

# What must not shine through from the machine. A missing path may stay missing; everything of the product is
# here.
HIDDEN = (
    ".dockerenv",
    "etc/netpolicy-host",
    "usr/local/lib/netpolicy-host",
    "usr/local/sbin/netpolicy-host",
    "usr/local/bin/netpolicy-host",
)
# Directories that every host starts with empty: other people's keys, caches, temporary files and host keys.
_EMPTY = {
    "root": 0o700,
    "etc/ssh": 0o755,
    "etc/sudoers.d": 0o750,
    "home": 0o755,
    "var/tmp": 0o1777,
    "dev": 0o755,
}
_MOUNT_POINTS = ("proc", "sys", "run", "tmp", "dev/pts", "dev/shm")

_DEVICES = {
    "null": (1, 3, 0o666),
    "zero": (1, 5, 0o666),
    "full": (1, 7, 0o666),
    "random": (1, 8, 0o666),
    "urandom": (1, 9, 0o666),
    "tty": (5, 0, 0o666),
    "net/tun": (10, 200, 0o666),
}
_LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
    "dev/ptmx": "pts/ptmx",
}

_SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
# Without PAM no session needs a login manager, which these hosts have not.
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 200
MaxSessions 64
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class File:
    """A file of the layer: its text, its mode, and the user and group it belongs to."""

    text: str
    mode: int = 0o644
    owner: int = 0


def host_files(
    root: Path,
    *,
    name: str,
    addresses: Mapping[str, Iterable[str]],
    host_key: tuple[str, str],
    client_key: str,
) -> dict[str, File]:
    """The files of the host ``name`` that differ from those of ``root``, by path relative to the root.

    ``addresses`` holds the addresses of every host of the lab, ``host_key`` the private and public half of
    the host's own ssh key, ``client_key`` the public key that may log in.
    """
    hosts = "".join(f"{address} {host}\n" for host, each in addresses.items() for address in each)
    return {
        "etc/hostname": File(f"{name}\n"),
        "etc/hosts": File(f"127.0.0.1 localhost\n::1 localhost\n{hosts}"),
        "etc/resolv.conf": File(""),
        "etc/machine-id": File(f"{secrets.token_hex(16)}\n", 0o444),
        "etc/ssh/sshd_config": File(_SSHD_CONFIG),
        "etc/ssh/ssh_host_ed25519_key": File(host_key[0], 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": File(host_key[1]),
        "etc/passwd": File(
            _with_entry(
                root, "passwd", f"{OPERATOR}:x:{_OPERATOR_ID}:{_OPERATOR_ID}::/home/{OPERATOR}:/bin/bash"
            )
        ),
        # An asterisk is no password; an exclamation mark would lock the account for ssh too.
        "etc/shadow": File(_with_entry(root, "shadow", f"{OPERATOR}:*:19000:0:99999:7:::"), 0o640),
        "etc/group": File(_with_entry(root, "group", f"{OPERATOR}:x:{_OPERATOR_ID}:")),
        "etc/sudoers": File(
            "Defaults env_reset,secure_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
            f"root ALL=(ALL:ALL) ALL\n{OPERATOR} ALL=(ALL:ALL) NOPASSWD: ALL\n",
            0o440,
        ),
        "root/.ssh/authorized_keys": File(client_key, 0o600),
        f"home/{OPERATOR}/.ssh/authorized_keys": File(client_key, 0o600, _OPERATOR_ID),
    }


def _with_entry(root: Path, database: str, entry: str) -> str:
    """A user database of ``root`` with this entry, and no other of the same name."""
    key = entry.partition(":")[0] + ":"
    lines = (root / "etc" / database).read_text().splitlines()
    return "".join(f"{line}\n" for line in [*(line for line in lines if not line.startswith(key)), entry])


def write_layer(upper: Path, root: Path, files: Mapping[str, File]) -> None:
    """Write the upper layer of an overlay over ``root``: the files, the devices, and what hides the rest."""
    upper.mkdir(parents=True)
    upper.chmod(0o755)
    for path, mode in _EMPTY.items():
        directory = _directory(upper, root, path)
        directory.chmod(mode)
        # An opaque directory hides what the lower layer has in it.
        os.setxattr(directory, "trusted.overlay.opaque", b"y")
    for path in _MOUNT_POINTS:
        _directory(upper, root, path)
    for path in HIDDEN:
        if os.path.lexists(root / path):
            # A character device 0:0 is overlayfs's word for "deleted".
            os.mknod(_place(upper, root, path), stat.S_IFCHR, 0)
    for name, (major, minor, mode) in _DEVICES.items():
        device = _place(upper, root, f"dev/{name}")
        os.mknod(device, stat.S_IFCHR, os.makedev(major, minor))
        device.chmod(mode)
    for link, target in _LINKS.items():
        (upper / link).symlink_to(target)
    for path, file in files.items():
        written = _place(upper, root, path, file.owner)
        written.touch(mode=0o600)
        written.write_text(file.text)
        written.chmod(file.mode)
        os.chown(written, file.owner, file.owner)


def _place(upper: Path, root: Path, path: str, owner: int = 0) -> Path:
    """Where in the layer ``path`` is, with its directory made."""
    parent, _unused, name = path.rpartition("/")
    return _directory(upper, root, parent, owner) / name


def _directory(upper: Path, root: Path, path: str, owner: int = 0) -> Path:
    """The directory ``path`` of the layer, made as ``root`` has it; one that is new belongs to ``owner``."""
    here = upper
    for part in Path(path).parts:
        here = here / part
        if here.is_dir():
            continue
        here.mkdir()
        below = root / here.relative_to(upper)
        if below.is_dir() and owner == 0:
            info = below.stat()
            here.chmod(stat.S_IMODE(info.st_mode))
            os.chown(here, info.st_uid, info.st_gid)
        else:
            here.chmod(0o700 if owner else 0o755)
            os.chown(here, owner, owner)
    return here
