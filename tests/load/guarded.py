# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random policies of one host that agree on one thing: what becomes of certain packets.

All of them deny the packets of `DENIED` and allow those of `ALLOWED`, untracked. How they come to it differs,
and so does everything else: rules before and after, sets, tiers, failsafes, endpoints.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.verdict import raw
from tests.differential.aims import governed
from tests.differential.packets import Sample
from tests.differential.policies import Parts, changed, parts, tidy
from tests.differential.pools import INTERFACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INTERFACE: Final = INTERFACES[0]
# Of each kind one network for each IP version; addresses for documentation (RFC 5737, RFC 3849).
DENIED_NETWORKS: Final = ("203.0.113.64/26", "2001:db8:dead::/48")
ALLOWED_NETWORKS: Final = ("203.0.113.128/26", "2001:db8:cafe::/48")
_DENIED_PORT, _ALLOWED_PORT = 5353, 11211
# Policies in a row that are made one from the other.
_ROW = 3


def _sample(protocol: int, source: str, destination: str, port: int) -> Sample:
    return Sample(
        direction=model.INGRESS,
        interface=INTERFACE,
        protocol=protocol,
        src=ip_address(source),
        dst=ip_address(destination),
        sport=40000,
        dport=port,
        payload=18,
    )


DENIED: Final = (
    _sample(model.UDP, "203.0.113.66", "198.51.100.1", _DENIED_PORT),
    _sample(model.TCP, "203.0.113.67", "198.51.100.2", _DENIED_PORT),
    _sample(model.UDP, "2001:db8:dead::1", "2001:db8:ffff::1", _DENIED_PORT),
)
ALLOWED: Final = (
    _sample(model.UDP, "203.0.113.130", "198.51.100.1", _ALLOWED_PORT),
    _sample(model.TCP, "203.0.113.131", "198.51.100.2", _ALLOWED_PORT),
    _sample(model.UDP, "2001:db8:cafe::1", "2001:db8:ffff::1", _ALLOWED_PORT),
)

_DENIED_SET, _ALLOWED_SET = "denied", "allowed"
_SETS: Final = {
    name: model.AddressSet(name, v4=(v4,), v6=(v6,))
    for name, (v4, v6) in ((_DENIED_SET, DENIED_NETWORKS), (_ALLOWED_SET, ALLOWED_NETWORKS))
}
_KIND = "GlobalNetworkPolicy"


def _rule(action: str, protocol: int | None = None, **sides: model.Side) -> model.Rule:
    return model.Rule(
        origin=model.Origin(_KIND, "", model.INGRESS, 0),
        action=action,
        protocol=protocol,
        source=sides.get("source", model.Side()),
        destination=sides.get("destination", model.Side()),
    )


def _ports(action: str, port: int) -> tuple[model.Rule, ...]:
    side = model.Side(ports=((port, port),))
    return tuple(_rule(action, protocol, destination=side) for protocol in (model.UDP, model.TCP))


# The rules of two policies, in this order, but not always in one tier.
_Guard = tuple[tuple[model.Rule, ...], tuple[model.Rule, ...]]
_GUARDS: Final[tuple[_Guard, ...]] = (
    (
        (_rule(model.DENY, source=model.Side(sets=(_DENIED_SET,))),),
        (_rule(model.ALLOW, source=model.Side(sets=(_ALLOWED_SET,))),),
    ),
    (_ports(model.ALLOW, _ALLOWED_PORT), _ports(model.DENY, _DENIED_PORT)),
    ((_rule(model.ALLOW, source=model.Side(sets=(_ALLOWED_SET,))),), (_rule(model.DENY),)),
    ((_rule(model.DENY, source=model.Side(not_sets=(_ALLOWED_SET,))),), (_rule(model.ALLOW),)),
    (
        (_rule(model.PASS, model.SCTP), *_ports(model.DENY, _DENIED_PORT)),
        (_rule(model.ALLOW, source=model.Side(sets=(_ALLOWED_SET,))),),
    ),
)


