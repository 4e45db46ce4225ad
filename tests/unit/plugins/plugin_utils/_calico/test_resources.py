# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import re
import typing as t

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import (
    kinds,
    networks,
    resources,
    selector,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import Finding
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import corpus, written

EVERYTHING = [
    written.endpoint("web-1-eth0", {"role": "web"}, node="web-1", expectedIPs=["192.0.2.1", "2001:db8::1"]),
    written.policy(
        "web",
        order=10,
        selector="role == 'web'",
        types=["Ingress", "Egress"],
        ingress=[
            {
                "action": "Allow",
                "ipVersion": 4,
                "protocol": "TCP",
                "source": {"nets": ["10.0.0.0/8"], "selector": "has(client)", "ports": [1024, "2000:3000"]},
                "destination": {"ports": [80, "443"]},
                "metadata": {"annotations": {"why": "web"}},
            },
            {"action": "Deny"},
        ],
        egress=[{"action": "Pass", "protocol": 47}],
    ),
    written.network_set("clients", ["10.1.2.3/8", "fd00::1"], {"client": ""}),
]
HOST = {"node": "node", "interfaceName": "eth0"}
POSITIONS = list(samples.positions(EVERYTHING))


def read(*written_values: object) -> list[t.Any]:
    """Resources, none of which is refused."""
    found, findings = kinds.parse_all(list(written_values))
    assert findings == []
    return found


def refusals(*written_values: object) -> list[tuple[str, str]]:
    """Path and message of every finding."""
    _found, findings = kinds.parse_all(list(written_values))
    return [(finding.path, finding.message) for finding in findings]


def refusal(value: object) -> tuple[str, str]:
    """Path and message of the only finding."""
    (found,) = refusals(value)
    return found


# -- each kind ---------------------------------------------------------------------------------------


def test_a_host_endpoint():
    assert read(EVERYTHING[0]) == [
        resources.HostEndpoint(
            name="web-1-eth0",
            labels={"role": "web"},
            node="web-1",
            interface="eth0",
            expected_ips=(ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")),
        )
    ]


def test_a_global_network_set():
    assert read(EVERYTHING[2]) == [
        resources.GlobalNetworkSet(
            name="clients",
            labels={"client": ""},
            nets=(networks.Network(4, 10 << 24, 8), networks.Network(6, (0xFD << 120) + 1, 128)),
        )
    ]


def test_a_global_network_policy():
    assert read(EVERYTHING[1]) == [
        resources.GlobalNetworkPolicy(
            name="web",
            tier="default",
            order=10.0,
            selector=selector.parse("role == 'web'"),
            types=frozenset({"ingress", "egress"}),
            ingress=(
                resources.Rule(
                    action="allow",
                    protocol=model.TCP,
                    ip_version=4,
                    source=resources.Entity(
                        (ipaddress.ip_network("10.0.0.0/8"),),
                        selector.parse("has(client)"),
                        ((1024, 1024), (2000, 3000)),
                    ),
                    destination=resources.Entity(ports=((80, 80), (443, 443))),
                ),
                resources.Rule("deny", None, None, resources.Entity(), resources.Entity()),
            ),
            egress=(resources.Rule("pass", 47, None, resources.Entity(), resources.Entity()),),
            do_not_track=True,
            apply_on_forward=True,
        )
    ]


def test_the_smallest_of_each_kind():
    endpoint, policy, network_set = read(
        written.endpoint(), written.policy(), written.resource("GlobalNetworkSet", "none", {})
    )
    assert (endpoint.labels, endpoint.expected_ips) == ({}, ())
    assert (policy.order, policy.selector.canonical, policy.ingress) == (None, "all()", ())
    assert (network_set.labels, network_set.nets) == ({}, ())


def test_null_is_as_good_as_nothing():
    def with_nulls(value: dict[str, t.Any], *keys: str) -> dict[str, t.Any]:
        return {**value, "spec": {**value["spec"], **dict.fromkeys(keys)}}

    assert read(
        with_nulls(written.endpoint(), "expectedIPs", "profiles", "ports"),
        with_nulls(written.policy(), "order", "selector", "types", "ingress", "egress", "tier", "preDNAT"),
        with_nulls(written.resource("GlobalNetworkSet", "none", {}), "nets"),
    ) == read(written.endpoint(), written.policy(), written.resource("GlobalNetworkSet", "none", {}))
    rule = dict.fromkeys(("protocol", "ipVersion", "source", "destination", "icmp", "notProtocol", "http"))
    assert read(written.policy(ingress=[{"action": "Allow", **rule}])) == read(
        written.policy(ingress=[{"action": "Allow"}])
    )


def test_what_a_server_sets_is_ignored():
    server: dict[str, t.Any] = {
        "annotations": {"a": "b"},
        "creationTimestamp": None,
        "generation": 3,
        "managedFields": [],
        "resourceVersion": "12",
        "selfLink": "/x",
        "uid": "0000",
    }
    exported = written.endpoint()
    exported["metadata"].update(server)
    assert read(exported) == read(written.endpoint())


@pytest.mark.parametrize(
    "ingress, egress, types",
    [
        ([], [], {"ingress"}),
        ([{"action": "Allow"}], [], {"ingress"}),
        ([], [{"action": "Allow"}], {"egress"}),
        ([{"action": "Allow"}], [{"action": "Allow"}], {"ingress", "egress"}),
    ],
)
def test_types_follow_from_the_rules(ingress, egress, types):
    (policy,) = read(written.policy(ingress=ingress, egress=egress))
    assert policy.types == types
    (policy,) = read(written.policy(ingress=ingress, egress=egress, types=[]))
    assert policy.types == types
    (policy,) = read(written.policy(ingress=ingress, egress=egress, types=["Egress"]))
    assert policy.types == {"egress"}


@pytest.mark.parametrize(
    "rule, protocol, version",
    [
        ({"protocol": "ICMP"}, 1, 4),
        ({"protocol": "ICMPv6"}, 58, 6),
        # By name only.
        ({"protocol": 1}, 1, None),
        ({"protocol": 58}, 58, None),
        ({"protocol": "TCP"}, 6, None),
        ({"protocol": "SCTP", "ipVersion": 6}, 132, 6),
        ({"protocol": "UDPLite"}, 136, None),
        ({}, None, None),
    ],
)
def test_the_ip_version_that_a_protocol_implies(rule, protocol, version):
    (policy,) = read(written.policy(ingress=[{"action": "Allow", **rule}]))
    assert (policy.ingress[0].protocol, policy.ingress[0].ip_version) == (protocol, version)


def test_an_empty_selector_is_all_in_a_policy_and_none_in_a_rule():
    (policy,) = read(written.policy(selector="", ingress=[{"action": "Allow", "source": {"selector": ""}}]))
    assert policy.selector == selector.parse("all()")
    assert policy.ingress[0].source == resources.Entity()
    assert policy == read(written.policy(ingress=[{"action": "Allow"}]))[0]


# -- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["HostEndpoint", "GlobalNetworkPolicy", "GlobalNetworkSet"])
@pytest.mark.parametrize("field", ["apiVersion", "metadata", "spec"])
@pytest.mark.parametrize("null", [False, True])
def test_missing_parts_of_a_resource(kind, field, null):
    value = next(one for one in EVERYTHING if one["kind"] == kind)
    value = {**value, field: None} if null else samples.without(value, (field,))
    path, message = refusal(value)
    assert path == field
    assert message.startswith("missing; expected ")


@pytest.mark.parametrize(
    "value, path",
    [
        (samples.without(written.endpoint(), ("metadata", "name")), "metadata.name"),
        (samples.without(written.endpoint(), ("spec", "node")), "spec.node"),
        (
            written.endpoint(ports=[{"name": "web", "protocol": "TCP", "port": 80}, {"port": 1234}]),
            "spec.ports[1].name",
        ),
        (written.policy(ingress=[{}]), "spec.ingress[0].action"),
        (written.policy(egress=[{"action": None}]), "spec.egress[0].action"),
    ],
)
def test_missing_fields(value, path):
    messages = [message for found, message in refusals(value) if found == path]
    assert [message.partition(" expected ")[0] for message in messages] == ["missing;"]


@pytest.mark.parametrize("nothing", [{}, {"interfaceName": ""}, {"expectedIPs": []}])
def test_an_endpoint_needs_an_interface_or_addresses(nothing):
    path, message = refusal(written.resource("HostEndpoint", "a", {"node": "node", **nothing}))
    assert path == "spec.interfaceName"
    assert message.startswith("missing; expected the name of an interface")


@pytest.mark.parametrize(
    "steps, value, message",
    [
        ((), [], "found a list, expected a resource, a mapping (apiVersion, kind, metadata, spec)"),
        (("apiVersion",), "v1", "found 'v1', allowed: projectcalico.org/v3"),
        (
            ("metadata",),
            "web",
            "found 'web', expected a mapping (name, labels, annotations, creationTimestamp, …)",
        ),
        (
            ("metadata", "name"),
            "Web",
            (
                "found 'Web', allowed: up to 253 lower-case letters, digits, '-' and at most one '.', "
                "with a letter or digit at both ends of each part"
            ),
        ),
        (("metadata", "labels"), {"a": 5}, "label a: found 5, expected a string (quote it)"),
        (("spec",), [], "found a list, expected a mapping (tier, order, selector, types, …)"),
        (("spec", "order"), "high", "found 'high', expected a finite number"),
        (("spec", "selector"), "a = 'b'", None),
        (("spec", "types"), "Ingress", "found 'Ingress', expected a list"),
        (("spec", "types", 0), "ingress", "found 'ingress', allowed: Ingress, Egress"),
        (("spec", "types", 1), "Ingress", "found 'Ingress' a second time, allowed: each once"),
        (("spec", "doNotTrack"), "yes", "found 'yes', allowed: true or false, without quotes"),
        (("spec", "applyOnForward"), 1, "found 1, allowed: true or false"),
        (("spec", "ingress"), {}, "found a mapping, expected a list"),
        (
            ("spec", "ingress", 1),
            "Deny",
            "found 'Deny', expected a mapping (action, ipVersion, protocol, source, …)",
        ),
        (("spec", "ingress", 1, "action"), "deny", "found 'deny', allowed: Allow, Deny, Log, Pass"),
        (("spec", "ingress", 0, "ipVersion"), 5, "found 5, allowed: 4 or 6"),
        (("spec", "egress", 0, "protocol"), "GRE", None),
        (("spec", "ingress", 0, "source"), [], None),
        (("spec", "ingress", 0, "source", "nets", 0), "10.0.0.1", None),
        (
            ("spec", "ingress", 0, "source", "selector"),
            "global()",
            "found 'global()'; global() is for the namespaceSelector of a rule only, all() picks everything",
        ),
        (
            ("spec", "ingress", 0, "destination", "ports", 1),
            "Http",
            (
                "found 'Http', allowed: a number from 1 to 65535, a range 'first:last', or a port's name "
                "(1 to 15 lower-case letters, digits and single '-', a letter among them)"
            ),
        ),
        (("spec", "ingress", 0, "metadata"), "why", "found 'why', expected a mapping (annotations)"),
    ],
    ids=lambda value: None if isinstance(value, tuple) else str(value)[:12],
)
def test_a_refused_field_of_a_policy_is_named_by_its_path(steps, value, message):
    _found, findings = kinds.parse_all([samples.replaced(EVERYTHING[1], steps, value)])
    (finding,) = findings
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    assert finding.path == path
    assert message in (None, finding.message)
    if steps:
        assert finding.kind == "GlobalNetworkPolicy"
        assert finding.name in ("web", "Web", "?")


@pytest.mark.parametrize(
    "value, path, message",
    [
        (written.endpoint(profiles=["a", ".fun"]), "spec.profiles[1]", "lower-case"),
        (
            written.endpoint(ports=[{"name": "web", "protocol": "ICMP", "port": 80}]),
            "spec.ports[0].protocol",
            "allowed: TCP, UDP, SCTP or 6, 17, 132",
        ),
        (
            written.endpoint(ports=[{"name": "web", "protocol": 6, "port": 0}]),
            "spec.ports[0].port",
            "found 0, allowed: a number from 1 to 65535",
        ),
        (
            written.endpoint(ports=[{"name": "a--b", "protocol": 6, "port": 80}]),
            "spec.ports[0].name",
            "found 'a--b', allowed: a port's name",
        ),
        (
            written.resource("Profile", "a", {"labelsToApply": {".mylabel": "value"}}),
            "spec.labelsToApply",
            "label key '.mylabel'",
        ),
        (written.endpoint(interface="eth0 "), "spec.interfaceName", "allowed: 1 to 15 letters"),
        (written.endpoint(node=" "), "spec.node", "expected the name of a host"),
        (written.endpoint(expectedIPs=["192.0.2.1", "192.0.2.0/24"]), "spec.expectedIPs[1]", "without mask"),
        (written.endpoint(expectedIPs="192.0.2.1"), "spec.expectedIPs", "expected a list"),
        (written.endpoint(labels={"-": ""}), "metadata.labels", "label key '-'"),
        (written.network_set("a", ["10.0.0.0/8", "any"]), "spec.nets[1]", "expected a CIDR"),
        (written.network_set("a.b.C", []), "metadata.name", "lower-case"),
        (
            written.network_set("a", [], {"projectcalico.org/namespace": "default"}),
            "metadata.labels",
            "'projectcalico.org/namespace' is Calico's own",
        ),
    ],
)
def test_refused_fields_of_the_other_kinds(value, path, message):
    found_path, found_message = refusal(value)
    assert found_path == path
    assert message in found_message


@pytest.mark.parametrize(
    "flags, path, message",
    [
        (
            {"doNotTrack": True, "applyOnForward": forward},
            "spec.applyOnForward",
            "a policy with doNotTrack: true needs applyOnForward: true",
        )
        for forward in (False, None)
    ]
    + [
        ({"preDNAT": True}, "spec.applyOnForward", "a policy with preDNAT: true needs applyOnForward: true"),
        (
            {"preDNAT": True, "doNotTrack": True, "applyOnForward": True},
            "spec.preDNAT",
            "a policy is either doNotTrack or preDNAT, not both",
        ),
        (
            {"preDNAT": True, "applyOnForward": True, "egress": [{"action": "Allow"}], "types": ["Ingress"]},
            "spec.egress",
            "a preDNAT policy is for what arrives, and has no egress rules",
        ),
        (
            {"preDNAT": True, "applyOnForward": True, "types": ["Ingress", "Egress"]},
            "spec.types",
            "a preDNAT policy is for what arrives, and not of type Egress",
        ),
    ],
)
def test_kinds_of_policy_that_exclude_each_other(flags, path, message):
    assert refusal(written.resource("GlobalNetworkPolicy", "a", flags)) == (path, message)


@pytest.mark.parametrize(
    "flags, lists",
    [
        ({}, ("normal",)),
        ({"applyOnForward": True}, ("normal", "forward")),
        ({"applyOnForward": True, "preDNAT": True}, ("pre_dnat",)),
        ({"applyOnForward": True, "doNotTrack": True}, ("untracked",)),
    ],
)
@pytest.mark.parametrize("kind", ["GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"])
def test_the_flags_of_a_policy_say_which_lists_it_is_in(flags, lists, kind):
    (policy,) = read(written.resource(kind, "a", flags))
    assert (policy.kind, policy.lists) == (kind, lists)


@pytest.mark.parametrize("action, staged", [(None, "set"), ("", "set"), ("Set", "set"), ("Learn", "learn")])
def test_a_staged_policy_is_to_be_set_unless_it_says_otherwise(action, staged):
    (policy,) = read(written.resource("StagedGlobalNetworkPolicy", "a", {"stagedAction": action}))
    assert policy.staged == staged


def test_a_staged_policy_that_deletes_says_nothing_else():
    value: written.Written = {"stagedAction": "Delete", "tier": "default", "order": None, "ingress": []}
    (policy,) = read(written.resource("StagedGlobalNetworkPolicy", "a", value))
    assert policy.staged == "delete"
    path, message = refusal(
        written.resource("StagedGlobalNetworkPolicy", "a", {**value, "selector": "has(a)"})
    )
    assert path == "spec.selector"
    assert message.startswith("not allowed with stagedAction: Delete")


@pytest.mark.parametrize(
    "spec, path, message",
    [
        (
            {"ingress": [{"action": "Allow"}] * 1025},
            "spec.ingress",
            "found 1025 entries, allowed: at most 1024",
        ),
        (
            {"egress": [{"action": "Allow", "source": {"nets": ["10.0.0.0/8"] * 257}}]},
            "spec.egress[0].source.nets",
            "found 257 entries, allowed: at most 256",
        ),
        (
            {"egress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [1] * 51}}]},
            "spec.egress[0].destination.ports",
            "found 51 entries, allowed: at most 50",
        ),
    ],
    ids=["rules", "nets", "ports"],
)
def test_limits(spec, path, message):
    assert refusal(written.policy(**spec)) == (path, message)


@pytest.mark.parametrize("count, limit", [("ingress", 1024), ("nets", 256), ("ports", 50)])
def test_limits_are_inclusive(count, limit):
    rule = {"action": "Allow", "protocol": "TCP"}
    most: dict[str, dict[str, t.Any]] = {
        "ingress": {"ingress": [rule] * limit},
        "nets": {"ingress": [{**rule, "source": {"nets": ["10.0.0.0/8"] * limit}}]},
        "ports": {"ingress": [{**rule, "source": {"ports": [1] * limit}}]},
    }
    assert len(read(written.policy(**most[count]))) == 1


# -- combinations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("protocol", [None, "ICMP", "ICMPv6", "UDPLite", 47, 136])
def test_ports_need_a_protocol_with_ports(side, protocol):
    rule = {"action": "Allow", "protocol": protocol, side: {"ports": [80]}}
    path, message = refusal(written.policy(ingress=[{"action": "Deny"}, rule]))
    assert path == f"spec.ingress[1].{side}.ports"
    found = {None: "no protocol", 136: "protocol UDPLite"}.get(protocol, f"protocol {protocol}")
    needed = "ports need the rule's protocol to be TCP, UDP or SCTP (6, 17 or 132)"
    assert message == f"found {found}; {needed}"


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP", 6, 17, 132])
def test_protocols_with_ports(protocol):
    read(written.policy(ingress=[{"action": "Allow", "protocol": protocol, "source": {"ports": [80]}}]))


@pytest.mark.parametrize(
    "rule, path, message",
    [
        ({"protocol": "ICMP", "ipVersion": 6}, "protocol", "ICMP is IPv4, but the rule's ipVersion is 6"),
        ({"protocol": 1, "ipVersion": 6}, "protocol", "ICMP is IPv4, but the rule's ipVersion is 6"),
        ({"protocol": "ICMPv6", "ipVersion": 4}, "protocol", "ICMPv6 is IPv6, but the rule's ipVersion is 4"),
        ({"protocol": 58, "ipVersion": 4}, "protocol", "ICMPv6 is IPv6, but the rule's ipVersion is 4"),
        (
            {"source": {"nets": ["10.0.0.0/8", "fd00::/8"]}},
            "source.nets[1]",
            "'fd00::/8' in a rule that is for IPv4",
        ),
        (
            {"source": {"nets": ["fd00::/8"]}, "destination": {"nets": ["10.0.0.0/8"]}},
            "destination.nets[0]",
            "'10.0.0.0/8' in a rule that is for IPv6 by its first network",
        ),
        ({"ipVersion": 6, "source": {"nets": ["10.0.0.0/8"]}}, "source.nets[0]", "for IPv6 by its ipVersion"),
        (
            {"protocol": "ICMPv6", "destination": {"nets": ["10.0.0.0/8"]}},
            "destination.nets[0]",
            "by its protocol",
        ),
    ],
)
def test_a_rule_is_for_one_ip_version(rule, path, message):
    found_path, found_message = refusal(written.policy(egress=[{"action": "Allow", **rule}]))
    assert found_path == f"spec.egress[0].{path}"
    assert message in found_message


@pytest.mark.parametrize(
    "rule, path, message",
    [
        ({"icmp": {"type": 8}}, "icmp", "icmp needs the rule's protocol to be ICMP or ICMPv6"),
        ({"protocol": "TCP", "icmp": {"type": 8}}, "icmp", "icmp needs the rule's protocol"),
        (
            {"protocol": "ICMP", "icmp": {"code": 0}},
            "icmp.type",
            "missing; expected the type that the code belongs to",
        ),
        ({"notICMP": {"code": 0}}, "notICMP.type", "missing; expected the type that the code belongs to"),
        (
            {"protocol": "ICMP", "icmp": {"type": 255}},
            "icmp.type",
            "found 255, allowed: a number from 0 to 254",
        ),
        ({"notICMP": {"type": 8, "code": 256}}, "notICMP.code", "found 256, allowed: a number from 0 to 255"),
        ({"notProtocol": "tcp"}, "notProtocol", "found 'tcp', allowed: TCP"),
        ({"notProtocol": "ICMP", "ipVersion": 6}, "notProtocol", "ICMP is IPv4"),
        ({"source": {"notPorts": [80]}}, "source.notPorts", "ports need the rule's protocol"),
        ({"notProtocol": "TCP", "source": {"ports": [80]}}, "source.ports", "ports need the rule's protocol"),
        ({"source": {"notNets": ["0.0.0.0/0"]}}, "source.notNets[0]", "outside of which there is nothing"),
        (
            {"destination": {"notNets": ["::/0"]}},
            "destination.notNets[0]",
            "outside of which there is nothing",
        ),
        (
            {"source": {"nets": ["10.0.0.0/8"], "notNets": ["fd00::/8"]}},
            "source.notNets[0]",
            "found the IPv6 network 'fd00::/8' in a rule that is for IPv4",
        ),
        ({"source": {"notSelector": "a ="}}, "source.notSelector", "column 3: expected an operator"),
    ],
)
def test_negations_and_icmp_that_cannot_be(rule, path, message):
    found_path, found_message = refusal(written.policy(ingress=[{"action": "Deny", **rule}]))
    assert found_path == f"spec.ingress[0].{path}"
    assert message in found_message


def test_nets_negated_or_not_make_a_rule_one_of_their_ip_version():
    versions = {
        read(written.policy(ingress=[{"action": "Deny", "source": {key: [net]}}]))[0].ingress[0].ip_version
        for key in ("nets", "notNets")
        for net in ("fd00::/8",)
    }
    assert versions == {6}


def test_an_empty_selector_of_a_rule_is_none_but_a_blank_one_is_all():
    empty, blank = (
        read(written.policy(ingress=[{"action": "Deny", "source": {"selector": text}}]))[0].ingress[0].source
        for text in ("", " ")
    )
    assert empty.selector is None
    assert blank.selector is not None


@pytest.mark.parametrize("text, colon", [("12211-12215", "12211:12215"), ("1-2", "1:2")])
def test_a_range_with_a_dash_is_told_of_the_colon(text, colon):
    rule = {"action": "Allow", "protocol": "TCP", "source": {"ports": [text]}}
    _path, message = refusal(written.policy(ingress=[rule]))
    assert f"write '{colon}'" in message


# -- what this version does not serve ----------------------------------------------------------------


@pytest.mark.parametrize(
    "value, path",
    [
        *(
            (written.policy(ingress=[{"action": "Allow", field: {"a": 1}}]), f"spec.ingress[0].{field}")
            for field in ("http",)
        ),
        *(
            (
                written.policy(egress=[{"action": "Allow", side: {field: ["a"]}}]),
                f"spec.egress[0].{side}.{field}",
            )
            for side in ("source", "destination")
            for field in ("serviceAccounts", "services")
        ),
        *(
            (written.policy(**{field: "a"}), f"spec.{field}")
            for field in ("namespaceSelector", "serviceAccountSelector")
        ),
    ],
)
def test_an_unserved_field_is_refused_by_name_with_the_reason(value, path):
    found_path, message = refusal(value)
    assert found_path == path
    assert re.fullmatch("not served: it .+", message)


@pytest.mark.parametrize("nothing", [None, False, "", [], {}], ids=str)
def test_an_unserved_field_that_asks_for_nothing_is_fine(nothing):
    rule = {"action": "Allow", "source": {"services": nothing}, "http": nothing}
    written_values = [
        written.policy(namespaceSelector=nothing, serviceAccountSelector=nothing, ingress=[rule])
    ]
    assert read(*written_values) == read(written.policy(ingress=[{"action": "Allow"}]))


def test_a_rule_may_ask_for_what_is_in_no_namespace_which_is_all_that_is_known():
    def entity(**side: str) -> t.Any:
        (policy,) = read(written.policy(ingress=[{"action": "Allow", "source": side}]))
        return policy.ingress[0].source

    assert entity(namespaceSelector="  global()  ") == entity(selector="all()")
    assert entity(namespaceSelector="global()", selector="has(a)") == entity(selector="has(a)")
    side = {"namespaceSelector": "global() && all()"}
    path, message = refusal(written.policy(ingress=[{"action": "Allow", "source": side}]))
    assert path == "spec.ingress[0].source.namespaceSelector"
    assert "it picks pods, and a plain host has none; allowed: global()" in message


def test_named_ports_need_no_protocol_but_none_without_ports():
    named = {"action": "Allow", "destination": {"ports": ["web"], "notPorts": ["ssh"]}}
    (policy,) = read(written.policy(ingress=[named]))
    found = policy.ingress[0].destination
    assert (found.named_ports, found.not_named_ports, found.ports) == (("web",), ("ssh",), ())
    paths = [path for path, _message in refusals(written.policy(ingress=[{**named, "protocol": "ICMP"}]))]
    assert paths == ["spec.ingress[0].destination.ports", "spec.ingress[0].destination.notPorts"]


def test_a_policy_is_in_the_tier_default_unless_it_says_otherwise():
    assert read(written.policy(tier="default")) == read(written.policy())


@pytest.mark.parametrize("kind", sorted(kinds.UNSERVED_KINDS))
def test_an_unserved_kind_is_refused_by_name_with_the_reason(kind):
    path, message = refusal(written.resource(kind, "any", {}))
    assert path == "kind"
    assert re.fullmatch(f"{kind} is not served: it .+", message)


@pytest.mark.parametrize("kind", ["Pod", "hostendpoint", 5, ["HostEndpoint"], None], ids=str)
def test_an_unknown_kind(kind):
    path, message = refusal({**written.endpoint(), "kind": kind})
    found = "missing; " if kind is None else f"found {shown(kind)}, "
    assert (path, message) == ("kind", f"{found}allowed: {', '.join(kinds.KINDS)}")


@pytest.mark.parametrize(
    "steps, misspelt, meant",
    [
        (("apiVersion",), "piVersion", "apiVersion"),
        (("spec",), "specs", "spec"),
        (("metadata", "name"), "nam", "name"),
        (("spec", "doNotTrack"), "donottrack", "doNotTrack"),
        (("spec", "ingress"), "ingres", "ingress"),
        (("spec", "ingress", 0, "destination"), "destinations", "destination"),
        (("spec", "ingress", 0, "source", "nets"), "net", "nets"),
    ],
)
def test_a_misspelt_field_is_refused_with_the_one_that_was_meant(steps, misspelt, meant):
    value = EVERYTHING[1]
    without = samples.without(value, steps)
    parent = samples.value_at(without, steps[:-1])
    broken = samples.replaced(without, steps[:-1], {**parent, misspelt: samples.value_at(value, steps)})
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in (*steps[:-1], misspelt))
    messages = dict(refusals(broken))
    assert messages[path.lstrip(".")].startswith(f"unknown field; did you mean '{meant}'? Allowed: ")


def test_an_unknown_field_that_resembles_none():
    path, message = refusal(written.network_set("a", []) | {"qqq": {}})
    assert path == "qqq"
    assert message == "unknown field. Allowed: apiVersion, kind, metadata, spec, status"


@pytest.mark.parametrize("key", [5, None, True, 1.5])
def test_a_key_that_is_no_text_is_an_unknown_field(key):
    path, message = refusal(written.policy(ingress=[{"action": "Allow", key: 1}]))
    assert path == f"spec.ingress[0].{shown(key)}"
    assert message.startswith("unknown field")


# -- many findings, many resources -------------------------------------------------------------------


def test_everything_that_is_wrong_is_found_at_once():
    broken = written.policy(
        "Web",
        order="high",
        ingress=[
            {"action": "allow", "protocol": "tcp", "source": {"nets": ["10.0.0.1", "any"], "net": []}},
            {"action": "Allow", "notPorts": [1]},
        ],
    )
    paths = [path for path, _message in refusals(broken, "no resource", written.endpoint(node=""))]
    assert paths == [
        "metadata.name",
        "spec.order",
        "spec.ingress[0].action",
        "spec.ingress[0].protocol",
        "spec.ingress[0].source.nets[0]",
        "spec.ingress[0].source.nets[1]",
        "spec.ingress[0].source.net",
        "spec.ingress[1].notPorts",
        "",
        "spec.node",
    ]


def test_a_finding_in_words():
    _found, findings = kinds.parse_all([written.endpoint("Web", node="")])
    assert [str(finding) for finding in findings] == [
        (
            "HostEndpoint Web: metadata.name: found 'Web', allowed: "
            "up to 253 lower-case letters, digits, '-' and '.', "
            "with a letter or digit at both ends of each part"
        ),
        "HostEndpoint Web: spec.node: found '', expected the name of a host, up to 253 characters",
    ]
    assert str(Finding("Kind", "name", "spec.x", "missing", "file.yml:3")) == (
        "file.yml:3: Kind name: spec.x: missing"
    )


@pytest.mark.parametrize("value", [None, 5, "text", b"bytes", {"kind": "HostEndpoint"}], ids=str)
def test_resources_are_a_list(value):
    found, findings = kinds.parse_all(value)
    assert found == []
    assert [finding.message for finding in findings] == [
        f"found {shown(value)}, expected a list of resources"
    ]


@pytest.mark.parametrize("value", [[], ()])
def test_there_may_be_none(value):
    assert kinds.parse_all(value) == ([], [])


@pytest.mark.parametrize("value", EVERYTHING, ids=lambda value: value["kind"])
def test_equal_definitions_count_once(value):
    assert read(value, value, dict(value)) == read(value)


def test_definitions_are_compared_by_what_they_mean():
    assert len(read(written.policy(selector="a=='b'"), written.policy(selector='a == "b"'))) == 1
    assert len(read(written.policy(order=1), written.policy(order=1.0, ingress=[]))) == 1
    assert len(read(written.network_set("a", ["10.1.0.0/8"]), written.network_set("a", ["10.0.0.0/8"]))) == 1


@pytest.mark.parametrize(
    "one, other",
    [
        (written.endpoint(), written.endpoint(interface="eth1")),
        (written.endpoint(), written.endpoint(labels={"a": "b"})),
        (written.policy(), written.policy(order=1)),
        (written.policy(), written.policy(ingress=[{"action": "Deny"}])),
        (written.network_set("a", []), written.network_set("a", ["10.0.0.0/8"])),
    ],
)
def test_different_definitions_of_one_name_are_refused(one, other):
    assert refusals(one, other) == [("metadata.name", "defined twice with different content")]


def test_one_name_in_two_kinds_is_fine():
    assert len(read(written.endpoint("a"), written.policy("a"), written.network_set("a", []))) == 3


# -- fuzz --------------------------------------------------------------------------------------------


@given(samples.junk())
def test_any_value_is_read_or_refused(value):
    kinds.parse_all(value)
    found, findings = kinds.parse_all([value])
    assert found == []
    assert findings


@given(st.sampled_from(POSITIONS), samples.junk())
def test_anything_anywhere_is_read_or_refused(steps, value):
    found, findings = kinds.parse_all(samples.replaced(EVERYTHING, steps, value))
    for finding in findings:
        assert finding.message
        assert isinstance(finding.path, str)
    if len(steps) > 1:
        assert len(found) == (2 if findings else 3)


@given(st.sampled_from([steps for steps in POSITIONS if len(steps) > 1]), samples.junk())
def test_an_unknown_key_anywhere_is_refused(steps, value):
    if not isinstance(samples.value_at(EVERYTHING, steps), dict):
        return
    if steps[-1] in ("labels", "annotations"):
        return
    grown = {**samples.value_at(EVERYTHING, steps), "neverHeardOf": value}
    _found, findings = kinds.parse_all(samples.replaced(EVERYTHING, steps, grown))
    assert [finding.path.rpartition(".")[2] for finding in findings] == ["neverHeardOf"]


# -- fixtures and the corpus -------------------------------------------------------------------------

SEEDS = corpus.CHECKOUT / "tests" / "fixtures" / "seeds"


@pytest.mark.parametrize(
    "file", ["memcached.yml", "memcached-clients-endpoints.yml", "memcached-clients-set.yml", "redis.yml"]
)
def test_the_published_examples_are_valid(file):
    text = (SEEDS / file).read_text(encoding="utf-8").replace("<NODE_IP>", "192.0.2.1")
    assert read(*yaml.safe_load_all(text))
