# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same rules for each firewall, as those write them who use it: all of them count what a rule matches.

What others write by hand has no failsafes and no exception for neighbour discovery; ours always has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resolve import DEFAULT_FAILSAFES

from .figures import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .shapes import Workload

INTERFACE: Final = "eth0"
KIND, NAME = "GlobalNetworkPolicy", "policy"


@dataclass(frozen=True)
class Load:
    """A command that reads its part of a firewall from standard input."""

    argv: tuple[str, ...]
    script: str


@dataclass(frozen=True)
class Firewall:
    """A way to enforce a workload. It is not asked for more than `most` networks."""

    title: str
    loads: Callable[[Workload], Iterator[Load]]
    most: int = 10_000_000


def host_policy(workload: Workload) -> model.HostPolicy:
    """The workload as one untracked policy, with the failsafes that a host has if nobody says otherwise."""
    names = [f"set-{index}" for index in range(len(workload.rules))]
    rules = tuple(
        model.Rule(
            origin=model.Origin(KIND, NAME, model.INGRESS, index),
            action=model.ALLOW,
            protocol=model.UDP,
            source=model.Side(sets=(name,)),
            destination=model.Side(ports=() if rule.port is None else ((rule.port, rule.port),)),
        )
        for index, (name, rule) in enumerate(zip(names, workload.rules, strict=True))
    )
    policy = model.Policy(KIND, NAME, ingress=rules)
    tier = model.Tier("default", (policy.key,))
    return model.HostPolicy(
        node="host",
        endpoints=(model.Endpoint(f"host-{INTERFACE}", INTERFACE, untracked=(tier,)),),
        policies={policy.key: policy},
        sets={
            name: model.AddressSet(name, v4=rule.nets)
            for name, rule in zip(names, workload.rules, strict=True)
        },
        failsafes=DEFAULT_FAILSAFES,
    )


def _ours(workload: Workload) -> Iterator[Load]:
    yield Load(("nft", "-f", "-"), nftables.text(host_policy(workload)))


def _nft(workload: Workload) -> Iterator[Load]:
    """One chain. That it asks for the interface once, and for the port first, is the best that one can do."""
    lines = ["table inet filter {"]
    for index, rule in enumerate(workload.rules):
        elements = ", ".join(rule.nets)
        lines.append(f"set set-{index} {{ type ipv4_addr; flags interval; elements = {{ {elements} }} }}")
    lines.append("chain raw { type filter hook prerouting priority raw; policy accept;")
    lines.append(f'iifname != "{INTERFACE}" return')
    for index, rule in enumerate(workload.rules):
        port = "meta l4proto udp" if rule.port is None else f"udp dport {rule.port}"
        lines.append(f"{port} ip saddr @set-{index} counter notrack accept")
    yield Load(("nft", "-f", "-"), "\n".join([*lines, "}", "}", ""]))


def _iptables(workload: Workload) -> Iterator[Load]:
    """What `-s NET,NET,...` becomes: a rule for each network."""
    rules = [f"-s {net} {_protocol(port)}" for port, net in _pairs(workload)]
    yield Load(("iptables-legacy-restore", "--wait"), _raw_table(rules))


def _ipset(workload: Workload) -> Iterator[Load]:
    """A set for the networks of each rule, and the rules in iptables' newer form, which nft's engine runs."""
    sets = []
    for index, rule in enumerate(workload.rules):
        # More than ipset allows if it is not told.
        room = f" maxelem {len(rule.nets)}" if len(rule.nets) > 65536 else ""
        sets.append(f"create set-{index} hash:net{room}")
        sets += [f"add set-{index} {net}" for net in rule.nets]
    yield Load(("ipset", "restore"), "\n".join([*sets, ""]))
    rules = [
        f"{_protocol(rule.port)} -m set --match-set set-{index} src"
        for index, rule in enumerate(workload.rules)
    ]
    yield Load(("iptables-nft-restore",), _raw_table(rules))


def _raw_table(rules: list[str]) -> str:
    # A packet goes on to the next rule after CT, so what accepts it needs a chain of two.
    head = ["*raw", ":untrack - [0:0]", "-A untrack -j CT --notrack", "-A untrack -j ACCEPT"]
    return "\n".join(
        [*head, *(f"-A PREROUTING -i {INTERFACE} {rule} -j untrack" for rule in rules), "COMMIT", ""]
    )


def _protocol(port: int | None) -> str:
    return "-p udp" if port is None else f"-p udp -m udp --dport {port}"


def _pairs(workload: Workload) -> Iterator[tuple[int | None, str]]:
    for rule in workload.rules:
        for net in rule.nets:
            yield rule.port, net


FIREWALLS: Final = (
    Firewall(OURS, _ours),
    Firewall("nft, one chain", _nft),
    # It looks at every network of every rule, so more would only take longer.
    Firewall("iptables-legacy", _iptables, most=40_000),
    Firewall("iptables-nft with ipset", _ipset),
)
