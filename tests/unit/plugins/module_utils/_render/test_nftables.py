# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import re
import typing as t

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, read
from ansible_collections.netpolicy.host.plugins.module_utils._render import counters, lacks, nftables, ruleset
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import (
    host,
    policy,
    rule,
)

NFT_NAME_MAXLEN = 256  # of the kernel, with the zero at its end
SETS = {
    "s:both": model.AddressSet("both", ("10.0.0.0/8",), ("fd00::/8",)),
    "s:four": model.AddressSet("four", ("192.0.2.1/32",)),
    "s:six": model.AddressSet("six", (), ("fd00::1/128",)),
    "s:none": model.AddressSet("none"),
}


def all_names(rendered: ruleset.Ruleset) -> set[str]:
    found = ruleset.names(rendered)
    return set(found.counters | found.sets | found.chains | found.maps | {name for name, _map in found.bases})


def tier_rules(*rules: model.Rule) -> list[str]:
    """What the rules become in their tier's chain, without the counter."""
    rendered = nftables.render(host([policy("web", rules)], sets=SETS))
    (chain,) = (one for one in rendered.chains if "-tier-" in one.name and "-fragments-" not in one.name)
    return [re.sub(r' ?counter name "[^"]*"', "", line).strip() for line in chain.rules]


def endpoint_rules(judged: model.HostPolicy, direction: str) -> list[str]:
    rendered = nftables.render(judged)
    (chain,) = (one for one in rendered.chains if one.name.startswith(f"raw-{direction}-eth0-"))
    return list(chain.rules)


# -- rules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked, lines",
    [
        ({}, ["drop"]),
        ({"action": model.ALLOW}, ["notrack accept"]),
        ({"action": model.PASS}, ["return"]),
        ({"protocol": model.TCP}, ["meta l4proto 6 drop"]),
        ({"ip_version": 4}, ["meta nfproto ipv4 drop"]),
        ({"ip_version": 6, "protocol": model.ICMPV6}, ["meta nfproto ipv6 meta l4proto 58 drop"]),
        (
            {"protocol": model.TCP, "destination": model.Side((), ((80, 80), (1000, 2000)))},
            ["meta l4proto 6 th dport { 80, 1000-2000 } drop"],
        ),
        (
            {"protocol": model.UDP, "source": model.Side((), ((53, 53),))},
            ["meta l4proto 17 th sport { 53 } drop"],
        ),
        # Addresses: one statement for each IP version that the sets have members of.
        ({"source": model.Side(("s:both",))}, ["ip saddr @both drop", "ip6 saddr @both drop"]),
        ({"source": model.Side(("s:four",))}, ["ip saddr @four drop"]),
        ({"destination": model.Side(("s:six",))}, ["ip6 daddr @six drop"]),
        ({"source": model.Side(("s:none",))}, []),
        ({"source": model.Side(("s:four",)), "destination": model.Side(("s:six",))}, []),
        (
            {"source": model.Side(("s:both", "s:four")), "destination": model.Side(("s:both",))},
            ["ip saddr @both ip saddr @four ip daddr @both drop"],
        ),
        ({"ip_version": 4, "source": model.Side(("s:both",))}, ["ip saddr @both drop"]),
        ({"ip_version": 6, "source": model.Side(("s:four",))}, []),
        (
            {"ip_version": 6, "protocol": model.TCP, "source": model.Side(("s:six",), ((80, 80),))},
            ["ip6 saddr @six meta l4proto 6 th sport { 80 } drop"],
        ),
    ],
)
def test_a_rule_in_the_words_of_nft(asked, lines):
    rules = tier_rules(rule(**{"action": model.DENY, **asked}))
    assert [re.sub(r"@set[46]-s(\w+)-\w+", r"@\1", line) for line in rules] == lines


def test_a_rule_that_can_match_nothing_is_counted_but_not_in_the_way():
    rendered = nftables.render(host([policy("web", [rule(source=model.Side(("s:none",)))])], sets=SETS))
    assert len([name for name in rendered.counters if name.startswith("GlobalNetworkPolicy/web/")]) == 1
    assert rendered.sets == ()


def test_rules_stand_in_the_order_of_policies_and_rules():
    tcp, udp, icmp = (rule(model.DENY, protocol=number) for number in (model.TCP, model.UDP, model.ICMP))
    rendered = nftables.render(host([policy("b", [tcp, udp]), policy("a", [icmp])]))
    (chain,) = (one for one in rendered.chains if "-tier-" in one.name and "-fragments-" not in one.name)
    assert [line.split(" ")[2] for line in chain.rules] == ["6", "17", "1"]


