# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""From the state of a host to the wanted one: a plan, a value that can be shown, then its application."""

from __future__ import annotations

import datetime as dt
import hashlib
import typing as t
from dataclasses import dataclass, field

from .._policy import changes, model
from .._render import nftables, ruleset
from . import in_place, paths, state
from .system import Damaged, Host, HostError, Listing, Uncertain

if t.TYPE_CHECKING:
    from .provenance import Provenance


@dataclass(frozen=True)
class EngineFile:
    """The engine's own file: its digest and its content."""

    digest: str
    content: bytes


@dataclass(frozen=True)
class Plan:
    """What will be done to the host. `policy` of None removes everything of ours."""

    policy: model.HostPolicy | None
    engine: EngineFile
    provenance: Provenance | None = None
    steps: tuple[ruleset.Step, ...] = ()
    aliases: t.Mapping[str, str] = field(default_factory=dict)
    """The names that sets of the table go by after the steps; see in_place.py."""
    addresses: state.Addresses | None = None
    """The interfaces' addresses that the steps rely on."""
    write_engine: bool = False
    write_record: bool = False
    remove: tuple[str, ...] = ()
    changed: bool = False
    """Whether the host will be another one for its user; a record that only tells more is no change."""
    before: str = ""
    after: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.steps or self.write_engine or self.write_record or self.remove)


def plan(
    current: state.State,
    wanted: model.HostPolicy | None,
    engine: EngineFile,
    provenance: Provenance | None = None,
    addresses: state.Addresses | None = None,
) -> Plan:
    """What takes the host from its current state to the wanted policy (None: nothing of ours at all).

    `addresses` are those of the host's interfaces, for a policy that finds endpoints by them.
    """
    if wanted is None:
        return _plan_removal(current, engine)
    steps, aliases = _steps(current, state.located(wanted, addresses))
    path = paths.engine_path(engine.digest)
    stale_engines = tuple(other for other in current.engines if other != path)
    write_engine = current.engines.get(path) != hashlib.sha256(engine.content).hexdigest()
    record = current.record
    same = (
        record is not None
        and record.digest == wanted.digest
        and record.engine == engine.digest
        and not _is_taken_over(record, provenance)
    )
    before, after = _shown(current, _Described(wanted, engine.digest, provenance))
    return Plan(
        policy=wanted,
        engine=engine,
        provenance=provenance,
        steps=steps,
        aliases=aliases,
        addresses=addresses,
        write_engine=write_engine,
        write_record=bool(steps) or not same or not _tells_the_same(current, wanted, provenance),
        remove=stale_engines + current.litter,
        changed=bool(steps) or not same or write_engine or bool(stale_engines),
        before=before,
        after=after,
        notes=(*current.notes, *state.endpoint_notes(wanted, current.interfaces)),
    )


def _plan_removal(current: state.State, engine: EngineFile) -> Plan:
    steps = ruleset.removal() if current.table is not None else ()
    before, after = _shown(current, _NOTHING)
    return Plan(
        policy=None,
        engine=engine,
        steps=steps,
        remove=current.leftovers,
        changed=bool(steps or current.leftovers),
        before=before,
        after=after,
        notes=current.notes,
    )


def _steps(
    current: state.State, wanted: model.HostPolicy
) -> tuple[tuple[ruleset.Step, ...], t.Mapping[str, str]]:
    """The steps to the table that enforces a policy, and the names that its sets go by then."""
    if current.table is not None and current.drift:
        # The names in the kernel no longer vouch for what is behind them.
        return ruleset.repair(nftables.render(wanted)), {}
    aliases: t.Mapping[str, str] = {}
    if current.record is not None and current.table is not None:
        aliases = current.record.aliases
        if current.record.policy is not None:
            smaller = in_place.in_place(current.record.policy, aliases, current.names, wanted)
            if smaller is not None:
                return (smaller.step,), smaller.aliases
    live = current.names.sets if current.names is not None else frozenset()
    aliases = in_place.aliases_for(wanted, aliases, live)
    return ruleset.plan(current.names, nftables.render(wanted, aliases)), aliases


def _is_taken_over(record: state.Record, provenance: Provenance | None) -> bool:
    """Whether the policy gets another owner; an owner where none was known is no change."""
    return (
        record.provenance is not None
        and provenance is not None
        and record.provenance.owner != provenance.owner
    )


