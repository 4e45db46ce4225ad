# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection does, to look at: a server whose connection table is full, before and after.

``python -m tests.lab.demo --scenario memcached`` needs root and about half a minute. Everything happens in
network namespaces of its own and is gone afterwards. The exit code is 0 only if all of it was as claimed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import connections, conntrack
from .command import CommandError
from .conntrack import NotTrackingError
from .host import HostError
from .lab import NotRootError
from .load import Outcome
from .playbook import PlaybookError
from .scenario import SCENARIOS, Stage, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .playbook import PlaybookRun

CONNECTIONS = 2000
# Long enough for a second attempt by the kernel, which repeats an unanswered SYN after one second.
PATIENCE = 1.5
# Room for what has to get through while the table is otherwise full.
ROOM = 1000


@dataclass(frozen=True)
class Measurement:
    """A row of the summary: what happened to the connections, and what the table has of them afterwards."""

    what: str
    outcome: Outcome
    entries_before: int
    entries_after: int
    entries_of_clients: int


@dataclass
class Report:
    """What was measured, and whether it was as claimed."""

    rows: list[Measurement] = field(default_factory=list)
    claims: list[tuple[str, bool]] = field(default_factory=list)

    def claim(self, text: str, holds: bool) -> None:
        """Note a claim and whether it holds."""
        self.claims.append((text, holds))

    @property
    def holds(self) -> bool:
        """Whether every claim does."""
        return all(holds for _unused, holds in self.claims)


class Narrator:
    """Tells a person what happens while it does."""

    def __init__(self, *, verbose: bool) -> None:
        """``verbose`` shows the playbook's output too."""
        self.verbose = verbose
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """One step."""
        print(f"{time.monotonic() - self._started:6.1f} s  {text}", flush=True)

    def playbook(self, run: PlaybookRun) -> None:
        """The output of a playbook, when it was asked for or is needed."""
        if self.verbose or run.rc:
            print("\n".join(f"          | {line}" for line in run.output.splitlines()), flush=True)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Several loads that ran at the same time, as one."""
    reasons: Counter[str] = Counter()
    for outcome in outcomes:
        reasons.update(outcome.reasons)
    return Outcome(
        attempted=sum(outcome.attempted for outcome in outcomes),
        succeeded=sum(outcome.succeeded for outcome in outcomes),
        failed=sum(outcome.failed for outcome in outcomes),
        seconds=max(outcome.seconds for outcome in outcomes),
        reasons=dict(reasons),
    )


def measure(stage: Stage, what: str, *, ipv6: bool = False) -> Measurement:
    """New connections from all clients at once, each with a request that must be answered."""
    server, service = stage.server, stage.service
    before = conntrack.count(server)
    with ThreadPoolExecutor() as pool:
        loads = [
            pool.submit(
                connections.attempt,
                client,
                server.ipv6 if ipv6 else server.ipv4,
                service.port,
                service.protocol,
                number=CONNECTIONS // len(stage.clients),
                timeout=PATIENCE,
            )
            for client in stage.clients
        ]
        outcome = together([load.result() for load in loads])
    after = conntrack.count(server)
    tracked = [
        entry
        for client in stage.clients
        for entry in conntrack.entries(
            server,
            protocol="tcp",
            src=client.ipv6 if ipv6 else client.ipv4,
            dport=service.port,
            ipv6=ipv6,
        )
    ]
    return Measurement(what, outcome, before, after, len(tracked))


def is_full(row: Measurement) -> bool:
    """Whether the table had no room worth mentioning: the kernel may forget a few closed connections."""
    return conntrack.limit() - row.entries_before < CONNECTIONS // 100


def fill(stage: Stage) -> None:
    """Fill the server's table to the brim with connections that have nothing to do with the policy."""
    conntrack.fill(stage.server, dst=stage.server.ipv4, room=ROOM)
    conntrack.fill(stage.server, dst=stage.server.ipv4, sources=conntrack.RESERVE_SOURCES)


def make_room(stage: Stage) -> int:
    """Forget some of the connections of ``fill``; return how many."""
    return conntrack.delete(stage.server, src=f"{conntrack.RESERVE_SOURCES}.0.0/16")


def before_policy(stage: Stage, report: Report, narrator: Narrator) -> None:
    """The problem: tracked connections, with room in the table and without."""
    row = measure(stage, "tracked, room in the table")
    report.rows.append(row)
    report.claim(
        "without the policy the server answers and tracks every connection",
        row.outcome.succeeded == CONNECTIONS and row.entries_of_clients == CONNECTIONS,
    )
    narrator.say(f"{row.outcome.succeeded} of {CONNECTIONS} new connections answered; each has an entry")

    conntrack.flush(stage.server)
    fill(stage)
    narrator.say(
        f"filled its connection table with other connections: {conntrack.count(stage.server)} entries"
    )
    narrator.say(f"{CONNECTIONS} new connections now, each with {PATIENCE} s to be answered …")
    row = measure(stage, "tracked, table full")
    report.rows.append(row)
    report.claim(
        "with the table full no new connection gets through", is_full(row) and row.outcome.succeeded == 0
    )
    narrator.say(f"{row.outcome.succeeded} answered, {row.outcome.failed} failed")

    ssh = connections.attempt(stage.outsider, stage.server.ipv4, 22, "ssh", number=1, timeout=PATIENCE)
    report.claim("a full table locks ssh out as well", ssh.succeeded == 0)
    freed = make_room(stage)
    narrator.say(f"ssh does not get through either: forgot {freed} of the entries, for ansible")


