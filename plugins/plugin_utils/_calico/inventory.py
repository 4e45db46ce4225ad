# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The inventory of a run as ansible-core holds it: all hosts and groups, and each one's own variables, raw.

The merged variables of a host keep only the definition of highest precedence, obey facts, and are known for
the hosts of one play alone. So each group's and each host's own variables are read here where ansible-core
keeps them: in the inventory's groups and hosts, in what vars plugins (group_vars, host_vars) return for each
of them, and in extra vars.

There is no public way from an action plugin to any of that. This is the only file that takes the private one.
"""

from __future__ import annotations

import hashlib
import os
import re
import typing as t
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path

from ansible import constants
from ansible.inventory.helpers import sort_groups
from ansible.inventory.host import Host
from ansible.parsing.vault import EncryptedString
from ansible.template import Templar, is_trusted_as_template
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path

if t.TYPE_CHECKING:
    from ansible.inventory.group import Group
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.hostvars import HostVars

EXTRA_VARS = "extra vars"
IGNORED_EXTENSIONS = tuple(constants.INVENTORY_IGNORE_EXTS)  # type: ignore[attr-defined]  # dynamic
_TEMPLATE_MARKS = ("{{", "{%", "{#")
_MAGIC = (
    "ansible_version",
    "group_names",
    "groups",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "playbook_dir",
)

_AS_VARS_PLUGIN: dict[str, t.Any] = {"cache": "all", "unsafe": True, "trusted_as_template": True}

Layers = tuple[Mapping[str, t.Any], ...]


class Inventory:
    """All hosts and groups of a run's inventory, whatever --limit says."""

    def __init__(self, hostvars: HostVars) -> None:
        self._inventory: InventoryManager = hostvars._inventory  # noqa: SLF001
        self._variables = hostvars._variable_manager  # noqa: SLF001
        self._loader: DataLoader = hostvars._loader  # noqa: SLF001
        self._hostvars = hostvars
        self._layers = cache(self._read_layers)

    @property
    def hosts(self) -> list[str]:
        """The names of all hosts. Not by `get_hosts()`, which obeys --limit."""
        return list(self._inventory.hosts)

    def groups_of(self, host: str) -> list[str]:
        """The names of a host's groups, parents of them included."""
        return [group.name for group in self._inventory.hosts[host].get_groups()]

    @property
    def id(self) -> str:
        """What tells this inventory from others: a hash of the real paths of its sources, as they were named.

        A source that is not there counts too. The same files in another place are another inventory.
        """
        sources = {_real_path(str(source)) for source in self._inventory._sources if source}  # noqa: SLF001
        return hashlib.sha256(b"\0".join(map(os.fsencode, sorted(sources)))).hexdigest()[:16]

    def holders(self) -> Iterator[tuple[str, tuple[str, ...], Layers]]:
        """Everything that holds variables: its title, the hosts that it holds them for, and the variables."""
        for group in self._inventory.groups.values():
            hosts = tuple(host.name for host in group.get_hosts())
            yield f"group {group.name}", hosts, self._layers(group)
        for host in self._inventory.hosts.values():
            yield f"host {host.name}", (host.name,), self._layers(host)
        yield EXTRA_VARS, (), (self._variables.extra_vars,)

    def _read_layers(self, entity: Host | Group) -> Layers:
        layers: list[Mapping[str, t.Any]] = [entity.vars]
        layers += self._inline.get((type(entity), entity.name), [])
        layers += [
            get_vars_from_inventory_sources(self._loader, [str(source)], [entity], "task")
            for source in self._sources
        ]
        # Beside the playbook.
        layers.append(get_vars_from_path(self._loader, self._loader.get_basedir(), [entity], "task"))
        for path in self._variable_paths(entity):
            files = self._loader.find_vars_files(str(path.parent), path.name)
            if len(files) > 1:
                # One by one: merged, one definition of a name would win.
                layers += [self._loader.load_from_file(file, **_AS_VARS_PLUGIN) for file in files]
        return tuple(layer for layer in layers if layer)

    @cached_property
    def _sources(self) -> list[Path]:
        """The inventory's sources that are files or directories; a list of hosts is neither."""
        named = [source for source in self._inventory._sources if source and "," not in source]  # noqa: SLF001
        return [path for path in map(Path, named) if path.exists()]

    def _variable_paths(self, entity: Host | Group) -> list[Path]:
        """Where variables of an entity may be: .../group_vars/NAME, as a directory or with an extension."""
        kind = "host_vars" if isinstance(entity, Host) else "group_vars"
        directories = [path if path.is_dir() else path.parent for path in self._sources]
        directories.append(Path(self._loader.get_basedir()))
        return [directory / kind / entity.name for directory in dict.fromkeys(directories)]

    @cached_property
    def _inline(self) -> dict[tuple[type, str], list[Mapping[str, t.Any]]]:
        """Variables that stand in inventory files themselves, by entity, file by file.

        Ansible merges the groups and hosts of all its sources, and a name in two of them keeps one value. So
        where there are several files, those that mention a variable of ours are read once more, each alone.
        """
        files = [file for source in self._sources for file in _inventory_files(source)]
        found: dict[tuple[type, str], list[Mapping[str, t.Any]]] = {}
        for file in files if len(files) > 1 else ():
            if not _mentions_us(file) or _is_dynamic(file):
                continue
            alone = type(self._inventory)(self._loader, sources=[str(file)])
            for entity in (*alone.groups.values(), *alone.hosts.values()):
                found.setdefault((type(entity), entity.name), []).append(entity.vars)
        return found

    def files_not_read(self) -> list[tuple[Path, Path]]:
        """Files with variables of ours that Ansible passes over, each with what it reads instead."""
        entities = (*self._inventory.groups.values(), *self._inventory.hosts.values())
        return [
            (file, path)
            for entity in entities
            for path in self._variable_paths(entity)
            if path.is_dir()
            for file in (path.with_name(path.name + extension) for extension in (".yml", ".yaml", ".json"))
            if file.is_file() and _mentions_us(file)
        ]

    def variable(self, host: str, name: str) -> t.Any:
        """A host's variable, raw, by Ansible's precedence but without facts; None where it is not defined."""
        return self._merged(host, (name,)).get(name)

    def set_at_run_time(self, host: str) -> Mapping[str, t.Any]:
        """What tasks have set for a host: set_fact, include_vars, register, cached facts."""
        caches = (
            self._variables._fact_cache,  # noqa: SLF001
            self._variables._vars_cache,  # noqa: SLF001
            self._variables._nonpersistent_fact_cache,  # noqa: SLF001
        )
        return {name: value for kept in caches for name, value in _entry(kept, host).items()}

    def _known_to_tasks(self, host: str) -> Mapping[str, t.Any]:
        return t.cast("Mapping[str, t.Any]", self._hostvars.raw_get(host))

    def _merged(self, host: str, names: tuple[str, ...] | None = None) -> dict[str, t.Any]:
        entity = self._inventory.hosts[host]
        merged: dict[str, t.Any] = {}
        for holder in (*sort_groups(entity.get_groups()), entity):
            for layer in self._layers(holder):
                merged = combine_vars(merged, _chosen(layer, names))
        return combine_vars(merged, _chosen(self._variables.extra_vars, names))

    def render(self, value: t.Any, host: str) -> t.Any:
        """The value with its templates and vaulted values resolved for a host. Raises AnsibleError.

        Templates see the inventory's variables and no facts: what facts are known changes from run to run.
        """
        if not holds_template(value):
            return value
        known = self._known_to_tasks(host)
        magic = {name: known[name] for name in _MAGIC if name in known}
        variables = {**self._merged(host), **magic, "hostvars": self._hostvars}
        return Templar(loader=self._loader, variables=variables).template(value)

    @property
    def basedir(self) -> str:
        """The directory of the playbook."""
        return self._loader.get_basedir()

    def decrypted(self, content: bytes) -> bytes:
        """The content of a file, decrypted if ansible-vault has encrypted it. Raises AnsibleError."""
        return self._loader._decrypt_if_vault_data(content)[0]  # noqa: SLF001


