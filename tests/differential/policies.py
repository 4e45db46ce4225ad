# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host policies to try: everything that this version enforces of a HostPolicy, from small pools.

Pools of a few names, networks and ports make sets overlap, rules shadow each other, and one policy share much
with the next, which is what a change from one to the other has to get right.

Left out is what no resource can say: a rule or a failsafe has ports only with a protocol that has them, and
two endpoints are never on one interface. And what lacks.unenforced names, which is refused before anything
is changed: policy that is not untracked, profiles, Log, named ports, endpoints without a named interface.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.kernel import INTERFACES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hypothesis.strategies import DrawFn

Network = IPv4Network | IPv6Network

# The last interface never has an endpoint.
GOVERNED: Final = INTERFACES[:-1]
_ENDPOINTS: Final = (*(GOVERNED, GOVERNED[::-1]) * 3, GOVERNED[:1], GOVERNED[1:], ())
# What is in names comes from users: the longest and oddest there can be.
SET_NAMES: Final = (
    "plain",
    "role == 'client' && !has(netpolicy.host/group.web)",
    "…",
    "10.0.0.0/8, 2001:db8::/32",
)
POLICY_NAMES: Final = ("memcached", "platform.memcached-server", "0" * 189 + "." + "z" * 63)
_POLICY_KEYS: Final = {f"GlobalNetworkPolicy/{name}": name for name in POLICY_NAMES}
TIER_NAMES: Final = ("platform", "t" * 63, "default")
# The tier of each policy: what Pass does shows only where another tier follows.
_TIERS: Final = ((0, 1, 2), (0, 1, 1), (0, 0, 1), (1, 0, 0), (0, 0, 0))
# Networks lie within 1023 addresses from one of these, so that many of them overlap.
BASES: Final = {
    4: ("10.0.0.0", "10.0.1.0", "192.168.255.0", "223.255.252.0", "224.0.0.0", "255.255.252.0"),
    6: ("2001:db8::", "2001:db8:0:1::", "fe80::", "ff02::", "fdff::ffff:ffff:ffff:fc00"),
}
PREFIXES: Final = {
    4: (32, 32, 32, 31, 30, 29, 28, 26, 25, 24, 23, 22, 16, 8, 1, 0),
    6: (128, 128, 128, 127, 126, 125, 124, 120, 112, 64, 63, 32, 7, 1, 0),
}
PORTS: Final = (0, 1, 22, 53, 80, 443, 1023, 1024, 11211, 32767, 32768, 65534, 65535)
ICMP_TYPES: Final = (0, 3, 8, 128, 129, 254)
# Some have no ports, and some have what only looks like ports to us (33, 136).
PROTOCOLS: Final = (
    model.TCP,
    model.UDP,
    model.SCTP,
    model.TCP,
    model.UDP,
    model.ICMP,
    model.ICMPV6,
    model.UDPLITE,
    33,
    47,
    51,
    253,
)


_ACTIONS: Final = (model.ALLOW, model.DENY, model.PASS)


@st.composite
def networks(draw: DrawFn, version: int) -> Network:
    """One CIDR near the bases."""
    base = ip_network(draw(st.sampled_from(BASES[version])))
    address = base.network_address + draw(st.integers(0, 1023))
    return ip_network((address, draw(st.sampled_from(PREFIXES[version]))), strict=False)


@st.composite
def address_sets(draw: DrawFn, name: str) -> model.AddressSet:
    """Disjoint CIDRs of no, one or both families; adjacent ones stay apart."""
    versions = draw(st.sampled_from(((4, 6), (4, 6), (4,), (6,), ())))
    members: dict[int, tuple[str, ...]] = {4: (), 6: ()}
    for version in versions:
        found = draw(st.lists(networks(version), min_size=1, max_size=10))
        kept: list[Network] = []
        for member in found:
            if not any(member.overlaps(other) for other in kept):
                kept.append(member)
        members[version] = tuple(str(member) for member in sorted(kept, key=lambda each: int(each[0])))
    return model.AddressSet(text=name, v4=members[4], v6=members[6])


