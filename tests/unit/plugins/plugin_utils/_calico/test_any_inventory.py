# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of every inventory, with resources of all kinds, and of what is none."""

from __future__ import annotations

import random
import typing as t

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import describe, lint, model, read
from ansible_collections.netpolicy.host.plugins.module_utils._policy import packet as packets
from ansible_collections.netpolicy.host.plugins.module_utils._policy import verdict as evaluator
from ansible_collections.netpolicy.host.plugins.module_utils._render import lacks, nftables
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.kinds import parse_all
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import Resolver
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico.written import (
    Written,
    network_set,
    resource,
)

NODES = ("node", "one", "two")
LABELS = st.dictionaries(st.sampled_from(("x", "y")), st.sampled_from(("", "1", "2")), max_size=2)
SELECTORS = st.sampled_from(("all()", "has(x)", "x == '1'", "y != '2'", "!has(y)", "has(nobody)"))
ADDRESSES = ("192.0.2.1", "192.0.2.2", "10.1.0.1", "fd00::1", "2001:db8::2")
PORT_NAMES = ("web", "db")
TIERS = ("first", "second", "default")


def some(*members: t.Any) -> st.SearchStrategy[list[t.Any]]:
    return st.lists(st.sampled_from(members), max_size=2, unique=True)


ENTITIES = st.fixed_dictionaries(
    {},
    optional={
        "selector": SELECTORS,
        "notSelector": SELECTORS,
        "nets": st.sampled_from((["10.0.0.0/8"], ["192.0.2.0/31", "10.1.0.0/16"])),
        "notNets": st.just(["192.0.2.2/32"]),
        "ports": some(80, "81:90", *PORT_NAMES),
        "notPorts": some(85, *PORT_NAMES),
    },
)
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(("Allow", "Deny", "Pass", "Log")),
            "protocol": st.sampled_from(("TCP", 17)),
            "source": ENTITIES,
            "destination": ENTITIES,
        }
    ),
    max_size=3,
)
FLAGS = st.sampled_from(
    (
        {"doNotTrack": True, "applyOnForward": True},
        {"preDNAT": True, "applyOnForward": True},
        {"applyOnForward": True},
        {},
    )
)


@st.composite
def endpoints(draw: st.DrawFn, name: str) -> Written:
    where: Written = {"expectedIPs": draw(some(*ADDRESSES))}
    interface = draw(st.sampled_from(("eth0", "eth1", "*", None)))
    if interface is None:
        where["expectedIPs"] = where["expectedIPs"] or ["192.0.2.1"]
    else:
        where["interfaceName"] = interface
    ports = [
        {"name": port, "protocol": protocol, "port": number}
        for port, protocol, number in draw(some(("web", "TCP", 80), ("web", 17, 85), ("db", "TCP", 90)))
    ]
    spec = {
        "node": draw(st.sampled_from(NODES)),
        "profiles": draw(some("a", "b", "missing")),
        "ports": ports,
        **where,
    }
    return resource("HostEndpoint", name, spec, draw(LABELS))


@st.composite
def policies(draw: st.DrawFn, name: str) -> Written:
    spec: Written = {
        "tier": draw(st.sampled_from(TIERS)),
        "order": draw(st.sampled_from((None, 1, 2))),
        "selector": draw(SELECTORS),
        "ingress": draw(RULES),
        **draw(FLAGS),
    }
    if "preDNAT" not in spec:
        spec["egress"] = draw(RULES)
    kind = draw(st.sampled_from(("GlobalNetworkPolicy", "GlobalNetworkPolicy", "StagedGlobalNetworkPolicy")))
    return resource(kind, name, spec)


@st.composite
def inventories(draw: st.DrawFn) -> list[Written]:
    written = [draw(endpoints(f"endpoint-{index}")) for index in range(draw(st.integers(0, 4)))]
    written += [draw(policies(f"policy-{index}")) for index in range(draw(st.integers(0, 4)))]
    for index in range(draw(st.integers(0, 2))):
        nets = draw(some("10.0.0.0/16", "192.0.2.2", "fd00::/16"))
        written.append(network_set(f"set-{index}", nets, draw(LABELS)))
    for name in "ab":
        rules = {"ingress": draw(RULES), "labelsToApply": draw(LABELS)}
        written.append(resource("Profile", name, rules))
    for name in TIERS[:2]:
        action = draw(st.sampled_from(("Pass", "Deny")))
        written.append(
            resource("Tier", name, {"order": draw(st.sampled_from((1, None))), "defaultAction": action})
        )
    return written


def resolver(written: t.Iterable[Written]) -> Resolver:
    parsed, findings = parse_all(list(written))
    assert findings == []
    return Resolver(parsed)


@given(inventories(), st.integers())
def test_the_order_of_resources_does_not_matter(written, seed):
    turned = list(written)
    random.Random(seed).shuffle(turned)
    one, other = resolver(written), resolver(turned)
    for node in NODES:
        assert model.dumps(one.host_policy(node)) == model.dumps(other.host_policy(node))
    assert sorted(map(str, one.findings())) == sorted(map(str, other.findings()))


