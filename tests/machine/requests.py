# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as the modules send them to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.netpolicy.host.plugins.module_utils._host import provenance
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.machine.machine import Machine

_ORIGIN = provenance.Provenance(
    "tests", provenance.Extent("0" * 16, hosts=1, hosts_with_policy=1, endpoints=1)
)
# From one policy to the next the hosts of tests lose what they like.
_RUN = {"provenance": provenance.to_dict(_ORIGIN), "takeover": False, "shrink_limit": 100}

REMOVE: Mapping[str, Any] = {"verb": "remove", "check": False, "node": None}
INFO: Mapping[str, Any] = {"verb": "info"}


def apply(policy: model.HostPolicy) -> dict[str, Any]:
    """The request to put a policy in force."""
    return {
        "verb": "apply",
        "digest": policy.digest,
        "policy": model.to_dict(policy),
        "check": False,
        **_RUN,
    }


def answer(machine: Machine, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The engine's answer to a request; AssertionError with its message where it could not carry it out."""
    said = machine.serve(request).answer
    assert said is not None
    assert "error" not in said, said["error"]
    return said
