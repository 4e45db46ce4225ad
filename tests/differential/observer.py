# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of packets: a table around the raw hooks that records the keys which packets carry.

After that it drops every packet, so none is routed, answered or entered into the connection table, and no
packet depends on another.

An expression that asks for a connection makes the kernel track connections, and with that put fragments
together before raw. Without tracking nothing tells a packet that raw marked as untracked from others.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from tests.differential.transport import WRONG_CHECKSUM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.differential.packets import Sample

TABLE: Final = "observer"
ARRIVED: Final = "arrived"
PASSED: Final = "passed"

_FIELDS: Final = {"ipv4": "@nh,32,16", "ipv6": "@nh,16,16"}  # identification; the flow label's lower bits
# Before raw (-300): what got that far at all. Between raw and connection tracking (-200): what raw let pass,
# and what it marked. After connection tracking, at mangle (-150): what that made of it.
_STAGES: Final = {
    True: {
        ARRIVED: (-350, ""),
        PASSED: (-250, ""),
        "untracked": (-250, "ct state untracked"),
        "tracked": (-150, "ct state != untracked"),
    },
    False: {ARRIVED: (-350, ""), PASSED: (-250, "")},
}
# What the kernel itself has to say, which would count as well. Its IPv6 packets have flow label 0.
_NOT_OURS: Final = f"meta nfproto ipv6 {_FIELDS['ipv6']} 0 drop"
# ICMPv6 that connection tracking leaves alone by itself (nf_conntrack_proto_icmpv6.c, noct_valid_new).
_NEVER_TRACKED: Final = (*range(130, 137), 143)


class Fate(enum.Enum):
    """What became of a packet."""

    DENY = "deny"
    UNTRACKED = "allow, untracked"
    TRACKED = "allow, tracked"
    ALLOW = "allow, where nothing is tracked"
    # Raw and connection tracking disagree, which is never right.
    CONTRADICTION = "allow, but connection tracking did not do what raw said"


def stages(*, tracking: bool) -> tuple[str, ...]:
    """The sets that keys are recorded in."""
    return tuple(_STAGES[tracking])


def table(sentinel: str, *, tracking: bool) -> str:
    """The observer's table. What comes from the interface `sentinel` is none of raw's business."""
    used = _STAGES[tracking]
    lines = [f"table inet {TABLE} {{"]
    lines += [f"set {stage} {{ typeof @nh,16,16; size 65535; flags dynamic; }}" for stage in used]
    first, last = min(when for when, _unused in used.values()), max(when for when, _unused in used.values())
    for hook in ("prerouting", "output"):
        for priority in sorted({priority for priority, _unused in used.values()}):
            head = f"type filter hook {hook} priority {priority}; policy accept;"
            lines.append(f"chain {hook}{-priority} {{ {head}")
            lines += [
                f"meta nfproto {family} {condition} add @{stage} {{ {field} }}"
                for stage, (when, condition) in used.items()
                if when == priority
                for family, field in _FIELDS.items()
            ]
            if priority == first:
                lines.append(_NOT_OURS if hook == "output" else f'iifname "{sentinel}" drop')
            if priority == last:
                lines.append("drop")
            lines.append("}")
    return "\n".join([*lines, "}", ""])


def fate(sample: Sample, key: int, seen: Mapping[str, frozenset[int]]) -> Fate:
    """What became of the packet with this key. `seen` has the keys that each stage recorded."""
    if key not in seen[PASSED]:
        return Fate.DENY
    if "tracked" not in seen:
        return Fate.ALLOW
    untracked = key in seen["untracked"]
    exempt = sample.version == 6 and sample.protocol == model.ICMPV6 and sample.icmp_type in _NEVER_TRACKED
    exempt = exempt and not _is_refused(sample)
    if (key in seen["tracked"]) is (untracked or exempt):
        return Fate.CONTRADICTION
    return Fate.UNTRACKED if untracked else Fate.TRACKED


def _is_refused(sample: Sample) -> bool:
    """Whether connection tracking calls the ICMPv6 message invalid before it looks at its type."""
    if sample.shown is not None and sample.shown < 8:
        return True
    # What is cut short has a wrong checksum as well, but only what arrives is checked.
    return sample.direction == model.INGRESS and (sample.shown is not None or sample.flaw == WRONG_CHECKSUM)
