# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What the action plugins that reach a host have in common: the engine travels when the host lacks it."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.netpolicy.host.plugins.plugin_utils._engine import engine

NETWORK_DEVICES = ("network_cli", "netconf", "httpapi")


class EngineAction(ActionBase):
    """An action plugin whose module runs the engine on the host."""

    def skipped(self) -> dict[str, t.Any] | None:
        """The result for a host that cannot have host policy, with the reason; None for any other."""
        reason = None
        if getattr(self._connection._shell, "_IS_WINDOWS", False):  # noqa: SLF001  # as ansible-core does
            reason = "it runs Windows"
        elif (self._connection.ansible_name or "").rpartition(".")[2] in NETWORK_DEVICES:
            reason = "it is a network device"
        if reason is None:
            return None
        return {"changed": False, "skipped": True, "skip_reason": f"not a Linux host: {reason}"}

    def ask_engine(
        self, module: str, request: dict[str, t.Any], variables: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        """Ask the engine through a module of this collection; if the host lacks the engine, again with it."""
        packed = engine()
        arguments = {
            "request": json.dumps(request),
            "engine_digest": packed.digest,
            "engine_sha256": hashlib.sha256(packed.archive).hexdigest(),
        }
        result = self._module(module, arguments, variables)
        if result.pop("engine_missing", False):
            archive = base64.b64encode(packed.archive).decode()
            result = self._module(module, {**arguments, "engine": archive}, variables)
        return result

    def _module(
        self, name: str, arguments: dict[str, t.Any], variables: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        result = self._execute_module(
            module_name=f"netpolicy.host.{name}", module_args=arguments, task_vars=variables
        )
        return t.cast("dict[str, t.Any]", result)
