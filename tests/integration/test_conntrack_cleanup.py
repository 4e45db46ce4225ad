# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy comes to connections that are tracked already: to one that lives, and to entries by the thousand."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING, Any, Self

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._host import tracked_flows, tracking
from ansible_collections.netpolicy.host.plugins.module_utils._netlink import conntrack as entries
from ansible_collections.netpolicy.host.plugins.module_utils._netlink import routes
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.connection import (
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    Netlink,
)
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, verdict
from ansible_collections.netpolicy.host.plugins.module_utils._policy.packet import packet
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples
from tests.differential.namespace import Namespace
from tests.lab import command, conntrack, firewall, network, services
from tests.lab.scenario import SCENARIOS, Stage, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.host import Host
    from tests.lab.playbook import PlaybookRun

# -- a connection that lives ---------------------------------------------------------------------------

OTHER_PORT = 12212


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The published memcached policy's hosts, and a second memcached that no policy is about."""
    with running(SCENARIOS["memcached"]) as one:
        ports = (one.scenario.port, OTHER_PORT)
        firewall.install(one.server, firewall.stateful(serves=ports))
        services.memcached(one.server, OTHER_PORT)
        yield one


class Session:
    """A connection to a memcached that stays open; a context manager."""

    # A program, because a socket belongs to the network in which it was opened.
    _PROGRAM = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as session:
    for line in sys.stdin:
        session.sendall(line.encode())
        print(session.recv(100).decode().strip(), flush=True)
