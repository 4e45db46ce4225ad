# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.netpolicy.host.plugins.filter import resources
from ansible_collections.netpolicy.host.plugins.module_utils._policy import read
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import written

FILTERS = resources.FilterModule().filters()
POLICY = written.policy(ingress=[{"action": "Allow", "source": {"selector": "has(x)"}}])


def sets_of(compiled: dict[str, t.Any]) -> list[str]:
    (members,) = compiled["sets"].values()
    return members["v4"] + members["v6"]


def test_the_names_are_a_contract():
    assert set(FILTERS) == {"validate", "compile"}


# -- validate ----------------------------------------------------------------------------------------


def test_valid_resources_have_no_findings():
    assert FILTERS["validate"]([written.endpoint(), POLICY]) == []


def test_findings_are_plain():
    found = FILTERS["validate"]([written.endpoint(node=""), POLICY, "text"])
    assert json.loads(json.dumps(found)) == found
    assert [set(one) for one in found] == [{"kind", "name", "path", "message"}] * 2
    assert found[0] == {
        "kind": "HostEndpoint",
        "name": "node-eth0",
        "path": "spec.node",
        "message": "found '', expected the name of a host, up to 253 characters",
    }


@pytest.mark.parametrize("value", [None, 5, "text", {}])
def test_what_is_no_list_is_a_finding(value):
    (found,) = FILTERS["validate"](value)
    assert found["message"].endswith("expected a list of resources")


# -- compile -----------------------------------------------------------------------------------------


def test_the_policy_of_one_node_as_plain_data():
    compiled = FILTERS["compile"]([written.endpoint(), written.endpoint("b", node="b"), POLICY], node="node")
    assert json.loads(json.dumps(compiled)) == compiled
    policy = read.from_dict(compiled)
    assert policy.node == "node"
    assert [one.name for one in policy.endpoints] == ["node-eth0"]
    assert compiled["policies"]["GlobalNetworkPolicy/web"]["ingress"][0]["action"] == "allow"


def test_addresses_are_those_of_the_nodes_own_interfaces():
    endpoints = [
        written.endpoint("a", {"x": ""}),
        written.endpoint("b", {"x": ""}, interface="eth1", expectedIPs=["192.0.2.99"]),
        written.endpoint("c", {"x": ""}, interface="eth2"),
        written.endpoint("d", {"x": ""}, node="other", interface="eth9"),
    ]
    addresses = {"eth0": ["192.0.2.1", "fd00::1"], "eth1": ["192.0.2.2"], "eth9": ["192.0.2.9"]}
    compiled = FILTERS["compile"]([*endpoints, POLICY], node="node", addresses=addresses)
    assert sets_of(compiled) == ["192.0.2.1/32", "192.0.2.99/32", "fd00::1/128"]


def test_one_address_needs_no_list():
    compiled = FILTERS["compile"]([written.endpoint(labels={"x": ""}), POLICY], "node", {"eth0": "192.0.2.1"})
    assert sets_of(compiled) == ["192.0.2.1/32"]


@pytest.mark.parametrize("addresses", [None, {}])
def test_addresses_may_be_left_out(addresses):
    compiled = FILTERS["compile"]([written.endpoint(labels={"x": ""}), POLICY], "node", addresses)
    assert sets_of(compiled) == []


def test_findings_are_an_error_with_all_of_them():
    with pytest.raises(AnsibleFilterError) as error:
        FILTERS["compile"]([written.endpoint(node=""), written.policy(order="x")], node="node")
    assert str(error.value).startswith("netpolicy.host.compile: HostEndpoint node-eth0: spec.node: found ''")
    assert "; GlobalNetworkPolicy web: spec.order: found 'x', expected a finite number" in str(error.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"node": None}, "node: found null, expected a string"),
        ({"node": ["node"]}, "node: found a list, expected a string"),
        ({"addresses": "x"}, "addresses: found 'x', expected a mapping of interface to addresses"),
        ({"addresses": ["x"]}, "addresses: found a list, expected a mapping of interface to addresses"),
        ({"addresses": {"eth0": None}}, "addresses: eth0: found null, expected a list of addresses"),
        ({"addresses": {"eth0": [5]}}, "addresses: eth0: found 5, expected a string"),
        (
            {"addresses": {"eth0": ["10.0.0.0/8"]}},
            "addresses: eth0: found '10.0.0.0/8', expected an IP address",
        ),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(AnsibleFilterError) as error:
        FILTERS["compile"]([written.endpoint()], **{"node": "node", **arguments})
    assert str(error.value).startswith(f"netpolicy.host.compile: {message}")
