# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Collects resources from the whole inventory, whatever `--limit` says.

Every definition of a variable whose name begins with `netpolicy_resources` counts. The merged variables of
a host keep only the definition of highest precedence, so each group's and each host's own variables are
read here instead, where ansible-core keeps them: in the inventory's groups and hosts, in what vars plugins
(group_vars, host_vars) return for each of them, and in extra vars.

Values are taken raw, each object once. Only what holds a template or a vaulted value is rendered, for each
host that has it.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.parsing.vault import EncryptedString
from ansible.template import Templar, is_trusted_as_template
from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import resources, values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.places import Filled, place
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding

if t.TYPE_CHECKING:
    from ansible.inventory.group import Group
    from ansible.inventory.host import Host
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.hostvars import HostVars

PREFIX = "netpolicy_resources"
GROUP_LABEL = "netpolicy.host/group."
_TEMPLATE_MARKS = ("{{", "{%", "{#")


@dataclass(frozen=True)
class Definition:
    """One definition of a resources variable: what it holds, and the hosts whose variables hold it."""

    variable: str
    holder: str
    value: t.Any
    hosts: tuple[str, ...]

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"{self.variable} of {self.holder}"


@dataclass(frozen=True)
class Collected:
    """All resources of an inventory, and what is needed to resolve them for its hosts."""

    resources: list[resources.Resource]
    findings: list[Finding]
    """Errors: with any of them there is no policy."""
    warnings: list[Finding]
    nodes: Mapping[str, tuple[str, ...]]
    """Every host of the inventory, with the names that endpoints may call it by."""
    addresses: Mapping[str, list[values.Address]]
    """Addresses of endpoints, by endpoint name, that name none themselves."""


class Inventory:
    """The inventory of a run, as the `hostvars` of any task of that run knows it."""

    def __init__(self, hostvars: HostVars) -> None:
        # There is no public way from an action plugin to the whole inventory and the raw variables.
        self._inventory: InventoryManager = hostvars._inventory  # noqa: SLF001
        self._variables = hostvars._variable_manager  # noqa: SLF001
        self._loader: DataLoader = hostvars._loader  # noqa: SLF001
        self._hostvars = hostvars

    @property
    def hosts(self) -> Mapping[str, Host]:
        """All hosts by name. Not `get_hosts()`, which obeys --limit."""
        return self._inventory.hosts

    def definitions(self) -> list[Definition]:
        """Every definition of every resources variable, each object once for each holder."""
        found: list[Definition] = []
        for group in self._inventory.groups.values():
            hosts = tuple(host.name for host in group.get_hosts())
            found += self._definitions(f"group {group.name}", hosts, self._own_variables(group))
        for host in self.hosts.values():
            found += self._definitions(f"host {host.name}", (host.name,), self._own_variables(host))
        found += self._definitions("extra vars", (), [self._variables.extra_vars])
        return found

    def _definitions(
        self, holder: str, hosts: tuple[str, ...], variables: Iterable[Mapping[str, t.Any]]
    ) -> Iterator[Definition]:
        seen = set()
        for layer in variables:
            for name, value in layer.items():
                if str(name).startswith(PREFIX) and id(value) not in seen:
                    seen.add(id(value))
                    yield Definition(str(name), holder, value, hosts)

    def _own_variables(self, entity: Host | Group) -> Iterator[Mapping[str, t.Any]]:
        yield entity.vars
        for source in self._inventory._sources:  # noqa: SLF001
            yield get_vars_from_inventory_sources(self._loader, [source], [entity], "task")
        # Beside the playbook.
        yield get_vars_from_path(self._loader, self._loader.get_basedir(), [entity], "task")
        yield from self._variables_of_files(entity)

    def _variables_of_files(self, entity: Host | Group) -> Iterator[Mapping[str, t.Any]]:
        """The files of a directory such as group_vars/all/, one by one: merged, one definition would win."""
        kind = "host_vars" if hasattr(entity, "address") else "group_vars"
        directories = [Path(self._loader.get_basedir())]
        for source in self._inventory._sources:  # noqa: SLF001
            path = Path(source)
            if path.exists():
                directories.append(path if path.is_dir() else path.parent)
        for directory in dict.fromkeys(directories):
            files = self._loader.find_vars_files(str(directory / kind), entity.name)
            if len(files) > 1:
                for file in files:
                    yield (
                        self._loader.load_from_file(file, cache="all", unsafe=True, trusted_as_template=True)
                        or {}
                    )

    def variables(self, host: str) -> Mapping[str, t.Any]:
        """A host's merged variables, raw."""
        return t.cast("Mapping[str, t.Any]", self._hostvars.raw_get(host))

    def render(self, value: t.Any, host: str) -> t.Any:
        """The value with its templates and vaulted values resolved for a host. Raises AnsibleError."""
        if not holds_template(value):
            return value
        variables = {**self.variables(host), "hostvars": self._hostvars}
        return Templar(loader=self._loader, variables=variables).template(value)


