# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import itertools
import random
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, read
from ansible_collections.netpolicy.host.plugins.module_utils._policy import packet as packets
from ansible_collections.netpolicy.host.plugins.module_utils._policy import verdict as evaluator
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import (
    kinds,
    resources,
    selector,
    values,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import (
    DEFAULT_FAILSAFES,
    Resolver,
)
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico.written import (
    Written,
    endpoint,
    network_set,
    policy,
)

KIND = "GlobalNetworkPolicy"
ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}


def resolver(*written: Written, addresses: t.Mapping[str, t.Sequence[str]] | None = None) -> Resolver:
    parsed, findings = kinds.parse_all(written)
    assert findings == []
    known = {name: [values.address(one) for one in ones] for name, ones in (addresses or {}).items()}
    return Resolver(parsed, known)


def compiled(*written: Written, **options: t.Any) -> model.HostPolicy:
    return resolver(*written, **options).host_policy("node")


def keys(found: model.HostPolicy) -> list[str]:
    """Names of the policies of the first endpoint, in order."""
    return [key.partition("/")[2] for tier in found.endpoints[0].untracked for key in tier.policies]


def the_set(*written: Written, text: str = "has(x)", **options: t.Any) -> model.AddressSet:
    """What a selector in a rule stands for."""
    found = compiled(
        endpoint(), policy(ingress=[{**ALLOW, "source": {"selector": text}}]), *written, **options
    )
    ((name,),) = (rule.source.sets for rule in found.policies[f"{KIND}/web"].all_rules)
    assert name == selector.parse(text).unique_id
    assert found.sets[name].text == selector.parse(text).canonical
    return found.sets[name]


# -- a whole policy ----------------------------------------------------------------------------------


def test_a_policy_of_one_host():
    found = compiled(
        endpoint(labels={"role": "web"}, expectedIPs=["192.0.2.1"]),
        policy(
            selector="role == 'web'",
            ingress=[
                {
                    "action": "Allow",
                    "protocol": "TCP",
                    "source": {"selector": "has(client)"},
                    "destination": {"ports": [443, 80, "81:90"]},
                }
            ],
            egress=[{"action": "Pass", "protocol": "ICMPv6", "destination": {"nets": ["fd00::/8"]}}],
        ),
        network_set("clients", ["198.51.100.0/24", "2001:db8::/32"], {"client": ""}),
    )
    clients = selector.parse("has(client)").unique_id
    (nets,) = set(found.sets) - {clients}
    assert found == model.HostPolicy(
        node="node",
        endpoints=(
            model.Endpoint(
                "node-eth0",
                "eth0",
                untracked=(model.Tier("default", (f"{KIND}/web",)),),
                addresses=("192.0.2.1",),
            ),
        ),
        policies={
            f"{KIND}/web": model.Policy(
                KIND,
                "web",
                ingress=(
                    model.Rule(
                        model.Origin(KIND, "web", "ingress", 0),
                        "allow",
                        protocol=6,
                        source=model.Side((clients,)),
                        destination=model.Side((), ((80, 90), (443, 443))),
                    ),
                ),
                egress=(
                    model.Rule(
                        model.Origin(KIND, "web", "egress", 0),
                        "pass",
                        protocol=58,
                        ip_version=6,
                        destination=model.Side((nets,)),
                    ),
                ),
            )
        },
        sets={
            clients: model.AddressSet("has(client)", ("198.51.100.0/24",), ("2001:db8::/32",)),
            nets: model.AddressSet("fd00::/8", (), ("fd00::/8",)),
        },
        failsafes=DEFAULT_FAILSAFES,
    )


def test_it_can_be_written_and_read():
    found = compiled(endpoint(), policy(ingress=[{**ALLOW, "source": {"nets": ["10.0.0.0/8"]}}]))
    assert read.loads(model.dumps(found)) == found