def apply_policy(stage: Stage, playbook: str, inventory: str, narrator: Narrator) -> PlaybookRun:
    """Run the playbook."""
    narrator.say(f"ansible-playbook {playbook} …")
    run = stage.lab.ansible_playbook("-i", inventory, playbook)
    narrator.playbook(run)
    narrator.say(f"ended with {run.rc} after {run.seconds:.1f} s, changed={run.changed}")
    return run


def after_policy(stage: Stage, report: Report, narrator: Narrator) -> None:
    """The solution: the same connections, untracked, with the table full again."""
    fill(stage)
    narrator.say(f"filled the table again: {conntrack.count(stage.server)} entries")
    for what, ipv6 in (("untracked, table full", False), ("the same over IPv6", True)):
        row = measure(stage, what, ipv6=ipv6)
        report.rows.append(row)
        family = "IPv6" if ipv6 else "IPv4"
        report.claim(
            f"with the table full every new connection of a client is answered ({family})",
            is_full(row) and row.outcome.succeeded == CONNECTIONS,
        )
        report.claim(
            f"none of them made an entry ({family})",
            row.entries_of_clients == 0 and row.entries_after <= row.entries_before,
        )
        narrator.say(
            f"{row.outcome.succeeded} of {CONNECTIONS} answered over {family} in {row.outcome.seconds:.1f} s,"
            f" {row.entries_of_clients} entries of the clients"
        )


def outsider(stage: Stage, report: Report, narrator: Narrator) -> None:
    """Others are tracked as before; whether they may use the service is for the policy to say."""
    server = stage.server
    freed = make_room(stage)
    narrator.say(f"forgot {freed} entries, so that a connection that is tracked can be seen")
    ssh = connections.attempt(stage.outsider, server.ipv4, 22, "ssh", number=5, timeout=PATIENCE)
    entries = conntrack.entries(server, protocol="tcp", src=stage.outsider.ipv4, dport=22)
    report.claim("the outsider still reaches ssh, tracked", ssh.succeeded == 5 == len(entries))
    narrator.say(f"outsider: {ssh.succeeded} of 5 connections to ssh answered, {len(entries)} entries")

    service = stage.service
    used = connections.attempt(
        stage.outsider, server.ipv4, service.port, service.protocol, number=5, timeout=PATIENCE
    )
    seen = conntrack.entries(server, protocol="tcp", src=stage.outsider.ipv4, dport=service.port)
    narrator.say(
        f"outsider: {used.succeeded} of 5 connections to {service.protocol} answered, {len(seen)} entries"
    )
    if stage.scenario.names_clients:
        report.claim("who is not a client is tracked as before", used.succeeded == 5 == len(seen))
    else:
        report.claim(
            "the policy names no clients: the outsider's are untracked", used.succeeded == 5 and not seen
        )


def table(rows: Sequence[Measurement]) -> list[str]:
    """The measurements as lines of text."""
    head = ("", "answered", "failed", "seconds", "entries", "of clients")
    body = [
        (
            row.what,
            str(row.outcome.succeeded),
            str(row.outcome.failed),
            f"{row.outcome.seconds:.2f}",
            f"{row.entries_before} -> {row.entries_after}",
            str(row.entries_of_clients),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    return [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in (head, *body)
    ]


def perform(stage: Stage, playbook: str, narrator: Narrator) -> Report:
    """The whole demonstration in a running lab."""
    server, report = stage.server, Report()
    narrator.say(f"lab {stage.lab.id}: {', '.join(stage.lab.hosts)}")
    narrator.say(
        f"{server.name} runs {stage.service.protocol} on port {stage.service.port}; its stateful firewall "
        "lets untracked packets to that port"
    )
    before_policy(stage, report, narrator)
    inventory = str(stage.inventory())
    run = apply_policy(stage, playbook, inventory, narrator)
    report.claim("the playbook applies the policy", run.rc == 0 and run.changed > 0)
    if run.rc == 0:
        after_policy(stage, report, narrator)
        outsider(stage, report, narrator)
        again = apply_policy(stage, playbook, inventory, narrator)
        report.claim(
            "the playbook finds nothing to change a second time", again.rc == 0 and again.changed == 0
        )
    return report


def show(report: Report) -> None:
    """The summary."""
    print(f"\n{CONNECTIONS} new connections, one request each; entries of the server's connection table:\n")
    print("\n".join(f"  {line}" for line in table(report.rows)))
    print()
    for text, holds in report.claims:
        print(f"  {'yes' if holds else 'NO '}  {text}")


def main(arguments: Sequence[str]) -> int:
    """Perform the demonstration; 0 if all of it was as claimed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.demo", description="A full connection table, solved."
    )
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="memcached")
    parser.add_argument(
        "--playbook", default="netpolicy.host.site", help="the playbook that applies the policy"
    )
    parser.add_argument("--verbose", action="store_true", help="show what the playbook says")
    options = parser.parse_args(arguments)
    narrator = Narrator(verbose=options.verbose)
    narrator.say(f"the published {options.scenario} policy on a server whose connection table is full")
    try:
        with running(SCENARIOS[options.scenario]) as stage:
            report = perform(stage, options.playbook, narrator)
    except (NotRootError, HostError, CommandError, PlaybookError, NotTrackingError) as error:
        print(f"the demonstration could not go on: {error}", file=sys.stderr)
        return 1
    show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
