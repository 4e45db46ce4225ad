# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This doc fragment is private to the collection and may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Attributes that every module of the collection states."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and predict changes without making them.
  diff_mode:
    description: Returns what has changed, or would change in check mode, when in diff mode.
  idempotent:
    description: When run twice in a row outside check mode, the second run reports no change.
  platform:
    description: Target operating systems.
    platforms: linux
    support: full
"""

    ENGINE = r"""
options:
  request:
    description:
      - What the engine on the host is asked to do, the policy included.
      - Set by the action plugin; not for use in tasks.
    type: str
  engine_digest:
    description:
      - Identifies the engine that the module runs on the host.
      - Set by the action plugin; not for use in tasks.
    type: str
  engine_sha256:
    description:
      - SHA-256 of the engine's file, by which a damaged one is noticed.
      - Set by the action plugin; not for use in tasks.
    type: str
  engine:
    description:
      - The engine itself, sent when the host does not have it yet.
      - Set by the action plugin; not for use in tasks.
    type: str
"""
