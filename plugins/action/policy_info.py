# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller side of netpolicy.host.policy_info: hands the host the engine where it lacks it."""

from __future__ import annotations

import typing as t

from ansible_collections.netpolicy.host.plugins.plugin_utils._engine_action import EngineAction


class ActionModule(EngineAction):
    """Reads what a host enforces."""

    _supports_check_mode = True
    _supports_diff = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """See the documentation of the module of the same name."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec({"elements": {"type": "bool", "default": False}})
        request = {"verb": "info", "elements": options["elements"]}
        return self.skipped() or self.ask_engine("policy_info", request, variables)