def test_the_failsafes_of_calico():
    """semantics: FelixConfiguration's defaults."""
    both = {(6, port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)}
    inbound, outbound = (
        {(entry.protocol, entry.port) for entry in entries if entry.net is None}
        for entries in (DEFAULT_FAILSAFES.inbound, DEFAULT_FAILSAFES.outbound)
    )
    assert inbound == both | {(6, 22), (17, 68)}
    assert outbound == both | {(17, 53), (17, 67)}
    assert compiled().failsafes == DEFAULT_FAILSAFES


# -- which policies, in which order ------------------------------------------------------------------


def test_policies_are_those_whose_selector_picks_the_endpoint():
    found = compiled(
        endpoint(labels={"role": "web"}),
        policy("a", selector="role == 'web'"),
        policy("b", selector="role == 'db'"),
        policy("c"),
        policy("d", selector="!has(role)"),
    )
    assert keys(found) == ["a", "c"]
    assert set(found.policies) == {f"{KIND}/a", f"{KIND}/c"}


@pytest.mark.parametrize(
    "orders, expected",
    [
        ({"a": 2, "b": 1, "c": 3}, "bac"),
        ({"a": None, "b": 1, "c": -1}, "cba"),
        ({"c": 1, "b": 1, "a": 1}, "abc"),
        ({"b": None, "a": None, "c": 10**9}, "cab"),
        ({"a": 1.5, "b": 1.25, "c": 0}, "cba"),
    ],
)
def test_policies_stand_by_order_then_name(orders, expected):
    written = [policy(name, order=order) for name, order in orders.items()]
    for turned in itertools.permutations(written):
        assert "".join(keys(compiled(endpoint(), *turned))) == expected


def test_an_endpoint_without_policy_has_no_tier():
    found = compiled(endpoint(), policy(selector="has(nobody)"))
    assert found.endpoints == (model.Endpoint("node-eth0", "eth0", ()),)
    assert found.policies == {}


@pytest.mark.parametrize(
    "types, directions",
    [
        (None, ["ingress", "egress"]),
        (["Ingress"], ["ingress"]),
        (["Egress"], ["egress"]),
        (["Egress", "Ingress"], ["ingress", "egress"]),
    ],
)
def test_rules_of_a_direction_that_is_not_governed_do_not_count(types, directions):
    found = compiled(
        endpoint(),
        policy(
            types=types,
            ingress=[{**ALLOW, "source": {"selector": "has(in)"}}],
            egress=[{**ALLOW, "destination": {"selector": "has(out)"}}],
        ),
    )
    member = found.policies[f"{KIND}/web"]
    rules = {"ingress": member.ingress, "egress": member.egress}
    assert [direction for direction in rules if rules[direction]] == directions
    assert [direction for direction in rules if rules[direction] is not None] == directions
    assert {members.text for members in found.sets.values()} == {
        {"ingress": "has(in)", "egress": "has(out)"}[direction] for direction in directions
    }


# -- endpoints ---------------------------------------------------------------------------------------


def test_only_the_hosts_own_endpoints():
    both = resolver(
        endpoint("a", node="one"), endpoint("b", node="two"), endpoint("c", node="two", interface="eth1")
    )
    assert [one.name for one in both.host_policy("one").endpoints] == ["a"]
    assert [one.name for one in both.host_policy("two").endpoints] == ["b", "c"]
    assert both.host_policy("three").endpoints == ()


def test_the_first_endpoint_by_name_governs_an_interface():
    first, second = endpoint("a", {"role": "a"}), endpoint("b", {"role": "b"})
    policies = [policy("a", selector="role == 'a'"), policy("b", selector="role == 'b'")]
    for written in ([first, second], [second, first]):
        found = resolver(*written, *policies).host_policy("node")
        assert [one.name for one in found.endpoints] == ["a"]
        assert set(found.policies) == {f"{KIND}/a"}


def test_the_same_interface_of_another_host_is_another_interface():
    both = resolver(endpoint("a", node="one"), endpoint("b", node="two"))
    assert [one.name for one in both.host_policy("two").endpoints] == ["b"]


def test_an_inactive_endpoint_still_has_addresses():
    found = the_set(endpoint("node-eth0-old", {"x": ""}, expectedIPs=["192.0.2.9"]), endpoint("z", {"x": ""}))
    assert found.v4 == ("192.0.2.9/32",)