def _real_path(source: str) -> str:
    """The real path of a source; a list of hosts is none."""
    return source if "," in source else os.path.realpath(source)


def _inventory_files(source: Path) -> Iterator[Path]:
    """The files that Ansible reads an inventory from: a file, or what is in a directory but variables."""
    if source.is_file():
        yield source
        return
    for path in sorted(source.iterdir()):
        hidden = path.name.startswith(".") or path.suffix in IGNORED_EXTENSIONS
        if not hidden and path.name not in ("group_vars", "host_vars"):
            yield from _inventory_files(path)


def _mentions_us(file: Path) -> bool:
    return b"netpolicy_" in file.read_bytes()


def _is_dynamic(file: Path) -> bool:
    """Whether the file is a program or an inventory plugin's settings: reading it again would ask again."""
    return os.access(file, os.X_OK) or re.search(rb"^plugin\s*:", file.read_bytes(), re.MULTILINE) is not None


def _entry(kept: t.Any, host: str) -> Mapping[str, t.Any]:
    try:
        return t.cast("Mapping[str, t.Any]", kept.get(host) or {})
    except KeyError:  # a cache plugin's way to say that it has nothing
        return {}


def _chosen(layer: Mapping[str, t.Any], names: tuple[str, ...] | None) -> Mapping[str, t.Any]:
    return layer if names is None else {name: layer[name] for name in names if name in layer}


def holds_template(value: t.Any) -> bool:
    """Whether there is anything to render in a value, at any depth."""
    if isinstance(value, EncryptedString):
        return True
    if isinstance(value, str):
        return any(mark in value for mark in _TEMPLATE_MARKS) and is_trusted_as_template(value)
    if isinstance(value, Mapping):
        return any(holds_template(key) or holds_template(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(holds_template(item) for item in value)