@st.composite
def port_ranges(draw: DrawFn) -> tuple[model.PortRange, ...]:
    """Disjoint, sorted ranges; often none."""
    if not draw(st.booleans()):
        return ()
    wanted = draw(st.lists(st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)), min_size=1, max_size=3))
    ranges: list[model.PortRange] = []
    for ends in sorted((min(pair), max(pair)) for pair in wanted):
        if not ranges or ends[0] > ranges[-1][1]:
            ranges.append(ends)
    return tuple(ranges)


@st.composite
def sides(draw: DrawFn, *, with_ports: bool) -> model.Side:
    """What a rule asks of one side: often nothing."""
    number = draw(st.sampled_from((0, 0, 0, 1, 1, 2)))
    negated = draw(st.sampled_from((0, 0, 0, 1)))
    names = draw(st.permutations(SET_NAMES)) if number or negated else []
    return model.Side(
        sets=tuple(names[:number]),
        ports=draw(port_ranges()) if with_ports else (),
        not_sets=tuple(names[number : number + negated]),
        not_ports=draw(port_ranges()) if with_ports and draw(st.integers(0, 3)) == 0 else (),
    )


@st.composite
def icmp_matches(draw: DrawFn, *, often: bool) -> model.Icmp | None:
    """A type, with or without a code; mostly none."""
    if draw(st.integers(0, 1 if often else 9)) != 0:
        return None
    return model.Icmp(draw(st.sampled_from(ICMP_TYPES)), draw(st.sampled_from((None, None, 0, 1, 4))))


@st.composite
def rules(draw: DrawFn, origin: model.Origin) -> model.Rule:
    """One rule."""
    protocol = draw(st.sampled_from((None, None, *PROTOCOLS)))
    with_ports = protocol in model.PORT_PROTOCOLS
    return model.Rule(
        origin=origin,
        action=draw(st.sampled_from(_ACTIONS)),
        protocol=protocol,
        ip_version=draw(st.sampled_from((None, None, None, 4, 6))),
        source=draw(sides(with_ports=with_ports)),
        destination=draw(sides(with_ports=with_ports)),
        not_protocol=draw(st.sampled_from((None,) * 8 + PROTOCOLS[:6])),
        icmp=draw(icmp_matches(often=protocol in model.ICMP_PROTOCOLS)),
        not_icmp=draw(icmp_matches(often=protocol in model.ICMP_PROTOCOLS)),
    )


@st.composite
def policies(draw: DrawFn, name: str) -> model.Policy:
    """One policy; it may not govern a direction (None), or govern it without a rule."""
    listed: dict[str, tuple[model.Rule, ...] | None] = {}
    for direction in (model.INGRESS, model.EGRESS):
        number = draw(st.sampled_from((1, 2, 3, 4, 0, None)))
        origins = [model.Origin("GlobalNetworkPolicy", name, direction, i) for i in range(number or 0)]
        listed[direction] = None if number is None else tuple(draw(rules(origin)) for origin in origins)
    staged = draw(st.sampled_from((None,) * 12 + model.STAGED_ACTIONS))
    return model.Policy("GlobalNetworkPolicy", name, listed[model.INGRESS], listed[model.EGRESS], staged)


@st.composite
def edited_policies(draw: DrawFn, before: model.Policy) -> model.Policy:
    """The policy with its rules in another order, or one of them gone, or there twice."""
    edit = draw(st.sampled_from(_EDITS))
    listed: dict[str, tuple[model.Rule, ...]] = {}
    for direction in (model.INGRESS, model.EGRESS):
        numbered = enumerate(edit(before.rules(direction)))
        listed[direction] = tuple(
            replace(rule, origin=replace(rule.origin, rule=index)) for index, rule in numbered
        )
    return replace(before, ingress=listed[model.INGRESS], egress=listed[model.EGRESS])


_Rules = tuple[model.Rule, ...]
_EDITS: Final[tuple[Callable[[_Rules], _Rules], ...]] = (
    lambda rules: rules[::-1],
    lambda rules: rules[1:],
    lambda rules: rules[:-1],
    lambda rules: rules + rules[:1],
)


