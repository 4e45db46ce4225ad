# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback that writes every task's result as a line of JSON, beside whatever is shown to people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: lab_results
type: aggregate
short_description: Results of a run as lines of JSON
description:
  - Writes one line of JSON for each result of a task and a last one with the recap.
options:
  path:
    description: The file to write.
    type: path
    required: true
    env:
      - name: NETPOLICY_LAB_RESULTS
"""


class CallbackModule(CallbackBase):
    """Appends to the file named by the option ``path``."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lab_results"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, entry: dict[str, Any]) -> None:
        # Ansible's own class says nothing about types.
        plugin: Any = self
        with Path(plugin.get_option("path")).open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry, default=str) + "\n")

    def _result(self, outcome: str, result: Any) -> None:
        # Cleaned by the base class: values under no_log do not get into the file.
        shown = json.loads(self._dump_results(result.result, indent=0, keep_invocation=True))
        self._write(
            {
                "host": result.host.get_name(),
                "task": result.task.get_name(),
                "action": result.task.action,
                "outcome": outcome,
                "result": shown,
            }
        )

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well."""
        self._result("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002  Ansible names it
        """A task failed, whether or not the play goes on."""
        self._result("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._result("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task was skipped."""
        self._result("skipped", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The run is over."""
        self._write({"stats": {host: stats.summarize(host) for host in sorted(stats.processed)}})
