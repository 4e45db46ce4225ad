# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing an Ansible inventory directory for a lab."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROGRAMS = ("ssh", "scp", "sftp")


@dataclass(frozen=True)
class Target:
    """Where the hosts are and how ssh reaches them.

    ``hosts`` maps each host to its address. ``namespace``, if given, is the network namespace that ssh has to
    enter by itself, because ansible will run outside of it. The inventory is written below ``directory``.
    """

    directory: Path
    namespace: str | None
    key: Path
    ssh_options: tuple[str, ...]
    control_sockets: Path
    hosts: Mapping[str, str]
    user: str


def write(
    target: Target,
    *,
    groups: Mapping[str, Iterable[str]],
    group_vars: Mapping[str, Mapping[str, Any]],
    host_vars: Mapping[str, Mapping[str, Any]],
) -> Path:
    """Write a new inventory directory: ``hosts.yml``, ``group_vars/`` and ``host_vars/``; return its path.

    ``groups`` maps a group to its hosts. ``group_vars`` and ``host_vars`` map a group or host to its
    variables; each variable gets a file of its own (``group_vars/all/NAME.yml``), as a person would keep long
    lists of resources. ValueError when a group or variable names a host that the lab has not.
    """
    groups = {group: list(members) for group, members in groups.items()}
    _check(target.hosts, groups, host_vars)
    directory = Path(tempfile.mkdtemp(prefix="inventory-", dir=target.directory))
    directory.chmod(0o755)
    _dump(directory / "hosts.yml", {"all": _all(target, groups)})
    for folder, variables in (("group_vars", group_vars), ("host_vars", host_vars)):
        for name, values in variables.items():
            (directory / folder / name).mkdir(parents=True)
            for variable, value in values.items():
                _dump(directory / folder / name / f"{variable}.yml", {variable: value})
    return directory


def _check(
    hosts: Mapping[str, str], groups: Mapping[str, Iterable[str]], host_vars: Mapping[str, Mapping[str, Any]]
) -> None:
    named = {*host_vars, *(host for members in groups.values() for host in members)}
    if unknown := sorted(named - set(hosts)):
        raise ValueError(f"no such hosts in the lab: {', '.join(unknown)}")


def _all(target: Target, groups: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """The group ``all``: every host, how to reach it, and the groups below."""
    variables = {
        "ansible_connection": "ssh",
        "ansible_user": target.user,
        "ansible_ssh_private_key_file": str(target.key),
        "ansible_ssh_common_args": shlex.join(target.ssh_options),
        "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60s",
        "ansible_control_path_dir": str(target.control_sockets),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    if target.namespace is not None:
        variables |= {
            f"ansible_{program}_executable": str(
                _wrapper(target.directory / "bin" / program, target.namespace)
            )
            for program in _PROGRAMS
        }
    content: dict[str, Any] = {
        "vars": variables,
        "hosts": {host: {"ansible_host": address} for host, address in target.hosts.items()},
    }
    if groups:
        content["children"] = {
            group: {"hosts": {key: {} for key in members}} for group, members in groups.items()
        }
    return content


def _wrapper(path: Path, namespace: str) -> Path:
    """A program that enters the network namespace and becomes the one it is named after."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{namespace} -- {path.name} "$@"\n')
    path.chmod(0o755)
    return path


class _Dumper(yaml.SafeDumper):
    """Without anchors: a person reads these files."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  PyYAML names it
        return True


def _dump(path: Path, value: Any) -> None:
    path.write_text(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))
