# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enforcing 100 rules on a host over ssh, beside a task that only loads the same ruleset with nft."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import yaml

from tests.lab.lab import Lab

from .measure import Row, fastest
from .workload import endpoint, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = 100


def rows() -> Iterator[Row]:
    """Putting rules in force, and finding nothing to do; whole playbooks, Ansible's start included."""
    with Lab.up("server") as lab:
        resources = [endpoint("server", lab["server"].ipv4), policy("policy", RULES // 2)]
        path = str(lab.inventory(group_vars={"all": {"netpolicy_resources": resources}}))
        ours = _book(
            lab,
            "ours",
            {"netpolicy.host.compile": {}, "register": "compiled"},
            {"netpolicy.host.policy": {"compiled": "{{ compiled }}"}},
        )
        lab.ansible_playbook("-i", path, ours).check()
        (lab.memory / "ruleset.nft").write_text(lab["server"].run("nft", "list", "ruleset").stdout)
        bare = _book(lab, "bare", {"ansible.builtin.command": {"cmd": "nft -f /root/ruleset.nft"}})
        lab["server"].run(
            "sh", "-c", "cat > /root/ruleset.nft", stdin=(lab.memory / "ruleset.nft").read_text()
        )
        again, first, load = fastest(
            partial(_play, lab, path, ours),
            partial(_play_on_bare_host, lab, path, ours),
            partial(_play_on_bare_host, lab, path, bare),
        )
        yield Row(f"apply {RULES} rules over ssh, engine on the host", first, load, "a task `nft -f FILE`")
        yield Row("second run, nothing to change", again, load, "a task `nft -f FILE`")


def _play(lab: Lab, path: str, book: str) -> None:
    lab.ansible_playbook("-i", path, book).check()


def _play_on_bare_host(lab: Lab, path: str, book: str) -> None:
    """As after a reboot: the rules are gone, the engine is there."""
    lab["server"].run("nft", "flush", "ruleset")
    _play(lab, path, book)


def _book(lab: Lab, name: str, *tasks: dict[str, Any]) -> str:
    path = lab.memory / f"{name}.yml"
    path.write_text(yaml.safe_dump([{"hosts": "server", "gather_facts": False, "tasks": list(tasks)}]))
    return str(path)
