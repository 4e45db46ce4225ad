# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""From the definition of a variable to the resources that it stands for: its own, or those of files it names.

A resource in a file is as good as one in a list of whoever names the file.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from ansible.errors import AnsibleError

from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.files import ResourceFiles, Unreadable
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.inventory import holds_template
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.places import place
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding

if t.TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.inventory import Inventory

RESOURCE_FILES = "netpolicy_resource_files"

Hosts = tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """One definition of a variable of resources or files: who holds it, for which hosts, what it holds."""

    variable: str
    holder: str
    value: t.Any
    hosts: Hosts


class Reader:
    """Reads definitions: renders what is to be rendered, and opens the files that are named."""

    def __init__(self, inventory: Inventory, findings: list[Finding]) -> None:
        self._inventory = inventory
        self._findings = findings
        self._files = ResourceFiles(inventory, findings)

    def resources(self, definition: Definition) -> Iterator[tuple[t.Any, Hosts]]:
        """The resources of a definition, each with the hosts that it is for."""
        read = self._of_files if definition.variable == RESOURCE_FILES else self._listed
        for members, hosts in read(definition, self._rendered(definition)):
            for resource in members:
                yield from _for_hosts(resource, hosts)

    def _rendered(self, definition: Definition) -> list[tuple[t.Any, Hosts]]:
        """The value without templates: once for all hosts, or once for each."""
        if not holds_template(definition.value):
            return [(definition.value, definition.hosts)]
        if not definition.hosts:
            message = "holds a template or a vaulted value, and there is no host to render it for"
            self._refuse(definition, message)
        rendered: list[tuple[t.Any, Hosts]] = []
        for host in definition.hosts:
            try:
                rendered.append((self._inventory.render(definition.value, host), (host,)))
            except AnsibleError as error:
                self._refuse(definition, f"cannot be rendered for host {host}: {error}")
                return []
        return rendered

    def _listed(
        self, definition: Definition, rendered: Iterable[tuple[t.Any, Hosts]]
    ) -> Iterator[tuple[Iterable[t.Any], Hosts]]:
        for value, hosts in rendered:
            if not isinstance(value, (list, tuple)):
                self._refuse(definition, f"found {shown(value)}, expected a list of resources")
                return
            yield value, hosts

    def _of_files(
        self, definition: Definition, rendered: Iterable[tuple[t.Any, Hosts]]
    ) -> Iterator[tuple[Iterable[t.Any], Hosts]]:
        """A file that is named for many hosts is taken once, for all of them."""
        hosts_of: dict[str, list[str]] = {}
        named: dict[str, t.Any] = {}
        for value, hosts in rendered:
            before = len(self._findings)
            found = self._files.paths(value, definition.value, partial(self._refuse, definition))
            for path in found:
                hosts_of.setdefault(path, []).extend(hosts)
            named = {**found, **named}
            if len(self._findings) > before:  # it would be the same for the next host
                break
        for path, all_hosts in hosts_of.items():
            try:
                yield self._files.resources(path), tuple(all_hosts)
            except Unreadable as problem:
                self._refuse(definition, str(problem), named[path])

    def _refuse(self, definition: Definition, message: str, value: t.Any = None) -> None:
        where = place(value) or place(definition.value)
        self._findings.append(Finding("variable", definition.variable, definition.holder, message, where))


def once(found: Iterable[tuple[t.Any, Hosts]]) -> Iterator[tuple[t.Any, Hosts]]:
    """Without what comes again: the very same object, which two holders have because they name one file.

    Objects stay alive as long as they are looked at here, so that none takes another one's id.
    """
    known: dict[tuple[int, Hosts], t.Any] = {}
    for resource, hosts in found:
        if (id(resource), hosts) not in known:
            known[id(resource), hosts] = resource
            yield resource, hosts


def _for_hosts(resource: t.Any, hosts: Hosts) -> Iterator[tuple[t.Any, Hosts]]:
    """A host endpoint without node stands for one on each host whose variables hold it; others for itself."""
    spec = endpoint_spec(resource)
    if spec is None or spec.get("node") is not None or not hosts:
        yield resource, ()
        return
    for host in hosts:
        yield resource, (host,)


def endpoint_spec(resource: t.Any) -> Mapping[str, t.Any] | None:
    """The spec of a host endpoint, as raw as it is; None of anything else."""
    if not isinstance(resource, Mapping) or resource.get("kind") != "HostEndpoint":
        return None
    spec = resource.get("spec")
    return spec if isinstance(spec, Mapping) else None