def policies(number: int, of: int) -> list[model.HostPolicy]:
    """So many policies `of` a seed, most made from the one before, and none like it."""
    chance = Random(of)
    found: list[model.HostPolicy] = []
    guard = chance.choice(_GUARDS)
    members = _members(chance)
    while len(found) < number:
        if chance.random() < 0.3:
            guard = chance.choice(_GUARDS)
        policy = _guarded(next(members), guard, chance)
        if not found or found[-1].digest != policy.digest:
            found.append(policy)
    return found


def _members(chance: Random) -> Iterator[Parts]:
    while True:
        member = parts(chance)
        yield member
        for _unused in range(_ROW - 1):
            member = changed(chance, member)
            yield member


def _guarded(member: Parts, guard: _Guard, chance: Random) -> model.HostPolicy:
    """A policy of these parts, with the guard where it still decides, or else in front of everything.

    Failsafes that would decide before it are left out.
    """
    plain = tidy(_found_by_name(member.host_policy()))
    failsafes = plain.failsafes
    for _unused in range(8):
        wanted = _with_guard(replace(plain, failsafes=failsafes), guard, chance)
        if keeps_the_promise(wanted):
            return wanted
        failsafes = model.Failsafes(
            tuple(each for each in failsafes.inbound if each.port != _DENIED_PORT),
            tuple(each for each in failsafes.outbound if each.port != 40000),
        )
    wanted = _with_guard(replace(plain, failsafes=model.Failsafes((), ())), guard, None)
    assert keeps_the_promise(wanted)
    return wanted


def keeps_the_promise(policy: model.HostPolicy) -> bool:
    """Whether the reference says of all these packets what it should."""
    said = [raw(policy, sample.described) for sample in (*DENIED, *ALLOWED)]
    denied, allowed = said[: len(DENIED)], said[len(DENIED) :]
    return all(one.action == "deny" for one in denied) and all(
        one.action == "allow" and not one.tracked for one in allowed
    )


def _with_guard(plain: model.HostPolicy, guard: _Guard, chance: Random | None) -> model.HostPolicy:
    """The guard's two policies somewhere among those of the interface's endpoint; without chance, first."""
    members = [_policy(name, rules) for name, rules in zip(("guard-1", "guard-2"), guard, strict=True)]
    endpoint = governed(plain).get(INTERFACE) or model.Endpoint(f"guarded-{INTERFACE}", INTERFACE)
    endpoints = {each.name: each for each in plain.endpoints}
    tiers = [model.Tier("guard", ()), *endpoint.untracked]
    place = 0, 0
    for member in members:
        place = _place(tiers, place, chance)
        tier, position = place
        keys = tiers[tier].policies
        tiers[tier] = replace(tiers[tier], policies=(*keys[:position], member.key, *keys[position:]))
        place = tier, position + 1
    guarded = replace(endpoint, untracked=tuple(tier for tier in tiers if tier.policies))
    return replace(
        plain,
        endpoints=tuple({**endpoints, endpoint.name: guarded}.values()),
        policies={**plain.policies, **{member.key: member for member in members}},
        sets={**plain.sets, **_sets_of(members)},
    )


def _place(tiers: Sequence[model.Tier], earliest: tuple[int, int], chance: Random | None) -> tuple[int, int]:
    """A tier and a position in it, not before the earliest."""
    if chance is None:
        return earliest
    tier = chance.randint(earliest[0], len(tiers) - 1)
    first = earliest[1] if tier == earliest[0] else 0
    return tier, chance.randint(first, len(tiers[tier].policies))


def _policy(name: str, rules: Sequence[model.Rule]) -> model.Policy:
    numbered = (
        replace(rule, origin=model.Origin(_KIND, name, model.INGRESS, index))
        for index, rule in enumerate(rules)
    )
    return model.Policy(_KIND, name, ingress=tuple(numbered), egress=None)


def _sets_of(members: Sequence[model.Policy]) -> Mapping[str, model.AddressSet]:
    return {name: _SETS[name] for member in members for rule in member.all_rules for name in rule.all_sets}


def _found_by_name(policy: model.HostPolicy) -> model.HostPolicy:
    """The policy without endpoints that are found by addresses: the hosts of tests have others."""
    return replace(
        policy,
        endpoints=tuple(each for each in policy.endpoints if each.interface is not None),
        interfaces={},
    )
