# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The engine's entry point on the managed host: one JSON request in, one JSON answer out.

Modules, and whatever else works on the host, come through here. A request is a mapping with `verb`:

apply   `digest` of the wanted policy, `policy` (the HostPolicy as plain data, or null: the installed one,
        if it has that digest), `check` (bool: plan only), and of the run that asks its `provenance`, and what
        it is ready for: `takeover` (bool) and `shrink_limit` (percent), see guard.py. Answers `changed`,
        `before`, `after`, `notes`, `digest`, or `policy_missing` where the policy has to be sent.
remove  `check`, `node` (refuse to remove the policy of any other, or null), and of a run that removes because
        of what its inventory says, the same three as `apply`. Removes everything of ours; answers as `apply`.
info    `elements` (bool, optional): whether to read back the networks of sets, where listings leave them out.
        Answers what module policy_info returns, and `notes`.

The answer has `error` (text for the user) instead where the request could not be carried out, and
`nft_missing` beside it where that is why; or `skipped` (the reason) where host policy has no meaning.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import traceback
import typing as t

from .._policy import model, read
from .._render import lacks, ruleset
from . import drift, guard, information, provenance, state, tracked_flows, transaction
from .system import Host, HostError, LinuxHost
from .transaction import EngineFile

Request = t.Mapping[str, t.Any]
Answer = dict[str, t.Any]


def apply(host: Host, engine: EngineFile, request: Request) -> Answer:
    """Plan the wanted policy and, unless `check`, put it in force."""
    wanted = None
    if request["policy"] is not None:
        wanted = read.from_dict(request["policy"])
        if wanted.digest != request["digest"]:
            raise HostError(f"the policy arrived with digest {wanted.digest}, expected {request['digest']}")
        _refuse_in_part(wanted)
    run = _run(request)
    with _exclusive(host, request):
        current = state.read_state(host)
        if wanted is None and current.record is not None and current.record.digest == request["digest"]:
            wanted = current.record.policy
            if wanted is not None:
                _refuse_in_part(wanted)  # a newer version may have installed it
        if wanted is None:
            return {"policy_missing": True}
        _refuse_other_node(current, wanted.node)
        guard.check(current.record, run, wanted)
        if not current.has_nft and not request["check"]:
            return {"error": "\n".join(current.notes), "nft_missing": True}
        planned = transaction.plan(current, wanted, engine, run.provenance, _own_addresses(host, wanted))
        return _carry_out(host, current, planned, request)


def _own_addresses(host: Host, wanted: model.HostPolicy) -> state.Addresses | None:
    """Which interface has which of the addresses that endpoints are found by; None where none is."""
    asked = {
        address
        for endpoint in wanted.endpoints
        if endpoint.interface is None
        for address in endpoint.addresses
    }
    if not asked:
        return None
    found = {name: sorted(asked.intersection(known)) for name, known in host.addresses().items()}
    return {name: known for name, known in found.items() if known}


def remove(host: Host, engine: EngineFile, request: Request) -> Answer:
    """Plan the removal of everything of ours and, unless `check`, do it."""
    with _exclusive(host, request):
        current = state.read_state(host)
        if request["node"] is not None:
            _refuse_other_node(current, request["node"])
        if "provenance" in request:
            guard.check(current.record, _run(request), None)
        if current.record is not None and not current.has_nft:
            raise HostError("a policy is installed, and nft, which could remove it from the kernel, is not")
        return _carry_out(host, current, transaction.plan(current, None, engine), request)


def _run(request: Request) -> guard.Run:
    """The run that asks: our own action plugin has checked what a user wrote."""
    return guard.Run(
        provenance=provenance.from_dict(request["provenance"]),
        takeover=request["takeover"],
        shrink_limit=request["shrink_limit"],
    )


def _refuse_in_part(wanted: model.HostPolicy) -> None:
    """A policy in force in part lets through what its author believes denied, or the other way round."""
    refusal = lacks.refusal(wanted)
    if refusal is not None:
        raise HostError(f"this version enforces untracked policy only; nothing was changed: {refusal}")


def _refuse_other_node(current: state.State, node: str) -> None:
    """Two names of an inventory may be one machine: neither may take away what belongs to the other."""
    installed = None if current.record is None else current.record.policy
    if installed is not None and installed.node != node:
        raise HostError(
            f"this machine enforces the policy of host {installed.node}, not of {node}: both names are one "
            "machine, or it was renamed; if that is meant, remove the policy first (state: absent)"
        )


def _exclusive(host: Host, request: Request) -> t.ContextManager[None]:
    return contextlib.nullcontext() if request["check"] else host.lock()


def _carry_out(host: Host, current: state.State, planned: transaction.Plan, request: Request) -> Answer:
    if not (planned.is_empty or request["check"]):
        transaction.apply(host, planned)
    flows = tracked_flows.NOTHING
    if planned.steps:
        installed = None if current.record is None else current.record.policy
        flows = tracked_flows.follow(host, installed, planned.policy, check=request["check"])
    return {
        "changed": planned.changed,
        "before": planned.before,
        "after": planned.after,
        "notes": [*planned.notes, *_address_notes(host, planned.policy), *flows.notes],
        "conntrack_deleted": flows.deleted,
        "digest": None if planned.policy is None else planned.policy.digest,
    }


def info(host: Host, engine: EngineFile, request: Request) -> Answer:
    """What is installed, how the kernel differs from it, and what its rules have counted."""
    del engine
    current = state.read_state(host)
    found = information.information(current)
    record = current.record
    installed = None if record is None else record.policy
    notes = [*found["notes"], *_address_notes(host, installed)]
    if request.get("elements") and record is not None and not (record.whole or current.drift):
        try:
            found["drift"] += _element_drift(host, record)
        except HostError as error:
            notes.append(f"the networks of sets were not compared: {error}")
    return {**found, "notes": notes}


def _element_drift(host: Host, record: state.Record) -> list[str]:
    """How sets differ of which listings leave out what they hold."""
    table = record.ruleset
    if table is None:
        return []
    return list(drift.of_elements(table, functools.partial(host.set_elements, ruleset.TABLE)))


def _address_notes(host: Host, policy: model.HostPolicy | None) -> list[str]:
    return [] if policy is None else state.address_notes(policy, host.has_address)


VERBS: t.Mapping[str, t.Callable[[Host, EngineFile, Request], Answer]] = {
    "apply": apply,
    "remove": remove,
    "info": info,
}


def serve(host: Host, engine: EngineFile, request: Request) -> Answer:
    """Answer one request; what goes wrong on the host becomes the answer's `error`."""
    verb = VERBS.get(request.get("verb", ""))
    if verb is None:
        return {"error": f"verb: found {request.get('verb')!r}, allowed: {', '.join(VERBS)}"}
    try:
        return verb(host, engine, request)
    except (HostError, read.PolicyFormatError) as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001  # our own mistake: told in a line, not as a traceback
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}:{where.lineno}"
        return {
            "error": f"a defect in netpolicy.host ({request['verb']}, {place}): {error!r}; please report it"
        }


def main(archive: str, digest: str) -> int:
    """Serve one request from standard input. `archive` is the file this engine runs from."""
    request = json.load(sys.stdin)
    answer: Answer
    if not sys.platform.startswith("linux"):
        answer = {"skipped": f"not a Linux host: {sys.platform}"}
    elif os.geteuid() != 0:
        answer = {"error": "this needs root on the managed host; set become: true"}
    else:
        with open(archive, "rb") as file:
            engine = EngineFile(digest=digest, content=file.read())
        answer = serve(LinuxHost(), engine, request)
    json.dump(answer, sys.stdout)
    return 0
