# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two published policies, enforced over ssh on hosts with a real memcached and a real redis."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import connections, conntrack, firewall
from tests.lab.scenario import CLIENTS, SCENARIOS, Stage, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.host import Host
    from tests.lab.load import Outcome

NUMBER = 200


@pytest.fixture(scope="module", params=["memcached-set", "memcached-endpoints", "redis"])
def enforced(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The scenario with its policy in force, and its clients made known in one of the two ways."""
    name, _unused, clients = request.param.partition("-")
    with running(SCENARIOS[name]) as stage:
        for client in stage.clients:
            # Without a rule about states a client would track nothing whatever the policy says.
            firewall.install(client, firewall.stateful(uses=[stage.scenario.port]))
        enforce(stage, stage.scenario.resources(stage.lab, clients or "set"))
        yield stage


def enforce(stage: Stage, resources: dict[str, Any]) -> None:
    inventory = stage.lab.inventory(group_vars={"all": resources})
    stage.lab.ansible_playbook("-i", str(inventory), "netpolicy.host.site").check()


def attempt(stage: Stage, source: Host, *, ipv6: bool = False, number: int = NUMBER) -> Outcome:
    address = stage.server.ipv6 if ipv6 else stage.server.ipv4
    return connections.attempt(
        source, address, stage.scenario.port, stage.service.protocol, number=number, timeout=0.5
    )


def tracked(stage: Stage, host: Host) -> list[conntrack.Entry]:
    """What the host knows of connections to the service, in both address families."""
    port = stage.scenario.port
    return [
        entry
        for ipv6 in (False, True)
        for entry in conntrack.entries(host, protocol="tcp", dport=port, ipv6=ipv6)
    ]


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("client", CLIENTS)
def test_clients_connect_and_nothing_of_theirs_is_tracked(enforced: Stage, client: str, ipv6: bool) -> None:
    conntrack.flush(enforced.server)
    outcome = attempt(enforced, enforced.lab[client], ipv6=ipv6)
    assert (outcome.succeeded, outcome.failed) == (NUMBER, 0)
    assert tracked(enforced, enforced.server) == []


def test_clients_with_the_mirrored_policy_track_nothing_either(enforced: Stage) -> None:
    client = enforced.clients[0]
    if client.run("nft", "list", "table", "inet", "netpolicy_host", check=False).returncode:
        pytest.skip("in this scenario the clients have no policy of their own")
    conntrack.flush(client)
    assert attempt(enforced, client).succeeded == NUMBER
    assert tracked(enforced, client) == []


def test_another_port_of_a_client_stays_tracked(enforced: Stage) -> None:
    conntrack.flush(enforced.server)
    assert enforced.lab.ssh(enforced.scenario.server, "true").returncode == 0
    assert conntrack.entries(enforced.server, protocol="tcp", dport=22)


def test_a_host_that_the_selector_does_not_pick_falls_through_and_is_tracked(enforced: Stage) -> None:
    if not enforced.scenario.names_clients:
        pytest.skip("this policy picks everyone")
    conntrack.flush(enforced.server)
    outcome = attempt(enforced, enforced.outsider, number=20)
    assert outcome.succeeded == 20
    assert {entry.src for entry in tracked(enforced, enforced.server)} == {enforced.outsider.ipv4}


def test_connections_work_while_the_table_is_full(enforced: Stage) -> None:
    conntrack.flush(enforced.server)
    conntrack.fill(enforced.server, dst=enforced.server.ipv4)
    outcome = attempt(enforced, enforced.clients[0])
    conntrack.flush(enforced.server)
    assert (outcome.succeeded, outcome.failed) == (NUMBER, 0)


def test_without_its_egress_rule_the_policy_stops_its_own_traffic(memcached_stage: Stage) -> None:
    stage = memcached_stage
    whole = stage.scenario.resources(stage.lab)
    enforce(stage, whole)
    assert attempt(stage, stage.clients[0], number=20).succeeded == 20

    halved = copy.deepcopy(whole)
    for resource in halved["netpolicy_resources_memcached"]:
        resource["spec"].pop("egress", None)
    enforce(stage, halved)
    # The request comes untracked, so tracking takes the answer for invalid, and the firewall drops it.
    assert attempt(stage, stage.clients[0], number=20).succeeded == 0
    assert attempt(stage, stage.outsider, number=20).succeeded == 20

    enforce(stage, whole)
    assert attempt(stage, stage.clients[0], number=20).succeeded == 20
