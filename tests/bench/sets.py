# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One large set of addresses: validated and compiled, and rendered, beside what others need for it."""

from __future__ import annotations

import ipaddress
import multiprocessing
import random
from functools import partial
from typing import TYPE_CHECKING

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.kinds import parse_all
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import Resolver

from .measure import Row, fastest, measured
from .rules import load, render
from .workload import Resource, endpoint, network_set, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

RENDERED = (1000, 100_000)
COMPILED = (100_000, 1_000_000)


def rows() -> Iterator[Row]:
    """One row for each number of networks and what is done with them."""
    for size in RENDERED:
        resources = _resources(_apart(size))
        text = render(resources)
        ours, other = fastest(partial(render, resources), partial(load, text))
        yield Row(f"parse, resolve and render a set of {size} networks", ours, other, "nft -f of the result")
    for size in COMPILED:
        resources = _resources(_scattered(size))
        rounds = 3 if size <= RENDERED[-1] else 1
        ours, other = fastest(
            partial(_compile, resources), partial(_read, resources[-1]["spec"]["nets"]), rounds=rounds
        )
        what = f"validate and compile a set of {size} addresses, +{_peak(size):.0f} MB"
        yield Row(what, ours, other, "ipaddress.ip_network of each")


def _apart(size: int) -> list[str]:
    """Every second /24, so that none of them become one."""
    return [f"{1 + (n >> 15)}.{(n >> 7) & 255}.{(n & 127) * 2}.0/24" for n in range(size)]


def _scattered(size: int) -> list[str]:
    """Addresses without order, as a deny list has them; the same in every run."""
    numbers = random.Random(size)  # a benchmark
    return [".".join(str(numbers.randint(1, 223)) for _octet in range(4)) for _number in range(size)]


def _resources(nets: list[str]) -> list[Resource]:
    member = policy("policy", 1)
    member["spec"]["ingress"][0]["source"] = {"selector": "has(set)"}
    return [endpoint("host", "192.0.2.1"), member, network_set("large", nets)]


def _compile(resources: list[Resource]) -> None:
    """As the action plugin does it, findings and all, for one host."""
    parsed, _findings = parse_all(resources)
    resolver = Resolver(parsed)
    policy_of_host = resolver.host_policy("host")
    resolver.findings()
    model.dumps(policy_of_host)


def _read(nets: list[str]) -> None:
    for net in nets:
        ipaddress.ip_network(net)


def _peak(size: int) -> float:
    """How many MB compiling takes at its peak over the resources themselves, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_here, (size,))


def _peak_here(size: int) -> float:
    resources = _resources(_scattered(size))
    _seconds, memory = measured(partial(_compile, resources))
    return memory
