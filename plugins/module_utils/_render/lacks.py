# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What of a HostPolicy no plane of this version enforces. Such a policy must not be applied in part."""

from __future__ import annotations

import itertools
import typing as t

if t.TYPE_CHECKING:
    from .._policy import model

NAMED = 5
"""As many things as a refusal names; there may be hundreds."""


class Lack(t.NamedTuple):
    """Something of a policy that cannot be enforced: of which resource, where in it, and what."""

    kind: str
    name: str
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.path}: {self.what}"


def unenforced(policy: model.HostPolicy) -> list[Lack]:
    """What of a policy this version cannot enforce."""
    found: dict[Lack, None] = {}
    for endpoint in policy.endpoints:
        tracked = itertools.chain(endpoint.pre_dnat, endpoint.normal, endpoint.forward)
        members = (policy.policies[key] for tier in tracked for key in tier.policies)
        for member in members:
            if member.staged is None:
                lack = Lack(member.kind, member.name, "spec.doNotTrack", "policy that is not untracked")
                found[lack] = None
        for member in (policy.policies[key] for key in endpoint.profiles):
            found[Lack(member.kind, member.name, "spec", "profiles")] = None
    return list(found)


def refusal(policy: model.HostPolicy) -> str | None:
    """What keeps a policy from being enforced, for its author; None where nothing does."""
    found = unenforced(policy)
    if not found:
        return None
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"it cannot enforce {'; '.join(map(str, found[:NAMED]))}{more}"