def holds_template(value: t.Any) -> bool:
    """Whether there is anything to render in a value, at any depth."""
    if isinstance(value, EncryptedString):
        return True
    if isinstance(value, str):
        return any(mark in value for mark in _TEMPLATE_MARKS) and is_trusted_as_template(value)
    if isinstance(value, Mapping):
        return any(holds_template(key) or holds_template(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(holds_template(item) for item in value)


def unseen_variables(definitions: Iterable[Definition], task_variables: Mapping[str, t.Any]) -> list[str]:
    """Resources variables of a task that no host or group defines: play vars, role defaults, facts.

    They exist for the hosts of one play only, so they cannot be part of a policy of the whole inventory.
    """
    known: dict[str, list[t.Any]] = {}
    for definition in definitions:
        known.setdefault(definition.variable, []).append(definition.value)
    return sorted(
        name
        for name, value in task_variables.items()
        if name.startswith(PREFIX) and not any(value is one or value == one for one in known.get(name, ()))
    )


def collect(inventory: Inventory, definitions: Iterable[Definition]) -> Collected:
    """Read every definition into resources, with nodes, names, group labels and addresses filled in."""
    findings: list[Finding] = []
    raw = [
        _filled_in(value, holder)
        for definition in definitions
        for value, holder in _values(definition, inventory.render, findings)
    ]
    parsed, wrong = resources.parse_all(raw)
    findings += wrong
    nodes = _nodes(inventory, parsed, findings)
    owners = {name: host for host, names in nodes.items() for name in names}
    labelled = [_with_group_labels(resource, inventory, owners) for resource in parsed]
    addresses, warnings = _addresses(inventory, labelled, owners, findings)
    return Collected(labelled, findings, warnings, nodes, addresses)


def _values(
    definition: Definition, render: Callable[[t.Any, str], t.Any], findings: list[Finding]
) -> Iterator[tuple[t.Any, tuple[str, ...]]]:
    """The resources of a definition, each with the hosts that it is for."""

    def refuse(message: str) -> None:
        findings.append(
            Finding("variable", definition.variable, definition.holder, message, place(definition.value))
        )

    rendered: list[tuple[t.Any, tuple[str, ...]]] = []
    if not holds_template(definition.value):
        rendered.append((definition.value, definition.hosts))
    elif not definition.hosts:
        refuse("holds a template or a vaulted value, and there is no host to render it for")
    for host in definition.hosts if not rendered else ():
        try:
            rendered.append((render(definition.value, host), (host,)))
        except AnsibleError as error:
            refuse(f"cannot be rendered for host {host}: {error.message}")
            return
    for value, hosts in rendered:
        if not isinstance(value, (list, tuple)):
            refuse(f"found {values.found(value)}, expected a list of resources")
            return
        for resource in value:
            yield from _for_hosts(resource, hosts)


def _for_hosts(resource: t.Any, hosts: tuple[str, ...]) -> Iterator[tuple[t.Any, tuple[str, ...]]]:
    """A host endpoint without node stands for one endpoint on each host whose variables hold it."""
    if _is_endpoint_without_node(resource) and hosts:
        for host in hosts:
            yield resource, (host,)
    else:
        yield resource, hosts


def _is_endpoint_without_node(resource: t.Any) -> bool:
    if not isinstance(resource, Mapping) or resource.get("kind") != "HostEndpoint":
        return False
    spec = resource.get("spec")
    return isinstance(spec, Mapping) and spec.get("node") is None


def _filled_in(resource: t.Any, hosts: tuple[str, ...]) -> t.Any:
    """The resource with the node and the name that it leaves to its place in the inventory."""
    if _is_endpoint_without_node(resource) and hosts:
        resource = Filled(resource, spec=Filled(resource["spec"], node=hosts[0]))
    if not isinstance(resource, Mapping) or resource.get("kind") != "HostEndpoint":
        return resource
    spec, metadata = resource.get("spec"), resource.get("metadata")
    if not isinstance(spec, Mapping) or not isinstance(metadata, (Mapping, type(None))):
        return resource
    if (metadata or {}).get("name") is None and spec.get("node") and spec.get("interfaceName"):
        name = f"{spec['node']}-{spec['interfaceName']}"
        return Filled(resource, metadata=Filled(metadata or {}, name=name))
    return resource


def _nodes(
    inventory: Inventory, parsed: Iterable[resources.Resource], findings: list[Finding]
) -> dict[str, tuple[str, ...]]:
    nodes: dict[str, tuple[str, ...]] = {name: (name,) for name in inventory.hosts}
    wanted = {one.node for one in parsed if isinstance(one, resources.HostEndpoint)} - set(nodes)
    if not wanted:
        return nodes
    owners: dict[str, str] = {}
    for name in inventory.hosts:
        other = inventory.variables(name).get("netpolicy_node")
        if other is None:
            continue
        node = str(inventory.render(other, name))
        if node in owners or (node in nodes and node != name):
            findings.append(
                Finding(
                    "variable",
                    "netpolicy_node",
                    f"host {name}",
                    f"found {node!r}, which is already the node of host {owners.get(node, node)}",
                    place(other),
                )
            )
        owners[node] = name
        nodes[name] = (name, node)
    return nodes


def _with_group_labels(
    resource: resources.Resource, inventory: Inventory, owners: Mapping[str, str]
) -> resources.Resource:
    """Host endpoints carry the inventory groups of their host as labels; their own labels come first."""
    if not isinstance(resource, resources.HostEndpoint) or resource.node not in owners:
        return resource
    host = inventory.hosts[owners[resource.node]]
    groups = {GROUP_LABEL + group.name: "" for group in host.get_groups() if values.is_label_name(group.name)}
    return replace(resource, labels={**groups, **resource.labels})


def _addresses(
    inventory: Inventory,
    parsed: Iterable[resources.Resource],
    owners: Mapping[str, str],
    findings: list[Finding],
) -> tuple[dict[str, list[values.Address]], list[Finding]]:
    """Addresses of the endpoints that name none, from their hosts' variables; never from facts."""
    endpoints = [one for one in parsed if isinstance(one, resources.HostEndpoint)]
    per_host: dict[str, int] = {}
    for endpoint in endpoints:
        per_host[endpoint.node] = per_host.get(endpoint.node, 0) + 1
    addresses, warnings = {}, []
    for endpoint in endpoints:
        host = owners.get(endpoint.node)
        if host is None:
            message = f"found {endpoint.node!r}, and no host of the inventory has that name or netpolicy_node"
            warnings.append(Finding("HostEndpoint", endpoint.name, "spec.node", message, endpoint.place))
        elif not endpoint.expected_ips:
            alone = per_host[endpoint.node] == 1
            addresses[endpoint.name] = _addresses_of(inventory, host, endpoint.interface, alone, findings)
    return addresses, warnings


def _addresses_of(
    inventory: Inventory, host: str, interface: str, alone: bool, findings: list[Finding]
) -> list[values.Address]:
    variables = inventory.variables(host)
    given = inventory.render(variables.get("netpolicy_addresses"), host)
    if given is not None:
        try:
            return _given_addresses(given, interface)
        except values.Refused as refusal:
            findings.append(
                Finding("variable", "netpolicy_addresses", f"host {host}", str(refusal), place(given))
            )
            return []
    try:
        connection = inventory.render(variables.get("ansible_host"), host)
        return [ipaddress.ip_address(str(connection))] if alone and connection is not None else []
    except ValueError:
        return []  # a name: what it resolves to here and now is no part of a policy


def _given_addresses(given: t.Any, interface: str) -> list[values.Address]:
    if not isinstance(given, Mapping):
        raise values.Refused(f"found {values.found(given)}, expected a mapping of interface to addresses")
    members = given.get(interface, [])
    if isinstance(members, str):
        members = [members]
    if not isinstance(members, (list, tuple)):
        raise values.Refused(f"{interface}: found {values.found(members)}, expected a list of addresses")
    return [values.address(member) for member in members]
