# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""From the state of a host to the wanted one: a plan, a value that can be shown, then its application."""

from __future__ import annotations

import datetime as dt
import typing as t
from dataclasses import dataclass, field

from .._policy import describe, model
from .._render import nftables, ruleset
from . import paths, state
from .system import Host, HostError


@dataclass(frozen=True)
class Engine:
    """The engine's own file: its digest and its content."""

    digest: str
    content: bytes


@dataclass(frozen=True)
class Plan:
    """What will be done to the host. `policy` of None removes everything of ours."""

    policy: model.HostPolicy | None
    nft: tuple[str, ...] = ()
    """Scripts, each one transaction, in order."""
    undo: t.Mapping[int, str] = field(default_factory=dict)
    """What takes script number n - 1 back when script n fails, by n."""
    write_record: bool = False
    write_engine: Engine | None = None
    remove: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.nft or self.write_record or self.write_engine or self.remove)


def plan(current: state.State, wanted: model.HostPolicy | None, engine: Engine) -> Plan:
    """What takes the host from its current state to the wanted policy (None: nothing of ours at all)."""
    if wanted is None:
        return _plan_removal(current)
    scripts, undo = _kernel_change(current, nftables.render(wanted))
    path = paths.engine_path(engine.digest)
    stale_engines = tuple(other for other in current.engines if other != path)
    record = current.record
    same = record is not None and record.digest == model.digest(wanted) and record.engine == engine.digest
    return Plan(
        policy=wanted,
        nft=scripts,
        undo=undo,
        write_record=bool(scripts) or not same,
        write_engine=None if path in current.engines else engine,
        remove=stale_engines,
        before=_before(current),
        after=f"{describe.describe(wanted)}engine {engine.digest[:16]}\n",
        notes=current.notes,
    )


def _plan_removal(current: state.State) -> Plan:
    return Plan(
        policy=None,
        nft=() if current.table is None else (ruleset.removal(),),
        remove=current.leftovers,
        before=_before(current),
        notes=current.notes,
    )


def _kernel_change(
    current: state.State, wanted: ruleset.Ruleset
) -> tuple[tuple[str, ...], t.Mapping[int, str]]:
    if current.table is not None and current.drift:
        # The names in the kernel no longer vouch for what is behind them.
        return (ruleset.repair(wanted),), {}
    steps = ruleset.change(current.names, wanted)
    scripts = tuple(script for script in (steps.add, steps.switch, steps.remove) if script)
    undo = {1: steps.undo_add} if steps.add and steps.switch else {}
    return scripts, undo


def _before(current: state.State) -> str:
    if current.record is None:
        return "".join(f"({line})\n" for line in current.drift)
    text = f"{describe.describe(current.record.policy)}engine {current.record.engine[:16]}\n"
    return text + "".join(f"({line})\n" for line in current.drift)


def apply(host: Host, planned: Plan, engine: Engine) -> None:
    """Do what the plan says. Raises HostError; then the kernel holds the old policy or the new, whole.

    The kernel comes before the record: if the engine dies in between, the record no longer vouches for the
    kernel's table and the next run builds the table anew.
    """
    if planned.write_engine is not None:
        host.write(paths.engine_path(engine.digest), engine.content, 0o755)
    for number, script in enumerate(planned.nft):
        try:
            host.nft(script)
        except HostError:
            if number in planned.undo:
                host.nft(planned.undo[number])
            raise
    if planned.write_record and planned.policy is not None:
        record = state.Record(
            policy=planned.policy,
            digest=model.digest(planned.policy),
            engine=engine.digest,
            fingerprint=state.fingerprint(host.table(ruleset.FAMILY, ruleset.TABLE)),
            applied=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        )
        host.write(paths.POLICY_FILE, state.record_content(record), 0o600)
    for path in planned.remove:
        host.remove(path)
