# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What figures were taken on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tests.lab import command


def described() -> str:
    """Processor, cores, kernel and Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return (
        f"{next(models, 'unnamed processor')} ({platform.machine()}), {os.cpu_count()} cores, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def tools(*names: str) -> str:
    """The versions of programs, as they tell them."""
    return ", ".join(command.run([name, "--version"]).stdout.splitlines()[0] for name in names)
