# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources of a given size, for the benchmarks."""

from __future__ import annotations

from typing import Any

Resource = dict[str, Any]


def endpoint(node: str, address: str) -> Resource:
    """An endpoint with the label `role: server`."""
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "HostEndpoint",
        "metadata": {"name": f"{node}-eth0", "labels": {"role": "server"}},
        "spec": {"node": node, "interfaceName": "eth0", "expectedIPs": [address]},
    }


def policy(name: str, rules: int, *, first_port: int = 1000) -> Resource:
    """An untracked policy with as many ingress rules, each for one port, and the egress rules to match."""
    ports = range(first_port, first_port + rules)
    peer = {"selector": "role == 'server'"}
    ingress = [
        {"action": "Allow", "protocol": "TCP", "source": peer, "destination": {"ports": [port]}}
        for port in ports
    ]
    egress = [
        {"action": "Allow", "protocol": "TCP", "source": {"ports": [port]}, "destination": peer}
        for port in ports
    ]
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": {
            "selector": "role == 'server'",
            "doNotTrack": True,
            "applyOnForward": True,
            "ingress": ingress,
            "egress": egress,
        },
    }


def network_set(name: str, nets: list[str]) -> Resource:
    """A set with the label `set: <name>`."""
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkSet",
        "metadata": {"name": name, "labels": {"set": name}},
        "spec": {"nets": nets},
    }
