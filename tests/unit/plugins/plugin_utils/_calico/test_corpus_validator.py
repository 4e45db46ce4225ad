# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus's valid and invalid objects. Parts of resources are judged inside of one that they fit in."""

from __future__ import annotations

import sys
import typing as t
from collections import Counter

import pytest

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import kinds
from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import corpus, written

CASES = corpus.cases("validator.json", bool)
NO_CORPUS = CASES[0].values[0] is None


def _in_rule(**fields: t.Any) -> written.Written:
    return written.resource("GlobalNetworkPolicy", "a", {"ingress": [{"action": "Allow", **fields}]})


def _named(kind: str) -> t.Callable[[t.Any], written.Written]:
    return lambda spec: written.resource(kind, "a", spec)


def _as(kind: str) -> t.Callable[[t.Any], written.Written]:
    """A namespaced object as the global one with the same spec. Its name may have more dots, once allowed."""

    def converted(value: t.Any) -> written.Written:
        name = value["metadata"]["name"].removeprefix("knp.default.")
        labels = value["metadata"].get("labels")
        return written.resource(kind, name, value["spec"], labels)

    return converted


AS_RESOURCE: dict[str, t.Callable[[t.Any], written.Written]] = {
    "Rule": lambda rule: written.resource("GlobalNetworkPolicy", "a", {"ingress": [rule]}),
    "Protocol": lambda protocol: _in_rule(protocol=protocol),
    "ICMPFields": lambda fields: _in_rule(protocol="ICMP", icmp=fields),
    "EntityRule": lambda entity: _in_rule(source=entity),
    "ProtoPort": lambda port: written.resource(
        "FelixConfiguration", "default", {"failsafeInboundHostPorts": [port]}
    ),
    "HostEndpointSpec": _named("HostEndpoint"),
    "GlobalNetworkSetSpec": _named("GlobalNetworkSet"),
    "NetworkSetSpec": _named("GlobalNetworkSet"),
    "ProfileSpec": _named("Profile"),
    "NetworkPolicy": _as("GlobalNetworkPolicy"),
    "StagedNetworkPolicy": _as("StagedGlobalNetworkPolicy"),
    "NetworkSet": _as("GlobalNetworkSet"),
}


def judged(case: t.Any) -> tuple[str, list[str]]:
    """What becomes of a case, and the messages of its findings."""
    value = case.get("object_explicit", case["object"])
    if case["kind"] in AS_RESOURCE:
        value = AS_RESOURCE[case["kind"]](value)
    _found, findings = kinds.parse_all([value])
    messages = [finding.message for finding in findings]
    if not messages:
        return "accepted", []
    cannot_be = all("not served" in message for message in messages)
    return "refused as what a plain host cannot have" if cannot_be else "refused", messages


@pytest.mark.parametrize("case", CASES)
def test_what_calico_takes_for_valid_is_valid_and_nothing_else(case):
    outcome, messages = judged(case)
    if case["valid"]:
        assert outcome != "refused", messages
    else:
        assert outcome != "accepted"


@pytest.mark.parametrize("kind", ["NetworkPolicy", "StagedNetworkPolicy", "NetworkSet"])
def test_namespaced_kinds_are_refused_by_kind(kind):
    _found, (finding,) = kinds.parse_all([written.resource(kind, "a", {})])
    assert (finding.kind, finding.path) == (kind, "kind")


@pytest.mark.skipif(NO_CORPUS, reason="there is no conformance corpus")
def test_how_many_there_are_of_each(capsys):
    counts: Counter[str] = Counter()
    for parameter in CASES:
        case = parameter.values[0]
        counts[f"{'valid' if case['valid'] else 'invalid'}, {judged(case)[0]}"] += 1
    with capsys.disabled():
        sys.stdout.write(f"\ncorpus validator.json: {dict(sorted(counts.items()))}\n")
