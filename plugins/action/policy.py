# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller side of netpolicy.host.policy: gives the host its policy, and the engine if needed."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail

from ansible_collections.netpolicy.host.plugins.module_utils._host import provenance
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils import _artefact
from ansible_collections.netpolicy.host.plugins.plugin_utils._engine_action import EngineAction

SEND_AT_ONCE = 64 * 1024  # bytes; a larger policy is sent when the host does not have it yet
LONGEST_OWNER = 64


class ActionModule(EngineAction):
    """Enforces, or removes, one host's policy."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """See the documentation of the module of the same name."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(
            {
                "state": {"choices": ["present", "absent"], "default": "present"},
                "compiled": {"type": "dict"},
                "owner": {"type": "str", "default": "ansible"},
                "takeover": {"type": "bool", "default": False},
                "shrink_limit": {"type": "int", "default": 20},
            }
        )
        _check(options)
        skipped = self.skipped()
        if skipped is not None:
            return skipped
        if options["state"] == "absent":
            return self.ask_engine("policy", {"verb": "remove", "node": None}, variables)
        host = variables["inventory_hostname"]
        if self._task.delegate_to not in (None, host):
            raise AnsibleActionFail(
                f"delegated to {self._task.delegate_to}: the policy of {host} belongs on {host}; run the "
                "task without delegate_to"
            )
        artefact = self._artefact(options["compiled"], host)
        origin = provenance.Provenance(options["owner"], artefact.inventory)
        run = {
            "provenance": provenance.to_dict(origin),
            "takeover": options["takeover"],
            "shrink_limit": options["shrink_limit"],
        }
        if artefact.policy is None:
            # No endpoint: the host is asked only whether it still has a policy from before.
            request = {"verb": "remove", "node": host, "if_installed": True, **run}
            return self.ask_engine("policy", request, variables)
        return self._enforce(artefact, run, variables)

    def _enforce(
        self, artefact: _artefact.HostArtefact, run: dict[str, t.Any], variables: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        request = {"verb": "apply", "digest": artefact.digest, "policy": None, **run}
        if artefact.size > SEND_AT_ONCE:
            probed = self.ask_engine("policy", request, variables)
            if not probed.pop("policy_missing", False):
                return probed
        return self.ask_engine("policy", {**request, "policy": artefact.policy}, variables)

    def _artefact(self, compiled: t.Any, host: str) -> _artefact.HostArtefact:
        if not isinstance(compiled, Mapping) or not isinstance(compiled.get("directory"), str):
            raise AnsibleActionFail(
                "compiled: expected the result of netpolicy.host.compile, which state=present needs"
            )
        try:
            return _artefact.read(Path(compiled["directory"]), host)
        except _artefact.ArtefactError as error:
            raise AnsibleActionFail(str(error)) from None


def _check(options: t.Mapping[str, t.Any]) -> None:
    owner, limit = options["owner"], options["shrink_limit"]
    if not (0 < len(owner) <= LONGEST_OWNER and owner.isprintable() and owner == owner.strip()):
        raise AnsibleActionFail(
            f"owner: found {shown(owner)}, allowed: 1 to {LONGEST_OWNER} printable characters, without "
            "spaces at either end"
        )
    if not 0 <= limit <= 100:
        raise AnsibleActionFail(f"shrink_limit: found {limit}, allowed: a percentage from 0 to 100")
