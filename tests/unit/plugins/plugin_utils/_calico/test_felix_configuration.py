# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failsafe ports that the user chooses: for all hosts, for one, or none at all."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.kinds import parse_all
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import (
    DEFAULT_FAILSAFES,
    Resolver,
)
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico.site import Site

SSH = {"protocol": "TCP", "port": 2222}


def felix(name: str = "default", **spec: t.Any) -> dict[str, t.Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "FelixConfiguration",
        "metadata": {"name": name},
        "spec": spec,
    }


def failsafes(*members: t.Any, node: str = "web-1") -> model.Failsafes:
    parsed, findings = parse_all(members)
    assert findings == []
    return Resolver(parsed).host_policy(node).failsafes


def test_without_a_setting_they_are_those_of_calico():
    assert failsafes() == DEFAULT_FAILSAFES


def test_a_setting_of_one_direction_leaves_the_other():
    found = failsafes(felix(failsafeInboundHostPorts=[SSH]))
    assert found == model.Failsafes((model.Failsafe(6, 2222),), DEFAULT_FAILSAFES.outbound)


def test_an_empty_list_turns_them_off():
    found = failsafes(felix(failsafeInboundHostPorts=[], failsafeOutboundHostPorts=[]))
    assert found == model.Failsafes((), ())


def test_a_null_is_no_setting():
    assert failsafes(felix(failsafeInboundHostPorts=None)) == DEFAULT_FAILSAFES


def test_a_setting_of_the_node_goes_before_that_of_all():
    every, one = felix(failsafeInboundHostPorts=[]), felix("node.web-1", failsafeInboundHostPorts=[SSH])
    assert failsafes(every, one).inbound == (model.Failsafe(6, 2222),)
    assert failsafes(one, every, node="web-2").inbound == ()


def test_a_net_limits_the_peers():
    entry = {"protocol": "UDP", "port": 53, "net": "192.0.2.53/32"}
    found = failsafes(felix(failsafeOutboundHostPorts=[entry]))
    assert found.outbound == (model.Failsafe(17, 53, "192.0.2.53/32"),)


@pytest.mark.parametrize(
    "spec, path, message",
    [
        (
            {"failsafeInboundHostPorts": [{"port": 22}]},
            "spec.failsafeInboundHostPorts[0].protocol",
            "missing; expected TCP, UDP or SCTP",
        ),
        (
            {"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 22}]},
            "spec.failsafeInboundHostPorts[0].protocol",
            "found 'tcp', allowed: TCP, UDP, SCTP",
        ),
        (
            {"failsafeOutboundHostPorts": [SSH, {"protocol": "TCP", "port": 65536}]},
            "spec.failsafeOutboundHostPorts[1].port",
            "found 65536, allowed: a number from 0 to 65535",
        ),
        (
            {"failsafeInboundHostPorts": [{**SSH, "net": "resolver"}]},
            "spec.failsafeInboundHostPorts[0].net",
            "found 'resolver', expected a CIDR",
        ),
        ({"xdpenabled": True}, "spec.xdpenabled", "unknown field; did you mean 'xdpEnabled'?"),
        ({"interfaceExclude": "docker0"}, "spec.interfaceExclude", "found 'docker0', not served: it would"),
        ({"nftablesFilterDenyAction": "Reject"}, "spec.nftablesFilterDenyAction", "found 'Reject', not"),
        ({"logActionRateLimit": "10/sec"}, "spec.logActionRateLimit", "found '10/sec', allowed: 1 to 9999"),
        ({"logPrefix": "a;b"}, "spec.logPrefix", "found 'a;b', allowed: up to 100"),
        (
            {"nftablesMarkMask": 3},
            "spec.nftablesMarkMask",
            "found 0x3, allowed: a mask with at least 4 bits set",
        ),
        ({"chainInsertMode": "Top"}, "spec.chainInsertMode", "found 'Top', allowed: Insert, Append"),
        (
            {"iptablesMarkMask": 0xFF, "nftablesMarkMask": 0xFF00},
            "spec.nftablesMarkMask",
            "found 0xff00, but iptablesMarkMask is 0xff",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_path(spec, path, message):
    _parsed, (finding,) = parse_all([felix(**spec)])
    assert finding.path == path
    assert finding.message.startswith(message)


def test_a_name_is_default_or_of_a_node():
    _parsed, (finding,) = parse_all([felix("web-1")])
    assert finding.path == "metadata.name"
    assert "allowed: default, or node.<name of a host>" in finding.message


def test_a_node_may_be_called_by_its_other_name_and_an_unknown_one_warns(tmp_path):
    members = [felix("node.alias", failsafeInboundHostPorts=[SSH]), felix("node.nobody")]
    hosts = {"web-1": {"netpolicy_node": "alias"}}
    variables = {"netpolicy_resources": members}
    site = Site(tmp_path).write({"hosts.yml": json.dumps({"all": {"hosts": hosts, "vars": variables}})})
    found = site.collect(sources=["hosts.yml"])
    assert [(warning.name, warning.path) for warning in found.warnings] == [("node.nobody", "metadata.name")]
    assert Resolver(found.resources).host_policy("web-1").failsafes.inbound == (model.Failsafe(6, 2222),)


def settings(*members: t.Any, node: str = "web-1") -> model.Settings:
    parsed, findings = parse_all(members)
    assert findings == []
    return Resolver(parsed).host_policy(node).settings


def test_settings_of_all_and_then_of_one():
    every = felix(logPrefix="all", logActionRateLimit="10/second", logActionRateLimitBurst=7)
    one = felix("node.web-1", logPrefix="", disableConntrackInvalidCheck=True, chainInsertMode="Append")
    assert settings(every, one) == model.Settings(
        drop_invalid=False, log_prefix="", log_rate="10/second", log_burst=7, insert_first=False
    )
    assert settings(every, one, node="web-2").log_prefix == "all"
    assert settings(felix(iptablesMarkMask=0xFF00)).mark_mask == 0xFF00


def test_the_default_written_out_is_no_setting():
    assert settings(felix(nftablesFilterDenyAction="Drop", iptablesFilterAllowAction="ACCEPT")) == settings()


def test_what_means_nothing_on_a_plain_host_is_ignored_and_told_by_name():
    parsed, _findings = parse_all([felix(bpfEnabled=True, logPrefix="x", logSeverityScreen="Info")])
    told = [(finding.path, finding.message.partition(":")[0]) for finding in Resolver(parsed).findings()]
    assert told == [("spec.bpfEnabled", "ignored"), ("spec.logSeverityScreen", "ignored")]
