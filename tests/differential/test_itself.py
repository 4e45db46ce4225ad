# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differential test finds what it is there to find: every fault made in a table shows as a difference."""

from __future__ import annotations

import itertools
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import chains, nftables, ruleset
from tests.differential import by_hand
from tests.differential.compare import Expected, expected
from tests.differential.explore import explore
from tests.differential.samples import samples
from tests.lab.command import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.differential.kernel import Kernel


_WEB: dict[str, Any] = {"protocol": model.TCP}
_UDP: dict[str, Any] = {"protocol": model.UDP}
_CLIENTS = ("clients",)
_INGRESS = (
    {"action": "log", "source": model.Side(_CLIENTS)},
    {"action": "pass", "protocol": model.UDP, "source": model.Side(_CLIENTS)},
    {"action": "deny", "protocol": model.UDP},
    {
        "action": "allow",
        "source": model.Side(_CLIENTS),
        "destination": model.Side((), ((80, 80), (443, 445))),
        **_WEB,
    },
    {"action": "allow", "destination": model.Side(named_ports=("n:admin",)), **_WEB},
    {"action": "deny", "destination": model.Side(("servers", "both")), **_WEB},
    {"action": "log", "not_protocol": model.TCP},
    {"action": "allow", "icmp": model.Icmp(8, 0)},
    {"action": "deny", "not_icmp": model.Icmp(3)},
)
_EGRESS = (
    {"action": "allow", "source": model.Side((), ((80, 80),)), "destination": model.Side(_CLIENTS), **_WEB},
    {"action": "allow", "source": model.Side(named_ports=("n:admin",))},
    {"action": "deny", "protocol": model.ICMP},
    {"action": "deny", "destination": model.Side(not_named_ports=("n:admin",), not_sets=_CLIENTS)},
)
# Enough of them that ports are told apart by classes.
_CLASSES = (
    {"action": "deny", "destination": model.Side((), ((80, 80),)), **_WEB},
    {"action": "log", "source": model.Side((), not_ports=((1024, 65535),)), **_WEB},
    {"action": "allow", "destination": model.Side((), ((80, 90),)), **_WEB},
    {"action": "pass", "destination": model.Side((), ((85, 443),)), "source": model.Side(_CLIENTS), **_WEB},
    {"action": "deny", "destination": model.Side((), ((1, 1023),)), **_WEB},
    {"action": "allow", "protocol": model.TCP},
)


def _endpoint(name: str, interface: str | None, *tiers: model.Tier) -> model.Endpoint:
    return model.Endpoint(name, interface, tiers, addresses=("192.0.2.1",) if interface is None else ())


def _policy(name: str, ingress: tuple[Any, ...], egress: tuple[Any, ...]) -> model.Policy:
    rules = by_hand.rules
    both = rules(name, model.INGRESS, *ingress), rules(name, model.EGRESS, *egress)
    return model.Policy("GlobalNetworkPolicy", name, *both)


