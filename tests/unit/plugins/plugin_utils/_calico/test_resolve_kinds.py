# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of policies of every kind, of profiles, named ports, and endpoints that name no interface."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.kinds import parse_all
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import Resolver
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import corpus
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico.written import (
    Written,
    endpoint,
    policy,
    resource,
)

if t.TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

ALLOW = {"action": "Allow"}


def resolver(*written: Written, **options: t.Any) -> Resolver:
    parsed, findings = parse_all(written)
    assert findings == []
    return Resolver(parsed, **options)


def compiled(*written: Written, **options: t.Any) -> model.HostPolicy:
    return resolver(*written, **options).host_policy("node")


def tracked(name: str, **spec: t.Any) -> Written:
    return resource("GlobalNetworkPolicy", name, {"ingress": [ALLOW], **spec})


def staged(name: str, **spec: t.Any) -> Written:
    return resource("StagedGlobalNetworkPolicy", name, {"ingress": [ALLOW], **spec})


def profile(name: str, **spec: t.Any) -> Written:
    return resource("Profile", name, spec)


# -- lists -------------------------------------------------------------------------------------------


def test_a_policy_stands_in_the_lists_that_its_flags_say():
    (found,) = compiled(
        endpoint(),
        policy("untracked"),
        tracked("plain"),
        tracked("through", applyOnForward=True),
        tracked("early", applyOnForward=True, preDNAT=True),
    ).endpoints
    keys = {name: [key for tier in tiers for key in tier.policies] for name, tiers in found.tiers.items()}
    assert keys == {
        "untracked": ["GlobalNetworkPolicy/untracked"],
        "pre_dnat": ["GlobalNetworkPolicy/early"],
        "normal": ["GlobalNetworkPolicy/plain", "GlobalNetworkPolicy/through"],
        "forward": ["GlobalNetworkPolicy/through"],
    }


def test_the_end_of_a_tier_counts_in_normal_and_forward_policy_alone():
    tier = resource("Tier", "first", {"order": 1, "defaultAction": "Pass"})
    members = [
        each
        for place in ("first", "default")
        for each in (
            policy(f"{place}.untracked", tier=place),
            tracked(f"{place}.through", tier=place, applyOnForward=True),
            tracked(f"{place}.early", tier=place, applyOnForward=True, preDNAT=True),
        )
    ]
    (found,) = compiled(endpoint(), tier, *members).endpoints
    actions = {name: [tier.default_action for tier in tiers] for name, tiers in found.tiers.items()}
    assert actions == {
        "untracked": ["pass", "pass"],
        "pre_dnat": ["pass", "pass"],
        "normal": ["pass", "deny"],
        "forward": ["pass", "deny"],
    }


def test_a_staged_policy_stands_at_its_place_and_says_so():
    found = compiled(endpoint(), staged("b", stagedAction="Learn"), tracked("b"), tracked("a", order=1))
    keys = ["GlobalNetworkPolicy/a", "GlobalNetworkPolicy/b", "StagedGlobalNetworkPolicy/b"]
    assert list(found.endpoints[0].normal[0].policies) == keys
    assert [found.policies[key].staged for key in keys] == [None, None, "learn"]


# -- profiles ----------------------------------------------------------------------------------------


def test_profiles_give_labels_the_endpoint_itself_first_then_in_their_order():
    found = compiled(
        endpoint(labels={"own": "mine"}, profiles=["one", "two"]),
        profile("one", labelsToApply={"own": "theirs", "both": "one"}),
        profile("two", labelsToApply={"both": "two", "second": "two"}),
        tracked("a", selector="own == 'mine' && both == 'one' && second == 'two'"),
    )
    assert [tier.policies for tier in found.endpoints[0].normal] == [("GlobalNetworkPolicy/a",)]


