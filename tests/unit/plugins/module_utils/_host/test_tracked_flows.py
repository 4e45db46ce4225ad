# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries of connection tracking a change of policy deletes, and what it says of the others."""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._host import tracked_flows
from ansible_collections.netpolicy.host.plugins.module_utils._netlink import conntrack
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.conntrack import Entry, Tuple
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

HTTP = model.Side(ports=((80, 80),))
OWN, PEER, OTHER = "10.0.0.1", "192.0.2.9", "198.51.100.9"


def allow(**fields: t.Any) -> model.Rule:
    return samples.rule(protocol=model.TCP, **fields)


SERVER = samples.policy("server", ingress=[allow(destination=HTTP)], egress=[allow(source=HTTP)])
CLIENT = samples.policy("client", ingress=[allow(source=HTTP)], egress=[allow(destination=HTTP)])
ROUTER = samples.policy("router", ingress=[allow(destination=HTTP), allow(source=HTTP)])


def way(source: str, sport: int, destination: str, dport: int) -> Tuple:
    ours, theirs = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    return Tuple(ours.version, model.TCP, int(ours), int(theirs), sport, dport)


def flow(source: str, destination: str, dport: int = 80, **fields: t.Any) -> Entry:
    """A connection of TCP from port 40000."""
    there, back = way(source, 40000, destination, dport), way(destination, dport, source, 40000)
    return Entry(**{"original": there, "reply": back, "status": 0, "zone": 0, "key": b"", **fields})


def deleted(host: MemoryHost, policy: model.HostPolicy) -> list[Entry]:
    outcome = tracked_flows.follow(host, None, policy, check=False)
    assert outcome == tracked_flows.Outcome(len(host.tracked.deleted))
    return host.tracked.deleted


def host(*flows: Entry, ways: t.Mapping[str, str] | None = None) -> MemoryHost:
    found = MemoryHost()
    found.tracked.flows = list(flows)
    found.tracked.ways = dict(ways or {})
    return found


@pytest.mark.parametrize("policy", [SERVER, CLIENT], ids=lambda one: one.name)
def test_flows_of_the_policy_go_in_the_direction_in_which_it_allows_them(policy):
    here, there = flow(PEER, OWN), flow(OWN, PEER)
    six = flow("fd00::9", "fd00::1"), flow("fd00::1", "fd00::9")
    others = [flow(PEER, OWN, 81), flow(OWN, PEER, 22)]
    expected = [here, six[0]] if policy is SERVER else [there, six[1]]
    assert deleted(host(here, there, *six, *others), samples.host([policy])) == expected


@pytest.mark.parametrize(
    "half",
    [dataclasses.replace(SERVER, ingress=()), dataclasses.replace(SERVER, egress=())],
    ids=["egress", "ingress"],
)
def test_a_flow_of_which_one_direction_is_untracked_stays(half):
    assert deleted(host(flow(PEER, OWN)), samples.host([half])) == []


def test_a_flow_by_another_interface_stays():
    one, other = flow(PEER, OWN), flow(OTHER, OWN)
    assert deleted(host(one, other, ways={OTHER: "eth1"}), samples.host([SERVER])) == [one]


def test_a_flow_by_an_unknown_way_stays():
    assert deleted(host(flow(PEER, OWN), ways={PEER: ""}), samples.host([SERVER])) == []


def on(interface: str | None, *addresses: str, name: str = "node") -> model.HostPolicy:
    policy = samples.host([SERVER])
    endpoint = dataclasses.replace(policy.endpoints[0], name=name, interface=interface, addresses=addresses)
    return dataclasses.replace(policy, endpoints=(endpoint,))


@pytest.mark.parametrize("policy", [on("*"), on(None, OWN)], ids=["every interface", "by address"])
def test_interfaces_may_be_meant_without_their_names(policy):
    assert len(deleted(host(flow(PEER, OWN)), policy)) == 1


def test_an_interface_with_an_endpoint_of_its_own_is_not_one_of_the_others():
    every = on("*")
    own = model.Endpoint("own", "eth1")
    policy = dataclasses.replace(every, endpoints=(*every.endpoints, own))
    one, other = flow(PEER, OWN), flow(OTHER, OWN)
    assert deleted(host(one, other, ways={OTHER: "eth1"}), policy) == [one]


