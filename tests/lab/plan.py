# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab will look like: names and addresses, as values. Nothing here touches the machine."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CONTROLLER = "controller"
MAIN = "main"

# A lab id has three hex digits; each id has its own addresses, so that no two labs of a machine share any.
ID_DIGITS = 3
ID_COUNT = 16**ID_DIGITS
# Each lab has a /20 of this, one /22 a network.
_IPV4_POOL = IPv4Network("10.0.0.0/8")
_IPV4_LAB_BITS = 12
NETWORKS_PER_LAB = 4
# fd00::/8 is for addresses that are never routed outside; the rest spells "npol".
_IPV6_POOL = IPv6Network("fd6e:706f:6c00::/40")

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_INTERFACE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,14}")
_PREFIX = "np"


@dataclass(frozen=True)
class Interface:
    """An interface that a host is to have: its name, its network, and how many addresses per family."""

    name: str = "eth0"
    network: str = MAIN
    addresses: int = 1


@dataclass(frozen=True)
class HostSpec:
    """A host that is wanted."""

    name: str
    interfaces: tuple[Interface, ...] = (Interface(),)


@dataclass(frozen=True)
class Network:
    """A network of a lab: a bridge in the controller's namespace; the first address is the controller's."""

    name: str
    bridge: str
    ipv4: str
    ipv6: str
    controller_ipv4: str
    controller_ipv6: str


@dataclass(frozen=True)
class PlannedInterface:
    """An interface with its addresses. ``peer`` is the other end, a port of the bridge of ``network``."""

    name: str
    network: str
    peer: str
    mac: str
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]


@dataclass(frozen=True)
class PlannedHost:
    """A host with its interfaces; the first address of its first interface is the one it is reached by."""

    name: str
    namespace: str
    interfaces: tuple[PlannedInterface, ...]

    @property
    def ipv4(self) -> str:
        """The host's first IPv4 address."""
        return self.interfaces[0].ipv4[0]

    @property
    def ipv6(self) -> str:
        """The host's first IPv6 address."""
        return self.interfaces[0].ipv6[0]


@dataclass(frozen=True)
class Plan:
    """A whole lab."""

    id: str
    root: str
    networks: tuple[Network, ...]
    hosts: tuple[PlannedHost, ...]

    @property
    def controller(self) -> str:
        """The name of the namespace that ansible and ssh run in."""
        return namespace(self.id, CONTROLLER)

    def network(self, name: str) -> Network:
        """The network of that name; KeyError when there is none."""
        return {one.name: one for one in self.networks}[name]


def namespace_prefix(lab_id: str) -> str:
    """What the names of all network namespaces of that lab begin with, and those of no other lab."""
    return f"{_PREFIX}-{lab_id}-"


def namespace(lab_id: str, host: str) -> str:
    """The name of a host's network namespace."""
    return namespace_prefix(lab_id) + host


def is_lab_id(text: str) -> bool:
    """Whether ``text`` is spelled like a lab's id."""
    return re.fullmatch(rf"[0-9a-f]{{{ID_DIGITS}}}", text) is not None


def _addresses_of(lab_id: str, index: int) -> tuple[IPv4Network, IPv6Network]:
    """The two address ranges of a lab's network number ``index``."""
    number = int(lab_id, 16)
    lab_size = 1 << (32 - _IPV4_POOL.prefixlen - _IPV4_LAB_BITS)
    size = lab_size // NETWORKS_PER_LAB
    ipv4 = int(_IPV4_POOL.network_address) + number * lab_size + index * size
    ipv6 = int(_IPV6_POOL.network_address) + (index << 80) + (number << 64)
    return IPv4Network((ipv4, 32 - (size.bit_length() - 1))), IPv6Network((ipv6, 64))


def _mac(lab_id: str, host: int, interface: int) -> str:
    """The hardware address of an interface, fixed: a host that restarts is the same to its neighbours."""
    number = int(lab_id, 16) << 20 | host << 8 | interface
    # The first byte says that it is one host's address and that no manufacturer gave it.
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x6E, *number.to_bytes(4, "big")))