# -- selectors and nets ------------------------------------------------------------------------------


def test_a_selector_stands_for_endpoints_and_network_sets_of_all_hosts():
    found = the_set(
        endpoint("a", {"x": "1"}, node="one", expectedIPs=["192.0.2.1", "2001:db8::1"]),
        endpoint("b", {"x": "2"}, node="two", expectedIPs=["192.0.2.9"]),
        endpoint("c", {"y": "2"}, node="two", interface="eth1", expectedIPs=["192.0.2.99"]),
        network_set("s", ["198.51.100.0/24", "fd00::/8"], {"x": ""}),
        network_set("t", ["203.0.113.0/24"]),
    )
    assert found.v4 == ("192.0.2.1/32", "192.0.2.9/32", "198.51.100.0/24")
    assert found.v6 == ("2001:db8::1/128", "fd00::/8")


def test_expected_ips_come_before_known_addresses():
    addresses = {"a": ["192.0.2.1", "fd00::1"], "b": ["192.0.2.2"]}
    found = the_set(
        endpoint("a", {"x": ""}, node="one", expectedIPs=["198.51.100.1"]),
        endpoint("b", {"x": ""}, node="two"),
        endpoint("c", {"x": ""}, node="three"),
        addresses=addresses,
    )
    assert (found.v4, found.v6) == (("192.0.2.2/32", "198.51.100.1/32"), ())


def test_a_selector_that_picks_nothing_is_an_empty_set():
    found = the_set(network_set("s", ["10.0.0.0/8"], {"y": ""}))
    assert (found.v4, found.v6) == ((), ())


@pytest.mark.parametrize(
    "nets, collapsed",
    [
        (["10.0.0.0/9", "10.128.0.0/9"], ("10.0.0.0/8",)),
        (["10.0.0.0/8", "10.1.0.0/16", "10.0.0.1"], ("10.0.0.0/8",)),
        (["10.0.0.1", "10.0.0.1"], ("10.0.0.1/32",)),
        (["10.0.0.2", "10.0.0.1"], ("10.0.0.1/32", "10.0.0.2/32")),
        (["9.0.0.0/8", "10.0.0.0/8", "100.0.0.0/8"], ("9.0.0.0/8", "10.0.0.0/8", "100.0.0.0/8")),
    ],
)
def test_sets_are_disjoint_and_sorted_by_number(nets, collapsed):
    assert the_set(network_set("s", nets, {"x": ""})).v4 == collapsed


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), max_size=8))
def test_a_set_holds_the_same_addresses_as_its_networks(numbers):
    networks = [ipaddress.IPv4Network(number, strict=False) for number in numbers]
    found = [
        ipaddress.IPv4Network(text)
        for text in the_set(network_set("s", [str(one) for one in networks], {"x": ""})).v4
    ]
    for one, other in itertools.pairwise(found):
        assert one.broadcast_address < other.network_address
    for network in networks:
        assert any(network.subnet_of(one) for one in found)
    assert sum(one.num_addresses for one in found) == sum(
        one.num_addresses for one in ipaddress.collapse_addresses(networks)
    )


def test_equal_selectors_share_one_set():
    rules = [{**ALLOW, "source": {"selector": text}} for text in ("has(x)", " has( x ) ")]
    found = compiled(endpoint(), policy(ingress=rules))
    assert len(found.sets) == 1


def test_nets_are_a_set_of_their_own_whatever_their_order():
    nets = ["10.0.0.0/9", "10.128.0.0/9", "192.0.2.0/24"]
    rules = [{**ALLOW, "source": {"nets": ordered}} for ordered in (nets, nets[::-1])]
    found = compiled(endpoint(), policy(ingress=rules))
    (members,) = found.sets.values()
    assert members.v4 == ("10.0.0.0/8", "192.0.2.0/24")
    assert members.text == "10.0.0.0/9, 10.128.0.0/9, 192.0.2.0/24"