@pytest.mark.parametrize("interface", ["lo", "*"])
def test_what_the_host_says_to_itself_stays(interface):
    both = samples.host([SERVER], [CLIENT], interface=interface)
    assert deleted(host(flow(OWN, OWN), flow("127.0.0.1", "127.0.0.1")), both) == []


def test_what_is_passed_on_is_judged_where_it_arrives_both_ways():
    passing = flow(PEER, OTHER)
    policy = samples.host([ROUTER])
    second = dataclasses.replace(policy.endpoints[0], name="second", interface="eth1")
    both = dataclasses.replace(policy, endpoints=(*policy.endpoints, second))
    ways = {OTHER: "eth1"}
    assert deleted(host(passing, ways=ways), both) == [passing]
    assert deleted(host(passing, ways=ways), policy) == []
    assert deleted(host(passing), both) == [], "by one interface, it may be bridged"


def test_translated_flows_are_judged_as_raw_sees_them():
    # A peer connects to port 8080, which is led to port 80 of the host itself, and is answered from there.
    led = flow(PEER, OWN, original=way(PEER, 40000, OWN, 8080))
    ports = model.Side(ports=((8080, 8080),))
    before_nat = samples.policy("before", ingress=[allow(destination=ports)], egress=[allow(source=HTTP)])
    assert deleted(host(led), samples.host([SERVER])) == []
    assert deleted(host(led), samples.host([before_nat])) == [led]


def test_where_addresses_say_too_little_the_flow_stays():
    zone = flow(PEER, OWN, zone=7)
    offloaded = [flow(PEER, OWN, status=bit) for bit in (conntrack.IPS_OFFLOAD, conntrack.IPS_HW_OFFLOAD)]
    found = host(zone, *offloaded, flow("fe80::9", "fe80::1"))
    found.tracked.own["eth0"].append("fe80::1")
    assert deleted(found, samples.host([SERVER])) == []


def test_a_policy_that_takes_nothing_past_tracking_does_not_look():
    found = host(flow(PEER, OWN))
    found.tracked.fail_to_list = True
    denying = samples.policy("denying", ingress=[samples.rule(model.DENY)])
    for policy in (samples.host([denying]), None):
        assert tracked_flows.follow(found, None, policy, check=False) == tracked_flows.NOTHING


# -- what goes wrong ---------------------------------------------------------------------------------


def test_a_refusal_of_the_kernel_is_a_note():
    found = host(*(flow(PEER, OWN) for _unused in range(3)))
    found.tracked.fail_at = 2
    outcome = tracked_flows.follow(found, None, samples.host([SERVER]), check=False)
    assert outcome.deleted == 2
    (note,) = outcome.notes
    for part in (
        "is in force",
        "2 were; delete a tracked connection: Operation not permitted",
        "conntrack -L",
    ):
        assert part in note


def test_a_mistake_of_our_own_is_a_note():
    found = host()
    found.tracked.flows = [None]  # type: ignore[list-item]
    outcome = tracked_flows.follow(found, None, samples.host([SERVER]), check=False)
    assert outcome.deleted == 0
    assert "a defect in netpolicy.host, please report it: AttributeError" in outcome.notes[0]


@pytest.mark.parametrize("check", [False, True])
def test_a_strict_connection_tracking_is_warned_of(check):
    found = host()
    found.write(tracked_flows.TCP_LOOSE_FILE, b"0\n", 0o644)
    policy = samples.host([SERVER])
    (note,) = tracked_flows.follow(found, policy, None, check=check).notes
    assert "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1" in note
    assert tracked_flows.follow(found, policy, policy, check=check).notes == ()
    assert tracked_flows.follow(found, None, policy, check=check).notes == ()


@pytest.mark.parametrize("content", [b"1\n", None])
def test_a_loose_connection_tracking_is_no_matter(content):
    found = host()
    if content is not None:
        found.write(tracked_flows.TCP_LOOSE_FILE, content, 0o644)
    assert tracked_flows.follow(found, samples.host([SERVER]), None, check=False) == tracked_flows.NOTHING
