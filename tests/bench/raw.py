# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet takes on its way past untracked policy, beside the same rules written in other ways.

Every firewall with every set of rules has a host of its own, and all of them stand side by side: each round
sends some packets to each, so that what the machine does meanwhile meets all alike.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from . import machine, shapes
from .figures import Case, Figure, Left, Loaded, Report
from .firewalls import FIREWALLS, Firewall
from .target import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .shapes import Workload

ROUNDS: Final = 15
_SLICE = 15_000_000
"""Nanoseconds for each packet's turn in a round, which is some packets even where one takes longer."""
_LEAST, _WARM_UP, _MOST = 8, 64, 200_000
_LOAD_LIMIT = 60.0
_LOADING_BUDGET, _ROUNDS_BUDGET = 140.0, 60.0
"""Seconds; what is not loaded by then is left out, and no round begins after it."""
_LEAST_ROUNDS = 3


@dataclass
class _Lane:
    """One kind of packet to one host, and what its rounds took."""

    target: Target
    permitted: bool
    count: int = _LEAST
    taken: list[int] = field(default_factory=list)

    def warm_up(self) -> None:
        """Find out how many packets make a turn."""
        nanoseconds = self.target.inject(self.permitted, _WARM_UP)
        self.count = min(max(_LEAST, _SLICE // max(nanoseconds, 1)), _MOST)

    def run(self) -> None:
        """One turn."""
        self.taken.append(self.target.inject(self.permitted, self.count))


def report(command: str) -> Report:
    """Measure everything; `command` is how to do it again."""
    described = f"{machine.described()}, load average {os.getloadavg()[0]:.1f} before"
    with ExitStack() as hosts:
        run = _Run(hosts)
        run.build(shapes.workloads())
        rounds = run.measure()
        run.check()
        return Report(
            machine=described,
            tools=machine.tools("nft", "iptables-legacy", "ipset"),
            command=command,
            rounds=rounds,
            no_firewall=min(run.floor.taken),
            figures=tuple(
                Figure(case, lane.permitted, min(lane.taken), round(statistics.median(lane.taken)))
                for case, lane in run.lanes
            ),
            loaded=tuple(run.loaded),
            left=tuple(run.left),
        )


class _Run:
    """The hosts of a run, and what it has found so far."""

    def __init__(self, hosts: ExitStack) -> None:
        self._hosts = hosts
        self.lanes: list[tuple[Case, _Lane]] = []
        self.loaded: list[Loaded] = []
        self.left: list[Left] = []
        bare = shapes.workload(shapes.Shape.PORTS, shapes.SIZES[0])
        self.floor = _Lane(self._host(bare), permitted=True)
        self.floor.target.check_untracked({True: False})

    def _host(self, workload: Workload) -> Target:
        return self._hosts.enter_context(Target(workload.port, workload.sources))

    def build(self, workloads: Iterable[Workload]) -> None:
        """A host for each firewall and workload, as far as there is time; sees to it that they judge."""
        deadline = time.monotonic() + _LOADING_BUDGET
        for workload in workloads:
            for firewall in FIREWALLS:
                case = Case(firewall.title, workload.shape, workload.size)
                _progress(f"loading {firewall.title}: {workload.shape.value}, {workload.size}")
                if sum(len(rule.nets) for rule in workload.rules) > firewall.most:
                    self.left.append(Left(case, "it would take a rule for each network"))
                elif time.monotonic() > deadline:
                    self.left.append(Left(case, "no time left"))
                else:
                    self._load(case, firewall, workload)

    def _load(self, case: Case, firewall: Firewall, workload: Workload) -> None:
        target = self._host(workload)
        try:
            prints = [target.load(load, limit=_LOAD_LIMIT) for load in firewall.loads(workload)]
        except TimeoutError:
            self.left.append(Left(case, f"not loaded within {_LOAD_LIMIT:.0f} s"))
            return
        target.check_untracked({True: True, False: False})
        seconds = sum(one.seconds for one in prints)
        self.loaded.append(Loaded(case, round(seconds, 3), round(max(one.mebibytes for one in prints), 1)))
        self.lanes += [(case, _Lane(target, permitted)) for permitted in workload.sources]

    def measure(self) -> int:
        """Send packets to all hosts in turn; how many rounds there was time for."""
        lanes = [self.floor, *(lane for _case, lane in self.lanes)]
        for lane in lanes:
            lane.warm_up()
        deadline = time.monotonic() + _ROUNDS_BUDGET
        number = 0
        while number < ROUNDS and (number < _LEAST_ROUNDS or time.monotonic() < deadline):
            number += 1
            _progress(f"round {number} of {ROUNDS}")
            for lane in lanes:
                lane.run()
        _progress("")
        return number

    def check(self) -> None:
        """UnjudgedError unless all packets went the whole way that was to be measured."""
        for lane in (self.floor, *(lane for _case, lane in self.lanes)):
            lane.target.check_delivered()


def _progress(what: str) -> None:
    """For the person who waits; nothing where nobody does."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
