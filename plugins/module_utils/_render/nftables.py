# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""HostPolicy -> our nftables table.

Both raw chains are hooked: raw prerouting judges what arrives on an endpoint's interface, wherever it is
going; raw output what the host itself sends. Ingress alone would leave every reply to connection tracking.

A base chain finds the endpoint's chain by the interface. There, later fragments, which show no ports, take a
way of their own; discovery and failsafe ports pass; then each tier is a `jump`, and what its rules accept,
drop or pass on is decided below (tiers.py).
"""

from __future__ import annotations

import itertools
import typing as t

from .._policy import model
from . import counters, ruleset
from .chains import Chains
from .matches import ADDRESSES, DPORT, IP, SPORT
from .tiers import fragments_chain, tier_chain

HOOKS = {model.INGRESS: ("prerouting", "iifname"), model.EGRESS: ("output", "oifname")}
LOOPBACK = "lo"

# The kernel reads a transport header in any packet (nft_payload_fast_eval). Where connection tracking is at
# work there are no fragments here: it has made whole packets of them.
LATER_FRAGMENTS = ("ip frag-off & 0x1fff != 0", "meta nfproto ipv6 frag frag-off != 0")

# RFC 4861: valid neighbour discovery has hop limit 255, so it cannot come from beyond the link.
NEIGHBOUR_DISCOVERY = "icmpv6 type { 133-137 } ip6 hoplimit 255 accept"
LISTENER_DISCOVERY = "icmpv6 type { 130-132, 143 } accept"


def render(policy: model.HostPolicy, aliases: t.Mapping[str, str] | None = None) -> ruleset.Ruleset:
    """The table that enforces the policy's untracked part.

    `aliases`: the names of sets in the kernel whose content has changed since they were named, by the name
    that their content has now.
    """
    chains = Chains(policy, aliases or {})
    maps, bases = [], []
    for direction, (hook, key) in HOOKS.items():
        targets = _targets(chains, policy, direction)
        otherwise = _otherwise(chains, policy, direction)
        if otherwise is None:
            targets = {interface: verdict for interface, verdict in targets.items() if verdict != "accept"}
        if not (targets or otherwise):
            continue
        rules = []
        if targets:
            elements = tuple(sorted(targets.items()))
            name = ruleset.content_name(f"raw-{direction}", *map(repr, elements))
            maps.append(ruleset.InterfaceMap(name, elements))
            rules.append(f"{key} vmap @{name}")
        if otherwise:
            rules.append(f'{key} != "{LOOPBACK}" {otherwise}')
        bases.append(ruleset.BaseChain(name=f"raw-{hook}", hook=hook, priority="raw", rules=tuple(rules)))
    return ruleset.Ruleset(
        counters=tuple(chains.counters),
        sets=tuple(chains.sets.values()),
        chains=tuple(chains.chains.values()),
        maps=tuple(maps),
        bases=tuple(bases),
    )


def text(policy: model.HostPolicy) -> str:
    """The table as one file for `nft -f`."""
    return ruleset.text(render(policy))


# -- interfaces --------------------------------------------------------------------------------------


def _targets(chains: Chains, policy: model.HostPolicy, direction: str) -> dict[str, str]:
    """For each interface that an endpoint is for, where its packets go. Without rules they leave our table:
    what is there for all other interfaces is not for these."""
    return {
        interface: _verdict(chains, policy, endpoint, direction) or "accept"
        for interface, endpoint in _governed(policy).items()
    }


def _governed(policy: model.HostPolicy) -> dict[str, model.Endpoint]:
    """The endpoint of each interface that has one of its own: of several, the first by name."""
    found: dict[str, model.Endpoint] = {}
    for endpoint in sorted(policy.endpoints, key=lambda endpoint: endpoint.name):
        if endpoint.interface is None:
            names = _with_addresses(policy, endpoint.addresses)
        else:
            names = [endpoint.interface] if endpoint.interface != model.EVERY_INTERFACE else []
        for name in names:
            found.setdefault(name, endpoint)
    return found


def _with_addresses(policy: model.HostPolicy, addresses: t.Iterable[str]) -> list[str]:
    wanted = set(addresses)
    return [name for name, known in policy.interfaces.items() if wanted.intersection(known)]


def _otherwise(chains: Chains, policy: model.HostPolicy, direction: str) -> str | None:
    """Where packets of all other interfaces go, also of interfaces that come later."""
    every = [endpoint for endpoint in policy.endpoints if endpoint.interface == model.EVERY_INTERFACE]
    if not every:
        return None
    return _verdict(chains, policy, min(every, key=lambda endpoint: endpoint.name), direction)


def _verdict(
    chains: Chains, policy: model.HostPolicy, endpoint: model.Endpoint, direction: str
) -> str | None:
    """What to do with an endpoint's packets; None where no rule is for them."""
    tiers = [tier for tier in endpoint.untracked if policy.tier_rules(tier, direction)]
    if not tiers:
        return None
    label = {None: "by-addresses", model.EVERY_INTERFACE: "every"}.get(endpoint.interface, endpoint.interface)
    rules = [chains.counter(counters.of_endpoint(endpoint.name, direction))]
    of_fragments = (fragments_chain(chains, policy, tier, direction) for tier in tiers)
    fragments = [f"jump {name}" for name in of_fragments if name]
    leave = f"goto {chains.add(f'raw-{direction}-fragments', fragments)}" if fragments else "accept"
    rules += [f"{later} {leave}" for later in LATER_FRAGMENTS]
    rules += [NEIGHBOUR_DISCOVERY, LISTENER_DISCOVERY, *_failsafes(chains, policy.failsafes, direction)]
    rules += [f"jump {tier_chain(chains, policy, tier, direction)}" for tier in tiers]
    return f"goto {chains.add(f'raw-{direction}-{label}', rules)}"


# -- before policy -----------------------------------------------------------------------------------


def _failsafes(chains: Chains, failsafes: model.Failsafes, direction: str) -> list[str]:
    """Failsafe ports, and replies from them: raw has no connections to know a reply by."""
    ours = ("inbound", failsafes.inbound), ("outbound", failsafes.outbound)
    (word, forward), (other, replies) = ours if direction == model.INGRESS else reversed(ours)
    peer = ADDRESSES[SPORT if direction == model.INGRESS else DPORT]
    return list(
        itertools.chain(
            _failsafe(chains, forward, DPORT, peer, counters.of_failsafes(word, replies=False)),
            _failsafe(chains, replies, SPORT, peer, counters.of_failsafes(other, replies=True)),
        )
    )


def _failsafe(
    chains: Chains, entries: t.Iterable[model.Failsafe], key: str, peer: str, counter: str
) -> t.Iterator[str]:
    by_net: dict[str | None, list[model.Failsafe]] = {}
    for entry in entries:
        by_net.setdefault(entry.net, []).append(entry)
    for net, members in sorted(by_net.items(), key=lambda item: item[0] or ""):
        pairs = sorted({(member.protocol, member.port) for member in members})
        ports = ", ".join(f"{protocol} . {number}" for protocol, number in pairs)
        match = [f"meta l4proto . th {key} {{ {ports} }}"]
        if net is not None:
            match.insert(0, f"{IP[6 if ':' in net else 4]} {peer} {net}")
        yield " ".join([*match, chains.counter(counter), "accept"])
