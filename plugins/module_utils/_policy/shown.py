# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""How messages show a value that somebody else wrote: short, on one line, and whatever it is."""

from __future__ import annotations

import datetime as dt
import typing as t

LONGEST = 80


def shown(value: t.Any) -> str:
    """The value as YAML would write it, shortened; containers and foreign objects by what they are."""
    if isinstance(value, t.Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _shortened(repr(str(value[: 2 * LONGEST])))
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"  # Python refuses to write the longest ones
    if isinstance(value, (int, float)):
        return _shortened(str(value))
    if isinstance(value, dt.date):
        return f"the date {value.isoformat()}"
    return f"a value of type {type(value).__name__}"


def name(text: str) -> str:
    """A name or a key inside a message: as it is if it can be printed, else quoted."""
    return text if text.isprintable() and len(text) <= 2 * LONGEST else shown(text)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
