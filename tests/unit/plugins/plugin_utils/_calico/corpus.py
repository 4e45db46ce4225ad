# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of an independent conformance corpus: in NETPOLICY_CORPUS, or beside the checkout, or nowhere."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[5]
DIRECTORY = Path(os.environ.get("NETPOLICY_CORPUS", CHECKOUT.parent / "shared" / "corpus"))


def cases(file: str, wanted: t.Callable[[dict[str, t.Any]], bool]) -> t.Any:
    """The wanted cases of a file as parameters of a test; one that is skipped where there is no such file."""
    path = DIRECTORY / file
    if not path.exists():
        reason = f"there is no conformance corpus at {DIRECTORY}; NETPOLICY_CORPUS names its directory"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="no corpus")]
    found = [case for case in json.loads(path.read_text(encoding="utf-8")) if wanted(case)]
    return [pytest.param(case, id=case["id"]) for case in found]