# -- endpoints ---------------------------------------------------------------------------------------

DISCOVERY = [
    "icmpv6 type { 133-137 } ip6 hoplimit 255 accept",
    "icmpv6 type { 130-132, 143 } accept",
]
FAILSAFES = model.Failsafes(
    inbound=(
        model.Failsafe(model.TCP, 22),
        model.Failsafe(model.UDP, 68),
        model.Failsafe(model.TCP, 179, "10.0.0.0/8"),
    ),
    outbound=(model.Failsafe(model.UDP, 53, "fd00::53/128"),),
)


@pytest.mark.parametrize(
    "direction, failsafes",
    [
        (
            "ingress",
            [
                'meta l4proto . th dport { 6 . 22, 17 . 68 } counter name "failsafe/inbound" accept',
                (
                    "ip saddr 10.0.0.0/8 "
                    'meta l4proto . th dport { 6 . 179 } counter name "failsafe/inbound" accept'
                ),
                (
                    "ip6 saddr fd00::53/128 "
                    'meta l4proto . th sport { 17 . 53 } counter name "failsafe/outbound/reply" accept'
                ),
            ],
        ),
        (
            "egress",
            [
                (
                    "ip6 daddr fd00::53/128 "
                    'meta l4proto . th dport { 17 . 53 } counter name "failsafe/outbound" accept'
                ),
                'meta l4proto . th sport { 6 . 22, 17 . 68 } counter name "failsafe/inbound/reply" accept',
                (
                    "ip daddr 10.0.0.0/8 "
                    'meta l4proto . th sport { 6 . 179 } counter name "failsafe/inbound/reply" accept'
                ),
            ],
        ),
    ],
)
def test_discovery_and_failsafes_come_before_the_tiers(direction, failsafes):
    deny = [rule(model.DENY)]
    judged = host([policy("a", deny, deny)], [policy("b", deny, deny)], failsafes=FAILSAFES)
    counter, four, six, *lines = endpoint_rules(judged, direction)
    assert counter == f'counter name "endpoint/node-eth0/{direction}"'
    assert four.startswith(f"ip frag-off & 0x1fff != 0 goto raw-{direction}-fragments-")
    assert six.startswith(f"meta nfproto ipv6 frag frag-off != 0 goto raw-{direction}-fragments-")
    assert lines[:-2] == [*DISCOVERY, *failsafes]
    assert [re.sub(r"-\w+$", "", line) for line in lines[-2:]] == [
        f"jump raw-{direction}-tier-tier-0",
        f"jump raw-{direction}-tier-tier-1",
    ]


def test_a_policy_without_rules_has_no_hooks():
    endpoints = (model.Endpoint("a", "eth0", (model.Tier("default", ("GlobalNetworkPolicy/web",)),)),)
    empty = model.HostPolicy(
        "node", endpoints, {"GlobalNetworkPolicy/web": policy("web")}, failsafes=FAILSAFES
    )
    for one in (empty, host(), model.HostPolicy("node")):
        assert nftables.render(one) == ruleset.Ruleset()


@pytest.mark.parametrize(
    "rules, hooks",
    [
        ({"ingress": [rule()]}, {"prerouting": "iifname"}),
        ({"egress": [rule()]}, {"output": "oifname"}),
        ({"ingress": [rule()], "egress": [rule()]}, {"prerouting": "iifname", "output": "oifname"}),
    ],
    ids=["ingress", "egress", "both"],
)
def test_only_a_direction_with_rules_is_hooked(rules, hooks):
    rendered = nftables.render(host([policy("web", **rules)]))
    assert {base.hook: base.rules for base in rendered.bases} == {
        hook: (f"{key} vmap @{mapped.name}",) for (hook, key), mapped in zip(hooks.items(), rendered.maps)
    }
    assert {base.name for base in rendered.bases} == {f"raw-{hook}" for hook in hooks}
    assert all(base.priority == "raw" for base in rendered.bases)


