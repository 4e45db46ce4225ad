# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes and addresses as bytes; the kernel itself is asked in tests/integration."""

from __future__ import annotations

import errno
import ipaddress
import struct
import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._netlink import routes
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.messages import (
    Message,
    NetlinkError,
    attribute,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator

UNICAST, LOCAL, BROADCAST, UNREACHABLE = 1, 2, 3, 7


class Kernel:
    """See connection.Netlink."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self.asked: list[Message] = []

    def ask(self, message: Message, what: str) -> bytes:
        self.asked.append(message)
        if not self._answers:
            raise NetlinkError(what, errno.ENETUNREACH)
        return self._answers[0]

    def dump(self, message: Message, what: str) -> Iterator[bytes]:
        del what
        self.asked.append(message)
        yield from self._answers


def answer(kind: int, *attributes: bytes) -> bytes:
    return struct.pack("=8BI", 2, 32, 0, 0, 254, 3, 0, kind, 0) + b"".join(attributes)


def route(kernel: Kernel, destination: str = "192.0.2.9", source: str | None = None) -> routes.Route | None:
    address = ipaddress.ip_address(destination)
    own = None if source is None else int(ipaddress.ip_address(source))
    return routes.route(kernel, address.version, int(address), own)  # type: ignore[arg-type]


OUT_OF_SEVEN = attribute(4, struct.pack("=I", 7))


@pytest.mark.parametrize(
    "answers, expected",
    [
        ([answer(UNICAST, OUT_OF_SEVEN)], routes.Route(False, 7)),
        ([answer(LOCAL, OUT_OF_SEVEN)], routes.Route(True, 7)),
        ([answer(UNICAST, attribute(9, bytes(24)))], routes.Route(False, None)),
        ([answer(BROADCAST, OUT_OF_SEVEN)], None),
        ([answer(UNREACHABLE)], None),
        ([], None),
    ],
    ids=["unicast", "local", "several paths", "broadcast", "unreachable", "refused"],
)
def test_a_route_leads_to_the_host_itself_or_out_of_one_interface(answers, expected):
    assert route(Kernel(*answers)) == expected


def test_a_route_is_asked_for_as_it_is_written():
    kernel = Kernel()
    route(kernel)
    route(kernel, "fd00::9", "fd00::1")
    plain, with_source = kernel.asked
    head = struct.pack("=8BI", 2, 32, 0, 0, 0, 0, 0, 0, 0x2000)
    assert plain == Message(26, head + attribute(1, bytes([192, 0, 2, 9])))
    addresses = [
        attribute(kind, ipaddress.ip_address(text).packed) for kind, text in ((1, "fd00::9"), (2, "fd00::1"))
    ]
    assert with_source.body == struct.pack("=8BI", 10, 128, 128, 0, 0, 0, 0, 0, 0x2000) + b"".join(addresses)


def test_addresses_are_the_hosts_own_and_not_the_peers():
    def written(family: int, link: int, *attributes: bytes) -> bytes:
        return struct.pack("=4BI", family, 24, 0, 0, link) + b"".join(attributes)

    peer, own = bytes([10, 0, 0, 2]), bytes([10, 0, 0, 1])
    kernel = Kernel(
        written(2, 3, attribute(1, peer), attribute(2, own)),
        written(10, 4, attribute(1, ipaddress.ip_address("fd00::1").packed)),
        written(7, 4),
    )
    assert list(routes.addresses(kernel)) == [  # type: ignore[arg-type]
        routes.Address(4, 0x0A000001, 3),
        routes.Address(6, int(ipaddress.ip_address("fd00::1")), 4),
    ]
