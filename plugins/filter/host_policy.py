# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters on a compiled HostPolicy: verdict, nftables. Documented in the YAML files beside this one."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.netpolicy.host.plugins.module_utils._policy import packet as packets
from ansible_collections.netpolicy.host.plugins.module_utils._policy import read
from ansible_collections.netpolicy.host.plugins.module_utils._policy import verdict as evaluator
from ansible_collections.netpolicy.host.plugins.module_utils._render import lacks
from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables as renderer


def verdict(policy: t.Any, packet: t.Any) -> dict[str, t.Any]:
    """HostPolicy and packet -> what happens to the packet, and why."""
    try:
        return evaluator.verdict(read.from_dict(policy), packets.packet(packet)).to_dict()
    except (read.PolicyFormatError, packets.PacketError) as error:
        raise AnsibleFilterError(f"netpolicy.host.verdict: {error}") from None


def nftables(policy: t.Any) -> str:
    """HostPolicy -> the ruleset's text, as `nft -f` reads it."""
    try:
        wanted = read.from_dict(policy)
    except read.PolicyFormatError as error:
        raise AnsibleFilterError(f"netpolicy.host.nftables: {error}") from None
    refusal = lacks.refusal(wanted)
    if refusal is not None:
        raise AnsibleFilterError(
            f"netpolicy.host.nftables: this version enforces untracked policy only: {refusal}"
        )
    return renderer.text(wanted)


class FilterModule:
    """Jinja2 filters of the collection that read a HostPolicy."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Names and functions."""
        return {"verdict": verdict, "nftables": nftables}
