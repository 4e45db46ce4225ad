# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The network interfaces of the host, and those of them whose packets raw sees elsewhere, or not at all.

What arrives on a port of a bridge or a bond has the master's name when it reaches raw; what a macvlan takes
from its parent never has the parent's (Linux: net/core/dev.c, __netif_receive_skb_core, rx_handler).
"""

from __future__ import annotations

import errno
import os
import socket
import typing as t

SYSFS = "/sys/class/net"
_ROLES = {"brport": "a port of the bridge", "bonding_slave": "a member of the bond"}


def interfaces(sysfs: str = SYSFS) -> dict[str, str | None]:
    """The names of the interfaces; with each, why raw does not see its packets, or None where it does."""
    names = sorted(name for _index, name in socket.if_nameindex())
    return {name: _hidden(os.path.join(sysfs, name)) for name in names}


def has_address(address: str) -> bool:
    """Whether an IP address is one of the host's own: only to such a one can a socket be bound (man 7 ip)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        # Without IPv6 in the kernel, say, nothing is known of the address.
        return error.errno != errno.EADDRNOTAVAIL
    return True


def _hidden(path: str) -> str | None:
    for entry, words in _ROLES.items():
        if os.path.isdir(os.path.join(path, entry)):
            return f"{words} {os.path.basename(os.path.realpath(os.path.join(path, 'master')))}"
    master = os.path.basename(os.path.realpath(os.path.join(path, "master")))
    for child in _uppers(path):
        # Of the kinds that stand upon one interface only these do not say which kind they are.
        if child != master and not _says_its_kind(os.path.join(path, f"upper_{child}")):
            return f"the parent of {child} (a macvlan, or what is like one)"
    return None


def _uppers(path: str) -> t.Iterator[str]:
    try:
        entries = sorted(os.listdir(path))
    except OSError:  # gone in the meantime, or a sysfs that shows other interfaces
        return
    for entry in entries:
        if entry.startswith("upper_"):
            yield entry[len("upper_") :]


def _says_its_kind(path: str) -> bool:
    try:
        with open(os.path.join(path, "uevent"), encoding="utf-8") as file:
            return any(line.startswith("DEVTYPE=") for line in file)
    except OSError:
        return True