"""

    def __init__(self, source: Host, address: str, port: int) -> None:
        program = source.in_network(["python3", "-I", "-c", self._PROGRAM, address, str(port)])
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def is_answered(self) -> bool:
        """Whether a request on the connection is answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("version\r\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().startswith("VERSION")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._process.communicate(timeout=10)


def site(stage: Stage, *arguments: str) -> PlaybookRun:
    return stage.lab.ansible_playbook("-i", str(stage.inventory()), "netpolicy.host.site", *arguments).check()


def deleted(run: PlaybookRun, stage: Stage) -> int:
    # The role's second attempt, where nft had to be installed first, is skipped.
    task, _skipped = run.of(action="netpolicy.host.policy", host=stage.server.name)
    return int(task.result["conntrack_deleted"])


def tracked(host: Host, port: int) -> list[tuple[str, int]]:
    """Sources of the host's tracked connections to a port."""
    return sorted(
        (entry.src, entry.sport)
        for ipv6 in (False, True)
        for entry in conntrack.entries(host, protocol="tcp", dport=port, ipv6=ipv6)
    )


def test_an_established_connection_lives_on_without_its_entry(stage: Stage) -> None:
    server, client, port = stage.server, stage.clients[0], stage.scenario.port
    with ExitStack() as stack:

        def session(source: Host, address: str, port: int) -> Session:
            opened = stack.enter_context(Session(source, address, port))
            assert opened.is_answered()
            return opened

        theirs = [session(client, address, port) for address in (server.ipv4, server.ipv6)]
        elsewhere = session(client, server.ipv4, OTHER_PORT)
        outside = session(stage.outsider, server.ipv4, port)
        assert stage.lab.ssh(server.name, "true").returncode == 0
        assert len(tracked(server, port)) == 3
        kept = tracked(server, OTHER_PORT), tracked(server, 22)

        assert deleted(site(stage, "--check"), stage) == 0
        assert len(tracked(server, port)) == 3
        assert deleted(site(stage), stage) == len(theirs)

        assert [source for source, _port in tracked(server, port)] == [stage.outsider.ipv4]
        assert kept[0] == tracked(server, OTHER_PORT)
        assert set(kept[1]) <= set(tracked(server, 22))
        for each in (*theirs, elsewhere, outside):
            assert each.is_answered()
        assert [source for source, _port in tracked(server, port)] == [stage.outsider.ipv4]

        again = site(stage)
        assert (again.changed, deleted(again, stage)) == (0, 0)
        assert len(tracked(server, port)) == 1


def test_whoever_gives_connections_back_to_strict_tracking_is_warned(stage: Stage) -> None:
    site(stage)
    path = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"
    command.run(stage.server.in_network(["sh", "-c", f"echo 0 > {path}"]))
    inventory = str(stage.inventory())
    for arguments in (["--check"], []):
        run = stage.lab.ansible_playbook("-i", inventory, "netpolicy.host.remove", *arguments).check()
        assert "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1" in run.output


# -- entries by the thousand ---------------------------------------------------------------------------

NUMBER = 20_000
OWN = {4: "10.0.0.1", 6: "fd00::1"}
OTHER_OWN = {4: "10.0.1.1", 6: "fd00:1::1"}
# Peers beyond each interface.
PEERS = {
    "eth0": {4: "10.0.0.{}", 6: "fd00::{:x}"},
    "eth1": {4: "10.0.1.{}", 6: "fd00:1::{:x}"},
}
PORTS = (22, 53, 80, 443, 11211)
CLIENTS = model.AddressSet("", ("10.0.0.64/26", "10.0.1.128/25"), ("fd00::40/122", "fd00:1::80/121"))
PORTS_OF = model.Side(ports=((53, 53), (80, 80)))
MEMCACHED = model.Side(ports=((11211, 11211),))
SERVER = samples.policy(
    "server",
    ingress=[
        samples.rule(protocol=model.TCP, source=model.Side(("n:clients",)), destination=MEMCACHED),
        samples.rule(protocol=model.UDP, destination=PORTS_OF),
        samples.rule(protocol=model.UDP, source=PORTS_OF),
        samples.rule(protocol=model.ICMP),
        samples.rule(model.DENY, protocol=model.TCP, destination=model.Side(ports=((443, 443),))),
        samples.rule(ip_version=6, source=model.Side(not_sets=("n:clients",))),
    ],
    egress=[
        samples.rule(protocol=model.TCP, source=MEMCACHED, destination=model.Side(("n:clients",))),
        samples.rule(protocol=model.UDP, source=PORTS_OF),
        samples.rule(protocol=model.ICMP, icmp=model.Icmp(0)),
        samples.rule(ip_version=6, protocol=model.TCP),
    ],
)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A host with two interfaces, each with an address of both IP versions and neighbours."""
    host = Namespace()
    lines = ["link set lo up"]
    for name, own in (("eth0", OWN), ("eth1", OTHER_OWN)):
        lines += [
            f"link add {name} type veth peer name far-{name}",
            f"addr add {own[4]}/24 dev {name}",
            f"addr add {own[6]}/64 dev {name} nodad",
            f"link set {name} up",
            f"link set far-{name} up",
        ]
    with host.entered():
        network.apply(lines)
    yield host
    host.close()


def policy() -> model.HostPolicy:
    """One policy on both interfaces, so that what is passed on between them may be untracked."""
    one = samples.host(
        [SERVER], sets={"n:clients": CLIENTS}, failsafes=model.Failsafes((model.Failsafe(model.TCP, 22),))
    )
    (endpoint,) = one.endpoints
    other = model.Endpoint("other", "eth1", endpoint.untracked)
    return model.HostPolicy(one.node, (endpoint, other), one.policies, one.sets, failsafes=one.failsafes)


Place = tuple[str, str]


def flow(chance: Random) -> tuple[str, tuple[Place, Place]]:
    """A line for conntrack -R, and where raw sees each direction of that flow: direction and interface."""
    version = chance.choice((4, 6))

    def peer(interface: str) -> str:
        return PEERS[interface][version].format(chance.randrange(2, 255))

    near, far = chance.sample(tuple(PEERS), 2)
    own = (OWN if near == "eth0" else OTHER_OWN)[version]
    kind = chance.choice(("opened by a peer", "opened by the host", "passed on"))
    source, destination = peer(near), peer(far)
    places: tuple[Place, Place] = ("ingress", near), ("ingress", far)
    translation = ""
    if kind == "opened by a peer":
        destination, places = own, (("ingress", near), ("egress", near))
    elif kind == "opened by the host":
        source, destination, places = own, source, (("egress", near), ("ingress", near))
    if version == 4 and chance.random() < 0.1:
        translation = f" --dst-nat {destination}:{chance.choice(PORTS)}"
    if version == 4 and kind == "passed on" and chance.random() < 0.2:
        translation = f" --src-nat {(OTHER_OWN if far == 'eth1' else OWN)[4]}"  # as masquerading does
    protocol = chance.choice(("tcp", "udp", "icmp" if version == 4 else "icmpv6"))
    if protocol.startswith("icmp"):
        request = 8 if version == 4 else 128
        details = f"--{protocol}-type {request} --{protocol}-code 0 --{protocol}-id {chance.randrange(65536)}"
        translation = ""
    else:
        ports = [chance.randrange(1024, 65536), chance.choice(PORTS)]
        chance.shuffle(ports)
        details = f"--sport {ports[0]} --dport {ports[1]}"
        details += " --state ESTABLISHED" if protocol == "tcp" else ""
    zone = " --zone 9" if chance.random() < 0.05 else ""
    return f"-I -p {protocol} -s {source} -d {destination} {details} -t 3600{translation}{zone}", places


def is_untracked(wanted: model.HostPolicy, way: entries.Tuple, place: Place) -> bool:
    """What the reference says of a direction's packets."""
    fields: dict[str, Any] = dict(zip(("direction", "interface"), place, strict=True))
    for name in ("protocol", "sport", "dport", "icmp_type", "icmp_code"):
        fields[name] = getattr(way, name)
    for name, number in (("src", way.source), ("dst", way.destination)):
        fields[name] = str(_address(way.version, number))
    found = verdict.raw(wanted, packet(fields))
    return found.action == model.ALLOW and not found.tracked


def _address(version: int, number: int) -> Any:
    return ip_address(number.to_bytes(4 if version == 4 else 16, "big"))


class KernelHost(MemoryHost):
    """A host whose connection tracking is the kernel's."""

    def tracking(self) -> Any:
        return tracking.tracking()


def listed() -> list[entries.Entry]:
    with Netlink(NETLINK_NETFILTER) as kernel:
        return list(entries.entries(kernel, lambda _way: True))


def test_exactly_the_entries_of_untracked_flows_are_deleted(namespace: Namespace) -> None:
    chance = Random(20_000)
    wanted = policy()
    lines: list[str] = []
    places: dict[tuple[str, ...], tuple[Place, Place]] = {}
    for _unused in range(NUMBER):
        line, where = flow(chance)
        lines.append(f"{line}\n")
        # Some come twice; the kernel refuses those.
        places.setdefault(_key(line), where)
    with namespace.entered():
        command.run(["conntrack", "-R", "-"], stdin="".join(lines), check=False)
        before = listed()
        assert len(before) > 0.9 * NUMBER
        expected = {
            one.key
            for one in before
            if not one.zone
            and all(
                is_untracked(wanted, way, place)
                for way, place in zip((one.original, one.reply), places[_shown(one)], strict=True)
            )
        }
        assert len(expected) > 0.05 * NUMBER
        outcome = tracked_flows.follow(KernelHost(), None, wanted, check=False)
        assert outcome == tracked_flows.Outcome(len(expected))
        assert {one.key for one in before} - {one.key for one in listed()} == expected
        assert tracked_flows.follow(KernelHost(), None, wanted, check=False) == tracked_flows.NOTHING


def _key(line: str) -> tuple[str, ...]:
    """What tells flows apart: zone, protocol, addresses, and ports or the identity of a ping."""
    words = line.split()
    given = dict(zip(words[1::2], words[2::2], strict=True))
    return tuple(given.get(option, "") for option in ("-p", "-s", "-d", "--sport", "--dport"))


def _shown(one: entries.Entry) -> tuple[str, ...]:
    names = {model.TCP: "tcp", model.UDP: "udp", model.ICMP: "icmp", model.ICMPV6: "icmpv6"}
    way = one.original
    addresses = (str(_address(way.version, number)) for number in (way.source, way.destination))
    ports = ("" if port is None else str(port) for port in (way.sport, way.dport))
    return (names[way.protocol], *addresses, *ports)


# -- what the kernel is asked --------------------------------------------------------------------------


def test_an_entry_is_deleted_by_its_number_and_not_by_its_tuple_alone(namespace: Namespace) -> None:
    line = "-I -p tcp -s 10.0.0.9 -d 10.0.0.1 --sport 1 --dport 2 --state ESTABLISHED -t 3600\n"
    with namespace.entered(), Netlink(NETLINK_NETFILTER) as kernel:
        assert entries.is_empty()
        command.run(["conntrack", "-R", "-"], stdin=line)
        assert not entries.is_empty()
        (found,) = listed()
        number = found.key[-4:]
        other = found._replace(key=found.key[:-4] + bytes(byte ^ 0xFF for byte in number))
        assert not entries.delete(kernel, other), "the same tuple, and another connection"
        assert listed() == [found]
        assert entries.delete(kernel, found)
        assert not entries.delete(kernel, found)
        assert entries.is_empty()


@pytest.mark.parametrize("version", [4, 6])
def test_a_route_leads_to_one_interface_or_to_none(namespace: Namespace, version: int) -> None:
    nets = {4: ("172.16.{}.0/24", "172.16.{}.9"), 6: ("fd01:{}::/64", "fd01:{}::9")}[version]
    gateways = [PEERS[name][version].format(9) for name in ("eth0", "eth1")]
    both = " ".join(f"nexthop via {gateway}" for gateway in gateways)
    lines = [
        f"route add {nets[0].format(1)} via {gateways[1]}",
        f"route add {nets[0].format(2)} {both}",
        f"route add unreachable {nets[0].format(3)}",
        f"route add {nets[0].format(4)} via {gateways[0]}",
        f"route add {nets[0].format(4)} via {gateways[1]} table 100",
        f"rule add from {OTHER_OWN[version]} lookup 100",
        f"route add local {nets[0].format(5)} dev lo",
    ]
    with namespace.entered(), Netlink(NETLINK_ROUTE) as kernel:
        command.run(["ip", f"-{version}", "-b", "-"], stdin="".join(f"{line}\n" for line in lines))
        links = {one.number: one.link for one in routes.addresses(kernel) if one.version == version}
        own, other = (int(ip_address(address[version])) for address in (OWN, OTHER_OWN))

        def route(number: int, source: int | None = None) -> routes.Route | None:
            return routes.route(kernel, version, int(ip_address(nets[1].format(number))), source)

        assert route(1) == routes.Route(False, links[other])
        assert route(2) == routes.Route(False, None), "of several paths none is certain"
        assert route(3) is None
        assert (route(4), route(4, own)) == (routes.Route(False, links[own]),) * 2
        assert route(4, other) == routes.Route(False, links[other]), "by the rule about its source"
        local = route(5)
        assert local is not None
        assert local.is_local
        assert route(6) is None
