# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering a policy of many rules, beside what nft itself needs to load the result."""

from __future__ import annotations

import subprocess
from functools import partial
from typing import TYPE_CHECKING

from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.kinds import parse_all
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import Resolver

from .measure import Row, fastest
from .workload import Resource, endpoint, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (10, 100, 1000)


def rows() -> Iterator[Row]:
    """One row for each number of rules a direction."""
    for size in SIZES:
        resources = [endpoint("host", "192.0.2.1"), policy("policy", size)]

        text = render(resources)
        ours, other = fastest(partial(render, resources), partial(load, text))
        yield Row(f"parse, resolve and render {size} rules a direction", ours, other, "nft -f of the result")


def render(resources: list[Resource]) -> str:
    """From resources to the ruleset of the node `host`."""
    parsed, _findings = parse_all(resources)
    return nftables.text(Resolver(parsed).host_policy("host"))


def load(text: str) -> None:
    """Load a ruleset where it can do nothing, and forget it."""
    # A network namespace of its own, gone with the process.
    subprocess.run(["unshare", "--net", "nft", "-f", "-"], input=text, text=True, check=True)
