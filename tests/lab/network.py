# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wires of a lab, as batches of iproute2 commands.

Batches rather than netlink by library: a whole lab is two processes, and a batch can be read and tried by
hand. Nothing is added to the machine's own network namespace: bridges live in the controller's, and a veth
pair is made there with its other end already in the host's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .plan import Network, Plan, PlannedHost, PlannedInterface


def namespaces(plan: Plan) -> list[str]:
    """The batch that makes every namespace of the lab."""
    return [f"netns add {name}" for name in (plan.controller, *(host.namespace for host in plan.hosts))]


def bridges(plan: Plan) -> list[str]:
    """The batch, for the controller's namespace, that makes the bridges."""
    lines = ["link set lo up"]
    for network in plan.networks:
        # Snooping would forget IPv6's neighbour discovery on a bridge where nobody asks for memberships.
        lines += [
            f"link add {network.bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            f"addr add {network.controller_ipv4}/{_length(network.ipv4)} dev {network.bridge}",
            f"addr add {network.controller_ipv6}/{_length(network.ipv6)} dev {network.bridge} nodad",
            f"link set {network.bridge} up",
        ]
    return lines


def cables(plan: Plan, hosts: Iterable[PlannedHost]) -> list[str]:
    """The batch, for the controller's namespace, that connects these hosts to their bridges."""
    lines = []
    for host in hosts:
        for interface in host.interfaces:
            lines += [
                (
                    f"link add {interface.peer} type veth"
                    f" peer name {interface.name} address {interface.mac} netns {host.namespace}"
                ),
                f"link set {interface.peer} master {plan.network(interface.network).bridge} up",
            ]
    return lines


def host_network(plan: Plan, host: PlannedHost) -> list[str]:
    """The batch that a host runs itself when it starts."""
    lines = ["link set lo up"]
    for interface in host.interfaces:
        lines += addresses(plan.network(interface.network), interface)
        lines.append(f"link set {interface.name} up")
    # The controller is the way to the lab's other networks; it forwards only if a test lets it.
    first = plan.network(host.interfaces[0].network)
    return [
        *lines,
        f"route add default via {first.controller_ipv4}",
        f"route add default via {first.controller_ipv6}",
    ]


def addresses(network: Network, interface: PlannedInterface) -> list[str]:
    """The batch lines that give an interface its addresses."""
    # Without duplicate address detection an IPv6 address can be used at once, not a second or two later.
    return [
        *(f"addr add {address}/{_length(network.ipv4)} dev {interface.name}" for address in interface.ipv4),
        *(
            f"addr add {address}/{_length(network.ipv6)} dev {interface.name} nodad"
            for address in interface.ipv6
        ),
    ]


def _length(network: str) -> str:
    """The prefix length of a network in CIDR notation."""
    return network.partition("/")[2]


def apply(lines: Iterable[str], *, inside: str | None = None, keep_going: bool = False) -> None:
    """Run a batch, in the network namespace ``inside`` if given; CommandError names the line that failed.

    ``keep_going`` is for removal: what is gone already is no failure.
    """
    where = ["-n", inside] if inside else []
    flags = ["-force"] if keep_going else []
    batch = "".join(f"{line}\n" for line in lines)
    # A batch whose starter died stops with it, so that nothing is made while the lab is being removed.
    lifeline = ["setpriv", "--pdeathsig=KILL"]
    command.run([*lifeline, "ip", *flags, *where, "-b", "-"], stdin=batch, check=not keep_going)
