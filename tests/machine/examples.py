# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies of one host: two that differ in all that they have, packets that tell them apart, an odd one."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.verdict import raw
from tests.differential.samples import samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.differential.packets import Sample

_KIND = "GlobalNetworkPolicy"
_SSH = model.Failsafe(protocol=model.TCP, port=22)


def _policy(
    name: str, ingress: Iterable[model.Rule] | None = None, egress: Iterable[model.Rule] | None = None
) -> model.Policy:
    def numbered(direction: str, rules: Iterable[model.Rule] | None) -> tuple[model.Rule, ...] | None:
        if rules is None:
            return None
        return tuple(
            replace(rule, origin=model.Origin(_KIND, name, direction, index))
            for index, rule in enumerate(rules)
        )

    return model.Policy(_KIND, name, numbered(model.INGRESS, ingress), numbered(model.EGRESS, egress))


def _rule(
    action: str,
    protocol: int | None = None,
    *,
    source: model.Side | None = None,
    destination: model.Side | None = None,
    icmp: model.Icmp | None = None,
    not_icmp: model.Icmp | None = None,
) -> model.Rule:
    return model.Rule(
        origin=model.Origin(_KIND, "", model.INGRESS, 0),
        action=action,
        protocol=protocol,
        source=source or model.Side(),
        destination=destination or model.Side(),
        icmp=icmp,
        not_icmp=not_icmp,
    )


def _host(
    applies: dict[str, dict[str, list[model.Policy]]],
    sets: Mapping[str, model.AddressSet],
    failsafes: model.Failsafes,
) -> model.HostPolicy:
    """`applies` has the policies of each interface by tier."""
    endpoints = tuple(
        model.Endpoint(
            name=f"host-{interface}",
            interface=interface,
            untracked=tuple(
                model.Tier(tier, tuple(member.key for member in members)) for tier, members in tiers.items()
            ),
        )
        for interface, tiers in applies.items()
    )
    members = [one for tiers in applies.values() for members in tiers.values() for one in members]
    return model.HostPolicy(
        node="host",
        endpoints=endpoints,
        policies={one.key: one for one in members},
        sets=dict(sets),
        failsafes=failsafes,
    )


def _old() -> model.HostPolicy:
    clients = model.Side(sets=("clients",))
    cache = model.Side(ports=((11211, 11211),))
    outsiders = _policy(
        "outsiders",
        ingress=[
            _rule(model.DENY, source=model.Side(sets=("outsiders",))),
            _rule(model.PASS, model.UDP),
            _rule(model.DENY, model.TCP, destination=model.Side(ports=((8000, 8999),))),
        ],
    )
    memcached = _policy(
        "memcached",
        ingress=[
            _rule(model.ALLOW, model.TCP, source=clients, destination=cache),
            _rule(model.ALLOW, model.UDP, source=clients, destination=cache),
            _rule(model.DENY, destination=model.Side(sets=("groups",))),
        ],
        egress=[_rule(model.ALLOW, model.TCP, source=cache, destination=clients)],
    )
    everything = _policy("everything", ingress=[_rule(model.ALLOW)], egress=[_rule(model.ALLOW)])
    return _host(
        {
            "eth0": {"platform": [outsiders], "default": [memcached]},
            "eth1.20": {"default": [everything]},
        },
        {
            "clients": model.AddressSet(
                "role == 'client'", v4=("10.0.0.0/25", "10.0.1.7/32"), v6=("2001:db8::/64",)
            ),
            "outsiders": model.AddressSet("outsiders", v4=("192.168.255.0/24",), v6=("fdff::/16",)),
            "groups": model.AddressSet("groups", v4=("224.0.0.0/4",), v6=("ff02::/16",)),
        },
        model.Failsafes((_SSH,), (model.Failsafe(model.UDP, 53, net="10.0.0.0/8"),)),
    )


def _new() -> model.HostPolicy:
    """One rule and one set as before, the others changed, gone or new."""
    before = _old()
    clients = model.Side(sets=("clients",))
    outsiders = before.policies[f"{_KIND}/outsiders"]
    pings = _policy(
        "pings",
        ingress=[
            _rule(model.ALLOW, model.ICMP, icmp=model.Icmp(8, 0)),
            _rule(model.DENY, model.ICMPV6, not_icmp=model.Icmp(128, None)),
        ],
        egress=[_rule(model.DENY, model.UDP, destination=model.Side(not_ports=((53, 53), (123, 123))))],
    )
    redis = _policy(
        "redis",
        ingress=[
            _rule(model.ALLOW, model.TCP, source=clients, destination=model.Side(ports=((6379, 6380),))),
            _rule(model.DENY, model.TCP),
        ],
    )
    return _host(
        {"eth0": {"default": [redis, outsiders], "application": [pings]}},
        {
            "clients": model.AddressSet("role == 'client'", v4=("10.0.0.128/25",), v6=("2001:db8:0:1::/64",)),
            "outsiders": before.sets["outsiders"],
        },
        model.Failsafes((_SSH, model.Failsafe(model.TCP, 2222)), ()),
    )


def _contradictory() -> model.HostPolicy:
    """Rules that no packet can match: what is not ICMP has no ICMP types, not even others than these."""
    rules = [
        _rule(model.DENY, 47, not_icmp=model.Icmp(3, None)),
        _rule(model.DENY, model.TCP, not_icmp=model.Icmp(3, 4), destination=model.Side(ports=((80, 90),))),
        _rule(model.ALLOW, model.UDP, destination=model.Side(ports=((80, 90),))),
    ]
    member = _policy("contradictory", ingress=rules, egress=rules)
    return _host({"eth0": {"default": [member]}}, {}, model.Failsafes((_SSH,), ()))


def _large() -> model.HostPolicy:
    """So many rules that nft gets them in pieces; the last ones let in what the first policy keeps out."""
    rules = [_rule(model.DENY, model.UDP, source=model.Side(ports=((port, port),))) for port in range(1, 250)]
    member = _policy("large", ingress=[*rules, _rule(model.ALLOW)])
    return _host({"eth0": {"default": [member]}}, {}, model.Failsafes((_SSH,), ()))


OLD, NEW, LARGE = _old(), _new(), _large()
CONTRADICTORY = _contradictory()


def telling_samples(number: int) -> list[Sample]:
    """So many packets of each kind: what both policies deny, what both allow, and what they differ in."""
    chosen: dict[str, list[Sample]] = {"both deny": [], "both allow": [], "differ": []}
    for sample in _samples():
        said = [raw(policy, sample.described) for policy in (OLD, NEW)]
        if (said[0].action, said[0].tracked) != (said[1].action, said[1].tracked):
            kind = "differ"
        else:
            kind = f"both {said[0].action}"
        if len(chosen[kind]) < number:
            chosen[kind].append(sample)
        elif all(len(members) == number for members in chosen.values()):
            break
    return [sample for members in chosen.values() for sample in members]


def _samples() -> Iterator[Sample]:
    chance = Random(7)
    for one, other in zip(samples(OLD, chance), samples(NEW, chance), strict=True):
        yield from (one, other)
