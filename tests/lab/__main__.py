# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs from the command line: ``python -m tests.lab up server client``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import reaper, state
from .command import CommandError
from .host import HostError
from .lab import Lab, NotRootError
from .plan import CONTROLLER

if TYPE_CHECKING:
    from collections.abc import Sequence


class _RefusedError(ValueError):
    """What was asked for cannot be done; the text is for the person who asked."""


def _up(options: argparse.Namespace) -> None:
    names = options.host or [f"host-{number}" for number in range(1, options.number + 1)]
    lab = Lab.up(*names, root=options.root, owned=False)
    # Usable from any terminal of the machine: ssh enters the lab's network by itself.
    inventory = lab.inventory(anywhere=True)
    print(f"Lab {lab.id} is up: {len(names)} hosts. It stays until: python -m tests.lab down {lab.id}\n")
    _show(lab)
    print(f"\n  a shell on a host   python -m tests.lab shell {names[0]}")
    print(f"  ansible             ansible -i {inventory} all -m ansible.builtin.ping")


def _show(lab: Lab) -> None:
    for host in lab.hosts.values():
        print(f"  {host.name:<24} {host.ipv4:<16} {host.ipv6}")


def _down(options: argparse.Namespace) -> None:
    ids = [record.plan.id for record in state.labs() if record.owner is None] if options.all else options.id
    if not ids and not options.all:
        raise _RefusedError("say which labs: their ids, or --all for those that the command line made")
    for lab_id in ids:
        try:
            lab = Lab.attach(lab_id)
        except FileNotFoundError:
            raise _RefusedError(f"there is no lab {lab_id}") from None
        lab.down()
        print(f"Lab {lab_id} is gone.")


def _reap(_unused: argparse.Namespace) -> None:
    removed = reaper.reap()
    print(f"Removed what was left of: {', '.join(removed)}." if removed else "Nothing was left behind.")


def _list(_unused: argparse.Namespace) -> None:
    records = list(state.labs())
    if not records:
        print("No labs.")
    for record in records:
        owner = "down" if record.owner is None else f"the end of process {record.owner.pid}"
        print(f"Lab {record.plan.id}, until {owner}{' (dead)' if record.dead else ''}")
        _show(Lab(record.plan))


def _shell(options: argparse.Namespace) -> None:
    lab = _lab_with(options.host, options.lab)
    command = options.command or [
        os.environ.get("SHELL", "/bin/sh") if options.host == CONTROLLER else "/bin/bash"
    ]
    argv = lab.argv(command) if options.host == CONTROLLER else lab[options.host].argv(command)
    os.execvp(argv[0], argv)  # noqa: S606  the terminal is the shell's from here on


def _lab_with(host: str, lab_id: str | None) -> Lab:
    """The lab that has this host; the controller is in every lab."""
    found = [
        Lab(record.plan)
        for record in state.labs()
        if lab_id in (None, record.plan.id)
        and (host == CONTROLLER or host in (each.name for each in record.plan.hosts))
    ]
    if not found:
        raise _RefusedError(f"there is no host {host}{f' in lab {lab_id}' if lab_id else ''}")
    if len(found) > 1:
        ids = ", ".join(lab.id for lab in found)
        raise _RefusedError(f"several labs have {host}; choose with --lab: {ids}")
    return found[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start a lab that stays until it is taken down")
    up.add_argument("host", nargs="*", help="names of hosts")
    up.add_argument("--number", "-n", type=int, default=2, help="how many hosts, when none are named (2)")
    up.add_argument(
        "--root", type=Path, default=Path("/"), help="the root directory that hosts are copies of (/)"
    )
    up.set_defaults(do=_up)

    down = commands.add_parser("down", help="take labs down, whoever owns them")
    down.add_argument("id", nargs="*", help="ids of labs")
    down.add_argument("--all", action="store_true", help="all labs that the command line made")
    down.set_defaults(do=_down)

    commands.add_parser("reap", help="remove what labs left whose owner died").set_defaults(do=_reap)
    commands.add_parser("list", help="show the labs of this machine").set_defaults(do=_list)

    shell = commands.add_parser("shell", help=f"a shell, or a command, on a host or on the {CONTROLLER}")
    shell.add_argument("--lab", help="the lab's id, when several have a host of that name")
    shell.add_argument("host", help=f"the host's name, or {CONTROLLER}")
    shell.add_argument("command", nargs=argparse.REMAINDER, help="what to run instead of a shell")
    shell.set_defaults(do=_shell)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("labs need root", file=sys.stderr)
        return 1
    try:
        options.do(options)
    except (ValueError, NotRootError, HostError, CommandError, reaper.NotRemovedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
