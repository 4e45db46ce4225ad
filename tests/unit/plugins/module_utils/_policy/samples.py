# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies for tests: builders for single cases, hypothesis strategies for all others."""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

KIND = "GlobalNetworkPolicy"

# -- builders ----------------------------------------------------------------------------------------


def rule(action: str = model.ALLOW, **fields: t.Any) -> model.Rule:
    """A rule that gets its origin from the policy it is put into."""
    return model.Rule(origin=model.Origin(KIND, "?", "?", -1), action=action, **fields)


def policy(
    name: str = "web",
    ingress: t.Iterable[model.Rule] | None = None,
    egress: t.Iterable[model.Rule] | None = None,
) -> model.Policy:
    """A policy whose rules know where they stand."""

    def numbered(direction: str, rules: t.Iterable[model.Rule] | None) -> tuple[model.Rule, ...] | None:
        return (
            None
            if rules is None
            else tuple(
                dataclasses.replace(one, origin=model.Origin(KIND, name, direction, index))
                for index, one in enumerate(rules)
            )
        )

    return model.Policy(KIND, name, numbered(model.INGRESS, ingress), numbered(model.EGRESS, egress))


def host(
    *tiers: t.Sequence[model.Policy],
    interface: str = "eth0",
    sets: t.Mapping[str, model.AddressSet] | None = None,
    failsafes: model.Failsafes | None = None,
) -> model.HostPolicy:
    """A host with one endpoint, governed by tiers of policies."""
    endpoint = model.Endpoint(
        name=f"node-{interface}",
        interface=interface,
        untracked=tuple(
            model.Tier(f"tier-{index}", tuple(one.key for one in tier)) for index, tier in enumerate(tiers)
        ),
    )
    return model.HostPolicy(
        node="node",
        endpoints=(endpoint,),
        policies={one.key: one for tier in tiers for one in tier},
        sets=sets or {},
        failsafes=failsafes or model.Failsafes(),
    )


def sample() -> model.HostPolicy:
    """A policy in which every field of the model has a value."""
    return model.HostPolicy(
        node="node-1",
        endpoints=(
            model.Endpoint("node-1-eth0", "eth0", (model.Tier("default", (f"{KIND}/web", f"{KIND}/base")),)),
            model.Endpoint("node-1-eth1", "eth1"),
        ),
        policies={
            f"{KIND}/web": policy(
                "web",
                ingress=[
                    rule(
                        protocol=model.TCP,
                        ip_version=4,
                        source=model.Side(("s:clients", "n:office"), ((1024, 65535),)),
                        destination=model.Side((), ((80, 80), (443, 443))),
                    ),
                    rule(model.DENY, source=model.Side(("s:clients",))),
                ],
                egress=[rule(protocol=model.TCP, source=model.Side((), ((80, 80), (443, 443))))],
            ),
            f"{KIND}/base": policy("base", ingress=[rule(model.PASS, protocol=model.ICMPV6, ip_version=6)]),
        },
        sets={
            "s:clients": model.AddressSet('role == "client"', ("10.0.0.0/8",), ("fd00::/64", "fd01::1/128")),
            "n:office": model.AddressSet("192.0.2.0/24", ("192.0.2.0/24",)),
        },
        failsafes=model.Failsafes(
            inbound=(model.Failsafe(model.TCP, 22), model.Failsafe(model.TCP, 179, "10.0.0.0/8")),
            outbound=(model.Failsafe(model.UDP, 53, "fd00::53/128"),),
        ),
        places={f"{KIND}/web/ingress/0": "group_vars/all.yml:7"},
    )


# -- strategies --------------------------------------------------------------------------------------

SET_NAMES = ("s:one", "s:two", "n:three")
POLICY_NAMES = ("web", "db", "base", "default.deny")
INTERFACES = ("eth0", "eth1", "bond0.12", "wlp3s0")


def _cidrs(network: t.Any) -> t.Any:
    bits = network(0).max_prefixlen
    networks = st.builds(
        lambda address, prefix: network((address, prefix), strict=False),
        st.integers(0, 2**bits - 1),
        st.integers(1, bits),
    )
    return st.lists(networks, max_size=3).map(
        lambda members: tuple(map(str, ipaddress.collapse_addresses(members)))
    )


ADDRESS_SETS: st.SearchStrategy[model.AddressSet] = st.builds(
    model.AddressSet, st.text(max_size=5), _cidrs(ipaddress.IPv4Network), _cidrs(ipaddress.IPv6Network)
)
"""Sets of disjoint, sorted CIDRs."""