def test_many_nets_are_named_by_the_first():
    nets = [f"10.0.{last}.0/24" for last in range(0, 10, 2)]
    found = compiled(endpoint(), policy(ingress=[{**ALLOW, "source": {"nets": nets}}]))
    assert [members.text for members in found.sets.values()] == ["10.0.0.0/24, 10.0.2.0/24, 10.0.4.0/24, …"]


def test_selector_and_nets_of_a_side_are_two_sets():
    found = compiled(
        endpoint(),
        policy(ingress=[{**ALLOW, "destination": {"selector": "has(x)", "nets": ["10.0.0.0/8"]}}]),
    )
    (rule,) = found.policies[f"{KIND}/web"].all_rules
    assert len(rule.destination.sets) == 2
    assert set(rule.destination.sets) == set(found.sets)
    assert rule.source == model.Side()


PORTS = st.tuples(st.integers(1, 65535), st.integers(0, 2000)).map(
    lambda found: (found[0], min(found[0] + found[1], 65535))
)


@given(st.lists(PORTS, max_size=6))
def test_ports_are_disjoint_sorted_ranges_of_the_same_ports(ranges):
    rule = {**ALLOW, "protocol": "TCP", "source": {"ports": [f"{first}:{last}" for first, last in ranges]}}
    (compiled_rule,) = compiled(endpoint(), policy(ingress=[rule])).policies[f"{KIND}/web"].all_rules
    found = compiled_rule.source.ports
    for (_first, last), (following, _last) in itertools.pairwise(found):
        assert last + 1 < following
    covered = {port for first, last in ranges for port in range(first, last + 1)}
    assert {port for first, last in found for port in range(first, last + 1)} == covered


# -- any resources -----------------------------------------------------------------------------------

LABELS = st.dictionaries(st.sampled_from(("x", "y")), st.sampled_from(("", "1", "2")), max_size=2)
ADDRESSES = ("192.0.2.1", "192.0.2.2", "10.1.0.1", "fd00::1", "2001:db8::2")
SELECTORS = st.sampled_from(("all()", "has(x)", "x == '1'", "y != '2'", "!has(y)", "has(nobody)"))
ENTITIES = st.fixed_dictionaries(
    {},
    optional={
        "selector": SELECTORS,
        "nets": st.sampled_from((["10.0.0.0/8"], ["192.0.2.0/31", "10.1.0.0/16"])),
    },
)
RULES = st.lists(
    st.fixed_dictionaries(
        {"action": st.sampled_from(("Allow", "Deny", "Pass")), "source": ENTITIES, "destination": ENTITIES}
    ),
    max_size=3,
)


@st.composite
def whole_inventories(draw: st.DrawFn) -> list[Written]:
    """Endpoints of three hosts, network sets and policies, of distinct names."""
    written: list[Written] = []
    for node in draw(st.lists(st.sampled_from(("node", "one", "two")), max_size=4)):
        ips = draw(st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True))
        interface = draw(st.sampled_from(("eth0", "eth1")))
        written.append(
            endpoint(f"{node}-{len(written)}", draw(LABELS), node=node, interface=interface, expectedIPs=ips)
        )
    for index in range(draw(st.integers(0, 2))):
        nets = draw(st.lists(st.sampled_from(("10.0.0.0/16", "192.0.2.2", "fd00::/16")), max_size=2))
        written.append(network_set(f"set-{index}", nets, draw(LABELS)))
    policies = [
        policy(
            f"policy-{index}",
            order=draw(st.sampled_from((None, 1, 2))),
            selector=draw(SELECTORS),
            ingress=draw(RULES),
            egress=draw(RULES),
        )
        for index in range(draw(st.integers(0, 3)))
    ]
    return written + policies


@given(whole_inventories(), st.integers())
def test_the_order_of_resources_does_not_matter(written, seed):
    turned = list(written)
    random.Random(seed).shuffle(turned)
    for node in ("node", "one", "two"):
        found, other = (resolver(*ones).host_policy(node) for ones in (written, turned))
        assert model.dumps(found) == model.dumps(other)