def _tells_the_same(current: state.State, wanted: model.HostPolicy, provenance: Provenance | None) -> bool:
    """Whether the record says of the same policy where it comes from, and of the table as it is."""
    record = current.record
    return (
        record is not None
        and record.policy is not None
        and record.policy.places == wanted.places
        and (
            provenance is None
            or (record.provenance is not None and record.provenance.tells_the_same(provenance))
        )
        and record.fingerprint == state.fingerprint(current.table)
    )


class _Described(t.NamedTuple):
    """What is, or will be, on a host, as far as a user is told."""

    policy: model.HostPolicy | None = None
    engine: str = ""
    provenance: Provenance | None = None
    is_unreadable: bool = False

    def lines(self) -> list[str]:
        """What there is to tell beside the policy."""
        found = ["(a policy of another version)"] if self.is_unreadable else []
        found += [] if self.provenance is None else [f"owner {self.provenance.owner}"]
        return found + ([f"engine {self.engine[:16]}"] if self.engine else [])


_NOTHING = _Described()


def _shown(current: state.State, wanted: _Described) -> tuple[str, str]:
    """What differs, before and after, as a diff shows it."""
    record = current.record
    was = _NOTHING
    if record is not None:
        was = _Described(record.policy, record.engine, record.provenance, record.policy is None)
    gone, come = changes.changes(was.policy, wanted.policy)
    gone += [line for line in was.lines() if line not in wanted.lines()]
    come += [line for line in wanted.lines() if line not in was.lines()]
    before, after = changes.cut(([*(f"({line})" for line in current.drift), *gone], come))
    return _text(before), _text(after)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def apply(host: Host, planned: Plan) -> None:
    """Do what the plan says. Raises HostError; then the kernel holds the old policy or the new, whole.

    The record is written twice. First without the table's fingerprint: so a host that cannot be written to is
    found before anything is in force, and if the engine dies in between, the next run sees drift and builds
    the table anew.
    """
    if planned.write_engine:
        path = paths.engine_path(planned.engine.digest)
        host.remove(path)  # whatever is there in its place
        host.write(path, planned.engine.content, 0o755)
    if planned.write_record:
        _put_in_force(host, planned)
    else:
        _take(host, planned.steps)
    for path in planned.remove:
        host.remove(path)


def _put_in_force(host: Host, planned: Plan) -> None:
    if planned.policy is None:
        return
    try:
        before = host.read(paths.POLICY_FILE)
    except Damaged:
        host.remove(paths.POLICY_FILE)
        before = None
    _write_record(host, planned, planned.policy, None)
    try:
        _take(host, planned.steps)
    except Uncertain:
        # The record vouches for nothing now, and the next run builds the table anew.
        raise
    except HostError:
        if before is None:
            host.remove(paths.POLICY_FILE)
        else:
            host.write(paths.POLICY_FILE, before, 0o600)
        raise
    table = host.table(ruleset.FAMILY, ruleset.TABLE, whole=state.has_few_elements(planned.policy))
    _write_record(host, planned, planned.policy, table)


def _write_record(host: Host, planned: Plan, policy: model.HostPolicy, table: Listing | None) -> None:
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
    content = state.record_content(
        policy,
        planned.engine.digest,
        table,
        now,
        planned.provenance,
        planned.aliases,
        planned.addresses,
    )
    host.write(paths.POLICY_FILE, content, 0o600)


def _take(host: Host, steps: tuple[ruleset.Step, ...]) -> None:
    """Take the steps; when one fails, take back it and the ones before it, unless packets have taken the new
    way."""
    begun: list[ruleset.Step] = []
    for step in steps:
        try:
            if step.script:
                host.nft(step.script)
                begun.append(step)
            for member in step.fills:
                host.fill_set(ruleset.TABLE, member.name, member.version, member.elements)
            if step.changes:
                host.change_sets(ruleset.TABLE, step.changes)
        except Uncertain:
            # Packets may have taken the new way; the next run builds the table anew.
            raise
        except HostError as error:
            if all(done.undo for done in begun):
                for done in reversed(begun):
                    _take_back(host, done, error)
            raise


def _take_back(host: Host, step: ruleset.Step, error: HostError) -> None:
    try:
        host.nft(step.undo)
    except HostError as second:
        raise HostError(f"{error}; and what was added before it could not be removed: {second}") from error
