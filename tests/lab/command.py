# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a command and saying clearly what went wrong when it fails."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Result = subprocess.CompletedProcess[str]


class CommandError(RuntimeError):
    """A command ended with another code than 0; ``result`` holds its output."""

    def __init__(self, result: Result) -> None:
        shown = result.stderr.strip() or result.stdout.strip()
        super().__init__(f"{shlex.join(result.args)} ended with {result.returncode}: {shown[-2000:]}")
        self.result = result


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float | None = 60,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Result:
    """Run ``argv`` to its end and return its output as text.

    ``timeout`` is in seconds. Raises CommandError on a code other than 0 (unless not ``check``),
    subprocess.TimeoutExpired when it takes longer, FileNotFoundError when there is no such program.
    """
    # Without input the child gets none of ours: a tool that would ask a question fails instead of hanging.
    source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    result: Result = subprocess.run(
        list(argv), text=True, capture_output=True, timeout=timeout, env=env, cwd=cwd, check=False, **source
    )
    if check and result.returncode:
        raise CommandError(result)
    return result
