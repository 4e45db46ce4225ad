# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Where things of ours are on a managed host. `state: absent` removes all of it."""

from __future__ import annotations

import os

CONFIG_DIRECTORY = "/etc/netpolicy-host"
POLICY_FILE = f"{CONFIG_DIRECTORY}/policy.json"
ENGINE_DIRECTORY = "/usr/local/lib/netpolicy-host"
LOCK_FILE = "/run/netpolicy-host.lock"


def is_anything_installed() -> bool:
    """Whether this host holds files of ours: a cheap question, for hosts that never had a policy."""
    return any(os.path.lexists(path) for path in (CONFIG_DIRECTORY, ENGINE_DIRECTORY))


def engine_path(digest: str) -> str:
    """Where the engine of this digest lives."""
    return f"{ENGINE_DIRECTORY}/engine-{digest[:16]}.pyz"
