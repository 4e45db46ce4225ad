# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from hypothesis import given

from ansible_collections.netpolicy.host.plugins.module_utils._policy import describe, model, read
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples


def test_no_policy_is_no_text():
    assert describe.describe(None) == ""


def test_a_policy_in_the_words_of_its_resources():
    text = describe.describe(samples.sample())
    lines = text.splitlines()
    assert [line for line in lines if not line.startswith(("set ", "ports "))] == [
        "endpoint node-1-eth0: on interface eth0 (192.0.2.10)",
        "endpoint node-1-eth0: untracked, tier default: GlobalNetworkPolicy/web",
        "endpoint node-1-eth0: untracked, tier default: GlobalNetworkPolicy/base",
        "endpoint node-1-eth0: pre-DNAT, tier security: GlobalNetworkPolicy/early",
        "endpoint node-1-eth0: normal, tier security, then deny: GlobalNetworkPolicy/planned",
        "endpoint node-1-eth0: normal, tier security, then deny: GlobalNetworkPolicy/tracked",
        "endpoint node-1-eth0: normal, tier default, then pass: GlobalNetworkPolicy/passing",
        "endpoint node-1-eth0: forward, tier default, then deny: GlobalNetworkPolicy/passing",
        "endpoint node-1-eth0: Profile/open",
        "endpoint node-1-eth1: on interface eth1",
        "endpoint node-1-management: on interfaces that have 10.9.0.1 or fd09::1",
        "endpoint node-1-others: on every other interface",
        "endpoint node-1-others: Profile/open",
        (
            "GlobalNetworkPolicy/web ingress: allow IPv4 TCP"
            ' from [role == "client"] [192.0.2.0/24] port 1024:65535 to port 80,443'
        ),
        'GlobalNetworkPolicy/web ingress: deny from [role == "client"]',
        "GlobalNetworkPolicy/web egress: allow TCP from port 80,443",
        "GlobalNetworkPolicy/base ingress: pass IPv6 ICMPv6",
        "GlobalNetworkPolicy/early ingress: deny TCP to port 25",
        "GlobalNetworkPolicy/planned: staged, to set: decides nothing",
        "GlobalNetworkPolicy/planned ingress: deny",
        "GlobalNetworkPolicy/tracked ingress: log not SCTP",
        (
            'GlobalNetworkPolicy/tracked ingress: allow TCP from not [role == "client"]'
            " not port [metrics on all()] to port 8080:8090,[metrics on all()] not port 8081:8082"
        ),
        "GlobalNetworkPolicy/tracked ingress: allow ICMP type 3 code 4 not type 8",
        "GlobalNetworkPolicy/tracked egress: no rules",
        "GlobalNetworkPolicy/passing egress: allow IPv6",
        "Profile/open ingress: allow",
        "Profile/open egress: allow",
        "failsafes inbound: TCP 22, TCP 179 10.0.0.0/8",
        "failsafes outbound: UDP 53 fd00::53/128",
        "interface eth0 has 192.0.2.10",
        "interface eth9 has 10.9.0.1, fe80::1",
        "setting drop_invalid: False",
        "setting log_prefix: net-policy",
        "setting log_rate: 10/second",
        "setting log_burst: 7",
        "setting mark_mask: 4278190080",
        "setting insert_first: False",
    ]
    sets = [line for line in lines if line.startswith("set ")]
    assert len(sets) == 2
    assert sets[0].startswith("set [192.0.2.0/24]: 1 members (")
    assert sets[0].endswith("): 192.0.2.0/24")
    assert sets[1].endswith("): 10.0.0.0/8, fd00::/64, fd01::1/128")
    (ports,) = (line for line in lines if line.startswith("ports "))
    assert ports.startswith("ports [metrics on all()]: 3 members (")
    assert ports.endswith("): 10.0.0.1 TCP 9100, 10.0.0.2 TCP 9200, fd00::1 TCP 9100")


def test_usual_settings_are_not_told():
    assert describe.describe(samples.untracked_sample()).count("setting") == 0


SAMPLE = samples.written_out(samples.sample())
# Not told: the host's own name, whose policy no other replaces; and where rules are written.
UNTOLD = ("node", "places", "format")


def _changes() -> t.Iterator[tuple[samples.Steps, t.Any]]:
    """Every position of the sample with the values to try there."""
    for steps in samples.positions(SAMPLE):
        if not steps or steps[0] in UNTOLD:
            continue
        value = samples.value_at(SAMPLE, steps)
        others: dict[type, list[t.Any]] = {
            bool: [not value],
            int: [value + 1] if isinstance(value, int) else [],
            type(None): [6, []],
        }
        yield from ((steps, samples.replaced(SAMPLE, steps, new)) for new in others.get(type(value), []))
        if isinstance(value, str):
            news = [
                "eth7",
                "other",
                "deny",
                "pass",
                "ignore",
                "10.0.0.9",
                "10.9.9.0/24",
                "fd99::/64",
                "9/day",
            ]
            yield from ((steps, samples.replaced(SAMPLE, steps, new)) for new in news if new != value)
        if isinstance(steps[-1], int):
            yield steps, samples.without(SAMPLE, steps)
        if value == []:
            yield steps, samples.replaced(SAMPLE, steps, None)


def test_a_change_of_any_field_shows():
    """Whatever is changed, or left out of a list: the policy is refused or has another text."""
    before = describe.describe(samples.sample())
    tried: set[t.Any] = set()
    unseen = []
    for steps, data in _changes():
        try:
            after = read.from_dict(data)
        except read.PolicyFormatError:
            continue
        tried.add(tuple("*" if isinstance(step, int) else step for step in steps)[-1])
        if describe.describe(after) == before:
            unseen.append(steps)
    assert unseen == []
    # Also that this has tried what it says.
    assert tried >= {
        *(
            "interface",
            "name",
            "default_action",
            "staged",
            "action",
            "protocol",
            "not_protocol",
            "ip_version",
        ),
        *("type", "code", "egress", "port", "net", "text", *SAMPLE["settings"], "*"),
    }


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
    governing = {key for one in policy.endpoints for key in one.policy_keys}
    for key in governing:
        member = policy.policies[key]
        assert f": {key}\n" in text
        assert (f"{key}: staged, to {member.staged}: " in text) == (member.staged is not None)
        for rule in member.all_rules:
            assert f"{key} {rule.origin.direction}: {rule.action}" in text


@pytest.mark.parametrize("number, name", [(6, "TCP"), (58, "ICMPv6"), (136, "UDPLite"), (47, "47"), (0, "0")])
def test_protocol_names(number, name):
    assert describe.protocol_name(number) == name
