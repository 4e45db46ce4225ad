# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's own stateful firewall, as careful administrators write it: what the product must live with.

Having rules about connection states also makes the kernel track connections in that host at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from .host import Host

TABLE = "host_firewall"


def stateful(*, serves: Collection[int] = (), uses: Collection[int] = ()) -> str:
    """The ruleset: drop what comes in, except replies, ssh, ICMP and what is new to the TCP ports ``serves``.

    Packets that are not tracked are let in to ``serves``, and from ``uses``, the ports of servers elsewhere.
    Packets that tracking calls invalid are dropped both ways.
    """
    lines = [
        'iifname "lo" accept',
        "ct state established,related accept",
        "ct state invalid drop",
        "meta l4proto { icmp, ipv6-icmp } accept",
        *([f"ct state untracked tcp dport {_set(serves)} accept"] if serves else []),
        *([f"ct state untracked tcp sport {_set(uses)} accept"] if uses else []),
        f"ct state new tcp dport {_set({22, *serves})} accept",
    ]
    rules = "\n".join(f"    {line}" for line in lines)
    # Naming the table before deleting it makes the deletion succeed whether or not it was there.
    return f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain input {{
    type filter hook input priority filter; policy drop;
{rules}
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    ct state invalid drop
  }}
}}
"""


def _set(ports: Collection[int]) -> str:
    return "{ " + ", ".join(str(port) for port in sorted(ports)) + " }"


def install(host: Host, ruleset: str) -> None:
    """Load the ruleset, replacing an earlier one of this file."""
    host.run("nft", "-f", "-", stdin=ruleset)


def remove(host: Host) -> None:
    """Remove the firewall; CommandError when there is none."""
    host.run("nft", "delete", "table", "inet", TABLE)


def listing(host: Host) -> str:
    """The firewall as the kernel has it; CommandError when there is none."""
    return host.run("nft", "list", "table", "inet", TABLE).stdout
