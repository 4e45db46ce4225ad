# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given

from ansible_collections.netpolicy.host.plugins.filter import host_policy
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import lacks, nftables
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

FILTERS = host_policy.FilterModule().filters()
POLICY = model.to_dict(samples.sample())
ENFORCED = model.to_dict(samples.untracked_sample())
PACKET = {
    "direction": "ingress",
    "interface": "eth0",
    "protocol": "TCP",
    "src": "10.0.0.1",
    "dst": "192.0.2.1",
    "dport": 8080,
}


def test_the_names_are_a_contract():
    assert set(FILTERS) == {"verdict", "nftables"}


def test_a_verdict():
    assert FILTERS["verdict"](POLICY, PACKET) == {
        "action": "deny",
        "tracked": False,
        "decided_by": {"kind": "GlobalNetworkPolicy", "name": "web", "direction": "ingress", "rule": 1},
        "reason": "untracked policy: denied by rule 1 of GlobalNetworkPolicy web",
    }


def test_a_verdict_that_no_rule_decided():
    found = FILTERS["verdict"](ENFORCED, {**PACKET, "interface": "eth7"})
    assert found == {
        "action": "allow",
        "tracked": True,
        "decided_by": None,
        "reason": "no host endpoint on interface eth7",
    }


def test_the_text_of_the_ruleset():
    assert FILTERS["nftables"](ENFORCED) == nftables.text(samples.untracked_sample())


def test_a_policy_that_this_version_cannot_enforce_has_no_ruleset():
    with pytest.raises(AnsibleFilterError) as error:
        FILTERS["nftables"](POLICY)
    found = lacks.unenforced(samples.sample())
    assert 1 < len(found) <= 5
    assert str(error.value) == (
        "netpolicy.host.nftables: this version enforces untracked policy only: it cannot enforce "
        f"{'; '.join(map(str, found))}"
    )


@pytest.mark.parametrize(
    "policy, packet, message",
    [
        ([], PACKET, "HostPolicy: found list, expected a mapping"),
        ({**POLICY, "format": 1}, PACKET, "HostPolicy.format: found 1, this version reads 2"),
        (samples.without(POLICY, ("sets",)), PACKET, "HostPolicy.sets: missing"),
        (POLICY, "tcp", "packet: found 'tcp', expected a mapping"),
        (POLICY, {**PACKET, "dport": "http"}, "packet.dport: found 'http'"),
        (POLICY, {**PACKET, "port": 80}, "packet.port: unknown field"),
        (
            samples.replaced(POLICY, ("sets", "s:clients", "v4"), ["anywhere"]),
            PACKET,
            "HostPolicy.sets.s:clients.v4[0]: found 'anywhere', expected an IPv4 network in CIDR notation",
        ),
    ],
)
def test_a_bad_argument_of_verdict_is_named(policy, packet, message):
    with pytest.raises(AnsibleFilterError) as error:
        FILTERS["verdict"](policy, packet)
    assert str(error.value).startswith(f"netpolicy.host.verdict: {message}")


@pytest.mark.parametrize(
    "policy, message",
    [("text", "HostPolicy: found str, expected a mapping"), ({}, "HostPolicy.format: found null")],
)
def test_a_bad_argument_of_nftables_is_named(policy, message):
    with pytest.raises(AnsibleFilterError) as error:
        FILTERS["nftables"](policy)
    assert str(error.value).startswith(f"netpolicy.host.nftables: {message}")


@given(samples.junk())
def test_anything_else_is_an_ansible_error(value):
    with pytest.raises(AnsibleFilterError, match=r"^netpolicy.host.verdict: HostPolicy"):
        FILTERS["verdict"](value, PACKET)
    with pytest.raises(AnsibleFilterError, match=r"^netpolicy.host.nftables: HostPolicy"):
        FILTERS["nftables"](value)
    with pytest.raises(AnsibleFilterError, match=r"^netpolicy.host.verdict: packet"):
        FILTERS["verdict"](POLICY, value)
