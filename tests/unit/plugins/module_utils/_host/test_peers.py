# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a loss of peers, whatever networks a set is kept in."""

from __future__ import annotations

import ipaddress
import math
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._host import peers
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

ADDRESSES = st.sets(st.integers(0, 2**12 - 1), max_size=20)


def collapsed(networks: t.Iterable[t.Any], version: int) -> tuple[str, ...]:
    members: list[t.Any] = [one for one in map(ipaddress.ip_network, networks) if one.version == version]
    return tuple(map(str, ipaddress.collapse_addresses(members)))


def knowing(**sets: t.Iterable[t.Any]) -> model.HostPolicy:
    """A policy with sets of these networks, as few of them as the compiler makes."""
    return samples.host(
        sets={
            name: model.AddressSet(name, collapsed(networks, 4), collapsed(networks, 6))
            for name, networks in sets.items()
        }
    )


def spread(number: int) -> list[str]:
    """So many addresses that none of them can be put together with another."""
    return [f"10.0.{one // 100}.{one % 100 * 2}" for one in range(number)]


def loss(old: model.HostPolicy, new: model.HostPolicy) -> float:
    return peers.change(old, new).loss / peers.ONE


@given(samples.host_policies())
def test_a_policy_loses_nothing_to_itself(policy):
    change = peers.change(policy, policy)
    assert (change.lost, change.gained, change.sets) == (0, 0, ())
    assert change.before == sum(len(one.v4) + len(one.v6) for one in policy.sets.values())


@given(samples.host_policies(), samples.host_policies())
def test_all_that_is_lost_is_all_that_there_was(old, new):
    nothing = knowing()
    assert peers.change(old, nothing).lost == peers.change(old, nothing).before * peers.ONE
    assert peers.change(nothing, new).lost == 0
    change, back = peers.change(old, new), peers.change(old=new, new=old)
    assert (change.lost, change.gained) == (back.gained, back.lost)
    assert change.lost <= change.before * peers.ONE


@given(ADDRESSES, ADDRESSES)
def test_whatever_comes_to_a_set_is_no_loss(some, more):
    assert loss(knowing(a=some), knowing(a=some | more)) == 0


@given(ADDRESSES, ADDRESSES)
def test_a_loss_without_gain_is_seen_whatever_networks_the_rest_is_kept_in(some, gone):
    change = peers.change(knowing(a=some), knowing(a=some - gone))
    assert (change.loss > 0) == bool(some & gone)
    named = {
        number
        for _text, networks in change.sets
        for network in networks
        for number in range(int(ipaddress.ip_network(network)[0]), int(ipaddress.ip_network(network)[-1]) + 1)
    }
    assert some & gone <= named <= some


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_addresses_apart_from_each_other_are_counted(old, new):
    addresses = spread(100)
    change = peers.change(*(knowing(a=[addresses[one] for one in kept]) for kept in (old, new)))
    assert (change.lost, change.gained) == (len(old - new) * peers.ONE, len(new - old) * peers.ONE)
    assert change.loss == max(0, len(old) - len(new)) * peers.ONE


@pytest.mark.parametrize(
    "old, new, expected",
    [
        (["10.0.0.0/30"], ["10.0.0.0/31"], 0.5),
        (["10.0.0.0/24"], [f"10.0.0.{one}" for one in range(0, 256, 2)], 0.5),
        (["10.0.0.0/24"], ["10.0.0.1", "10.0.0.254"], 254 / 256),
        (["10.0.0.0", "10.0.0.2"], ["10.0.0.0/24"], 0),
        (["0.0.0.0/0"], ["0.0.0.0/1"], 0.5),
        (["10.0.0.0/24", "192.0.2.1", "192.0.2.3"], ["10.0.0.0/24"], 2),
        (["::/0"], ["8000::/1"], 0.5),
        (["fd00::/64"], ["fd00::1"], 1 - 2**-64),
        (["::/0"], ["::1"], 1 - 2**-128),
        (["10.0.0.0/8", "fd00::/8"], ["fd00::/8"], 1),
    ],
)
def test_part_of_a_network_is_part_of_a_peer(old, new, expected):
    assert math.isclose(loss(knowing(a=old), knowing(a=new)), expected)


def test_a_loss_is_exact_down_to_one_address_of_all():
    assert peers.change(knowing(a=["::/0"]), knowing(a=["::1"])).lost == peers.ONE - 1


def test_one_set_does_not_hide_the_loss_of_another():
    old = knowing(deny=["0.0.0.0/0"], clients=spread(9))
    assert loss(old, knowing(deny=["0.0.0.0/0"], clients=[])) == 9
    assert loss(old, knowing(deny=["0.0.0.0/0"])) == 9


def test_peers_that_take_the_place_of_others_are_no_loss():
    fresh = [f"192.0.2.{one}" for one in range(0, 10, 2)]
    assert loss(knowing(a=spread(5)), knowing(a=fresh)) == 0
    assert loss(knowing(a=spread(5)), knowing(b=spread(5))) == 0
    assert loss(knowing(a=spread(5)), knowing(a=fresh[:3])) == 2


def test_the_largest_loss_comes_first():
    change = peers.change(knowing(a=spread(2), b=spread(5), c=spread(1)), knowing(a=spread(1), c=spread(1)))
    assert change.sets == (("b", tuple(f"{one}/32" for one in spread(5))), ("a", (f"{spread(2)[1]}/32",)))


def test_a_set_that_is_emptied_is_told_however_large_the_others_are():
    old = knowing(deny=spread(500), clients=spread(3))
    assert peers.change(old, knowing(deny=spread(500), clients=[])).emptied == ("clients",)
    assert peers.change(old, knowing(deny=spread(500), clients=[], fresh=spread(9))).emptied == ("clients",)
    assert peers.change(old, knowing(deny=spread(500), clients=spread(1))).emptied == ()
    assert peers.change(old, knowing(deny=spread(500))).emptied == ()
    assert peers.change(knowing(a=[]), knowing(a=[])).emptied == ()