def test_profiles_keep_their_order_and_those_behind_a_missing_one_are_never_asked():
    written = [endpoint(profiles=["b", "a", "missing", "c"]), *(profile(name) for name in "abc")]
    assert compiled(*written).endpoints[0].profiles == ("Profile/b", "Profile/a")
    assert [(one.path, one.name) for one in resolver(*written).findings()] == [
        ("spec.profiles[2]", "node-eth0")
    ]


def test_rules_of_profiles_are_resolved_like_any_others():
    rule = {**ALLOW, "source": {"selector": "has(x)"}}
    found = compiled(
        endpoint(labels={"x": ""}, expectedIPs=["192.0.2.1"], profiles=["a"]), profile("a", ingress=[rule])
    )
    (name,) = found.policies["Profile/a"].rules("ingress")[0].source.sets
    assert found.sets[name].v4 == ("192.0.2.1/32",)
    assert found.policies["Profile/a"].governs("egress")


def test_calicos_profile_that_allows_everything_is_always_there():
    found = resolver(endpoint(profiles=["projectcalico-default-allow"]))
    policy_of_host = found.host_policy("node")
    assert policy_of_host.endpoints[0].profiles == ("Profile/projectcalico-default-allow",)
    (member,) = policy_of_host.policies.values()
    assert [(rule.origin.direction, rule.action) for rule in member.all_rules] == [
        ("ingress", "allow"),
        ("egress", "allow"),
    ]
    assert found.findings() == []


# -- named ports -------------------------------------------------------------------------------------

WEB = {"name": "web", "protocol": "TCP", "port": 8080}


def named(ports: list[t.Any], *others: Written, protocol: t.Any = None, **side: t.Any) -> model.PortSet:
    rule = {**ALLOW, "protocol": protocol, "destination": {"ports": ports, **side}}
    found = compiled(endpoint(), *others, policy("a", ingress=[rule]))
    (name,) = found.policies["GlobalNetworkPolicy/a"].rules("ingress")[0].destination.named_ports
    return found.port_sets[name]


SERVERS = [
    endpoint("one", {"x": ""}, "other", expectedIPs=["192.0.2.1", "2001:db8::1"], ports=[WEB]),
    endpoint("two", {}, "third", expectedIPs=["192.0.2.2"], ports=[WEB, {**WEB, "protocol": 17, "port": 53}]),
    endpoint("unknown", {"x": ""}, "fourth", ports=[WEB]),
]


def test_a_named_port_is_where_endpoints_have_it_of_all_hosts():
    found = named(["web"], *SERVERS)
    assert found.v4 == (("192.0.2.1", 6, 8080), ("192.0.2.2", 6, 8080), ("192.0.2.2", 17, 53))
    assert found.v6 == (("2001:db8::1", 6, 8080),)


def test_a_rule_with_a_protocol_asks_for_ports_of_that_protocol():
    assert named(["web"], *SERVERS, protocol="UDP").v4 == (("192.0.2.2", 17, 53),)


def test_a_named_port_is_of_the_endpoints_that_the_rules_selector_picks():
    assert named(["web"], *SERVERS, selector="has(x)").v4 == (("192.0.2.1", 6, 8080),)
    excluded = named(["web"], *SERVERS, selector="all()", notSelector="has(x)")
    assert excluded.v4 == (("192.0.2.2", 6, 8080), ("192.0.2.2", 17, 53))


def test_numbers_and_names_of_ports_stand_side_by_side():
    rule = {**ALLOW, "protocol": "TCP", "source": {"ports": [80, "web"], "notPorts": ["web", "81:82"]}}
    found = compiled(endpoint(), *SERVERS, policy("a", egress=[rule]))
    side = found.policies["GlobalNetworkPolicy/a"].rules("egress")[0].source
    assert (side.ports, side.not_ports) == (((80, 80),), ((81, 82),))
    assert side.named_ports == side.not_named_ports
    assert set(found.port_sets) == set(side.named_ports)