def _check(specs: Sequence[HostSpec]) -> None:
    """Refuse what could not be built, by name."""
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise ValueError(f"two hosts have the same name: {', '.join(sorted(names))}")
    for spec in specs:
        if not _HOST_NAME.fullmatch(spec.name) or spec.name == CONTROLLER:
            raise ValueError(f"not a name for a host: {spec.name!r}")
        if not spec.interfaces:
            raise ValueError(f"host {spec.name} has no interface")
        interfaces = [interface.name for interface in spec.interfaces]
        if len(set(interfaces)) != len(interfaces):
            raise ValueError(f"host {spec.name} has two interfaces of the same name")
        for interface in spec.interfaces:
            if not _INTERFACE_NAME.fullmatch(interface.name) or interface.addresses < 1:
                raise ValueError(f"host {spec.name} cannot have the interface {interface}")


def as_specs(hosts: Iterable[str | HostSpec]) -> tuple[HostSpec, ...]:
    """Hosts given by name have one interface, eth0."""
    return tuple(HostSpec(host) if isinstance(host, str) else host for host in hosts)


def make_plan(lab_id: str, hosts: Iterable[str | HostSpec], root: str = "/") -> Plan:
    """The lab ``lab_id`` with these hosts; ValueError when it cannot be built."""
    specs = as_specs(hosts)
    _check(specs)
    wanted = dict.fromkeys([MAIN, *(interface.network for spec in specs for interface in spec.interfaces)])
    if len(wanted) > NETWORKS_PER_LAB:
        raise ValueError(f"a lab has at most {NETWORKS_PER_LAB} networks, not {len(wanted)}")
    ranges = {name: _addresses_of(lab_id, index) for index, name in enumerate(wanted)}
    free = {name: zip(ipv4.hosts(), ipv6.hosts(), strict=False) for name, (ipv4, ipv6) in ranges.items()}
    networks = []
    for index, (name, (ipv4, ipv6)) in enumerate(ranges.items()):
        first, first6 = next(free[name])
        networks.append(Network(name, f"br{index}", str(ipv4), str(ipv6), str(first), str(first6)))
    planned = []
    for host_index, spec in enumerate(specs):
        interfaces = []
        for index, interface in enumerate(spec.interfaces):
            taken = [
                pair
                for _unused, pair in zip(range(interface.addresses), free[interface.network], strict=False)
            ]
            if len(taken) < interface.addresses:
                raise ValueError(f"the network {interface.network} has no more addresses")
            interfaces.append(
                PlannedInterface(
                    name=interface.name,
                    network=interface.network,
                    peer=f"v{host_index}-{index}",
                    mac=_mac(lab_id, host_index, index),
                    ipv4=tuple(str(address) for address, _unused in taken),
                    ipv6=tuple(str(address) for _unused, address in taken),
                )
            )
        planned.append(PlannedHost(spec.name, namespace(lab_id, spec.name), tuple(interfaces)))
    return Plan(lab_id, root, tuple(networks), tuple(planned))


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, for a JSON file."""
    return asdict(plan)


def from_data(data: Mapping[str, Any]) -> Plan:
    """The reverse of as_data."""
    return Plan(
        id=data["id"],
        root=data["root"],
        networks=tuple(Network(**network) for network in data["networks"]),
        hosts=tuple(
            PlannedHost(
                name=host["name"],
                namespace=host["namespace"],
                interfaces=tuple(
                    PlannedInterface(
                        name=interface["name"],
                        network=interface["network"],
                        peer=interface["peer"],
                        mac=interface["mac"],
                        ipv4=tuple(interface["ipv4"]),
                        ipv6=tuple(interface["ipv6"]),
                    )
                    for interface in host["interfaces"]
                ),
            )
            for host in data["hosts"]
        ),
    )
