# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""What a run may do to an installed policy only if it is told to: take it from its owner, or shrink it.

To Ansible, an inventory source that cannot be read is a warning. The run goes on with the hosts that it has
seen, and selectors stand for fewer addresses: right for such an inventory, and an outage for the real one.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._policy.shown import name
from . import peers
from .system import HostError

if t.TYPE_CHECKING:
    from .._policy import model
    from .provenance import Provenance
    from .state import Record

SETS_SHOWN, MEMBERS_SHOWN = 3, 5


@dataclass(frozen=True)
class Run:
    """Who asks for a change, and what they are ready for."""

    provenance: Provenance
    takeover: bool
    """Whether a policy of another owner may be replaced."""
    shrink_limit: int
    """Percent that may be lost at once; 100 allows everything."""


def check(record: Record | None, run: Run, wanted: model.HostPolicy | None) -> None:
    """Raise HostError, with all reasons, where the run may not put `wanted` (None: nothing) in the place of
    what is installed.

    What a record of an older version does not say is not compared.
    """
    if record is None:
        return
    refusals = [_other_owner(record, run), _losses(record, run, wanted)]
    if any(refusals):
        raise HostError("\n".join(filter(None, [_installed(record), *refusals])))


def _installed(record: Record) -> str:
    text = f"refused, and nothing was changed. The installed policy was applied {name(record.applied)}"
    if record.provenance is None:
        return f"{text}."
    seen = record.provenance.inventory
    return (
        f"{text} by owner {name(record.provenance.owner)}, from inventory {name(seen.id)} with "
        f"{seen.hosts_with_policy} hosts with policy among {seen.hosts}."
    )


def _other_owner(record: Record, run: Run) -> str:
    """Why the run may not replace another owner's policy; empty where it may."""
    if record.provenance is None or run.takeover or record.provenance.owner == run.provenance.owner:
        return ""
    return (
        f"It belongs to owner {name(record.provenance.owner)}, and this is a run of owner "
        f"{name(run.provenance.owner)}: two owners of one host would replace each other's policy in turn. "
        "If the host is to change its owner: -e netpolicy_takeover=true (takeover of netpolicy.host.policy). "
        "If it is yours already, correct netpolicy_owner."
    )


def _losses(record: Record, run: Run, wanted: model.HostPolicy | None) -> str:
    """What would be lost that is more than the run is ready for; empty where nothing is."""
    lost = [_lost_hosts(record, run), "" if wanted is None else _lost_peers(record, run, wanted)]
    if not any(lost):
        return ""
    hint = (
        f"Allowed is a loss of {run.shrink_limit} %. An inventory of which a part could not be read looks "
        "like this: see the warnings of this run. If the loss is meant, allow it for one run: "
        "-e netpolicy_shrink_limit=100 (shrink_limit of netpolicy.host.policy)."
    )
    return "\n".join(filter(None, [*lost, hint]))


def _lost_hosts(record: Record, run: Run) -> str:
    if record.provenance is None:
        return ""
    now, then = run.provenance.inventory, record.provenance.inventory
    gone = then.hosts_with_policy - now.hosts_with_policy
    if not _is_too_much(gone, then.hosts_with_policy, run.shrink_limit):
        return ""
    other = "" if now.id == then.id else f", of another inventory, {name(now.id)}"
    return (
        f"Hosts with policy: this run found {now.hosts_with_policy} among {now.hosts} hosts{other}; "
        f"{gone} of {then.hosts_with_policy} are gone ({_percent(gone, then.hosts_with_policy)})."
    )


def _lost_peers(record: Record, run: Run, wanted: model.HostPolicy) -> str:
    if record.policy is None or record.digest == wanted.digest or run.shrink_limit >= 100:
        return ""
    change = peers.change(record.policy, wanted)
    before = change.before * peers.ONE
    if not _is_too_much(change.loss, before, run.shrink_limit):
        # However little of the whole it is: what a rule allows or denies is nobody, all of a sudden.
        emptied = _some([f"[{name(text)}]" for text in change.emptied], SETS_SHOWN, "; ")
        return f"Peers of this host: nothing would be left of {emptied}." if emptied else ""
    return (
        f"Peers of this host: its policy knows {change.before} addresses and networks, and would know "
        f"{-(-change.loss // peers.ONE)} fewer ({_percent(change.loss, before)}): {_shown(change.sets)}."
    )


def _is_too_much(gone: int, before: int, limit: int) -> bool:
    return 100 * gone > limit * before


def _percent(part: int, whole: int) -> str:
    """Rounded up, so that what is over a limit does not look equal to it."""
    return f"{-(-1000 * part // whole) / 10:g} %"


def _shown(sets: t.Sequence[tuple[str, t.Sequence[str]]]) -> str:
    parts = [f"[{name(text)}] loses {_some(members, MEMBERS_SHOWN, ', ')}" for text, members in sets]
    return _some(parts, SETS_SHOWN, "; ")


def _some(items: t.Sequence[str], number: int, separator: str) -> str:
    more = [f"and {len(items) - number} more"] if len(items) > number else []
    return separator.join([*items[:number], *more])