def test_a_named_port_that_nobody_has_is_told():
    rule = {**ALLOW, "protocol": "TCP", "destination": {"ports": ["wbe"]}}
    answer = {**ALLOW, "protocol": "TCP", "source": {"ports": ["wbe"]}}
    found = resolver(endpoint(), *SERVERS, policy("a", ingress=[rule], egress=[answer])).findings()
    assert [(one.path, one.message) for one in found] == [
        (
            "spec.ingress[0].destination.ports",
            (
                "found 'wbe', and there is no TCP port wbe of all() whose address is known "
                "(and 1 more uses of it)"
            ),
        )
    ]


# -- where an endpoint is ----------------------------------------------------------------------------


def by_address(name: str, *addresses: str, node: str = "node") -> Written:
    return resource("HostEndpoint", name, {"node": node, "expectedIPs": list(addresses)})


def test_an_endpoint_without_interface_is_where_its_addresses_are():
    known = {"node": {"eth0": ["192.0.2.1"], "eth1": []}}
    found = compiled(by_address("b", "192.0.2.1"), by_address("a", "2001:db8::1"), interfaces=known)
    assert [(one.name, one.interface, one.addresses) for one in found.endpoints] == [
        ("a", None, ("2001:db8::1",)),
        ("b", None, ("192.0.2.1",)),
    ]
    assert found.interfaces == {"eth0": ("192.0.2.1",), "eth1": ()}


def test_addresses_of_interfaces_are_part_of_the_policy_only_where_they_decide():
    known = {"node": {"eth0": ["192.0.2.1"]}}
    assert compiled(endpoint(), interfaces=known) == compiled(endpoint())


def test_of_several_endpoints_for_every_interface_the_first_by_name_governs():
    found = compiled(endpoint("b", interface="*"), endpoint("a", interface="*"), endpoint("c"))
    assert [(one.name, one.interface) for one in found.endpoints] == [("a", "*"), ("c", "eth0")]


# -- the corpus --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", corpus.cases("extras.json", lambda case: case["type"] == "tier_order"))
def test_corpus_tier_order(case):
    existing = [tier for tier in case["input"] if tier["exists"]]
    tiers = [
        resource("Tier", tier["name"].lower(), {} if tier["order"] is None else {"order": tier["order"]})
        for tier in existing
    ]
    members = [tracked(f"{tier['name'].lower()}.a", tier=tier["name"].lower()) for tier in existing]
    found = compiled(endpoint(), *tiers, *members).endpoints[0].normal
    assert [tier.name for tier in found] == [one["name"].lower() for one in case["sorted"] if one["exists"]]


@pytest.mark.parametrize("case", corpus.cases("extras.json", lambda case: case["type"] == "failsafe_ports"))
def test_corpus_failsafe_ports(case):
    if case["error"]:
        pytest.skip("text that Felix takes from its environment, where v3 has a list that cannot hold it")
    written = [
        {**port, "protocol": port["protocol"].upper(), **({"net": port["net"]} if port.get("net") else {})}
        for port in case["ports"]
    ]
    name = case["param"][0].lower() + case["param"][1:]
    spec = {} if case["value"] == "" else {name: written}
    found = compiled(endpoint(), resource("FelixConfiguration", "default", spec)).failsafes
    ports = found.inbound if "Inbound" in case["param"] else found.outbound
    assert [(each.protocol, each.port, each.net) for each in ports] == [
        ({"tcp": 6, "udp": 17}[port["protocol"]], port["port"], port.get("net")) for port in case["ports"]
    ]


# -- remarks -----------------------------------------------------------------------------------------


def test_a_deny_that_failsafes_bypass_is_told_where_a_host_of_its_own_has_them():
    deny = policy("deny", selector="has(x)", ingress=[{"action": "Deny"}])
    none_here = resource("FelixConfiguration", "node.node", {"failsafeOutboundHostPorts": []})
    written = [endpoint(labels={"x": ""}), endpoint("other", node="two"), deny]
    (found,) = resolver(*written).findings()
    assert (found.path, found.message[:50]) == (
        "spec.ingress[0]",
        "does not deny what comes from a failsafe's port (U",
    )
    assert resolver(*written, none_here).findings() == []