@st.composite
def failsafe_lists(draw: DrawFn) -> tuple[model.Failsafe, ...]:
    """A few failsafe ports, with and without a net; two may differ in the net alone."""
    entries = []
    for _unused in range(draw(st.integers(0, 3))):
        version = draw(st.sampled_from((None, 4, 6)))
        entry = model.Failsafe(
            protocol=draw(st.sampled_from(model.PORT_PROTOCOLS)),
            port=draw(st.sampled_from(PORTS)),
            net=None if version is None else str(draw(networks(version))),
        )
        if entry not in entries:
            entries.append(entry)
    return tuple(entries)


@dataclass(frozen=True)
class Parts:
    """What a host policy is made of, used or not. `applies` says which policies each endpoint has by tier."""

    sets: Mapping[str, model.AddressSet]
    policies: Mapping[str, model.Policy]
    applies: Mapping[str, Sequence[tuple[str, Sequence[str]]]]
    failsafes: model.Failsafes

    def host_policy(self) -> model.HostPolicy:
        """The policy: endpoints, and all that they refer to."""
        endpoints = tuple(
            model.Endpoint(
                name=f"host-{interface}",
                interface=interface,
                untracked=tuple(model.Tier(name, tuple(keys)) for name, keys in tiers),
            )
            for interface, tiers in self.applies.items()
        )
        return tidy(model.HostPolicy("host", endpoints, self.policies, self.sets, failsafes=self.failsafes))


def tidy(policy: model.HostPolicy) -> model.HostPolicy:
    """The policy without what its endpoints do not refer to."""
    keys = {key for endpoint in policy.endpoints for tier in endpoint.untracked for key in tier.policies}
    members = {key: member for key, member in policy.policies.items() if key in keys}
    names = {name for member in members.values() for rule in member.all_rules for name in rule.all_sets}
    sets = {name: each for name, each in policy.sets.items() if name in names}
    return replace(policy, policies=members, sets=sets)


@st.composite
def parts(draw: DrawFn) -> Parts:
    """The parts of a policy."""
    return Parts(
        sets={name: draw(address_sets(name)) for name in SET_NAMES},
        policies={key: draw(policies(name)) for key, name in _POLICY_KEYS.items()},
        applies=draw(_applications()),
        failsafes=model.Failsafes(draw(failsafe_lists()), draw(failsafe_lists())),
    )


@st.composite
def changed_parts(draw: DrawFn, before: Parts) -> Parts:
    """The parts with some of them changed, or none."""
    after = before
    if draw(st.booleans()):
        name = draw(st.sampled_from(SET_NAMES))
        after = replace(after, sets={**before.sets, name: draw(address_sets(name))})
    if draw(st.booleans()):
        key = draw(st.sampled_from(tuple(_POLICY_KEYS)))
        changed = draw(edited_policies(before.policies[key]) | policies(_POLICY_KEYS[key]))
        after = replace(after, policies={**before.policies, key: changed})
    if draw(st.booleans()):
        after = replace(after, applies=draw(_applications()))
    if draw(st.booleans()):
        after = replace(after, failsafes=model.Failsafes(draw(failsafe_lists()), draw(failsafe_lists())))
    return after


@st.composite
def _applications(draw: DrawFn) -> dict[str, tuple[tuple[str, tuple[str, ...]], ...]]:
    """Which endpoints there are, and which policies apply to each, by tier. A policy is in one tier only."""
    keys = tuple(_POLICY_KEYS)
    numbers = draw(st.sampled_from(_TIERS))
    tier_of = {key: TIER_NAMES[number] for key, number in zip(keys, numbers, strict=True)}
    order = draw(st.permutations(keys))
    found = {}
    for interface in draw(st.sampled_from(_ENDPOINTS)):
        # Mostly all policies: one without can be reached only by those that have none.
        skipped = draw(st.sampled_from((None, None, None, *keys)))
        found[interface] = tuple(
            (tier, tuple(key for key in order if tier_of[key] == tier and key != skipped))
            for tier in TIER_NAMES
        )
    return found
