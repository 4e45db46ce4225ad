# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of very many networks in a kernel: filled before packets meet them, then changed where they are."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.observer import Fate
from tests.differential.packets import Sample
from tests.lab import command
from tests.machine import requests
from tests.machine.host import Host, running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")

NETWORKS = tuple(f"10.{number >> 7 & 255}.{(number & 127) * 2}.0/24" for number in range(20_000))
OTHER = "172.16.0.0/24"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running() as started:
        yield started


def guarded(networks: Iterable[str], *ports: int) -> model.HostPolicy:
    """A policy that denies what comes from the networks, then what goes to the ports."""
    kind, name = "GlobalNetworkPolicy", "guard"
    sides: list[dict[str, Any]] = [
        {"source": model.Side(sets=("s:denied",))},
        *({"protocol": model.TCP, "destination": model.Side(ports=((port, port),))} for port in ports),
    ]
    rules = tuple(
        model.Rule(model.Origin(kind, name, model.INGRESS, index), model.DENY, **asked)
        for index, asked in enumerate(sides)
    )
    tier = model.Tier("default", (f"{kind}/{name}",))
    return model.HostPolicy(
        node="host",
        endpoints=(model.Endpoint("host-eth0", "eth0", (tier,)),),
        policies={f"{kind}/{name}": model.Policy(kind, name, rules)},
        sets={"s:denied": model.AddressSet("denied", tuple(sorted(networks)))},
    )


def fates(host: Host, *sources: str) -> list[Fate]:
    samples = [
        Sample(model.INGRESS, "eth0", model.UDP, ip_address(source), ip_address("192.0.2.10"), 1, 9)
        for source in sources
    ]
    return list(host.kernel.observe(samples).fates)


def set_in_kernel(host: Host) -> tuple[str, int]:
    """The name and the number of the large set in the kernel's table: a new set has another number."""
    listing = host.kernel.listing() or {}
    (found,) = (item["set"] for item in listing["nftables"] if "set" in item)
    return found["name"], found["handle"]


def elements(host: Host) -> int:
    name, _handle = set_in_kernel(host)
    with host.kernel.entered():
        argv = ["nft", "--json", "list", "set", "inet", "netpolicy_host", name]
        listing = json.loads(command.run(argv).stdout)
    return sum(len(item["set"].get("elem", ())) for item in listing["nftables"] if "set" in item)


def test_networks_come_and_go_in_the_set_that_is_there(host: Host) -> None:
    host.answer(requests.REMOVE)
    host.answer(requests.apply(guarded(NETWORKS)))
    before = set_in_kernel(host)
    assert fates(host, "10.0.2.1", "10.0.3.1", "172.16.0.1") == [Fate.DENY, Fate.TRACKED, Fate.TRACKED]
    answer = host.answer(requests.apply(guarded([*NETWORKS[2:], OTHER])))
    assert (answer["changed"], set_in_kernel(host), elements(host)) == (True, before, len(NETWORKS) - 1)
    assert fates(host, "10.0.2.1", "10.0.4.1", "172.16.0.1") == [Fate.TRACKED, Fate.DENY, Fate.DENY]
    assert "set [denied]: 19999 members, +1 -2" in answer["after"]
    # With the next change that is more than that, its name says again what it holds.
    answer = host.answer(requests.apply(guarded(NETWORKS, 80)))
    assert set_in_kernel(host)[1] != before[1]
    assert fates(host, "10.0.2.1", "10.0.3.1", "172.16.0.1") == [Fate.DENY, Fate.TRACKED, Fate.TRACKED]
    assert host.answer(requests.apply(guarded(NETWORKS, 80)))["changed"] is False


def test_a_network_taken_out_by_hand_is_told_to_whoever_asks_for_elements(host: Host) -> None:
    host.answer(requests.apply(guarded(NETWORKS)))
    name, _handle = set_in_kernel(host)
    with_elements = {**requests.INFO, "elements": True}
    assert host.answer(with_elements)["drift"] == []
    host.kernel.nft(f"delete element inet netpolicy_host {name} {{ {NETWORKS[5]} }}\n")
    assert host.answer(requests.INFO)["drift"] == []
    assert host.answer(with_elements)["drift"] == [f"set {name} lacks 1 networks: {NETWORKS[5]}"]


def test_a_death_while_large_sets_change_is_mended(host: Host) -> None:
    old, new = guarded(NETWORKS), guarded([*NETWORKS[2:], OTHER])
    host.answer(requests.REMOVE)
    host.answer(requests.apply(old))
    effects = host.machine.serve(requests.apply(new)).effects
    for number in range(len(effects) + 1):
        host.answer(requests.REMOVE)
        host.answer(requests.apply(old))
        assert host.machine.serve(requests.apply(new), kill_before=number).answer is None
        found = fates(host, "10.0.2.1", "172.16.0.1", "10.0.4.1")
        assert found in (
            [Fate.DENY, Fate.TRACKED, Fate.DENY],
            [Fate.TRACKED, Fate.DENY, Fate.DENY],
        )
        host.answer(requests.apply(new))
        assert fates(host, "10.0.2.1", "172.16.0.1", "10.0.4.1") == [Fate.TRACKED, Fate.DENY, Fate.DENY]
        assert host.answer(requests.apply(new))["changed"] is False
        assert host.answer({**requests.INFO, "elements": True})["drift"] == []


def test_a_set_changed_in_place_still_serves_a_change_of_something_else(host: Host) -> None:
    host.answer(requests.REMOVE)
    host.answer(requests.apply(guarded(NETWORKS)))
    changed = guarded([*NETWORKS[2:], OTHER])
    host.answer(requests.apply(changed))
    kept = set_in_kernel(host)
    host.answer(requests.apply(replace(changed, failsafes=model.Failsafes((model.Failsafe(model.TCP, 22),)))))
    assert set_in_kernel(host) == kept
    assert fates(host, "10.0.2.1", "172.16.0.1", "10.0.4.1") == [Fate.TRACKED, Fate.DENY, Fate.DENY]