# Disjoint, sorted ranges that do not touch: the ends of ranges are increasing numbers.
_PORTS = (
    st.lists(st.integers(1, 32767), unique=True, max_size=4)
    .map(sorted)
    .map(lambda ends: tuple((first * 2, last * 2) for first, last in zip(ends[::2], ends[1::2])))
)
_FAILSAFES = st.lists(
    st.builds(
        model.Failsafe,
        st.sampled_from((model.TCP, model.UDP)),
        st.integers(1, 65535),
        st.sampled_from((None, "10.0.0.0/8", "192.0.2.1/32", "fd00::/8")),
    ),
    max_size=2,
    unique=True,
).map(tuple)
_PROTOCOLS = st.sampled_from((None, *model.PROTOCOL_NAMES, 47))


@st.composite
def _rules(draw: st.DrawFn, sets: tuple[str, ...]) -> model.Rule:
    protocol = draw(_PROTOCOLS)

    def side() -> model.Side:
        names = draw(st.lists(st.sampled_from(sets), unique=True, max_size=2)) if sets else []
        return model.Side(tuple(names), draw(_PORTS) if protocol in model.PORT_PROTOCOLS else ())

    return rule(
        action=draw(st.sampled_from(model.ACTIONS)),
        protocol=protocol,
        ip_version=draw(st.sampled_from((None, 4, 6))),
        source=side(),
        destination=side(),
    )


@st.composite
def host_policies(draw: st.DrawFn) -> model.HostPolicy:
    """Any policy that the controller could make."""
    sets = draw(st.dictionaries(st.sampled_from(SET_NAMES), ADDRESS_SETS, max_size=2))
    rules = st.one_of(st.none(), st.lists(_rules(tuple(sorted(sets))), max_size=2))
    names = draw(st.lists(st.sampled_from(POLICY_NAMES), unique=True, max_size=3))
    members = {one.key: one for one in [policy(name, draw(rules), draw(rules)) for name in names]}
    governing = (
        st.lists(st.sampled_from(sorted(members)), unique=True, max_size=3) if members else st.just([])
    )
    endpoints = tuple(
        model.Endpoint(
            name=f"node-{interface}",
            interface=interface,
            untracked=tuple(
                model.Tier(name, tuple(draw(governing)))
                for name in draw(st.sampled_from(((), ("default",), ("platform", "default"))))
            ),
        )
        for interface in draw(st.lists(st.sampled_from(INTERFACES), unique=True, max_size=2))
    )
    return model.HostPolicy(
        node=draw(st.text(max_size=5)),
        endpoints=endpoints,
        policies=members,
        sets=sets,
        failsafes=model.Failsafes(draw(_FAILSAFES), draw(_FAILSAFES)),
        places={one.origin.path: "file:1" for member in members.values() for one in member.all_rules},
    )


def junk() -> st.SearchStrategy[t.Any]:
    """Anything that JSON or YAML can hold, and a little more."""
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.binary(max_size=3),
        st.sampled_from((10**400, "9" * 5000, "\ud800", "10.0.0.0/8", "all()", "*")),
    )
    keys = st.one_of(st.text(max_size=5), st.integers(), st.none(), st.booleans())
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3), st.tuples(inner)
        ),
        max_leaves=8,
    )


Steps = tuple[t.Union[str, int], ...]


def positions(value: t.Any, steps: Steps = ()) -> t.Iterator[Steps]:
    """The position of everything inside nested plain data, itself included."""
    yield steps
    if isinstance(value, dict):
        for key, item in value.items():
            yield from positions(item, (*steps, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from positions(item, (*steps, index))


def value_at(value: t.Any, steps: Steps) -> t.Any:
    """What is at a position."""
    for step in steps:
        value = value[step]
    return value


def replaced(value: t.Any, steps: Steps, new: t.Any) -> t.Any:
    """A copy of nested plain data with another value at a position, which in a dict may be a new one."""
    if not steps:
        return new
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict):
        return {**value, step: replaced(value.get(step), rest, new)}
    return [replaced(item, rest, new) if index == step else item for index, item in enumerate(value)]


def without(value: t.Any, steps: Steps) -> t.Any:
    """A copy of nested plain data without the member at a position."""
    parent = value_at(value, steps[:-1])
    if isinstance(parent, dict):
        return replaced(value, steps[:-1], {key: item for key, item in parent.items() if key != steps[-1]})
    return replaced(value, steps[:-1], [item for index, item in enumerate(parent) if index != steps[-1]])
