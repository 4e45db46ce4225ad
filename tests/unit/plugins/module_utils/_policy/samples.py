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
    kind: str = KIND,
    staged: str | None = None,
) -> model.Policy:
    """A policy whose rules know where they stand."""

    def numbered(direction: str, rules: t.Iterable[model.Rule] | None) -> tuple[model.Rule, ...] | None:
        return (
            None
            if rules is None
            else tuple(
                dataclasses.replace(one, origin=model.Origin(kind, name, direction, index))
                for index, one in enumerate(rules)
            )
        )

    return model.Policy(kind, name, numbered(model.INGRESS, ingress), numbered(model.EGRESS, egress), staged)


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


def untracked_sample() -> model.HostPolicy:
    """A policy of what this version enforces, in which every field of that has a value."""
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


def sample() -> model.HostPolicy:
    """A policy in which every field of the model has a value."""
    plain = untracked_sample()
    eth0, eth1 = plain.endpoints
    members = (
        policy(
            "early", ingress=[rule(model.DENY, protocol=model.TCP, destination=model.Side((), ((25, 25),)))]
        ),
        policy(
            "tracked",
            ingress=[
                rule(model.LOG, not_protocol=model.SCTP),
                rule(
                    protocol=model.TCP,
                    source=model.Side(not_sets=("s:clients",), not_named_ports=("p:metrics",)),
                    destination=model.Side(
                        named_ports=("p:metrics",), ports=((8080, 8090),), not_ports=((8081, 8082),)
                    ),
                ),
                rule(protocol=model.ICMP, icmp=model.Icmp(3, 4), not_icmp=model.Icmp(8)),
            ],
            egress=[],
        ),
        policy("passing", egress=[rule(ip_version=6)]),
        policy("planned", ingress=[rule(model.DENY)], staged="set"),
        policy("open", ingress=[rule()], egress=[rule()], kind=model.PROFILE),
    )
    return dataclasses.replace(
        plain,
        endpoints=(
            dataclasses.replace(
                eth0,
                pre_dnat=(model.Tier("security", (f"{KIND}/early",)),),
                normal=(
                    model.Tier("security", (f"{KIND}/planned", f"{KIND}/tracked"), model.DENY),
                    model.Tier("default", (f"{KIND}/passing",)),
                ),
                forward=(model.Tier("default", (f"{KIND}/passing",), model.DENY),),
                profiles=("Profile/open",),
                addresses=("192.0.2.10",),
            ),
            eth1,
            model.Endpoint("node-1-management", None, addresses=("10.9.0.1", "fd09::1")),
            model.Endpoint("node-1-others", model.EVERY_INTERFACE, profiles=("Profile/open",)),
        ),
        policies={**plain.policies, **{one.key: one for one in members}},
        port_sets={
            "p:metrics": model.PortSet(
                "metrics on all()",
                (("10.0.0.1", model.TCP, 9100), ("10.0.0.2", model.TCP, 9200)),
                (("fd00::1", model.TCP, 9100),),
            )
        },
        settings=model.Settings(
            drop_invalid=False,
            log_prefix="net-policy",
            log_rate="10/second",
            log_burst=7,
            mark_mask=0xFF000000,
            insert_first=False,
        ),
        interfaces={"eth9": ("10.9.0.1", "fe80::1"), "eth0": ("192.0.2.10",)},
    )


# -- strategies --------------------------------------------------------------------------------------

SET_NAMES = ("s:one", "s:two", "n:three")
PORT_SET_NAMES = ("p:http", "p:metrics")
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


_ICMP = st.one_of(
    st.none(), st.builds(model.Icmp, st.sampled_from((0, 3, 8, 128)), st.sampled_from((None, 0, 4)))
)
# What `unenforced` names: policies of these actions only can be rendered.
_UNTRACKED_ACTIONS = (model.ALLOW, model.DENY, model.PASS)
_PORT_SETS = st.builds(
    model.PortSet,
    st.text(max_size=5),
    *(
        st.lists(
            st.tuples(
                st.sampled_from(addresses),
                st.sampled_from(model.PORT_PROTOCOLS),
                st.sampled_from((22, 53, 80)),
            ),
            max_size=3,
            unique=True,
        )
        .map(sorted)
        .map(tuple)
        for addresses in (("10.0.0.1", "192.0.2.1"), ("fd00::1", "fd00::2"))
    ),
)


def _some(names: t.Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=2).map(tuple) if names else st.just(())


@st.composite
def _sides(
    draw: st.DrawFn, sets: tuple[str, ...], port_sets: tuple[str, ...], with_ports: bool
) -> model.Side:
    return model.Side(
        sets=draw(_some(sets)),
        ports=draw(_PORTS) if with_ports else (),
        not_sets=draw(_some(sets)) if draw(st.booleans()) else (),
        not_ports=draw(_PORTS) if with_ports and draw(st.booleans()) else (),
        named_ports=draw(_some(port_sets)),
        not_named_ports=draw(_some(port_sets)),
    )


@st.composite
def _rules(
    draw: st.DrawFn,
    sets: tuple[str, ...],
    port_sets: tuple[str, ...] = (),
    actions: tuple[str, ...] = _UNTRACKED_ACTIONS,
) -> model.Rule:
    protocol = draw(_PROTOCOLS)
    with_ports = protocol in model.PORT_PROTOCOLS
    named = port_sets if with_ports or protocol is None else ()
    return rule(
        action=draw(st.sampled_from(actions)),
        protocol=protocol,
        ip_version=draw(st.sampled_from((None, 4, 6))),
        source=draw(_sides(sets, named, with_ports)),
        destination=draw(_sides(sets, named, with_ports)),
        not_protocol=draw(st.sampled_from((None, None, None, model.TCP, model.ICMP))),
        icmp=draw(_ICMP) if draw(st.booleans()) else None,
        not_icmp=draw(_ICMP) if draw(st.booleans()) else None,
    )


