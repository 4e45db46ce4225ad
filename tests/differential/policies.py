# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host policies to try: all that untracked policy can hold, and how one host's policy changes into the next.

Policies are drawn by plain chance, not by a library that would make them small when they fail: they hold up
to hundreds of rules, and shrink.py knows better what may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.endpoints import POLICY_KEYS, Layout, layout
from tests.differential.pools import PORT_SET_NAMES, PORTS, SERVERS, SET_NAMES, network
from tests.differential.rules import Palette, rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from tests.differential.pools import Network

_FEW: Final = (1, 2, 3, 4, 4, 6, 6, 8, 0, None)
_MANY: Final = (12, 25, 60)
# `%` and spaces have to survive nft.
_LOG_PREFIXES: Final = ("calico-packet", "", "50% of /all-packets: ", "x" * 100)
_LOG_RATES: Final = (None, "1/second", "10/second", "9999/minute", "3/hour", "1/day")


@dataclass(frozen=True)
class Parts:
    """What a host policy is made of, used or not."""

    sets: Mapping[str, model.AddressSet]
    port_sets: Mapping[str, model.PortSet]
    policies: Mapping[str, model.Policy]
    layout: Layout
    failsafes: model.Failsafes
    settings: model.Settings

    def host_policy(self) -> model.HostPolicy:
        """The policy: endpoints, and all that they refer to."""
        return tidy(
            model.HostPolicy(
                node="host",
                endpoints=self.layout.endpoints,
                policies=self.policies,
                sets=self.sets,
                port_sets=self.port_sets,
                failsafes=self.failsafes,
                settings=self.settings,
                interfaces=self.layout.interfaces,
            )
        )


def tidy(policy: model.HostPolicy) -> model.HostPolicy:
    """The policy without what its endpoints do not refer to."""
    keys = {key for endpoint in policy.endpoints for key in endpoint.policy_keys}
    members = {key: member for key, member in policy.policies.items() if key in keys}
    rules = [rule for member in members.values() for rule in member.all_rules]
    names = {name for rule in rules for name in rule.all_sets}
    port_names = {name for rule in rules for name in rule.all_port_sets}
    return replace(
        policy,
        policies=members,
        sets={name: each for name, each in policy.sets.items() if name in names},
        port_sets={name: each for name, each in policy.port_sets.items() if name in port_names},
    )


def parts(chance: Random) -> Parts:
    """The parts of a policy."""
    return Parts(
        sets={name: _address_set(chance, name) for name in SET_NAMES},
        port_sets={name: _port_set(chance, name) for name in PORT_SET_NAMES},
        policies={key: _policy(chance, name) for key, name in POLICY_KEYS.items()},
        layout=layout(chance),
        failsafes=model.Failsafes(_failsafes(chance), _failsafes(chance)),
        settings=_settings(chance),
    )


def changed(chance: Random, before: Parts) -> Parts:
    """The parts with some of them changed, or none."""
    after = before
    if chance.random() < 0.5:
        name = chance.choice(SET_NAMES)
        after = replace(after, sets={**after.sets, name: _address_set(chance, name)})
    if chance.random() < 0.3:
        name = chance.choice(PORT_SET_NAMES)
        after = replace(after, port_sets={**after.port_sets, name: _port_set(chance, name)})
    if chance.random() < 0.5:
        key = chance.choice(tuple(POLICY_KEYS))
        edited = chance.choice((_edited(chance, before.policies[key]), _policy(chance, POLICY_KEYS[key])))
        after = replace(after, policies={**after.policies, key: edited})
    if chance.random() < 0.5:
        after = replace(after, layout=layout(chance))
    if chance.random() < 0.5:
        after = replace(after, failsafes=model.Failsafes(_failsafes(chance), _failsafes(chance)))
    if chance.random() < 0.2:
        after = replace(after, settings=_settings(chance))
    return after


# -- sets ------------------------------------------------------------------------------------------------


