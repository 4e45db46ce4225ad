# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Where a value was written, and as what: the only reader of ansible-core's origin tags.

ansible-core 2.19 and later tag strings, numbers, lists, dicts and keys with the file, line and column
they come from. The class is internal to ansible-core, so without it there simply are no places.
"""

from __future__ import annotations

import linecache
import re
import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from collections.abc import Mapping


def _no_tag(value: t.Any) -> None:
    """Stands in for the reader of tags where there is none."""
    del value


try:
    from ansible._internal._datatag._tags import Origin

    _origin_of: t.Callable[[t.Any], t.Any] = Origin.get_tag
except ImportError:  # another release of ansible-core keeps it elsewhere
    _origin_of = _no_tag


_NUMBER = re.compile(r"[-+0-9_:.xXoObBa-fA-F]+")


class Filled(dict[t.Any, t.Any]):
    """A mapping with some keys added or replaced, which still tells where the original was written."""

    def __init__(self, original: Mapping[t.Any, t.Any], **added: t.Any) -> None:
        super().__init__({**original, **added})
        self.original: Mapping[t.Any, t.Any] = original


def written(value: t.Any) -> str | None:
    """The text that a number was read from, where it can still be looked up in its file."""
    origin = _origin_of(value)
    if origin is None or not origin.path or not origin.line_num or not origin.col_num:
        return None
    found = _NUMBER.match(linecache.getline(origin.path, origin.line_num), origin.col_num - 1)
    return found.group() if found else None


def place(value: t.Any) -> str | None:
    """The place as `file:line`, a description such as `<extra vars>`, or None where nothing is known."""
    while isinstance(value, Filled):
        value = value.original
    origin = _origin_of(value)
    if origin is None:
        return None
    where = origin.path or origin.description
    if where and origin.line_num:
        return f"{where}:{origin.line_num}"
    return str(where) if where else None


def directory(value: t.Any) -> str | None:
    """The directory of the file that a value was written in, or None where no file is known."""
    origin = _origin_of(value)
    return str(Path(origin.path).parent) if origin is not None and origin.path else None