@given(whole_inventories())
def test_a_policy_holds_exactly_what_its_endpoints_refer_to(written):
    for node in ("node", "one", "two"):
        found = resolver(*written).host_policy(node)
        used = {key for one in found.endpoints for tier in one.untracked for key in tier.policies}
        assert set(found.policies) == used
        rules = [rule for member in found.policies.values() for rule in member.all_rules]
        assert set(found.sets) == {
            name for rule in rules for name in rule.source.sets + rule.destination.sets
        }
        assert read.loads(model.dumps(found)) == found


@given(whole_inventories())
def test_an_unrelated_host_changes_nobody_elses_policy(written):
    """It has no label and no address, and its policy picks nobody else."""
    stranger = [
        endpoint("stranger", {"stranger": ""}, node="stranger"),
        policy("stranger", selector="has(stranger)", ingress=[{**ALLOW, "source": {"selector": "has(x)"}}]),
    ]
    for node in ("node", "one", "two"):
        assert resolver(*written, *stranger).host_policy(node) == resolver(*written).host_policy(node)


def naive(written: list[Written], interface: str, src: str, dst: str) -> str:
    """What Calico's rules say about a packet that arrives on host `node`, straight from the resources."""
    parsed, _findings = kinds.parse_all(written)
    endpoints = [one for one in parsed if isinstance(one, resources.HostEndpoint)]
    sets = [one for one in parsed if isinstance(one, resources.GlobalNetworkSet)]
    policies = [one for one in parsed if isinstance(one, resources.GlobalNetworkPolicy)]
    own = sorted((one.name, one) for one in endpoints if (one.node, one.interface) == ("node", interface))
    if not own:
        return "tracked"

    def picked(entity: resources.Entity, address: str) -> bool:
        ip = ipaddress.ip_address(address)
        by_nets = not entity.nets or any(ip in net for net in entity.nets)
        if entity.selector is None:
            return by_nets
        known = [
            ipaddress.ip_network(one)
            for hep in endpoints
            if entity.selector.matches(hep.labels)
            for one in hep.expected_ips
        ]
        picked_sets = [one for one in sets if entity.selector.matches(one.labels)]
        known += [ipaddress.ip_network(str(net)) for one in picked_sets for net in one.nets]
        return by_nets and any(ip in net for net in known)

    for member in sorted(
        policies, key=lambda one: (float("inf") if one.order is None else one.order, one.name)
    ):
        if not member.selector.matches(own[0][1].labels) or "ingress" not in member.types:
            continue
        for rule in member.ingress:
            if picked(rule.source, src) and picked(rule.destination, dst):
                if rule.action == "pass":
                    return "tracked"  # there is one tier
                return rule.action
    return "tracked"


@given(
    whole_inventories(),
    st.sampled_from(("eth0", "eth1")),
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES),
)
def test_the_compiled_policy_decides_as_the_resources_say(written, interface, src, dst):
    if (":" in src) != (":" in dst):
        return
    packet = packets.packet(
        {"direction": "ingress", "interface": interface, "protocol": 47, "src": src, "dst": dst}
    )
    found = evaluator.raw(compiled(*written), packet)
    assert ("tracked" if found.tracked else found.action) == naive(written, interface, src, dst)


# -- warnings ----------------------------------------------------------------------------------------


def warnings(*written: Written, **options: t.Any) -> list[tuple[str, str, str]]:
    return [
        (finding.name, finding.path, finding.message) for finding in resolver(*written, **options).findings()
    ]


SSH = {**DENY, "protocol": "TCP", "destination": {"ports": [22]}}
SELECTS_X = policy(ingress=[ALLOW], egress=[SSH, {**ALLOW, "destination": {"selector": "has(x)"}}])


def test_a_selector_that_picks_nothing_is_told():
    assert warnings(endpoint(), SELECTS_X) == [
        (
            "web",
            "spec.egress[1].destination.selector",
            "picks no host endpoint and no network set",
        )
    ]