@given(inventories())
def test_an_unrelated_host_changes_nobody_elses_policy(written):
    """It has a label, a policy and a profile of its own, and no address."""
    stranger = [
        resource(
            "HostEndpoint", "a", {"node": "stranger", "interfaceName": "eth0", "profiles": ["s"]}, {"s": ""}
        ),
        resource("Profile", "s", {"ingress": [{"action": "Allow"}]}),
        resource("GlobalNetworkPolicy", "a", {"selector": "has(s)", "ingress": [{"action": "Deny"}]}),
    ]
    one, other = resolver(written), resolver(written + stranger)
    for node in NODES:
        assert one.host_policy(node).digest == other.host_policy(node).digest


@given(inventories())
def test_a_policy_holds_exactly_what_its_endpoints_refer_to_and_reads_back(written):
    whole = resolver(written)
    for node in NODES:
        found = whole.host_policy(node)
        assert set(found.policies) == {key for one in found.endpoints for key in one.policy_keys}
        rules = [rule for member in found.policies.values() for rule in member.all_rules]
        assert set(found.sets) == {name for rule in rules for name in rule.all_sets}
        assert set(found.port_sets) == {name for rule in rules for name in rule.all_port_sets}
        assert read.loads(model.dumps(found)) == found


@given(
    inventories(),
    st.sampled_from(packets.DIRECTIONS),
    st.sampled_from(packets.CT_STATES),
    st.sampled_from(("eth0", "eth1", "lo")),
)
def test_every_reader_of_a_policy_reads_any(written, direction, state, interface):
    whole = resolver(written)
    whole.findings()
    for node in NODES:
        found = whole.host_policy(node)
        assert describe.describe(found) or not found.endpoints
        lint.lint(found)
        if not lacks.unenforced(found):
            nftables.text(found)
        fields = {"direction": direction, "interface": interface, "out_interface": "eth1", "ct_state": state}
        fields |= {"protocol": 6, "src": "192.0.2.1", "dst": "10.1.0.1", "sport": 80, "dport": 85}
        said = evaluator.verdict(found, packets.packet(fields))
        assert said.action in ("allow", "deny")
        assert said.reason


# -- what is no inventory ----------------------------------------------------------------------------

TEXT = yaml.safe_dump_all(
    [
        resource(
            "GlobalNetworkPolicy",
            "web",
            {
                "selector": "x == '1'",
                "order": 1,
                "ingress": [
                    {
                        "action": "Allow",
                        "protocol": "TCP",
                        "source": {"nets": ["10.0.0.0/8"], "selector": "has(x)"},
                        "destination": {"ports": [80, "81:90", "web"]},
                    }
                ],
            },
        ),
        resource(
            "HostEndpoint",
            "host",
            {
                "node": "node",
                "interfaceName": "eth0",
                "expectedIPs": ["192.0.2.1"],
                "ports": [{"name": "web", "protocol": "TCP", "port": 80}],
            },
            {"x": "1"},
        ),
        resource("FelixConfiguration", "default", {"failsafeInboundHostPorts": [], "logPrefix": "x"}),
    ]
)
SPLINTERS = st.sampled_from(
    ("", "\0", "~", "null", "[", "{", "- ", ": ", "'", "!!binary ", "&a ", "*a", "1e999", ".nan", "0x", "é")
) | st.text(max_size=3)


@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 6), SPLINTERS), min_size=1, max_size=4))
def test_yaml_that_somebody_has_damaged_is_read_or_refused(cuts):
    text = TEXT
    for at, length, splinter in cuts:
        text = text[:at] + splinter + text[at + length :]
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError):
        return
    parsed, findings = parse_all(documents)
    for finding in findings:
        assert str(finding).isprintable(), finding
        assert finding.message
    if not findings:
        whole = Resolver(parsed)
        whole.findings()
        assert read.loads(model.dumps(whole.host_policy("node"))).node == "node"


# -- on every Python ---------------------------------------------------------------------------------


DIGEST = "bb5c9c6b6a41d73f2c97882abd2525f33314df045f6def77eed83e49e882d0b1"
"""Of TEXT. Another one means that every host gets its policy again: raise model.FORMAT, or find out why."""


def test_equal_inventories_have_equal_digests_on_every_python():
    parsed, _findings = parse_all(list(yaml.safe_load_all(TEXT)))
    assert Resolver(parsed).host_policy("node").digest == DIGEST


@pytest.mark.parametrize("value", [[], {}, None, 5, "text", [[]], [{"kind": []}], [{"kind": {}}]], ids=str)
def test_what_is_no_list_of_resources_is_refused_or_empty(value):
    parsed, findings = parse_all(value)
    assert parsed == []
    assert bool(findings) == (value != [])