@st.composite
def untracked_policies(draw: st.DrawFn) -> model.HostPolicy:
    """Any policy that the controller could make and this version enforces."""
    sets = draw(st.dictionaries(st.sampled_from(SET_NAMES), ADDRESS_SETS, max_size=2))
    rules = st.one_of(st.none(), st.lists(_rules(tuple(sorted(sets))), max_size=2))
    names = draw(st.lists(st.sampled_from(POLICY_NAMES), unique=True, max_size=3))
    staged = st.sampled_from((None, None, None, *model.STAGED_ACTIONS))
    members = {
        one.key: one
        for one in [policy(name, draw(rules), draw(rules), staged=draw(staged)) for name in names]
    }
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


ADDRESSES = ("10.0.0.1", "192.0.2.1", "fd00::1")
SETTINGS: st.SearchStrategy[model.Settings] = st.builds(
    model.Settings,
    drop_invalid=st.booleans(),
    log_prefix=st.sampled_from(("calico-packet", "", "x: ")),
    log_rate=st.sampled_from((None, "10/second", "1/hour")),
    log_burst=st.integers(0, 9999),
    mark_mask=st.sampled_from((0xFFFF0000, 0xF)),
    insert_first=st.booleans(),
)


@st.composite
def _endpoints(draw: st.DrawFn, members: t.Mapping[str, model.Policy]) -> tuple[model.Endpoint, ...]:
    def tiers(defaults: tuple[str, ...]) -> tuple[model.Tier, ...]:
        names = draw(st.sampled_from(((), ("default",), ("platform", "default"))))
        tracked = [key for key in sorted(members) if members[key].kind != model.PROFILE]
        return tuple(
            model.Tier(name, draw(_some(tracked)), draw(st.sampled_from(defaults))) for name in names
        )

    where = st.sampled_from((*INTERFACES, model.EVERY_INTERFACE, None))
    passes, either = (model.PASS,), (model.DENY, model.PASS)
    return tuple(
        model.Endpoint(
            name=f"{draw(st.sampled_from('abc'))}-{interface}",
            interface=interface,
            untracked=tiers(passes),
            pre_dnat=tiers(passes),
            normal=tiers(either),
            forward=tiers(either),
            profiles=draw(_some([key for key in sorted(members) if members[key].kind == model.PROFILE])),
            addresses=() if interface is not None else (draw(st.sampled_from(ADDRESSES)),),
        )
        for interface in draw(st.lists(where, unique=True, max_size=3))
    )


@st.composite
def host_policies(draw: st.DrawFn) -> model.HostPolicy:
    """Any policy that the controller could make."""
    sets = draw(st.dictionaries(st.sampled_from(SET_NAMES), ADDRESS_SETS, max_size=2))
    port_sets = draw(st.dictionaries(st.sampled_from(PORT_SET_NAMES), _PORT_SETS, max_size=2))
    one_rule = _rules(tuple(sorted(sets)), tuple(sorted(port_sets)), model.ACTIONS)
    rules = st.one_of(st.none(), st.lists(one_rule, max_size=2))
    staged = st.sampled_from((None, None, None, *model.STAGED_ACTIONS))
    drawn = [
        *(
            policy(name, draw(rules), draw(rules), staged=draw(staged))
            for name in draw(st.lists(st.sampled_from(POLICY_NAMES), unique=True, max_size=3))
        ),
        *(
            policy(name, draw(rules), draw(rules), kind=model.PROFILE)
            for name in draw(st.lists(st.sampled_from(("open", "closed")), unique=True, max_size=2))
        ),
    ]
    members = {one.key: one for one in drawn}
    return model.HostPolicy(
        node=draw(st.text(max_size=5)),
        endpoints=draw(_endpoints(members)),
        policies=members,
        sets=sets,
        port_sets=port_sets,
        failsafes=model.Failsafes(draw(_FAILSAFES), draw(_FAILSAFES)),
        settings=draw(SETTINGS),
        interfaces=draw(
            st.dictionaries(st.sampled_from(INTERFACES), st.sampled_from(ADDRESSES).map(lambda one: (one,)))
        ),
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


RULE_FIELDS = ("protocol", "ip_version", "not_protocol", "icmp", "not_icmp")
SIDE_FIELDS = ("sets", "ports", "not_sets", "not_ports", "named_ports", "not_named_ports")
MAY_BE_LEFT_OUT = (*RULE_FIELDS, *SIDE_FIELDS, "source", "destination")
"""Of a rule: what it does not ask for."""


def written_out(policy: model.HostPolicy) -> dict[str, t.Any]:
    """The policy as plain data with every field of every rule, also those that a rule does not ask for."""
    data = model.to_dict(policy)
    for member in data["policies"].values():
        for direction in ("ingress", "egress"):
            for rule in member[direction] or ():
                for key in RULE_FIELDS:
                    rule.setdefault(key, None)
                for key in ("source", "destination"):
                    rule[key] = {**{field: [] for field in SIDE_FIELDS}, **rule.get(key, {})}
    return data