def test_each_interface_goes_to_its_own_chain():
    endpoints = tuple(
        model.Endpoint(name, name, (model.Tier("default", ("GlobalNetworkPolicy/web",)),))
        for name in ("eth1", "eth0")
    )
    judged = model.HostPolicy("node", endpoints, {"GlobalNetworkPolicy/web": policy("web", [rule()])})
    rendered = nftables.render(judged)
    (mapped,) = rendered.maps
    assert [interface for interface, _chain in mapped.elements] == ["eth0", "eth1"]
    # One tier of the same policies is one chain, however many interfaces it governs.
    assert sum("-tier-default-" in chain.name for chain in rendered.chains) == 2  # and one for fragments


PORT_SETS = {"p:http": model.PortSet("http", (("10.0.0.9", model.TCP, 8080),), ())}


USUAL = model.Settings()


def lines_of(*rules: model.Rule, settings: model.Settings = USUAL) -> list[str]:
    """The statements of all chains of a tier but those for fragments, without counters and hashes."""
    judged = dataclasses.replace(
        host([policy("web", rules)], sets=SETS), port_sets=PORT_SETS, settings=settings
    )
    found = [chain for chain in nftables.render(judged).chains if "fragments" not in chain.name]
    lines = [line for chain in found[:-1] for line in chain.rules]
    return [re.sub(r'-[0-9a-f]{16}| ?counter name "[^"]*"', "", line).strip() for line in lines]


def test_named_ports_are_an_address_a_protocol_and_a_port():
    asked = rule(protocol=model.TCP, destination=model.Side(named_ports=("p:http",)))
    assert lines_of(asked) == [
        "meta nfproto ipv4 meta l4proto 6 ip daddr . meta l4proto . th dport @ports4-phttp notrack accept"
    ]


def test_ports_by_number_and_by_name_are_two_statements():
    asked = rule(
        ip_version=4, protocol=model.TCP, source=model.Side((), ((80, 80),), named_ports=("p:http",))
    )
    assert lines_of(asked) == [
        "meta nfproto ipv4 meta l4proto 6 th sport { 80 } notrack accept",
        "meta nfproto ipv4 meta l4proto 6 ip saddr . meta l4proto . th sport @ports4-phttp notrack accept",
    ]


def test_what_has_no_ports_is_no_endpoints_port():
    asked = rule(model.DENY, ip_version=4, destination=model.Side(not_named_ports=("p:http",)))
    assert lines_of(asked) == [
        (
            "meta nfproto ipv4 meta l4proto { 6, 17, 132 } "
            "ip daddr . meta l4proto . th dport != @ports4-phttp drop"
        ),
        "meta nfproto ipv4 meta l4proto != { 6, 17, 132 } drop",
    ]


def test_two_excluded_ports_are_not_one_comparison():
    one = model.Side(not_ports=((53, 53),))
    assert lines_of(rule(model.DENY, protocol=model.UDP, source=one, destination=one)) == [
        "meta l4proto 17 th sport & 0xffff != 53 th dport & 0xffff != 53 drop"
    ]


@pytest.mark.parametrize(
    "settings, statement",
    [
        ({}, 'log prefix "calico-packet: " level info'),
        ({"log_prefix": "%t %k %n"}, 'log prefix "tier-0 GlobalNetworkPolicy web: " level info'),
        ({"log_prefix": "x" * 200}, f'log prefix "{"x" * 125}: " level info'),
    ],
)
def test_a_log_rule_logs_and_decides_nothing(settings, statement):
    assert lines_of(rule(model.LOG, protocol=model.TCP), settings=model.Settings(**settings)) == [
        f"meta l4proto 6 {statement}"
    ]


def test_a_limit_is_one_wherever_its_rule_stands():
    log = rule(model.LOG)
    lines = lines_of(*map(ported, range(80, 90)), log, settings=model.Settings(log_rate="9/minute"))
    limited = [line for line in lines if "limit" in line]
    assert limited == ['limit rate 9/minute burst 5 packets log prefix "calico-packet: " level info']
    assert lines.count("jump log") > 10


def test_a_log_rule_of_several_statements_logs_once():
    asked = rule(
        model.LOG,
        ip_version=4,
        protocol=model.TCP,
        source=model.Side((), ((80, 80),), named_ports=("p:http",)),
    )
    assert lines_of(asked) == [
        'log prefix "calico-packet: " level info',
        "meta nfproto ipv4 meta l4proto 6 th sport { 80 } goto log",
        "meta nfproto ipv4 meta l4proto 6 ip saddr . meta l4proto . th sport @ports4-phttp goto log",
        "jump log",
    ]


def ported(port: int, **fields: t.Any) -> model.Rule:
    return rule(protocol=model.TCP, destination=model.Side((), ((port, port),)), **fields)