def _address_set(chance: Random, name: str) -> model.AddressSet:
    """Disjoint CIDRs of no, one or both families; adjacent ones stay apart."""
    versions = chance.choice(((4, 6), (4, 6), (4, 6), (4,), (6,), ()))
    members: dict[int, tuple[str, ...]] = {4: (), 6: ()}
    for version in versions:
        kept: list[Network] = []
        for _unused in range(chance.randint(1, 10)):
            member = network(chance, version)
            if not any(member.overlaps(other) for other in kept):
                kept.append(member)
        members[version] = tuple(str(member) for member in sorted(kept, key=lambda each: int(each[0])))
    return model.AddressSet(text=name, v4=members[4], v6=members[6])


def _port_set(chance: Random, name: str) -> model.PortSet:
    """Ports of a few endpoints, of any protocol that has ports; several at one address, or none at all."""
    found: dict[int, set[model.NamedPort]] = {4: set(), 6: set()}
    for _unused in range(chance.choice((0, 1, 2, 5, 10))):
        version = chance.choice((4, 6))
        where = chance.choice(SERVERS[version])
        found[version].add((where, chance.choice(model.PORT_PROTOCOLS), chance.choice(PORTS)))
    return model.PortSet(text=name, v4=tuple(sorted(found[4])), v6=tuple(sorted(found[6])))


# -- policies --------------------------------------------------------------------------------------------


def _policy(chance: Random, name: str) -> model.Policy:
    """One policy; it may not govern a direction (None), or govern it without a rule."""
    is_crowded = chance.random() < 0.15
    palette = Palette.narrow(chance) if is_crowded or chance.random() < 0.2 else Palette.wide()
    listed: dict[str, tuple[model.Rule, ...] | None] = {}
    for direction in (model.INGRESS, model.EGRESS):
        number = chance.choice(_MANY if is_crowded else _FEW)
        origins = [model.Origin("GlobalNetworkPolicy", name, direction, i) for i in range(number or 0)]
        rules = tuple(rule(chance, origin, palette) for origin in origins)
        listed[direction] = None if number is None else rules
    staged = chance.choice(model.STAGED_ACTIONS) if chance.random() < 0.15 else None
    return model.Policy("GlobalNetworkPolicy", name, listed[model.INGRESS], listed[model.EGRESS], staged)


_Rules = tuple[model.Rule, ...]
_EDITS: Final[tuple[Callable[[_Rules], _Rules], ...]] = (
    lambda rules: rules[::-1],
    lambda rules: rules[1:],
    lambda rules: rules[:-1],
    lambda rules: rules + rules[:1],
)


def _edited(chance: Random, before: model.Policy) -> model.Policy:
    """The policy with its rules in another order, or one of them gone, or there twice."""
    edit = chance.choice(_EDITS)
    listed: dict[str, _Rules] = {}
    for direction in (model.INGRESS, model.EGRESS):
        numbered = enumerate(edit(before.rules(direction)))
        listed[direction] = tuple(
            replace(rule, origin=replace(rule.origin, rule=index)) for index, rule in numbered
        )
    return replace(before, ingress=listed[model.INGRESS], egress=listed[model.EGRESS])


# -- the host --------------------------------------------------------------------------------------------


def _failsafes(chance: Random) -> tuple[model.Failsafe, ...]:
    """A few failsafe ports, with and without a net; two may differ in the net alone."""
    entries: dict[model.Failsafe, None] = {}
    for _unused in range(chance.randint(0, 3)):
        version = chance.choice((None, 4, 6))
        net = None if version is None else str(network(chance, version))
        entries[model.Failsafe(chance.choice(model.PORT_PROTOCOLS), chance.choice(PORTS), net)] = None
    return tuple(entries)


def _settings(chance: Random) -> model.Settings:
    return model.Settings(
        log_prefix=chance.choice(_LOG_PREFIXES),
        log_rate=chance.choice(_LOG_RATES),
        log_burst=chance.choice((1, 5, 9999)),
    )
