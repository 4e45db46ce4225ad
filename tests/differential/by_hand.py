# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies and packets that a test writes down itself."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.packets import Sample

INTERFACE = "eth0"
_ADDRESSES = {4: ("10.0.0.1", "10.0.0.2"), 6: ("2001:db8::1", "2001:db8::2")}


def rules(name: str, direction: str, *asked: dict[str, Any]) -> tuple[model.Rule, ...]:
    """Rules of the policy `name`, of what each is to hold."""
    origins = (model.Origin("GlobalNetworkPolicy", name, direction, index) for index in range(len(asked)))
    return tuple(model.Rule(origin, **each) for origin, each in zip(origins, asked, strict=True))


# A port of the addressee of packets that arrive.
HTTP = "n:http"
_PORTS = model.PortSet(
    HTTP, **{f"v{version}": ((pair[1], model.TCP, 80),) for version, pair in _ADDRESSES.items()}
)


def ingress_policy(*asked: dict[str, Any]) -> model.HostPolicy:
    """A host policy with these rules for what arrives on INTERFACE."""
    member = model.Policy("GlobalNetworkPolicy", "tried", rules("tried", model.INGRESS, *asked))
    endpoint = model.Endpoint("host", INTERFACE, (model.Tier("default", (member.key,)),))
    return model.HostPolicy("host", (endpoint,), {member.key: member}, port_sets={HTTP: _PORTS})


def arriving(version: int, protocol: int, **fields: Any) -> Sample:
    """A packet that arrives on INTERFACE."""
    source, destination = map(ip_address, _ADDRESSES[version])
    usual = {"sport": 40000, "dport": 80}
    return Sample(model.INGRESS, INTERFACE, protocol, source, destination, **{**usual, **fields})
