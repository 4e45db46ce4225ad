# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets that are changed without nft, in a namespace of their own: as nft lists them, as packets meet them."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import random
import socket
import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._netlink import connection, set_elements
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.connection import (
    NETLINK_NETFILTER,
    Netlink,
)
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.messages import (
    NFNL_SUBSYS_NFTABLES,
    Message,
    NetlinkError,
    nfnetlink_header,
    nfnetlink_kind,
)
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.set_elements import Change
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._netlink.samples import disjoint
from tests.differential.namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TABLE = "netpolicy_host"
NAMES = {4: "four", 6: "six"}
# Where packets can be sent within the namespace.
LOCAL = {4: "127.0.0.0/8", 6: "fd00::/16"}
SEEDS = range(8)
ENDS = (
    *("0.0.0.0/0", "0.0.0.0/32", "0.0.0.0/1", "128.0.0.0/1", "255.255.255.255/32"),
    *("::/0", "::/128", "::/1", "8000::/1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
)
SETS = f"""\
table inet {TABLE} {{
    set four {{
        type ipv4_addr
        flags interval
    }}
    set six {{
        type ipv6_addr
        flags interval
    }}
    chain output {{
        type filter hook output priority 0
        ip daddr @four drop
        ip6 daddr @six drop
    }}
}}
"""


@pytest.fixture(scope="module")
def _namespace() -> Iterator[None]:
    with closing(Namespace()) as own, own.entered():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "-6", "route", "add", "local", LOCAL[6], "dev", "lo"], check=True)
        yield


@pytest.fixture(autouse=True)
def _sets(_namespace: None) -> Iterator[None]:
    """The table with two empty sets, and a chain that drops what is sent to their addresses."""
    nft(SETS)
    yield
    nft(f"delete table inet {TABLE}")