def test_an_endpoint_of_unknown_address_is_told():
    ((name, path, message),) = warnings(endpoint(labels={"x": ""}), SELECTS_X)
    assert (name, path) == ("web", "spec.egress[1].destination.selector")
    assert message.startswith("picks 1 endpoints of which no address is known (node-eth0), so ")


def test_many_endpoints_of_unknown_address_are_told_once():
    endpoints = [endpoint(f"e{number}", {"x": ""}, interface=f"eth{number}") for number in range(5)]
    ((_name, _path, message),) = warnings(*endpoints, SELECTS_X)
    assert message.startswith("picks 5 endpoints of which no address is known (e0, e1, e2, …), so ")


def test_a_selector_that_many_rules_use_is_told_once():
    rules = [{**ALLOW, "protocol": number, "source": {"selector": "has( x )"}} for number in (47, 50, 51)]
    answers = [{**ALLOW, "protocol": rule["protocol"]} for rule in rules]
    more = policy("a", ingress=rules, egress=answers)
    ((name, path, message),) = warnings(endpoint(), SELECTS_X, more)
    assert (name, path) == ("a", "spec.ingress[0].source.selector")
    assert message.endswith("(and 3 more uses of it)")


@pytest.mark.parametrize(
    "written",
    [
        [endpoint(labels={"x": ""}, expectedIPs=["192.0.2.1"])],
        [endpoint(), network_set("s", [], {"x": ""})],
        [endpoint(), network_set("s", ["10.0.0.0/8"], {"x": ""})],
    ],
)
def test_a_selector_that_picks_something_is_fine(written):
    assert warnings(*written, SELECTS_X) == []


def test_known_addresses_count():
    assert warnings(endpoint(labels={"x": ""}), SELECTS_X, addresses={"node-eth0": ["192.0.2.1"]}) == []


def test_a_rule_that_does_not_count_is_not_told():
    assert warnings(endpoint(), policy(types=["Ingress"], egress=SELECTS_X["spec"]["egress"])) == []


def test_a_one_sided_policy_is_told_once_with_what_is_missing():
    rule = {**ALLOW, "protocol": "TCP", "destination": {"ports": [80]}}
    endpoints = [endpoint(f"e{number}", interface=f"eth{number}") for number in range(3)]
    ((name, path, message),) = warnings(*endpoints, policy(ingress=[rule]))
    assert (name, path) == ("web", "spec.ingress[0]")
    assert "egress needs {action: Allow, protocol: TCP, source: {ports: [80]}}" in message


def test_the_answer_may_come_from_another_policy():
    assert warnings(endpoint(), policy(ingress=[ALLOW]), policy("other", egress=[ALLOW])) == []


def test_a_policy_that_picks_no_endpoint_is_told():
    assert warnings(endpoint(labels={"memcached": "server"}), policy(selector="memcached == 'sever'")) == [
        ("web", "spec.selector", "picks no host endpoint: the policy is enforced nowhere")
    ]


def test_a_selector_and_what_it_excludes_are_one_set():
    both = {"selector": "has(x)", "notSelector": "has(y)"}
    found = compiled(
        endpoint(),
        network_set("kept", ["10.0.0.0/8"], {"x": ""}),
        network_set("excluded", ["192.0.2.0/24"], {"x": "", "y": ""}),
        policy(ingress=[{**ALLOW, "source": both}]),
    )
    (members,) = found.sets.values()
    assert members.text == "(has(x) && !has(y))"
    assert members.v4 == ("10.0.0.0/8",)


def test_what_is_only_excluded_is_a_set_of_its_own():
    found = compiled(
        endpoint(),
        network_set("excluded", ["192.0.2.0/24"], {"y": ""}),
        policy(ingress=[{**ALLOW, "source": {"notSelector": "has(y)", "notNets": ["10.0.0.0/8"]}}]),
    )
    ((rule,),) = [member.all_rules for member in found.policies.values()]
    assert rule.source.sets == ()
    assert [found.sets[name].v4 for name in rule.source.not_sets] == [("192.0.2.0/24",), ("10.0.0.0/8",)]
    assert rule.ip_version == 4, "notNets are of one IP version, and so is the rule"
