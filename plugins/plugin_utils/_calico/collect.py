# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""From an inventory's variables to the resources of the whole inventory.

Every definition of a variable whose name begins with `netpolicy_resources` counts, and every one of
`netpolicy_resource_files`, in whatever group, host or extra var it stands; precedence does not apply to these
names. What a host endpoint leaves to its place in the inventory is filled in: its node, its name, its host's
groups as labels, its addresses.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from ansible.errors import AnsibleError

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import kinds, resources, values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.definitions import (
    RESOURCE_FILES,
    Definition,
    Hosts,
    Reader,
    endpoint_spec,
    once,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.places import Filled, place
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding

if t.TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.inventory import Inventory

PREFIX = "netpolicy_resources"
ADDRESSES, NODE = "netpolicy_addresses", "netpolicy_node"
GROUP_LABEL = "netpolicy.host/group."


@dataclass(frozen=True)
class Collected:
    """All resources of an inventory, and the addresses of endpoints that name none, by endpoint name.

    `interfaces` has, by host, the addresses of its interfaces that its variables tell, for hosts of which an
    endpoint is found by addresses. With any of `findings` there is no policy; `warnings` are for the user to
    know.
    """

    resources: list[resources.Resource]
    addresses: Mapping[str, list[values.Address]]
    interfaces: Mapping[str, Mapping[str, list[values.Address]]]
    findings: list[Finding]
    warnings: list[Finding]


def definitions(inventory: Inventory) -> list[Definition]:
    """Every definition of every such variable; an object that a holder has twice counts once."""
    found = []
    for holder, hosts, layers in inventory.holders():
        seen = set()
        for layer in layers:
            for name, value in layer.items():
                if _always_counts(str(name)) and id(value) not in seen:
                    seen.add(id(value))
                    found.append(Definition(str(name), holder, value, hosts))
    return found


def _always_counts(name: str) -> bool:
    return name.startswith(PREFIX) or name == RESOURCE_FILES


def unseen_variables(
    inventory: Inventory, defined: Iterable[Definition], task_variables: Mapping[str, t.Any]
) -> list[str]:
    """Our variables that tasks know and the inventory does not: play vars, set_fact and the like.

    They exist for the hosts of one play, or of this run, only, so they cannot be part of a policy of the
    whole inventory. `task_variables` are those of one task, which has the play's variables too.
    """
    known: dict[str, list[t.Any]] = {}
    for definition in defined:
        known.setdefault(definition.variable, []).append(definition.value)
    current = task_variables.get("inventory_hostname")
    unseen = set()
    for host in inventory.hosts:
        for name, value in (task_variables if host == current else inventory.set_at_run_time(host)).items():
            if _always_counts(name):
                seen = any(value is one for one in known.get(name, ())) or value in known.get(name, ())
            else:
                seen = name not in (ADDRESSES, NODE) or value == inventory.variable(host, name)
            if not seen:
                unseen.add(name)
    return sorted(unseen)


def collect(inventory: Inventory, defined: Iterable[Definition]) -> Collected:
    """Read every definition into resources."""
    findings: list[Finding] = []
    warnings: list[Finding] = []
    variables = _HostVariables(inventory, findings)
    reader = Reader(inventory, findings)
    for file, directory in inventory.files_not_read():
        message = f"Ansible does not read it, because there is the directory {directory}; move it into that"
        findings.append(Finding("file", str(file), "netpolicy_*", message))
    aliases = variables.aliases()
    raw = [
        _filled_in(value, hosts, aliases)
        for value, hosts in once(pair for definition in defined for pair in reader.resources(definition))
    ]
    parsed, wrong = kinds.parse_all(raw)
    findings += [*wrong, *kinds.undefined_tiers(parsed)]
    labelled = [_with_group_labels(_by_host(resource, aliases), inventory) for resource in parsed]
    endpoints = [one for one in labelled if isinstance(one, resources.HostEndpoint)]
    hosts = set(inventory.hosts)
    for resource in labelled:
        path, node = _node_of(resource)
        if node is not None and node not in hosts:
            message = f"found {shown(node)}, and no host of the inventory has that name or {NODE}"
            warnings.append(Finding(resource.kind, resource.name, path, message, resource.place))
    by_address = {one.node for one in endpoints if one.interface is None and one.node in hosts}
    interfaces = {host: variables.addresses(host) or {} for host in sorted(by_address)}
    addresses = _addresses(endpoints, hosts, variables)
    return Collected(labelled, addresses, interfaces, findings, warnings)


# -- what a resource leaves to its place -------------------------------------------------------------


def _filled_in(resource: t.Any, hosts: Hosts, aliases: Mapping[str, str]) -> t.Any:
    """The resource with the node and the name that it leaves to its place in the inventory.

    A node is filled in as the inventory's name of the host, also where another name of it was written: what
    follows knows each host by one name.
    """
    spec = endpoint_spec(resource)
    if spec is None:
        return resource
    node = spec.get("node")
    if node is None and hosts:
        resource = Filled(resource, spec=Filled(spec, node=hosts[0]))
    elif isinstance(node, str) and node in aliases:
        resource = Filled(resource, spec=Filled(spec, node=aliases[node]))
    spec, metadata = resource["spec"], resource.get("metadata") or {}
    named = not isinstance(metadata, Mapping) or metadata.get("name") is not None
    parts = (spec.get("node"), spec.get("interfaceName"))
    if named or not all(isinstance(part, str) and part for part in parts):
        return resource
    name = f"{spec['node']}-{spec['interfaceName']}"
    return Filled(resource, metadata=Filled(metadata, name=name))


def _node_of(resource: resources.Resource) -> tuple[str, str | None]:
    """The path and the value of the node that a resource is about; None where it is about none."""
    if isinstance(resource, resources.HostEndpoint):
        return "spec.node", resource.node
    if isinstance(resource, resources.FelixConfiguration) and resource.name != resources.FELIX_DEFAULT:
        return "metadata.name", resource.name[len(resources.FELIX_NODE) :]
    return "", None


def _by_host(resource: resources.Resource, aliases: Mapping[str, str]) -> resources.Resource:
    """Settings of a node are known by the inventory's name of the host."""
    _path, node = _node_of(resource)
    if isinstance(resource, resources.FelixConfiguration) and node is not None and node in aliases:
        return replace(resource, name=resources.FELIX_NODE + aliases[node])
    return resource


def _with_group_labels(resource: resources.Resource, inventory: Inventory) -> resources.Resource:
    """Host endpoints carry the inventory groups of their host as labels; their own labels come first."""
    if not isinstance(resource, resources.HostEndpoint) or resource.node not in inventory.hosts:
        return resource
    keys = (GROUP_LABEL + group for group in inventory.groups_of(resource.node))
    return replace(
        resource, labels={**{key: "" for key in keys if values.is_label_key(key)}, **resource.labels}
    )


# -- variables of hosts ------------------------------------------------------------------------------


class _HostVariables:
    """Variables of single hosts that say something of endpoints, rendered and checked."""

    def __init__(self, inventory: Inventory, findings: list[Finding]) -> None:
        self._inventory = inventory
        self._findings = findings
        self.addresses = cache(self._addresses)
        """A host's addresses by interface (netpolicy_addresses); None where it does not say."""

    def aliases(self) -> dict[str, str]:
        """Inventory names of hosts by their other names (netpolicy_node)."""
        found: dict[str, str] = {}
        names = set(self._inventory.hosts)
        for host in self._inventory.hosts:
            node = self._read(host, NODE, values.node_name)
            if node is None or node == host:
                continue
            owner = node if node in names else found.get(node)
            if owner is not None:
                self._refuse(host, NODE, f"found {shown(node)}, which host {owner} is already called")
            found.setdefault(node, host)
        return found

    def _addresses(self, host: str) -> dict[str, list[values.Address]] | None:
        return t.cast(
            "dict[str, list[values.Address]] | None",
            self._read(host, ADDRESSES, values.addresses_by_interface),
        )

    def connection_address(self, host: str) -> values.Address | None:
        """The address that Ansible connects to. A name is none: what it resolves to is no policy."""
        written = self._read(host, "ansible_host", str)
        try:
            return None if written is None else values.address(written)
        except values.Refused:
            return None

    def _read(self, host: str, name: str, read: Callable[[t.Any], t.Any]) -> t.Any:
        raw = self._inventory.variable(host, name)
        try:
            value = self._inventory.render(raw, host)
            return None if value is None else read(value)
        except AnsibleError as error:
            self._refuse(host, name, f"cannot be rendered: {error}", raw)
        except values.Refused as refusal:
            self._refuse(host, name, str(refusal), raw)
        return None

    def _refuse(self, host: str, name: str, message: str, raw: t.Any = None) -> None:
        self._findings.append(Finding("variable", name, f"host {host}", message, place(raw)))


def _addresses(
    endpoints: Iterable[resources.HostEndpoint], hosts: set[str], variables: _HostVariables
) -> dict[str, list[values.Address]]:
    """Addresses of the endpoints that name none, from their hosts' variables; never from facts."""
    by_host: dict[str, list[resources.HostEndpoint]] = {}
    for endpoint in endpoints:
        if endpoint.node in hosts:
            by_host.setdefault(endpoint.node, []).append(endpoint)
    found = {}
    for host, members in by_host.items():
        if all(endpoint.expected_ips for endpoint in members):
            continue
        given = variables.addresses(host)
        connection = variables.connection_address(host) if given is None and len(members) == 1 else None
        for endpoint in members:
            if given is not None:
                found[endpoint.name] = _known(given, endpoint.interface)
            elif connection is not None:
                found[endpoint.name] = [connection]
    return found


def _known(given: Mapping[str, list[values.Address]], interface: str | None) -> list[values.Address]:
    """The addresses of an interface; of an endpoint for every interface, those of all but the loopback."""
    if interface == model.EVERY_INTERFACE:
        return [address for name, addresses in given.items() if name != "lo" for address in addresses]
    return given.get(interface or "", [])
