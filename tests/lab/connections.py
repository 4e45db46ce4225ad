# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many new short TCP connections from a host of the lab."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from . import command
from .load import PROTOCOLS, Load, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .host import Host

_PROGRAM = Path(__file__).with_name("load.py")


def attempt(
    host: Host,
    address: str,
    port: int,
    protocol: str,
    *,
    number: int = 2000,
    concurrency: int = 256,
    timeout: float = 1.5,
    sources: Sequence[str] = (),
) -> Outcome:
    """Make ``number`` connections from the network of ``host``, each with one request, and count the answers.

    At most ``concurrency`` are open at once; each may take ``timeout`` seconds; ``sources`` are the host's
    addresses to connect from, in turn. KeyError for a protocol that load.PROTOCOLS has not, CommandError when
    a source address is not one of the host's.
    """
    PROTOCOLS[protocol]
    load = Load(address, port, protocol, number, concurrency, timeout, tuple(sources))
    # Isolated, so that nothing of the checkout hides a module of the standard library.
    program = [sys.executable, "-I", str(_PROGRAM), json.dumps(asdict(load))]
    longest = timeout * -(-number // concurrency)
    result = command.run(host.in_network(program), timeout=30 + 2 * longest)
    return Outcome(**json.loads(result.stdout))