def nft(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


def listed(version: int) -> list[str]:
    """The networks of a set as nft lists them, sorted. None of them is a range that is no network."""
    done = subprocess.run(
        ["nft", "--json", "list", "set", "inet", TABLE, NAMES[version]], capture_output=True, check=True
    )
    found = next(item["set"] for item in json.loads(done.stdout)["nftables"] if "set" in item)
    networks = []
    for element in found.get("elem", []):
        if isinstance(element, str):
            networks.append(ipaddress.ip_network(element))
        else:
            prefix = element["prefix"]
            networks.append(ipaddress.ip_network((prefix["addr"], prefix["len"])))
    # nft writes a part of IPv6 as IPv4.
    return sorted(map(str, networks))


def own_list(version: int) -> list[str]:
    return sorted(set_elements.elements(TABLE, NAMES[version], version))


def is_met(address: str) -> bool:
    """Whether a packet to an address meets a set: what the output hook drops is an error to who sends it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"", (address, 9))
        except PermissionError:
            return True
    return False


def edges(networks: Iterable[str], within: str) -> list[str]:
    """The first and last addresses of networks, and those beside them, as far as packets can be sent to."""
    room = ipaddress.ip_network(within)
    numbers = {
        int(end) + offset
        for network in map(ipaddress.ip_network, networks)
        for end in (network[0], network[-1])
        for offset in (-1, 0, 1)
    }
    first, last = int(room[1]), int(room[-1]) - 1
    return [str(type(room[0])(number)) for number in sorted(numbers) if first <= number <= last]


# -- as nft lists them -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", [4, 6])
def test_random_changes_leave_what_they_say(version, seed):
    choice = random.Random(seed)
    pieces = disjoint(choice, version, 6)
    live: set[str] = set()
    for _round in range(6):
        remove = choice.sample(sorted(live), choice.randint(0, len(live)))
        out = sorted(set(pieces) - (live - set(remove)))
        add = choice.sample(out, choice.randint(0, len(out)))
        set_elements.change(TABLE, [Change(NAMES[version], version, iter(add), iter(remove))])
        live = live - set(remove) | set(add)
        assert own_list(version) == listed(version) == sorted(live)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", [4, 6])
def test_a_set_that_nft_filled_is_read_and_changed(version, seed):
    choice = random.Random(seed)
    pieces = disjoint(choice, version, 6)
    live, others = pieces[::2], pieces[1::2]
    nft(f"add element inet {TABLE} {NAMES[version]} {{ {', '.join(live)} }}")
    assert own_list(version) == sorted(live)
    set_elements.change(TABLE, [Change(NAMES[version], version, others, live[::2])])
    assert own_list(version) == listed(version) == sorted([*others, *live[1::2]])


@pytest.mark.parametrize("network", ENDS)
@pytest.mark.parametrize("emptied_by_nft", [False, True])
def test_the_first_and_the_last_address(network, emptied_by_nft):
    version = 6 if ":" in network else 4
    if emptied_by_nft:
        # What nft leaves behind then is the bound at address 0.
        other = "192.0.2.0/24" if version == 4 else "2001:db8::/32"
        nft(f"add element inet {TABLE} {NAMES[version]} {{ {other} }}")
        nft(f"delete element inet {TABLE} {NAMES[version]} {{ {other} }}")
    set_elements.change(TABLE, [Change(NAMES[version], version, [network])])
    assert own_list(version) == [network]
    own = "127.0.0.1" if version == 4 else "fd00::1"
    assert is_met(own) == (ipaddress.ip_address(own) in ipaddress.ip_network(network))
    set_elements.change(TABLE, [Change(NAMES[version], version, remove=[network])])
    assert own_list(version) == []


def test_two_networks_side_by_side_come_and_go_alone():
    set_elements.fill(TABLE, "four", 4, ["10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"])
    set_elements.change(TABLE, [Change("four", 4, remove=["10.0.2.0/24"])])
    assert own_list(4) == listed(4) == ["10.0.1.0/24", "10.0.3.0/24"]
    set_elements.change(TABLE, [Change("four", 4, add=["10.0.2.0/24"])])
    assert own_list(4) == listed(4) == ["10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"]


def test_a_range_of_nft_is_read_as_networks():
    nft(f"add element inet {TABLE} four {{ 10.0.0.1-10.0.0.4 }}")
    assert own_list(4) == ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]


def test_a_fill_in_several_transactions(monkeypatch):
    monkeypatch.setattr(set_elements, "FILL_SIZE", 100)
    networks = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(1050)]
    set_elements.fill(TABLE, "four", 4, iter(networks))
    assert own_list(4) == sorted(networks)


# -- one transaction ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bad_first", [False, True])
def test_of_several_sets_all_change_or_none(bad_first):
    set_elements.fill(TABLE, "four", 4, ["10.0.0.0/8"])
    set_elements.fill(TABLE, "six", 6, ["fd00::/16"])
    changes = [
        Change("four", 4, ["11.0.0.0/8"], ["10.0.0.0/8"]),
        Change("six", 6, ["fd00::/32"], ["fd01::/16"]),
    ]
    with pytest.raises(NetlinkError, match="remove fd01::/16 from set six"):
        set_elements.change(TABLE, changes[::-1] if bad_first else changes)
    assert (own_list(4), own_list(6)) == (["10.0.0.0/8"], ["fd00::/16"])
    set_elements.change(TABLE, [changes[0], changes[1]._replace(remove=["fd00::/16"])])
    assert (own_list(4), own_list(6)) == (["11.0.0.0/8"], ["fd00::/32"])


def test_what_is_no_network_changes_nothing():
    with pytest.raises(ValueError, match="no CIDR"):
        set_elements.change(TABLE, [Change("four", 4, ["10.0.0.0/8", "eleven"])])
    assert own_list(4) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", [4, 6])
def test_packets_meet_what_is_in_the_set(version, seed):
    choice = random.Random(seed)
    pieces = disjoint(choice, version, 6, LOCAL[version])
    live: set[str] = set()
    for _round in range(3):
        remove = choice.sample(sorted(live), choice.randint(0, len(live)))
        out = sorted(set(pieces) - (live - set(remove)))
        add = choice.sample(out, choice.randint(0, len(out)))
        set_elements.change(TABLE, [Change(NAMES[version], version, add, remove)])
        live = live - set(remove) | set(add)
        networks = [ipaddress.ip_network(network) for network in live]
        for address in choice.sample(tested := edges(pieces, LOCAL[version]), min(60, len(tested))):
            inside = any(ipaddress.ip_address(address) in network for network in networks)
            assert is_met(address) == inside, address


def test_a_network_is_met_at_every_moment_while_its_neighbours_change():
    """Whichever changes replace nothing (`replaces`) are safe in a set that packets meet."""
    set_elements.fill(TABLE, "four", 4, ["127.1.1.0/24"])
    beside = Change("four", 4, ["127.1.0.0/24", "127.1.2.0/24", "127.0.0.0/16"])
    assert not set_elements.replaces(beside)
    missed, sent = [], 0
    done = threading.Event()

    def change() -> None:
        for _round in range(60):
            set_elements.change(TABLE, [beside])
            set_elements.change(TABLE, [Change("four", 4, remove=beside.add)])
        done.set()

    # A new thread is in the namespace of the one that starts it.
    changing = threading.Thread(target=change)
    changing.start()
    while not done.is_set():
        sent += 3
        missed += [end for end in ("127.1.1.0", "127.1.1.128", "127.1.1.255") if not is_met(end)]
    changing.join()
    assert (missed, sent > 100) == ([], True)


# -- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table, wanted, number, text",
    [
        ("nowhere", Change("four", 4, ["10.0.0.0/8"]), errno.ENOENT, "there is no such table"),
        (TABLE, Change("five", 4, ["10.0.0.0/8"]), errno.ENOENT, "add networks to set five .*no such set"),
        (TABLE, Change("four", 4, remove=["10.0.0.0/9"]), errno.ENOENT, "remove 10.0.0.0/9 from set four"),
        (TABLE, Change("four", 4, remove=["11.0.0.0/8"]), errno.ENOENT, "it is not in the set"),
        (TABLE, Change("four", 4, ["9.0.0.0/8", "10.0.0.0/8"]), errno.EEXIST, "add 10.0.0.0/8 to set four"),
        (TABLE, Change("four", 4, ["9.0.0.0/8", "10.0.0.0/9"]), errno.EEXIST, "add 10.0.0.0/9 to set four"),
        (TABLE, Change("four", 4, ["10.2.0.0/16"]), errno.EEXIST, "add 10.2.0.0/16 .*overlaps"),
        (TABLE, Change("four", 4, ["8.0.0.0/6"]), errno.EEXIST, "add 8.0.0.0/6 .*overlaps"),
        (TABLE, Change("six", 4, ["10.0.0.0/8"]), errno.EINVAL, "add 10.0.0.0/8 to set six"),
        (TABLE, Change("four", 6, ["fd00::/8"]), errno.EINVAL, "add fd00::/8 to set four"),
    ],
)
def test_an_error_says_what_and_changes_nothing(table, wanted, number, text):
    set_elements.fill(TABLE, "four", 4, ["10.0.0.0/8"])
    with pytest.raises(NetlinkError, match=text) as caught:
        set_elements.change(table, [wanted])
    assert caught.value.errno == number
    assert (own_list(4), own_list(6)) == (["10.0.0.0/8"], [])


@pytest.mark.parametrize(
    "table, name, version, number, text",
    [
        ("nowhere", "four", 4, errno.ENOENT, "there is no such table"),
        (TABLE, "five", 4, errno.ENOENT, "there is no such set"),
        (TABLE, "six", 4, errno.EINVAL, "something else than networks of 32 bits"),
    ],
)
def test_a_set_that_cannot_be_read(table, name, version, number, text):
    set_elements.fill(TABLE, "six", 6, ["fd00::/8"])
    with pytest.raises(NetlinkError, match=text) as caught:
        list(set_elements.elements(table, name, version))
    assert caught.value.errno == number


def test_a_change_while_a_set_is_read_is_said():
    set_elements.fill(TABLE, "four", 4, [f"10.{n >> 8}.{n & 255}.0/24" for n in range(10_000)])
    reading = set_elements.elements(TABLE, "four", 4)
    next(reading)
    set_elements.change(TABLE, [Change("six", 6, ["fd00::/8"])])
    with pytest.raises(NetlinkError, match="it changed while it was read") as caught:
        list(reading)
    assert caught.value.errno == errno.EINTR
    assert len(own_list(4)) == 10_000


# -- the connection ----------------------------------------------------------------------------------


def test_a_connection_is_good_after_an_error():
    """Of a transaction's errors only the first is read; the others must not answer the next request."""
    delete = Message(nfnetlink_kind(NFNL_SUBSYS_NFTABLES, 14), nfnetlink_header(1))
    with Netlink(NETLINK_NETFILTER) as kernel:
        for _round in range(3):
            with pytest.raises(NetlinkError, match="delete nothing: Invalid argument"):
                kernel.transaction(NFNL_SUBSYS_NFTABLES, [delete] * 5, "delete nothing")
            wanted = set_elements._messages(TABLE, Change("four", 4, ["10.0.0.0/8"]))
            kernel.transaction(NFNL_SUBSYS_NFTABLES, wanted, "add a network")
            wanted = set_elements._messages(TABLE, Change("four", 4, remove=["10.0.0.0/8"]))
            kernel.transaction(NFNL_SUBSYS_NFTABLES, wanted, "remove a network")
        kernel.transaction(NFNL_SUBSYS_NFTABLES, [], "nothing")


def test_dumps_and_requests_may_alternate_and_a_dump_may_be_left():
    tables = Message(nfnetlink_kind(NFNL_SUBSYS_NFTABLES, 1), nfnetlink_header(0))
    with Netlink(NETLINK_NETFILTER) as kernel:
        left = kernel.dump(tables, "list tables")
        assert next(left)
        assert len(list(kernel.dump(tables, "list tables"))) == 1
        left.close()
        with pytest.raises(NetlinkError, match="ask for nothing"):
            kernel.request(
                Message(nfnetlink_kind(NFNL_SUBSYS_NFTABLES, 99), nfnetlink_header(0)), "ask for nothing"
            )
        assert len(list(kernel.dump(tables, "list tables"))) == 1


def test_a_transaction_with_more_errors_than_answers_fit_still_says_the_first():
    delete = Message(nfnetlink_kind(NFNL_SUBSYS_NFTABLES, 14), nfnetlink_header(1))
    with Netlink(NETLINK_NETFILTER) as kernel:
        with pytest.raises(NetlinkError, match="delete nothing: Invalid argument"):
            kernel.transaction(NFNL_SUBSYS_NFTABLES, [delete] * 50_000, "delete nothing")
        wanted = set_elements._messages(TABLE, Change("four", 4, ["10.0.0.0/8"]))
        kernel.transaction(NFNL_SUBSYS_NFTABLES, wanted, "add a network")


def test_more_than_the_system_lets_be_sent_is_refused_with_the_way_out(monkeypatch):
    """As in a container with a user namespace of its own, where no large buffer is to be had."""

    def small(opened: socket.socket, _force: int, option: int, _size: int) -> None:
        opened.setsockopt(socket.SOL_SOCKET, option, 4096)

    monkeypatch.setattr(connection, "_resize", small)
    networks = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(1000)]
    with pytest.raises(NetlinkError, match=r"net\.core\.wmem_max") as caught:
        set_elements.change(TABLE, [Change("four", 4, networks)])
    assert caught.value.errno == errno.EMSGSIZE
    set_elements.change(TABLE, [Change("four", 4, networks[:50])])


def test_a_protocol_that_there_is_not():
    with pytest.raises(NetlinkError, match="open netlink protocol 30"):
        Netlink(30)


def test_one_who_may_not_is_told():
    """In a child, which gives up being root."""
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            set_elements.fill(TABLE, "four", 4, ["10.0.0.0/8"])
        except NetlinkError as error:
            os._exit(error.errno)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EPERM
