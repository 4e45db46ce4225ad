# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling an inventory of many hosts, over what Ansible needs to do nothing with the same inventory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.lab import playbook

from .measure import Row, fastest
from .workload import endpoint, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (1000, 5000)
POLICIES, RULES = 20, 5


def rows() -> Iterator[Row]:
    """One row for each number of hosts; 20 policies in group_vars/all, an endpoint for each host."""
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="np-bench-") as directory:
            root = Path(directory)
            _inventory(root, size)
            ours, other = fastest(
                partial(_play, root, {"netpolicy.host.compile": {}}),
                partial(_play, root, {"ansible.builtin.debug": {"msg": "nothing"}}),
                rounds=2,
            )
            yield Row(
                f"compile {size} hosts, {POLICIES} policies", ours, other, "a playbook with one debug task"
            )


def _inventory(root: Path, size: int) -> None:
    (root / "group_vars").mkdir()
    policies = [policy(f"policy-{index}", RULES, first_port=1000 + 10 * index) for index in range(POLICIES)]
    (root / "group_vars" / "all.yml").write_text(yaml.safe_dump({"netpolicy_resources": policies}))
    hosts: dict[str, Any] = {}
    for number in range(size):
        name, address = f"host-{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        hosts[name] = {"netpolicy_resources_endpoint": [endpoint(name, address)]}
    # JSON: the same inventory as YAML takes Ansible several times as long to read.
    (root / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))


def _play(root: Path, task: dict[str, Any]) -> None:
    book = root / "play.yml"
    book.write_text(yaml.safe_dump([{"hosts": "host-0", "gather_facts": False, "tasks": [task]}]))
    subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(root / "hosts.json"), str(book)],
        env=playbook.environment(root),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
