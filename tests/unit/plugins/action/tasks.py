# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugins outside of a playbook: a task and a connection with what an action asks of them."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

from ansible.plugins.action import ActionBase

Action = t.TypeVar("Action", bound=ActionBase)


def action(
    plugin: type[Action],
    connection: str = "ansible.builtin.ssh",
    windows: bool = False,
    check: bool = False,
    delegate_to: str | None = None,
    **arguments: t.Any,
) -> Action:
    """An action of a task with these arguments."""
    task = SimpleNamespace(
        args=arguments, action="netpolicy.host.test", async_val=0, check_mode=check, delegate_to=delegate_to
    )
    shell = SimpleNamespace(tmpdir="/nowhere", _IS_WINDOWS=windows)
    needed: dict[str, t.Any] = {
        "task": task,
        "connection": SimpleNamespace(_shell=shell, ansible_name=connection),
        "play_context": None,
        "loader": None,
        "templar": None,
    }
    return plugin(**needed)
