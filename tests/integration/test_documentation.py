# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation shows works: every example of every plugin, and the README's two layouts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.lab.lab import Lab
from tests.lab.playbook import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLUGINS = CHECKOUT / "plugins"
README = (CHECKOUT / "README.md").read_text()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A host of the name that the examples and one of the name that the README uses."""
    with Lab.up("server", "memcached-node-1") as running:
        yield running


def examples() -> Iterator[tuple[str, str]]:
    """Name and EXAMPLES of every plugin: in a module's source, or in the file beside a filter or a test."""
    for path in sorted((PLUGINS / "modules").glob("*.py")):
        found = re.search(r'^EXAMPLES = r"""\n(.*?)^"""$', path.read_text(), re.DOTALL | re.MULTILINE)
        yield f"module {path.stem}", found.group(1) if found else ""
    for kind in ("filter", "test"):
        for path in sorted((PLUGINS / kind).glob("*.yml")):
            yield f"{kind} {path.stem}", yaml.safe_load(path.read_text())["EXAMPLES"]


def readme_resources() -> list[dict[str, Any]]:
    """The resources that the README shows."""
    block = re.search(r"```yaml\n# inventory/group_vars/all.yml\n(.*?)```", README, re.DOTALL)
    assert block, "the README has no block of group_vars any more"
    found: list[dict[str, Any]] = yaml.safe_load(block.group(1))["netpolicy_resources"]
    return found


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in examples()])
def test_the_examples_of_a_plugin_run(lab: Lab, text: str) -> None:
    tasks = yaml.safe_load(text)
    assert tasks, "no example"
    members = readme_resources()
    members[0]["spec"]["node"] = "server"
    path = lab.inventory(group_vars={"all": {"netpolicy_resources": members, "resources": members}})
    book = lab.memory / "examples.yml"
    book.write_text(yaml.safe_dump([{"hosts": "server", "gather_facts": False, "tasks": tasks}]))
    run = lab.ansible_playbook("-i", str(path), str(book)).check()
    assert len(run.of(host="server")) == len(tasks)


def test_the_readme_on_groups(lab: Lab) -> None:
    block = re.search(r"```yaml\n# inventory/group_vars/memcached.yml\n(.*?)```", README, re.DOTALL)
    selector = re.search(r"```yaml\nselector: (.*?)\n```", README)
    assert block, "the README has no endpoint of a group any more"
    assert selector, "the README has no selector of a group any more"
    members = readme_resources()[1:]
    members[0]["spec"]["selector"] = selector.group(1)
    path = lab.inventory(
        groups={"memcached": ["server"]},
        group_vars={"all": {"netpolicy_resources": members}, "memcached": yaml.safe_load(block.group(1))},
    )
    run = lab.ansible_playbook("-i", str(path), "netpolicy.host.site", "--check", "--diff").check()
    assert run.changed == 1
    assert "+endpoint server-eth0: on interface eth0 (" in run.stdout
    assert ": untracked, tier default: GlobalNetworkPolicy/memcached-server\n" in run.stdout


def test_the_readme_beside_the_inventory(lab: Lab) -> None:
    path = lab.inventory(group_vars={"all": {"netpolicy_resources": readme_resources()}})
    assert (
        lab.ansible_playbook("-i", str(path), "netpolicy.host.site", "--check", "--diff").check().changed == 1
    )
    assert lab.ansible_playbook("-i", str(path), "netpolicy.host.site").check().changed == 1
    assert lab.ansible_playbook("-i", str(path), "netpolicy.host.site").check().changed == 0
    assert lab.ansible_playbook("-i", str(path), "netpolicy.host.remove").check().changed == 1


def test_the_readme_beside_a_playbook_of_ones_own(lab: Lab) -> None:
    block = re.search(r"```yaml\n# site.yml\n(.*?)```", README, re.DOTALL)
    assert block, "the README has no playbook any more"
    root: Path = lab.memory / "own"
    (root / "group_vars").mkdir(parents=True)
    (root / "site.yml").write_text(block.group(1))
    (root / "group_vars" / "all.yml").write_text(yaml.safe_dump({"netpolicy_resources": readme_resources()}))
    path = lab.inventory()
    own = lab.ansible_playbook("-i", str(path), str(root / "site.yml")).check()
    assert own.stats["memcached-node-1"].changed == 1
    # The collection's playbook does not see them, and says what to do.
    other = lab.ansible_playbook("-i", str(path), "netpolicy.host.site")
    assert other.rc
    assert "keep them beside the inventory" in other.output
    lab.ansible_playbook("-i", str(path), "netpolicy.host.remove").check()
