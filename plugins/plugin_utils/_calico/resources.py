# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Calico v3 resources as values: what is left of them when they have been read and are known to be valid.

Every resource knows its `kind`, its `name` and the `place` where it was written, which does not count when
two are compared.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import networks, values
    from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.selector import Selector

DEFAULT_TIER = "default"
FIXED_TIERS = {DEFAULT_TIER: (1e6, "Deny"), "kube-admin": (1e3, "Pass"), "kube-baseline": (1e7, "Pass")}
"""Tiers that there are without being defined: order and default action."""

DEFAULT_ALLOW = "projectcalico-default-allow"
"""The profile that there is without being defined: it allows everything, both ways."""

FELIX_DEFAULT, FELIX_NODE = "default", "node."


@dataclass(frozen=True)
class EndpointPort:
    """A port of a host endpoint that rules may call by its name."""

    name: str
    protocol: int
    port: int


@dataclass(frozen=True)
class HostEndpoint:
    """An interface of a host that policy applies to: by its name, all of them (`*`), or (None) by address."""

    name: str
    labels: Mapping[str, str]
    node: str
    interface: str | None
    expected_ips: tuple[values.Address, ...]
    profiles: tuple[str, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
    place: str | None = field(default=None, compare=False)

    kind: t.ClassVar[str] = "HostEndpoint"


@dataclass(frozen=True)
class Entity:
    """What a rule asks of one end of a packet's way. Empty and None mean anything."""

    nets: tuple[values.Network, ...] = ()
    selector: Selector | None = None
    ports: tuple[model.PortRange, ...] = ()
    not_nets: tuple[values.Network, ...] = ()
    not_selector: Selector | None = None
    not_ports: tuple[model.PortRange, ...] = ()
    named_ports: tuple[str, ...] = ()
    not_named_ports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule of a policy. `ip_version` is asked for, or implied by the protocol's name or by nets."""

    action: str
    protocol: int | None
    ip_version: int | None
    source: Entity
    destination: Entity
    not_protocol: int | None = None
    icmp: model.Icmp | None = None
    not_icmp: model.Icmp | None = None
    place: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class GlobalNetworkPolicy:
    """A policy for host endpoints. `order` of None comes last; rules of a direction not in `types` do not
    count.

    At most one of `do_not_track` and `pre_dnat` is set, and only together with `apply_on_forward`. `staged`
    is the action of a staged policy, and None for one that is enforced.
    """

    name: str
    tier: str
    order: float | None
    selector: Selector
    types: frozenset[str]
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]
    do_not_track: bool = False
    pre_dnat: bool = False
    apply_on_forward: bool = False
    staged: str | None = None
    place: str | None = field(default=None, compare=False)
    tier_place: str | None = field(default=None, compare=False)

    @property
    def kind(self) -> str:
        """GlobalNetworkPolicy or StagedGlobalNetworkPolicy."""
        return "GlobalNetworkPolicy" if self.staged is None else "StagedGlobalNetworkPolicy"

    @property
    def key(self) -> str:
        """What identifies it among policies of all kinds; the same as model.Policy.key."""
        return f"{self.kind}/{self.name}"

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists of an endpoint's tiers that it belongs to (Calico: felix/calc/event_sequencer.go)."""
        if self.do_not_track:
            return ("untracked",)
        if self.pre_dnat:
            return ("pre_dnat",)
        return ("normal", "forward") if self.apply_on_forward else ("normal",)


@dataclass(frozen=True)
class Profile:
    """Rules for what no policy decides, and labels, for the endpoints that name the profile."""

    name: str
    labels_to_apply: Mapping[str, str]
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]
    place: str | None = field(default=None, compare=False)

    kind: t.ClassVar[str] = model.PROFILE
    types: t.ClassVar[frozenset[str]] = frozenset((model.INGRESS, model.EGRESS))
    staged: t.ClassVar[None] = None

    @property
    def key(self) -> str:
        """What identifies it among policies of all kinds; the same as model.Policy.key."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class GlobalNetworkSet:
    """Addresses that selectors find by labels."""

    name: str
    labels: Mapping[str, str]
    nets: tuple[networks.Network, ...]
    place: str | None = field(default=None, compare=False)

    kind: t.ClassVar[str] = "GlobalNetworkSet"


@dataclass(frozen=True)
class Tier:
    """A tier of policies. `order` of None comes last; `default_action` is for what none of them decides."""

    name: str
    order: float | None
    default_action: str = model.DENY
    place: str | None = field(default=None, compare=False)

    kind: t.ClassVar[str] = "Tier"


@dataclass(frozen=True)
class FelixConfiguration:
    """Settings of all hosts (named `default`) or of one (`node.<name>`).

    `settings` has the fields of model.Settings that it sets. A list of failsafe ports that is None leaves
    them as they are. `ignored` are the fields that it sets and that mean nothing here, each with the reason.
    """

    name: str
    inbound: tuple[model.Failsafe, ...] | None
    outbound: tuple[model.Failsafe, ...] | None
    settings: Mapping[str, t.Any] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict, compare=False)
    place: str | None = field(default=None, compare=False)

    kind: t.ClassVar[str] = "FelixConfiguration"


Resource = HostEndpoint | GlobalNetworkPolicy | GlobalNetworkSet | Tier | Profile | FelixConfiguration