def test_rules_with_ports_are_found_by_port_and_do_not_ask_again():
    label = "raw-ingress-tier-tier-0-tcp"
    lines = lines_of(*map(ported, (80, 81, 443)), ported(80, action=model.DENY), rule(model.DENY))
    assert lines == [
        *("notrack accept", "drop", "drop"),  # port 80: the second rule, and the one for all
        *("notrack accept", "drop"),
        *("notrack accept", "drop"),
        (f"th dport vmap {{ 80 : goto {label}, 81 : goto {label}, 443 : goto {label} }}"),
        "drop",
        f"meta l4proto vmap {{ 6 : goto {label} }}",
        "drop",
    ]


def test_few_rules_with_ports_are_tried_one_by_one():
    assert lines_of(*map(ported, (80, 81, 443))) == [
        f"meta l4proto 6 th dport {{ {port} }} notrack accept" for port in (80, 81, 443)
    ]


@pytest.mark.parametrize("name", ["2001:db8::1-eth0", "web 1", "wéb", 'a"; flush ruleset', "a\nb", "é" * 250])
def test_what_an_endpoint_is_called_is_no_nft(name):
    tier = (model.Tier("default", ("GlobalNetworkPolicy/web",)),)
    judged = model.HostPolicy(
        "node",
        (model.Endpoint(name, "eth0", tier),),
        {"GlobalNetworkPolicy/web": policy("web", [rule()])},
    )
    names = all_names(nftables.render(judged))
    assert all(re.fullmatch(r"[A-Za-z0-9/._-]+", one) and len(one) < NFT_NAME_MAXLEN for one in names)


def test_an_endpoint_for_every_interface_leaves_those_that_have_their_own():
    tier = (model.Tier("default", ("GlobalNetworkPolicy/web",)),)
    endpoints = (
        model.Endpoint("a", "*", tier),
        model.Endpoint("b", "eth0", tier),
        model.Endpoint("c", "eth1"),
        model.Endpoint("d", None, tier, addresses=("10.0.0.1",)),
    )
    judged = model.HostPolicy(
        "node",
        endpoints,
        {"GlobalNetworkPolicy/web": policy("web", [rule()])},
        interfaces={"eth2": ("10.0.0.1",), "eth3": ("10.0.0.2",)},
    )
    rendered = nftables.render(judged)
    (mapped,), (base,) = rendered.maps, rendered.bases
    assert [(name, re.sub("-[0-9a-f]{16}", "", verdict)) for name, verdict in mapped.elements] == [
        ("eth0", "goto raw-ingress-eth0"),
        ("eth1", "accept"),
        ("eth2", "goto raw-ingress-by-addresses"),
    ]
    assert re.fullmatch(r'iifname != "lo" goto raw-ingress-every-[0-9a-f]{16}', base.rules[1])


# -- what cannot be enforced yet ---------------------------------------------------------------------


def beyond(**fields: t.Any) -> model.HostPolicy:
    """A host with one endpoint that may be more than this version enforces."""
    members = [
        policy("web", [rule()]),
        policy("staged", [rule(model.LOG)], staged="set"),
        policy("open", [rule()], kind=model.PROFILE),
        policy("log", [rule(), rule(model.LOG)], [rule(model.LOG)]),
        policy(
            "named",
            [rule(source=model.Side(named_ports=("p",)))],
            [rule(destination=model.Side(not_named_ports=("p",)))],
        ),
    ]
    endpoint = model.Endpoint(**{"name": "e", "interface": "eth0", **fields})
    return model.HostPolicy(
        "node", (endpoint,), {one.key: one for one in members}, port_sets={"p": model.PortSet("p")}
    )


def tiers(*keys: str) -> tuple[model.Tier, ...]:
    return (model.Tier("default", tuple(f"GlobalNetworkPolicy/{key}" for key in keys)),)


NOT_UNTRACKED = "GlobalNetworkPolicy web: spec.doNotTrack: policy that is not untracked"


