# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two published policies as things that run: a server, its clients, somebody else, and an inventory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from . import firewall, seeds, services
from .lab import Lab
from .plan import HostSpec, Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from .host import Host
    from .seeds import Resource
    from .services import Service

CLIENTS = ("client-1", "client-2")
OUTSIDER = "outsider"

# How the clients of a policy that names them are made known: by their addresses, or as endpoints with a
# policy of their own. A policy that does not name its clients needs neither.
Clients = Literal["set", "endpoints"]


@dataclass(frozen=True)
class Scenario:
    """A published policy and the server that it is about; ``server`` and ``interface`` are as published."""

    name: str
    server: str
    interface: str
    port: int
    start: Callable[[Host, int], Service]
    names_clients: bool

    @property
    def hosts(self) -> tuple[HostSpec, ...]:
        """The hosts of the lab that this needs."""
        others = (HostSpec(name) for name in (*CLIENTS, OUTSIDER))
        return (HostSpec(self.server, (Interface(self.interface),)), *others)

    def resources(self, lab: Lab, clients: Clients = "set") -> dict[str, list[Resource]]:
        """The policy fitted to the lab, as the variables of an inventory."""
        addresses = {name: (host.ipv4, host.ipv6) for name, host in lab.hosts.items()}
        variables = {
            f"netpolicy_resources_{self.name}": seeds.fitted(seeds.published(self.name), addresses=addresses)
        }
        if self.names_clients:
            nets = [net for name in CLIENTS for net in (f"{lab[name].ipv4}/32", f"{lab[name].ipv6}/128")]
            published = seeds.published(f"{self.name}-clients-{clients}")
            variables["netpolicy_resources_clients"] = seeds.fitted(published, addresses=addresses, nets=nets)
        return variables


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("memcached", "memcached-node-1", "eth0", 12211, services.memcached, names_clients=True),
        Scenario("redis", "node2", "ens4", services.REDIS_PORT, services.redis, names_clients=False),
    )
}


@dataclass(frozen=True)
class Stage:
    """A scenario in a running lab; the server runs its service behind a stateful firewall of its own."""

    scenario: Scenario
    lab: Lab
    service: Service

    @property
    def server(self) -> Host:
        """The host that the policy is about."""
        return self.lab[self.scenario.server]

    @property
    def clients(self) -> list[Host]:
        """The hosts that may use the service."""
        return [self.lab[name] for name in CLIENTS]

    @property
    def outsider(self) -> Host:
        """A host that the policy does not name."""
        return self.lab[OUTSIDER]

    def inventory(self, clients: Clients = "set") -> Path:
        """Write an inventory with the policy in ``group_vars/all``; return its directory."""
        return self.lab.inventory(group_vars={"all": self.scenario.resources(self.lab, clients)})


@contextmanager
def running(scenario: Scenario) -> Iterator[Stage]:
    """Start the scenario's lab, firewall and service; everything is gone afterwards."""
    with Lab.up(*scenario.hosts) as lab:
        server = lab[scenario.server]
        firewall.install(server, firewall.stateful(serves=[scenario.port]))
        service = scenario.start(server, scenario.port)
        yield Stage(scenario, lab, service)
