# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small pools that policies and packets are made from.

Pools of a few names, networks and ports make sets overlap, rules shadow each other, ranges of ports touch and
nest, and one policy share much with the next, which is what a change from one to the other has to get right.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

if TYPE_CHECKING:
    from random import Random

Network = IPv4Network | IPv6Network

# Of the shapes that interface names have: plain, a VLAN's, and as long as the kernel allows.
CABLES: Final = ("eth0", "eth1.20", "enp0s31f6np1v22")
LOOPBACK: Final = "lo"
INTERFACES: Final = (*CABLES, LOOPBACK)

# The longest and oddest names that there can be.
SET_NAMES: Final = ("plain", "s:role_is-client", "-", "x" * 128)
PORT_SET_NAMES: Final = ("n:http", "_", "n:" + "m" * 126)
POLICY_NAMES: Final = ("memcached", "platform.memcached-server", "0" * 189 + "." + "z" * 63)
TIER_NAMES: Final = ("platform", "t" * 63, "default")
# In this order, which decides between endpoints of one interface.
ENDPOINT_NAMES: Final = ("a", "host-eth0", "host-eth1.20", "node.example.org", "z" * 63)

# Networks lie within 1023 addresses from one of these, so that many of them overlap.
BASES: Final = {
    4: ("10.0.0.0", "10.0.1.0", "192.168.255.0", "223.255.252.0", "224.0.0.0", "255.255.252.0"),
    6: ("2001:db8::", "2001:db8:0:1::", "fe80::", "ff02::", "fdff::ffff:ffff:ffff:fc00"),
}
PREFIXES: Final = {
    4: (32, 32, 32, 31, 30, 29, 28, 26, 25, 24, 23, 22, 16, 8, 1, 0),
    6: (128, 128, 128, 127, 126, 125, 124, 120, 112, 64, 63, 32, 7, 1, 0),
}
# Addresses of endpoints with named ports. Some lie side by side, as a range would hold them.
SERVERS: Final = {
    4: ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.255", "192.168.255.7"),
    6: ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::ffff", "fe80::1"),
}
# Addresses of the host's own interfaces, by which endpoints may be found.
OWN_ADDRESSES: Final = ("192.0.2.1", "192.0.2.2", "198.51.100.255", "2001:db8:ff::1", "2001:db8:ff::2")

PORTS: Final = (0, 1, 22, 53, 80, 81, 443, 1023, 1024, 11211, 32767, 32768, 65534, 65535)
ICMP_TYPES: Final = (0, 3, 8, 128, 129, 254)
ICMP_CODES: Final = (0, 1, 4)
UNKNOWN_PROTOCOL: Final = 253
GRE, ESP, AH, DCCP = 47, 50, 51, 33
# What has no ports that a rule may ask for, and what only looks as if it had (UDPLite, DCCP).
PORTLESS: Final = (model.ICMP, model.ICMPV6, model.UDPLITE, GRE, ESP, AH, DCCP, UNKNOWN_PROTOCOL)
PROTOCOLS: Final = (*model.PORT_PROTOCOLS, *PORTLESS)


def network(chance: Random, version: int) -> Network:
    """One CIDR near the bases."""
    base = ip_network(chance.choice(BASES[version]))
    address = base.network_address + chance.randint(0, 1023)
    return ip_network((address, chance.choice(PREFIXES[version])), strict=False)
