# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of a lab: starting it, and running commands inside."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import command, network, rootfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .plan import Plan, PlannedHost

_INIT = Path(__file__).with_name("init.sh")
# What a login shell on the host would have; nothing of the caller's own environment goes inside.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
_LISTENING = "0A"


class HostError(RuntimeError):
    """A host did not start, or is not there any more."""


@dataclass(frozen=True)
class Host:
    """A running host. ``directory`` is where the lab keeps its layers and its console."""

    plan: PlannedHost
    directory: Path

    @property
    def name(self) -> str:
        """The name in the inventory, and the host's own name."""
        return self.plan.name

    @property
    def namespace(self) -> str:
        """The name of the host's network namespace."""
        return self.plan.namespace

    @property
    def ipv4(self) -> str:
        """The first IPv4 address."""
        return self.plan.ipv4

    @property
    def ipv6(self) -> str:
        """The first IPv6 address."""
        return self.plan.ipv6

    @property
    def interface(self) -> str:
        """The name of the first interface."""
        return self.plan.interfaces[0].name

    @property
    def pid(self) -> int:
        """The host's first process, as the machine numbers it; HostError when the host does not run."""
        try:
            return int((self.directory / "pid").read_text())
        except (FileNotFoundError, ValueError) as error:
            raise HostError(f"host {self.name} does not run") from error

    @property
    def files(self) -> Path:
        """The host's root directory, seen from the machine. Absolute symbolic links lead astray."""
        return Path(f"/proc/{self.pid}/root")

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` as root inside every namespace of the host."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--"]
        return [*enter, *argv]

    def run(
        self, *argv: str, stdin: str | None = None, timeout: float | None = 60, check: bool = True
    ) -> command.Result:
        """Run a command as root on the host; see command.run."""
        return command.run(self.argv(argv), stdin=stdin, timeout=timeout, check=check, env=_ENVIRONMENT)

    def spawn(self, *argv: str, log: str = "/dev/null") -> int:
        """Start a command as root on the host and leave it running; return its number inside the host.

        What it says goes to ``log``, a file of the host. It ends with the host, or before that by ``kill``.
        """
        # The host's first process becomes its parent, and collects it: nothing of it stays with this process.
        script = 'log=$1; shift; setsid "$@" < /dev/null > "$log" 2>&1 & echo $!'
        return int(self.run("sh", "-c", script, "sh", log, *argv).stdout)

    def kill(self, pid: int, timeout: float = 10) -> None:
        """End a process of the host by its number there, and wait; HostError after ``timeout`` seconds."""
        self.run("kill", str(pid), check=False)
        process = self.files / "proc" / str(pid)
        self._wait(lambda: not process.exists(), f"process {pid} does not end", timeout)

    def in_network(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` in the host's network, with the machine's files."""
        return in_namespace(self.namespace, argv)

    def listens_on(self, port: int) -> bool:
        """Whether a socket of the host listens on that TCP port."""
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                _unused, local, _unused, state = line.split()[:4]
                if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                    return True
        return False

    def wait_for_port(self, port: int, timeout: float = 10) -> None:
        """Wait until a socket listens on that TCP port; HostError after ``timeout`` seconds."""
        self._wait(lambda: self.listens_on(port), f"nothing listens on port {port}", timeout)

    def _wait(self, condition: Callable[[], bool], otherwise: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise HostError(f"host {self.name}: {otherwise} after {timeout} s")
            time.sleep(0.02)


def in_namespace(namespace: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` in a network namespace, with the machine's files and user."""
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *argv]


def make_key(path: Path, comment: str) -> tuple[str, str]:
    """Make an ssh key pair at ``path`` and return its private and its public half."""
    command.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    return path.read_text(), path.with_name(path.name + ".pub").read_text()


def prepare(plan: Plan, host: PlannedHost, directory: Path, client_key: str) -> str:
    """Write the host's layer and its network batch below ``directory``; return its public ssh key."""
    for name in ("work", "merged"):
        (directory / name).mkdir(parents=True)
    host_key = make_key(directory / "host_key", host.name)
    addresses: Mapping[str, Iterable[str]] = {
        each.name: [
            address for interface in each.interfaces for address in (*interface.ipv4, *interface.ipv6)
        ]
        for each in plan.hosts
    }
    root = Path(plan.root)
    files = rootfs.host_files(
        root, name=host.name, addresses=addresses, host_key=host_key, client_key=client_key
    )
    rootfs.write_layer(directory / "upper", root, files)
    batch = network.host_network(plan, host)
    (directory / "network.batch").write_text("".join(f"{line}\n" for line in batch))
    return host_key[1]


@dataclass(frozen=True)
class Starting:
    """A host on its way up; its process says on its standard output when it is ready."""

    host: Host
    process: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Wait until sshd listens; HostError with the host's console if it came to an end instead."""
        assert self.process.stdout is not None
        # One line, not to the end: `unshare` keeps the pipe open as long as the host lives.
        with self.process.stdout as pipe:
            answer = pipe.readline()
        if answer != b"ready\n":
            console = (self.host.directory / "console.log").read_text(errors="replace").strip()
            raise HostError(f"host {self.host.name} did not start: {console[-2000:]}")


def start(plan: Plan, host: Host) -> Starting:
    """Start a prepared host in its namespace, without waiting for it."""
    (host.directory / "pid").unlink(missing_ok=True)
    unshare = [
        "unshare",
        "--mount",
        "--uts",
        "--ipc",
        "--pid",
        "--fork",
        "--kill-child",
        "--propagation=private",
    ]
    init = ["/bin/sh", str(_INIT), str(host.directory), plan.root, host.name]
    with (host.directory / "console.log").open("wb") as console:
        process = subprocess.Popen(
            [*in_namespace(host.namespace, unshare), "--", *init],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=console,
            env=_ENVIRONMENT,
            # Ctrl-C at the owner's terminal is for the owner, who then takes the hosts down in order.
            start_new_session=True,
        )
    return Starting(host, process)