@pytest.mark.parametrize(
    "fields, found",
    [
        ({}, []),
        ({"untracked": tiers("web")}, []),
        ({"untracked": tiers("web", "staged")}, []),
        ({"addresses": ("10.0.0.1",)}, []),
        ({"interface": "*"}, []),
        ({"interface": None, "addresses": ("10.0.0.1",)}, []),
        *(({list_: tiers("web")}, [NOT_UNTRACKED]) for list_ in ("pre_dnat", "normal", "forward")),
        *(({list_: tiers("staged")}, []) for list_ in ("pre_dnat", "normal", "forward")),
        ({"normal": tiers("web"), "forward": tiers("web")}, [NOT_UNTRACKED]),
        ({"profiles": ("Profile/open",)}, ["Profile open: spec: profiles"]),
        ({"untracked": tiers("log")}, []),
        ({"untracked": tiers("named")}, []),
        (
            {"interface": "*", "normal": tiers("web"), "profiles": ("Profile/open",)},
            [NOT_UNTRACKED, "Profile open: spec: profiles"],
        ),
    ],
)
def test_what_cannot_be_enforced_is_named(fields, found):
    judged = beyond(**fields)
    assert [str(lack) for lack in lacks.unenforced(judged)] == found
    assert (lacks.refusal(judged) is None) == (found == [])


def test_a_refusal_names_the_first_and_counts_the_rest():
    for number in (1, 5, 6, 7):
        names = [f"policy-{index}" for index in range(number)]
        members = [policy(name, [rule()]) for name in names]
        endpoint = model.Endpoint("e", "eth0", normal=tiers(*names))
        judged = model.HostPolicy("node", (endpoint,), {one.key: one for one in members})
        found = lacks.unenforced(judged)
        assert len(found) == number
        more = f" and {number - 5} more" if number > 5 else ""
        assert lacks.refusal(judged) == f"it cannot enforce {'; '.join(map(str, found[:5]))}{more}"


@given(samples.untracked_policies())
def test_plain_untracked_policy_is_enforced(judged):
    assert lacks.unenforced(judged) == []
    assert lacks.refusal(judged) is None


@given(samples.host_policies())
def test_what_is_not_refused_can_be_rendered(judged):
    if lacks.refusal(judged) is None:
        MemoryHost().nft(nftables.text(judged))


# -- properties --------------------------------------------------------------------------------------


@given(samples.untracked_policies())
def test_equal_policies_have_equal_text(judged):
    turned = dataclasses.replace(
        judged,
        policies=dict(reversed(list(judged.policies.items()))),
        sets=dict(reversed(list(judged.sets.items()))),
        places={},
    )
    assert nftables.text(read.loads(model.dumps(judged))) == nftables.text(judged)
    assert nftables.text(turned) == nftables.text(judged)


@given(samples.untracked_policies())
def test_the_text_loads_and_every_name_is_used_once(judged):
    rendered = nftables.render(judged)
    loaded = MemoryHost()
    loaded.nft(nftables.text(judged))
    assert set(loaded.ours) == all_names(rendered)
    everything = [*rendered.counters]
    for members in (rendered.sets, rendered.chains, rendered.maps, rendered.bases):
        everything += [one.name for one in members]
    assert len(everything) == len(set(everything))
    # No object without use: a counter of a rule that can match nothing aside.
    assert set(loaded.ours) - set(loaded.in_force()) <= set(rendered.counters)


@given(samples.untracked_policies())
def test_every_rule_in_force_has_a_counter_of_its_own(judged):
    kept = nftables.render(judged).counters
    for member in judged.policies.values():
        names = counters.of_rules(member)
        assert list(names) == [one.origin.path for one in member.all_rules]
        assert len(set(names.values())) == len(names)
    for endpoint in judged.endpoints:
        for direction in (model.INGRESS, model.EGRESS):
            for tier in endpoint.untracked:
                for one in judged.tier_rules(tier, direction):
                    key = f"{one.origin.kind}/{one.origin.name}"
                    assert counters.of_rules(judged.policies[key])[one.origin.path] in kept


def counter_of(rules: list[model.Rule], index: int) -> str:
    return counters.of_rules(policy("web", rules))[f"GlobalNetworkPolicy/web/ingress/{index}"]


TCP_RULE, UDP_RULE = rule(protocol=model.TCP), rule(protocol=model.UDP)


def test_a_counter_belongs_to_what_its_rule_says_not_to_where_it_stands():
    alone = counter_of([TCP_RULE], 0)
    assert counter_of([UDP_RULE, TCP_RULE], 1) == alone
    assert counter_of([UDP_RULE, TCP_RULE], 0) == counter_of([UDP_RULE], 0) != alone
    assert counter_of([rule(model.DENY, protocol=model.TCP)], 0) != alone
    assert counters.of_rules(policy("db", [TCP_RULE]))["GlobalNetworkPolicy/db/ingress/0"] != alone
    out = counters.of_rules(policy("web", None, [TCP_RULE]))["GlobalNetworkPolicy/web/egress/0"]
    assert out != alone