_FIRST = model.Tier("first", ("GlobalNetworkPolicy/web",))
_SECOND = model.Tier("second", ("GlobalNetworkPolicy/rest",))
POLICY = model.HostPolicy(
    node="host",
    endpoints=(
        _endpoint("host-eth0", "eth0", _FIRST, _SECOND),
        _endpoint("host-every", "*", model.Tier("classes", ("GlobalNetworkPolicy/classes",)), _SECOND),
        _endpoint("host-found", None, model.Tier("classes", ("GlobalNetworkPolicy/outgoing",))),
    ),
    policies={
        each.key: each
        for each in (
            _policy("web", _INGRESS, _EGRESS),
            _policy(
                "rest",
                ({"action": "allow", **_UDP}, {"action": "deny"}),
                ({"action": "deny", "ip_version": 6},),
            ),
            _policy("classes", _CLASSES, ({"action": "deny", **_UDP},)),
            # What arrives there is left alone, also by the endpoint for every interface.
            model.Policy(
                "GlobalNetworkPolicy",
                "outgoing",
                None,
                by_hand.rules("outgoing", model.EGRESS, {"action": "allow"}),
            ),
        )
    },
    sets={
        "clients": model.AddressSet("clients", ("10.0.0.0/24", "10.0.2.7/32"), ("2001:db8::/64",)),
        "servers": model.AddressSet("servers", ("192.168.1.0/24",), ("2001:db8:1::/64",)),
        "both": model.AddressSet("both", ("192.168.1.128/25",), ("2001:db8:1::8000:0:0:0/65",)),
    },
    port_sets={
        "n:admin": model.PortSet(
            "admin",
            (("192.168.1.129", model.TCP, 8080), ("192.168.1.129", model.UDP, 8080)),
            (("2001:db8:1::1", model.TCP, 8443),),
        )
    },
    failsafes=model.Failsafes(
        inbound=(model.Failsafe(model.TCP, 22),),
        outbound=(model.Failsafe(model.UDP, 53, "10.0.0.53/32"),),
    ),
    settings=model.Settings(log_rate="1/day", log_burst=1),
    interfaces={"eth1.20": ("192.0.2.1",)},
)
# What is replaced in a rule, and by what. Whether a message is written is the one thing that does not show:
# for a network namespace of our own the kernel writes none.
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
    ("!= ", ""),
    ("l4proto 6", "l4proto 17"),
    ("l4proto 17", "l4proto 6"),
    ("{ 6, 17, 132 }", "{ 17, 132 }"),
    ("{ 1, 58 }", "{ 1 }"),
    ("@th,0,16", "@th,16,16"),
    ("nfproto ipv6", "nfproto ipv4"),
    ("80 : goto", "81 : goto"),
    ("81-84 : goto", "81-83 : goto"),
    ('"lo"', '"eth0"'),
    ("counter name", "limit rate 1/day burst 1 packets counter name"),
)
_ELEMENT_FAULTS = (
    ("10.0.2.7", "10.0.2.6"),
    ("/24", "/25"),
    ("/65", "/64"),
    ("/32", "/31"),
    ('"eth0" :', '"eth9" :'),
    ('"eth1.20" :', '"eth9" :'),
    (" : accept", " : drop"),
    ("192.168.1.129 . 6 . 8080", "192.168.1.129 . 6 . 8081"),
    ("192.168.1.129 . 17 . 8080", "192.168.1.128 . 17 . 8080"),
    (". 6 . 8443", ". 17 . 8443"),
)
# A table in place of the one that is there, if any.
_INSTEAD = f"add table {ruleset.FAMILY} {ruleset.TABLE}\ndelete table {ruleset.FAMILY} {ruleset.TABLE}\n"
_BATCH = 500
_STATEMENTS = (" accept", " drop", " return", "jump", "goto", "vmap", "counter name")


def _faulty_tables() -> Iterator[tuple[str, str]]:
    """Tables with one fault each, by what the fault is.

    A statement that stands in several chains is wrong in all of them: in one alone it may be out of reach.
    """
    lines = nftables.text(POLICY).splitlines()
    for before, line in dict.fromkeys(itertools.pairwise(lines)):
        for other in dict.fromkeys(_faulty(line, is_elements="elements" in before)):
            if other != line:
                table = [other if each == line else each for each in lines]
                yield f"{line.strip()} -> {other.strip()}", "\n".join([*table, ""])


def _faulty(line: str, *, is_elements: bool) -> Iterator[str]:
    if "policy accept" in line:
        yield line.replace("policy accept", "policy drop")
    elif is_elements:
        yield from (line.replace(old, new) for old, new in _ELEMENT_FAULTS)
    elif any(word in line for word in _STATEMENTS):
        yield ""
        yield from (line.replace(old, new) for old, new in _RULE_FAULTS)


@pytest.fixture(scope="module")
def batches() -> tuple[Expected, ...]:
    """A few batches of packets; nearly always the first finds whatever there is to find."""
    source = samples(POLICY, Random(1))
    return tuple(expected(POLICY, tuple(islice(source, _BATCH))) for _unused in range(5))


def _differs(kernel: Kernel, said: Expected) -> bool:
    return bool(said.differences(POLICY, kernel.observe(said.samples)))


@pytest.fixture(autouse=True)
def _no_table(kernel):
    kernel.clear()


def test_the_faultless_table_shows_no_difference(kernel, batches):
    kernel.nft(nftables.text(POLICY))

    assert not any(_differs(kernel, said) for said in batches)


def test_no_table_shows_differences(kernel, batches):
    assert _differs(kernel, batches[0])


def test_every_fault_in_a_table_shows(kernel, batches):
    unseen = []
    for fault, table in dict(_faulty_tables()).items():
        try:
            kernel.nft(_INSTEAD + table)
        except CommandError:
            continue  # nft itself sees it
        if not any(_differs(kernel, said) for said in batches):
            unseen.append(fault)

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
