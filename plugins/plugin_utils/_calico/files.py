# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Resource files: which ones a variable names, and their content, each read once."""

from __future__ import annotations

import stat
import typing as t
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.utils.path import unfrackpath

from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import name, shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import documents
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.places import directory

if t.TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.inventory import Inventory
    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding

Refuse = Callable[[str, t.Any], None]
"""Takes a message and the value that it is about."""


class Unreadable(Exception):
    """There is no content to be had from a file; the message says why."""


class ResourceFiles:
    """The resource files of a run. What is wrong inside of one is noted once, however many name it."""

    def __init__(self, inventory: Inventory, findings: list[Finding]) -> None:
        self._inventory = inventory
        self._findings = findings
        self._content = cache(self._read)

    def paths(self, value: t.Any, raw: t.Any, refuse: Refuse) -> dict[str, t.Any]:
        """The files that a variable's value names: absolute paths, each with the text that names it.

        A relative path starts where it is written. A template's result may be written nowhere, and then it is
        the template, `raw`, that counts.
        """
        found = {}
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if not isinstance(item, str) or not item.strip():
                refuse(f"found {shown(item)}, expected the path of a file, or a list of paths", item)
                continue
            known = (where for one in (item, value, raw) if (where := directory(one)))
            start = next(known, self._inventory.basedir)
            try:
                found[str(unfrackpath(str(item), follow=False, basedir=start))] = item
            except ValueError as error:
                refuse(f"found {shown(item)}, which is no path: {error}", item)
        return found

    def resources(self, path: str) -> list[t.Any]:
        """The resources in a file. Raises Unreadable."""
        resources, problem = self._content(path)
        if problem is not None:
            raise Unreadable(f"{name(path)}: {problem}")
        return resources

    def _read(self, path: str) -> tuple[list[t.Any], str | None]:
        try:
            content = self._inventory.decrypted(_bytes(path))
            content.decode("utf-8")
        except Unreadable as problem:
            return [], str(problem)
        except AnsibleError as error:
            return [], f"cannot be decrypted: {error}"
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            return [], f"is not UTF-8: found the byte 0x{error.object[error.start]:02x} in line {line}"
        resources, findings = documents.read(content, path)
        self._findings += findings
        return resources, None


def _bytes(path: str) -> bytes:
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise Unreadable("is a directory, expected a file; name each file in it")
        if not stat.S_ISREG(mode):  # reading a pipe or a device may never end
            raise Unreadable("is not a regular file")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise Unreadable("there is no such file") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Unreadable(f"cannot be read: {error}") from None
