# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

from ansible_collections.netpolicy.host.plugins.module_utils._policy import describe, model, read
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples


def test_no_policy_is_no_text():
    assert describe.describe(None) == ""


def test_a_policy_in_the_words_of_its_resources():
    text = describe.describe(samples.sample())
    lines = text.splitlines()
    assert [line for line in lines if not line.startswith("set ")] == [
        "endpoint node-1-eth0 on interface eth0",
        "  untracked, tier default",
        "    GlobalNetworkPolicy/web",
        (
            "      ingress 0: allow IPv4 TCP"
            ' from [role == "client"] [192.0.2.0/24] port 1024:65535 to port 80,443'
        ),
        '      ingress 1: deny from [role == "client"]',
        "      egress 0: allow TCP from port 80,443",
        "    GlobalNetworkPolicy/base",
        "      ingress 0: pass IPv6 ICMPv6",
        "endpoint node-1-eth1 on interface eth1",
        "failsafes inbound: TCP 22, TCP 179 10.0.0.0/8",
        "failsafes outbound: UDP 53 fd00::53/128",
    ]
    sets = [line for line in lines if line.startswith("set ")]
    assert len(sets) == 2
    assert sets[0].startswith("set [192.0.2.0/24]: 1 members (")
    assert sets[0].endswith("): 192.0.2.0/24")
    assert sets[1].endswith("): 10.0.0.0/8, fd00::/64, fd01::1/128")


def test_a_long_set_is_cut_and_an_empty_one_shows_no_members():
    nets = tuple(f"10.0.{index}.0/24" for index in range(0, 20, 2))
    sets = {"a": model.AddressSet("long", nets), "b": model.AddressSet("empty")}
    long, empty = describe.describe(model.HostPolicy("node", sets=sets)).splitlines()
    assert "long]: 10 members" in long
    assert long.endswith("10.0.0.0/24, 10.0.2.0/24, 10.0.4.0/24, 10.0.6.0/24, 10.0.8.0/24, …")
    assert empty.endswith(")")


@given(samples.host_policies(), samples.ADDRESS_SETS)
def test_a_change_of_any_member_shows(policy, other):
    for name, members in policy.sets.items():
        changed = dataclasses.replace(
            policy, sets={**policy.sets, name: dataclasses.replace(other, text=members.text)}
        )
        same = (other.v4, other.v6) == (members.v4, members.v6)
        assert (describe.describe(changed) == describe.describe(policy)) == same


@given(samples.host_policies())
def test_equal_policies_have_equal_text(policy):
    text = describe.describe(policy)
    assert describe.describe(read.loads(model.dumps(policy))) == text
    assert text == "" or text.endswith("\n")


@given(samples.host_policies())
def test_every_rule_in_force_shows(policy):
    text = describe.describe(policy)
    governing = {key for one in policy.endpoints for tier in one.untracked for key in tier.policies}
    for key in governing:
        assert f"    {key}\n" in text
        for rule in policy.policies[key].all_rules:
            assert f"      {rule.origin.direction} {rule.origin.rule}: {rule.action}" in text


@pytest.mark.parametrize("number, name", [(6, "TCP"), (58, "ICMPv6"), (136, "UDPLite"), (47, "47"), (0, "0")])
def test_protocol_names(number, name):
    assert describe.protocol_name(number) == name
