# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What the action plugins that reach a host have in common: the engine travels when the host lacks it."""

from __future__ import annotations

import base64
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.netpolicy.host.plugins.plugin_utils._engine import engine

NOT_LINUX = {
    "winrm": "it is managed over WinRM",
    "psrp": "it is managed over PowerShell remoting",
    "network_cli": "it is a network device",
    "netconf": "it is a network device",
    "httpapi": "it is a network device",
}


class EngineAction(ActionBase):
    """An action plugin whose module runs the engine on the host."""

    def skipped(self, variables: dict[str, t.Any]) -> dict[str, t.Any] | None:
        """The result for a host that cannot have host policy, with the reason; None for any other."""
        connection = str(variables.get("ansible_connection") or self._play_context.connection)
        reason = NOT_LINUX.get(connection.rpartition(".")[2])
        if reason is None:
            return None
        return {"changed": False, "skipped": True, "skip_reason": f"not a Linux host: {reason}"}

    def run_engine_module(
        self, name: str, arguments: dict[str, t.Any], variables: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        """Run a module of this collection; if it lacks the engine, run it again with the engine."""
        packed = engine()
        result = self._module(name, {**arguments, "engine_digest": packed.digest}, variables)
        if result.pop("engine_missing", False):
            archive = base64.b64encode(packed.archive).decode()
            result = self._module(
                name, {**arguments, "engine_digest": packed.digest, "engine": archive}, variables
            )
        return result

    def _module(
        self, name: str, arguments: dict[str, t.Any], variables: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        result = self._execute_module(
            module_name=f"netpolicy.host.{name}", module_args=arguments, task_vars=variables
        )
        return t.cast("dict[str, t.Any]", result)
