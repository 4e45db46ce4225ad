# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab: hosts on a common network, and a controller that reaches them by ssh.

    with Lab.up("server", HostSpec("client", (Interface("ens4", addresses=4),))) as lab:
        lab["server"].run("nft", "list", "ruleset")
        inventory = lab.inventory(group_vars={"all": {"netpolicy_resources": []}})
        lab.ansible_playbook("-i", str(inventory), "netpolicy.host.site").stats["server"].changed

Nothing is left of a lab when the block ends, however it ends; when the process that made it is killed, a few
seconds later.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from . import command, host, inventory, network, playbook, reaper, state
from .host import Host, in_namespace
from .plan import HostSpec, Plan, make_plan

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

# What all hosts of a lab may write together; memory is used only for what they do write.
_LAYER_SIZE = "4g"


class NotRootError(PermissionError):
    """Only root may make namespaces."""


class Lab:
    """A running lab. Make one with ``Lab.up``, or find one that runs with ``Lab.attach``."""

    def __init__(self, plan: Plan) -> None:
        """The lab that ``plan`` describes; this starts nothing."""
        self.plan = plan
        self.directory = state.directory(plan.id)
        # In memory, and mounted once for all hosts, so that one unmount lets go of everything they wrote.
        self.memory = self.directory / "memory"
        self.hosts: dict[str, Host] = {
            each.name: Host(each, self.memory / "hosts" / each.name) for each in plan.hosts
        }
        self._children: list[subprocess.Popen[bytes]] = []
        self._watcher: subprocess.Popen[bytes] | None = None

    @classmethod
    def up(cls, *hosts: str | HostSpec, root: Path = Path("/"), owned: bool = True) -> Self:
        """Start a lab with these hosts, each over the files of ``root``; return it when all answer to ssh.

        The lab is gone when this process ends, unless ``owned`` is false: then it stays until ``down``.
        Raises NotRootError, ValueError for hosts that cannot be, HostError and CommandError for what went
        wrong.
        """
        if os.geteuid() != 0:
            raise NotRootError("a lab needs root: it makes network namespaces and mounts")
        make_plan("000", hosts, str(root))
        reaper.reap()
        held_by = state.owner(os.getpid()) if owned else None
        record = state.claim(lambda lab_id: make_plan(lab_id, hosts, str(root)), held_by)
        lab = cls(record.plan)
        try:
            if owned:
                lab._watcher = reaper.start_watching(lab.id)
            lab._build()
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def attach(cls, lab_id: str) -> Self:
        """The lab of that id, which runs already; FileNotFoundError when there is none."""
        return cls(state.read(lab_id).plan)

    @property
    def id(self) -> str:
        """What tells this lab from the others of the machine."""
        return self.plan.id

    def __getitem__(self, name: str) -> Host:
        """The host of that name; KeyError when there is none."""
        return self.hosts[name]

    def __enter__(self) -> Self:
        """The lab itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the lab down, whatever happened inside the block."""
        self.down()

    def down(self) -> None:
        """End every process of the lab and remove everything of it; no error when that was done already."""
        reaper.destroy(self.id)
        for child in self._children:
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        self._children.clear()
        # Last, because it stands by for the case that this process dies before here.
        if self._watcher is not None:
            self._watcher.terminate()
            self._watcher.wait()
            self._watcher = None

    def _build(self) -> None:
        """Make namespaces, wires and keys, then start all hosts at once."""
        self.memory.mkdir()
        options = f"size={_LAYER_SIZE},mode=0755"
        command.run(["mount", "-t", "tmpfs", "-o", options, f"netpolicy-lab-{self.id}", str(self.memory)])
        # The first namespace of a machine makes iproute2 mount a directory, which two at once get wrong.
        with state.locked():
            network.apply(network.namespaces(self.plan))
        network.apply(network.bridges(self.plan), inside=self.plan.controller)
        network.apply(network.cables(self.plan, self.plan.hosts), inside=self.plan.controller)
        (self.memory / "hosts").mkdir()
        _unused, client_key = host.make_key(self.key, f"netpolicy-lab-{self.id}")
        # ssh keeps the sockets of its shared connections here; their names must be short.
        self.control_sockets.mkdir(mode=0o700)
        known = []
        for each in self.hosts.values():
            public = host.prepare(self.plan, each.plan, each.directory, client_key)
            names = ",".join((each.name, *(a for i in each.plan.interfaces for a in (*i.ipv4, *i.ipv6))))
            known.append(f"{names} {' '.join(public.split()[:2])}\n")
        self.known_hosts.write_text("".join(known))
        self._start(self.hosts.values())

    def _start(self, hosts: Iterable[Host]) -> None:
        """Start prepared hosts and wait for all of them."""
        starting = [host.start(self.plan, each) for each in hosts]
        self._children += [each.process for each in starting]
        for each in starting:
            each.wait()

    def restart(self, name: str) -> None:
        """Do what a power cut and a new start do: processes, network, /run and /tmp are lost, files stay."""
        each = self[name]
        reaper.kill([each.namespace])
        network.apply([f"netns del {each.namespace}", f"netns add {each.namespace}"])
        # The far ends of the cables went with the namespace; some milliseconds later, so the near ends are
        # made sure of.
        gone = [f"link del {interface.peer}" for interface in each.plan.interfaces]
        network.apply(gone, inside=self.plan.controller, keep_going=True)
        network.apply(network.cables(self.plan, [each.plan]), inside=self.plan.controller)
        self._start([each])

    @property
    def key(self) -> Path:
        """The private key that opens root and ``ops`` on every host."""
        return self.memory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' own public keys, under every name and address."""
        return self.memory / "known_hosts"

    @property
    def control_sockets(self) -> Path:
        """Where ssh shares its connections."""
        return self.memory / "cm"

    def ssh_options(self, *, share: bool = True) -> list[str]:
        """The options that make ssh reach the hosts of this lab; ``share`` lets calls share a connection."""
        options = {
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "10",
        }
        if share:
            options |= {
                "ControlMaster": "auto",
                "ControlPersist": "60s",
                "ControlPath": f"{self.control_sockets}/%C",
            }
        # -F: the options of the person who runs this are none of the lab's business.
        return ["-F", "none", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` in the controller's network, with the machine's files."""
        return in_namespace(self.plan.controller, argv)

    def run(
        self, *argv: str, stdin: str | None = None, timeout: float | None = 60, check: bool = True
    ) -> command.Result:
        """Run a command on the controller; see command.run."""
        return command.run(self.argv(argv), stdin=stdin, timeout=timeout, check=check)

    def ssh(
        self,
        name: str,
        *argv: str,
        user: str = "root",
        ipv6: bool = False,
        share: bool = False,
        check: bool = True,
    ) -> command.Result:
        """Run a command on a host by ssh from the controller; its words are joined by spaces, as ssh does."""
        address = self[name].ipv6 if ipv6 else self[name].ipv4
        return self.run("ssh", *self.ssh_options(share=share), f"{user}@{address}", "--", *argv, check=check)

    def inventory(
        self,
        *,
        groups: Mapping[str, Iterable[str]] | None = None,
        group_vars: Mapping[str, Mapping[str, Any]] | None = None,
        host_vars: Mapping[str, Mapping[str, Any]] | None = None,
        user: str = "root",
        ipv6: bool = False,
        anywhere: bool = False,
    ) -> Path:
        """Write an inventory of this lab, and return its directory; see inventory.write."""
        return inventory.write(
            inventory.Target(
                directory=self.memory,
                namespace=self.plan.controller if anywhere else None,
                key=self.key,
                ssh_options=tuple(self.ssh_options(share=False)),
                control_sockets=self.control_sockets,
                hosts={name: (each.ipv6 if ipv6 else each.ipv4) for name, each in self.hosts.items()},
                user=user,
            ),
            groups=groups or {},
            group_vars=group_vars or {},
            host_vars=host_vars or {},
        )

    def ansible_playbook(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 300,
        binaries: Path | None = None,
    ) -> playbook.PlaybookRun:
        """Run ``ansible-playbook`` on the controller with this checkout's collection; see playbook.run."""
        return playbook.run(
            arguments,
            enter=self.argv,
            directory=self.memory,
            env=env or {},
            timeout=timeout,
            binaries=binaries,
        )
