# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as tests of deaths see it: what it enforces, by its objects and by packets, and what it holds."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.differential.kernel import Kernel
from tests.machine import requests, snapshot
from tests.machine.examples import telling_samples
from tests.machine.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.differential.observer import Fate

_SAMPLES = telling_samples(12)


@dataclass(frozen=True)
class Enforced:
    """What packets meet, and what becomes of those that tell the example policies apart."""

    objects: snapshot.Table
    fates: tuple[Fate, ...]


@dataclass(frozen=True)
class Held:
    """Everything of ours."""

    table: snapshot.Table | None
    files: Mapping[str, snapshot.File]


@dataclass(frozen=True)
class Host:
    """The kernel, and the machine that the engine runs on."""

    kernel: Kernel
    machine: Machine

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The engine's answer; AssertionError where it could not carry out the request."""
        return requests.answer(self.machine, request)

    def enforces(self) -> Enforced:
        """What is in force."""
        whole = snapshot.table(self.kernel)
        return Enforced(snapshot.in_force(whole), self.kernel.observe(_SAMPLES).fates)

    def holds(self) -> Held:
        """What a later run would find."""
        return Held(snapshot.table(self.kernel), snapshot.files(self.machine))

    def let_everything_in(self) -> None:
        """What people do to find out whether it is the firewall's fault."""
        table = snapshot.table(self.kernel) or {}
        hooked = next(value["name"] for value in table.values() if value.get("hook") == "prerouting")
        self.kernel.nft(f"insert rule inet netpolicy_host {hooked} accept\n")


@contextmanager
def running(nft: Sequence[str] | None = None) -> Iterator[Host]:
    """A host with nothing on it; `nft` is the command of its nft, if that is not this machine's."""
    with Kernel() as kernel, Machine(kernel.entered, nft) as machine:
        yield Host(kernel, machine)