def test_equal_rules_of_a_policy_have_counters_of_their_own():
    names = [counter_of([TCP_RULE] * 3, index) for index in range(3)]
    assert len(set(names)) == 3
    assert names[0] == counter_of([TCP_RULE], 0)


def test_a_counter_says_whose_it_is():
    assert counter_of([TCP_RULE], 0).startswith("GlobalNetworkPolicy/web/ingress/allow-")


@given(samples.untracked_policies(), st.data())
def test_what_the_kernel_counted_is_told_by_rule_and_failsafe(judged, data):
    kept = nftables.render(judged).counters
    amounts = {name: (data.draw(st.integers(0, 9)), index) for index, name in enumerate(kept)}
    counted = counters.counted(judged, amounts)
    for member in judged.policies.values():
        for path, name in counters.of_rules(member).items():
            assert counted.rules[path] == amounts.get(name, (0, 0))
    assert counted.failsafes == {
        (direction, replies): amounts.get(f"failsafe/{direction}{'/reply' if replies else ''}", (0, 0))
        for direction in ("inbound", "outbound")
        for replies in (False, True)
    }
    assert counted.endpoints == {
        (endpoint.name, direction): amounts.get(f"endpoint/{endpoint.name}/{direction}", (0, 0))
        for endpoint in judged.endpoints
        for direction in (model.INGRESS, model.EGRESS)
    }


@given(samples.untracked_policies(), st.data())
def test_one_changed_rule_renames_what_leads_to_it_and_nothing_else(judged, data):
    rules = [one for member in judged.policies.values() for one in member.rules(model.INGRESS)]
    assume(rules)
    old = data.draw(st.sampled_from(rules))
    new = dataclasses.replace(old, action=model.PASS if old.action != model.PASS else model.DENY)
    key = f"{old.origin.kind}/{old.origin.name}"
    member = judged.policies[key]
    own = counters.of_rules(member)[old.origin.path]
    changed_member = dataclasses.replace(
        member, ingress=tuple(new if one == old else one for one in member.rules(model.INGRESS))
    )
    # A rule that had, or comes to have, its like in the policy shifts the counters of its likes.
    assume(
        len(set(counters.of_rules(member).values()) - set(counters.of_rules(changed_member).values())) == 1
    )
    assume(own not in counters.of_rules(changed_member).values())
    changed = dataclasses.replace(judged, policies={**judged.policies, key: changed_member})
    before, after = nftables.render(judged), nftables.render(changed)
    assert after.sets == before.sets
    touched = {chain.name for chain in before.chains for line in chain.rules if f'"{own}"' in line}
    # Up to the map: the chains that hold the rule, those that jump there, and the maps that lead to those.
    grown = True
    while grown:
        leading = {
            chain.name
            for chain in before.chains
            if any(name in line.split(" ") for line in chain.rules for name in touched)
        }
        grown = not leading <= touched
        touched |= leading
    touched |= {
        one.name
        for one in before.maps
        if any(verdict.split(" ")[-1] in touched for _key, verdict in one.elements)
    }
    if own in before.counters:
        touched.add(own)
    assert all_names(before) - all_names(after) == touched


LONG = "x" * 60


@pytest.mark.parametrize("name", ["a", ".".join([LONG] * 4) + "x" * 10, "y" * 253])
def test_names_stay_within_what_the_kernel_takes(name):
    rules = [rule(protocol=number % 256, ip_version=4 + 2 * (number // 256)) for number in range(512)]
    rendered = nftables.render(
        host([policy(name, [*rules, *rules])], interface="x" * 15, failsafes=FAILSAFES)
    )
    assert max(map(len, all_names(rendered))) < NFT_NAME_MAXLEN
    # Also where they were cut no two are the same.
    assert sum(counter.startswith("GlobalNetworkPolicy") for counter in rendered.counters) == 1024


@pytest.mark.parametrize("name", ["a", "y" * 253])
def test_a_rule_that_stands_in_a_policy_very_often_has_a_short_name_too(name):
    rendered = nftables.render(host([policy(name, [TCP_RULE] * 1024)]))
    assert max(map(len, all_names(rendered))) < NFT_NAME_MAXLEN
    assert sum(counter.startswith("GlobalNetworkPolicy") for counter in rendered.counters) == 1024
