# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller side of netpolicy.host.compile, which has no other side."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.netpolicy.host.plugins.module_utils._host.provenance import Extent
from ansible_collections.netpolicy.host.plugins.module_utils._render import lacks
from ansible_collections.netpolicy.host.plugins.plugin_utils import _artefact
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import collect as collecting
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.definitions import (
    RESOURCE_FILES,
    Definition,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.inventory import Inventory
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import Resolver

if t.TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.module_utils._policy.model import HostPolicy

UNENFORCED = (
    "this version cannot enforce it yet; netpolicy.host.policy refuses the policy of a host that it is a "
    "part of, and what that host enforces now stays in force"
)


class ActionModule(ActionBase):
    """Compiles the whole inventory's policies into one artefact per host, on the controller."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """See the documentation of the module of the same name."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec({"dest": {"type": "path"}})
        if constants.RUN_VARS_PLUGINS == "start":  # type: ignore[attr-defined]  # dynamic
            raise AnsibleActionFail(
                "run_vars_plugins is 'start': Ansible has merged the variables of each group and host before "
                "anybody could read them one by one, and definitions may be lost; set it to 'demand'"
            )
        inventory = Inventory(variables["hostvars"])
        defined = collecting.definitions(inventory)
        self._refuse_unseen(collecting.unseen_variables(inventory, defined, variables))
        collected = collecting.collect(inventory, defined)
        if collected.findings:
            raise AnsibleActionFail(_report(collected.findings))
        if not collected.resources:
            raise AnsibleActionFail(_nothing(inventory, defined))
        resolver = Resolver(collected.resources, collected.addresses, collected.interfaces)
        policies: dict[str, HostPolicy | None] = {}
        for host in inventory.hosts:
            policy = resolver.host_policy(host)
            policies[host] = policy if policy.endpoints else None
        warnings = collected.warnings + resolver.findings()
        warnings += [
            Finding(lack.kind, lack.name, lack.path, f"{lack.what}: {UNENFORCED}")
            for lack in lacks.unenforced(resolver.every_kind_of_endpoint)
        ]
        for finding in warnings:
            self._display.warning(str(finding))
        return {
            "changed": False,
            "directory": str(_written(policies, _extent(inventory, policies), options["dest"])),
            "digest": _artefact.digest_of(policies),
            "hosts": _artefact.count(policies),
            "findings": [_as_dict(finding) for finding in warnings],
        }

    def _refuse_unseen(self, unseen: list[str]) -> None:
        if unseen:
            raise AnsibleActionFail(
                f"{', '.join(unseen)}: defined by the play, a role or a task (vars, vars_files, defaults, "
                "set_fact, include_vars), where other hosts and other runs cannot see it. Policy is made of "
                "the whole inventory: define it in the inventory, in group_vars or in host_vars."
            )


def _extent(inventory: Inventory, policies: _artefact.Policies) -> Extent:
    return Extent(
        id=inventory.id,
        hosts=len(policies),
        hosts_with_policy=_artefact.count(policies),
        endpoints=sum(len(policy.endpoints) for policy in policies.values() if policy is not None),
    )


def _written(policies: _artefact.Policies, extent: Extent, dest: str | None) -> Path:
    try:
        if dest:
            return _artefact.write_review(policies, extent, Path(dest))
        # The run's own directory: 0700, shared by its forks, gone when it ends.
        parent = Path(constants.DEFAULT_LOCAL_TMP)  # type: ignore[attr-defined]  # dynamic
        return _artefact.write_temporary(policies, extent, parent)
    except _artefact.ArtefactError as error:
        raise AnsibleActionFail(str(error)) from None


def _nothing(inventory: Inventory, defined: list[Definition]) -> str:
    if defined:
        names = ", ".join(sorted({f"{one.variable} of {one.holder}" for one in defined}))
        return f"No resources: defined, but empty: {names}. To remove all policy, run netpolicy.host.remove."
    return (
        "No resources: no host and no group of the inventory defines a variable whose name begins with "
        f"{collecting.PREFIX}, or {RESOURCE_FILES}. Looked at {len(inventory.hosts)} hosts. "
        "group_vars beside a playbook of your own are not loaded for a playbook of a collection: "
        "keep them beside the inventory, or use the role netpolicy.host.enforce from your playbook."
    )


def _report(findings: list[Finding]) -> str:
    head = f"{len(findings)} finding{'' if len(findings) == 1 else 's'}; nothing was applied anywhere."
    return "\n".join([head] + [str(finding) for finding in findings])


def _as_dict(finding: Finding) -> dict[str, t.Any]:
    return {
        "kind": finding.kind,
        "name": finding.name,
        "path": finding.path,
        "message": finding.message,
        "place": finding.place,
    }
