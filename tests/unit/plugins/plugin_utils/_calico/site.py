# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory directory and what ansible-core makes of it: the same objects that a playbook run has."""

from __future__ import annotations

import typing as t

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret, VaultSecretsContext
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import collect, inventory

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SECRETS: t.Any = [("default", VaultSecret(b"the password of the tests"))]


def vaulted(text: str) -> str:
    """A text as `ansible-vault encrypt` writes it."""
    return VaultLib(SECRETS).encrypt(text).decode()


def vaulted_value(text: str, indent: int) -> str:
    """A text as a YAML value as `ansible-vault encrypt_string` writes it, with its lines indented."""
    return "!vault |\n" + "".join(" " * indent + line + "\n" for line in vaulted(text).splitlines())


class Site:
    """Files below a directory; `read` makes an inventory of them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, files: Mapping[str, str]) -> Site:
        """Write files by their path below the directory."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return self

    def hostvars(
        self,
        sources: Sequence[str] = ("inventory/hosts.yml",),
        extra: str | None = None,
        limit: str | None = None,
    ) -> HostVars:
        """What a task of a playbook in this directory knows as `hostvars`."""
        if VaultSecretsContext.current(optional=True) is None:  # once per process, as the command line does
            VaultSecretsContext.initialize(VaultSecretsContext(SECRETS))
        loader = DataLoader()
        loader.set_vault_secrets(SECRETS)
        loader.set_basedir(str(self.root / "playbooks"))
        manager = InventoryManager(loader=loader, sources=[str(self.root / source) for source in sources])
        manager.subset(limit)
        variables = VariableManager(loader=loader, inventory=manager)
        if extra is not None:
            path = self.root / "extra.yml"
            path.write_text(extra, encoding="utf-8")
            # As `-e @extra.yml`; ansible-core reads that option once per process.
            variables._extra_vars = loader.load_from_file(str(path), trusted_as_template=True)
        return HostVars(inventory=manager, variable_manager=variables, loader=loader)

    def read(self, **options: t.Any) -> inventory.Inventory:
        """The inventory as compile sees it."""
        return inventory.Inventory(self.hostvars(**options))

    def collect(self, **options: t.Any) -> collect.Collected:
        """Everything that it defines."""
        found = self.read(**options)
        return collect.collect(found, collect.definitions(found))
