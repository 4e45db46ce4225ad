# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that read Calico v3 resources: validate, compile. Documented in the YAML files beside this one."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import kinds, values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import Resolver
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resources import HostEndpoint


def validate(resources: t.Any) -> list[dict[str, str]]:
    """Resources -> findings; empty means valid."""
    _parsed, findings = kinds.parse_all(resources)
    return [
        {"kind": one.kind, "name": one.name, "path": one.path, "message": one.message} for one in findings
    ]


def compile_policy(resources: t.Any, node: t.Any = None, addresses: t.Any = None) -> dict[str, t.Any]:
    """Resources -> the policy of one node, as a plain dict."""
    parsed, findings = kinds.parse_all(resources)
    findings += kinds.undefined_tiers(parsed)
    if findings:
        message = "; ".join(map(str, findings))
        raise AnsibleFilterError(f"netpolicy.host.compile: {message}", obj=resources)
    if not isinstance(node, str):
        raise AnsibleFilterError(f"netpolicy.host.compile: node: found {shown(node)}, expected a string")
    try:
        by_interface = values.addresses_by_interface(addresses or {})
    except values.Refused as refusal:
        raise AnsibleFilterError(f"netpolicy.host.compile: addresses: {refusal}") from None
    own = {
        one.name: by_interface[one.interface]
        for one in parsed
        if isinstance(one, HostEndpoint) and one.node == node and one.interface in by_interface
    }
    return model.to_dict(Resolver(parsed, own, {str(node): by_interface}).host_policy(str(node)))


class FilterModule:
    """Jinja2 filters of the collection that read resources."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Names and functions."""
        return {"validate": validate, "compile": compile_policy}
