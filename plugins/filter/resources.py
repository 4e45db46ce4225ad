# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that read Calico v3 resources: validate, compile. Documented in the YAML files beside this one."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import resources as calico
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import Resolver

if t.TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding


def validate(resources: t.Any) -> list[dict[str, str]]:
    """Resources -> findings; empty means valid."""
    _parsed, findings = calico.parse_all(resources)
    return [
        {"kind": one.kind, "name": one.name, "path": one.path, "message": one.message} for one in findings
    ]


def compile_policy(resources: t.Any, node: t.Any, addresses: t.Any = None) -> dict[str, t.Any]:
    """Resources -> the policy of one node, as a plain dict."""
    parsed, findings = calico.parse_all(resources)
    if findings:
        raise AnsibleFilterError(f"netpolicy.host.compile: {_report(findings)}", obj=resources)
    if not isinstance(node, str):
        raise AnsibleFilterError(
            f"netpolicy.host.compile: node: found {values.found(node)}, expected a string"
        )
    resolver = Resolver(parsed, _addresses(parsed, node, addresses or {}))
    return model.to_dict(resolver.host_policy(str(node)))


def _report(findings: list[Finding]) -> str:
    return "; ".join(map(str, findings))


def _addresses(parsed: list[calico.Resource], node: str, addresses: t.Any) -> dict[str, list[values.Address]]:
    if not isinstance(addresses, Mapping):
        raise AnsibleFilterError(
            f"netpolicy.host.compile: addresses: found {values.found(addresses)}, "
            "expected a mapping of interface to addresses"
        )
    by_interface = {}
    for interface, members in addresses.items():
        try:
            by_interface[interface] = [values.address(member) for member in members]
        except (values.Refused, TypeError) as error:
            raise AnsibleFilterError(f"netpolicy.host.compile: addresses.{interface}: {error}") from error
    return {
        one.name: by_interface[one.interface]
        for one in parsed
        if isinstance(one, calico.HostEndpoint) and one.node == node and one.interface in by_interface
    }


class FilterModule:
    """Jinja2 filters of the collection that read resources."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Names and functions."""
        return {"validate": validate, "compile": compile_policy}
