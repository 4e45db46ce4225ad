# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differential test finds what it is there to find: every fault made in a table shows as a difference."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import chains, nftables
from tests.differential.compare import compare
from tests.differential.explore import explore
from tests.differential.kernel import MAX_BATCH
from tests.differential.samples import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.differential.kernel import Kernel
    from tests.differential.packets import Sample


def _rules(name: str, direction: str, *rules: dict[str, Any]) -> tuple[model.Rule, ...]:
    origins = (model.Origin("GlobalNetworkPolicy", name, direction, index) for index in range(len(rules)))
    return tuple(model.Rule(origin, **rule) for origin, rule in zip(origins, rules, strict=True))


_WEB = {"protocol": model.TCP}
_CLIENTS = ("clients",)
_INGRESS = (
    {"action": "pass", "protocol": model.UDP, "source": model.Side(_CLIENTS)},
    {"action": "deny", "protocol": model.UDP},
    {
        "action": "allow",
        "source": model.Side(_CLIENTS),
        "destination": model.Side((), ((80, 80), (443, 445))),
        **_WEB,
    },
    {"action": "deny", "destination": model.Side(("servers", "both")), **_WEB},
)
_EGRESS = (
    {"action": "allow", "source": model.Side((), ((80, 80),)), "destination": model.Side(_CLIENTS), **_WEB},
    {"action": "deny", "protocol": model.ICMP},
)
POLICY = model.HostPolicy(
    node="host",
    endpoints=(
        model.Endpoint(
            "host-eth0",
            "eth0",
            (
                model.Tier("first", ("GlobalNetworkPolicy/web",)),
                model.Tier("second", ("GlobalNetworkPolicy/rest",)),
            ),
        ),
    ),
    policies={
        "GlobalNetworkPolicy/web": model.Policy(
            "GlobalNetworkPolicy",
            "web",
            _rules("web", model.INGRESS, *_INGRESS),
            _rules("web", model.EGRESS, *_EGRESS),
        ),
        "GlobalNetworkPolicy/rest": model.Policy(
            "GlobalNetworkPolicy",
            "rest",
            _rules("rest", model.INGRESS, {"action": "allow", "protocol": model.UDP}, {"action": "deny"}),
            _rules("rest", model.EGRESS, {"action": "deny", "ip_version": 6}),
        ),
    },
    sets={
        "clients": model.AddressSet("clients", ("10.0.0.0/24", "10.0.2.7/32"), ("2001:db8::/64",)),
        "servers": model.AddressSet("servers", ("192.168.1.0/24",), ("2001:db8:1::/64",)),
        "both": model.AddressSet("both", ("192.168.1.128/25",), ("2001:db8:1::8000:0:0:0/65",)),
    },
    failsafes=model.Failsafes(
        inbound=(model.Failsafe(model.TCP, 22),),
        outbound=(model.Failsafe(model.UDP, 53, "10.0.0.53/32"),),
    ),
)
_RULE_FAULTS = (
    (" notrack accept", " accept"),
    (" accept", " drop"),
    (" } accept", " } notrack accept"),
    ("255 accept", "255 notrack accept"),
    ('" accept', '" notrack accept'),
    (" drop", " accept"),
    (" return", " accept"),
    ("saddr", "daddr"),
    ("daddr", "saddr"),
    ("sport", "dport"),
    ("dport", "sport"),
    ("443-445", "443-444"),
    ("ip6 hoplimit 255", ""),
)
_ELEMENT_FAULTS = (
    ("10.0.2.7", "10.0.2.6"),
    ("/24", "/25"),
    ("/65", "/64"),
    ("/32", "/31"),
    ('"eth0" :', '"eth9" :'),
)


def _faulty_tables() -> Iterator[tuple[str, list[str]]]:
    """Tables with one fault each, by what the fault is."""
    lines = nftables.text(POLICY).splitlines()
    for index, line in enumerate(lines):
        if "policy accept" in line:
            others = [line.replace("policy accept", "policy drop")]
        elif "elements" in lines[index - 1]:
            others = [line.replace(old, new) for old, new in _ELEMENT_FAULTS]
        elif any(word in line for word in (" accept", " drop", " return", "jump", "vmap")):
            others = ["", *(line.replace(old, new) for old, new in _RULE_FAULTS)]
        else:
            others = []
        for other in others:
            if other != line:
                yield f"{line.strip()} -> {other.strip()}", [*lines[:index], other, *lines[index + 1 :]]


@pytest.fixture
def batches():
    """A few batches of packets; nearly always the first finds whatever there is to find."""
    source = samples(POLICY, Random(1))
    return (tuple(islice(source, MAX_BATCH)) for _unused in range(5))


def _differs(kernel: Kernel, packets: tuple[Sample, ...]) -> bool:
    return bool(compare(POLICY, packets, kernel.observe(packets)).differences)


@pytest.fixture(autouse=True)
def _no_table(kernel):
    kernel.clear()


def test_the_faultless_table_shows_no_difference(kernel, batches):
    kernel.nft(nftables.text(POLICY))

    assert not any(_differs(kernel, packets) for packets in batches)


def test_no_table_shows_differences(kernel, batches):
    assert _differs(kernel, next(batches))


def test_every_fault_in_a_table_shows(kernel, batches):
    batches = list(batches)
    unseen = []
    for fault, lines in _faulty_tables():
        kernel.nft("\n".join([*lines, ""]))
        if not any(_differs(kernel, packets) for packets in batches):
            unseen.append(fault)
        kernel.clear()

    assert unseen == []


def test_a_failing_scenario_is_made_small_and_told_whole(kernel, monkeypatch):
    monkeypatch.setitem(chains._DECISIONS, model.DENY, "accept")

    with pytest.raises(AssertionError) as caught:
        explore(kernel, 1, examples=60, packets=25)

    told = str(caught.value)
    assert "reference: Verdict(action='deny'" in told
    assert "kernel: allow, tracked" in told
    assert told.count("Sample(") == 1
    assert told.count('"action": "deny"') == 1
    assert '"action": "allow"' not in told
    assert "GlobalNetworkPolicy" in told
    assert "table inet netpolicy_host {" in told
