# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks as elements and back. For what the kernel makes of them see tests/integration."""

from __future__ import annotations

import ipaddress
import random
import struct
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._netlink import messages, set_elements
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.set_elements import Change
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._netlink import samples

VERSIONS = st.sampled_from((4, 6))
CHOICES = st.integers(0, 2**32).map(random.Random)
Bound = tuple[int, bool]


def bounds(networks: list[str], layout: set_elements._Layout) -> list[Bound]:
    """The elements that make up networks, as they are sent, read by the attribute."""
    found = []
    for message in set_elements._messages("table", Change("set", 4 if layout.bits == 32 else 6, networks)):
        body = messages.parse(message.body[messages.NFNETLINK_HEADER_SIZE :])
        assert (body[1], body[2]) == (b"table\0", b"set\0")
        for _kind, start, end in messages.attributes(body[3]):
            address, is_end = set_elements._parsed(body[3][start:end])
            found.append((int.from_bytes(address, "big"), is_end))
    return found


def listed(row: t.Iterable[Bound], layout: set_elements._Layout) -> bytes:
    """The message with which the kernel lists elements (nf_tables_api.c, nf_tables_fill_setelem)."""
    parts = []
    for address, is_end in row:
        value = messages.attribute(1, address.to_bytes(layout.size, "big"))
        flags = messages.attribute(3, struct.pack(">I", 1)) if is_end else b""
        parts.append(messages.attribute(1, messages.attribute(1, value) + flags))
    body = messages.string(1, "table") + messages.string(2, "set") + messages.nested(3, *parts)
    return messages.nfnetlink_header(1) + body


def read(row: t.Iterable[Bound], layout: set_elements._Layout) -> list[str]:
    found = set_elements._bounds([listed(row, layout)], layout)
    return [
        network
        for first, end in set_elements._intervals(found, layout)
        for network in set_elements._cidrs(first, end, layout)
    ]


# -- there and back ----------------------------------------------------------------------------------


@given(VERSIONS, CHOICES, st.integers(0, 5))
def test_networks_come_back_as_they_were(version, choice, cuts):
    layout = set_elements._LAYOUTS[version]
    networks = samples.disjoint(choice, version, cuts)
    networks = networks[: choice.randint(1, len(networks))]
    found = read(sorted(bounds(networks, layout), reverse=True), layout)
    assert found == sorted(networks, key=lambda one: int(ipaddress.ip_network(one)[0]), reverse=True)


@given(VERSIONS, CHOICES, st.integers(0, 5))
def test_a_start_and_an_end_at_one_address_come_in_any_order(version, choice, cuts):
    layout = set_elements._LAYOUTS[version]
    networks = samples.disjoint(choice, version, cuts)
    row = bounds(networks, layout)
    choice.shuffle(row)
    row.sort(key=lambda bound: -bound[0])
    assert sorted(read(row, layout)) == sorted(networks)


@given(VERSIONS, CHOICES, st.integers(0, 5))
def test_an_end_may_be_left_out_where_the_next_network_begins(version, choice, cuts):
    layout = set_elements._LAYOUTS[version]
    networks = samples.disjoint(choice, version, cuts)
    row = sorted(bound for bound in bounds(networks, layout) if not bound[1])
    assert sorted(read(reversed(row), layout)) == sorted(networks)


@given(VERSIONS, st.data())
def test_a_range_that_is_no_network_is_as_few_as_make_it_up(version, data):
    layout = set_elements._LAYOUTS[version]
    first = data.draw(st.integers(0, layout.limit - 1))
    last = data.draw(st.integers(first, layout.limit - 1))
    address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    expected = [str(one) for one in ipaddress.summarize_address_range(address(first), address(last))]
    assert list(set_elements._cidrs(first, last + 1, layout)) == expected[::-1]


@pytest.mark.parametrize(
    "network, elements",
    [
        ("0.0.0.0/0", [(0, False)]),
        ("0.0.0.0/32", [(0, False), (1, True)]),
        ("10.0.1.0/24", [(0x0A000100, False), (0x0A000200, True)]),
        ("255.255.255.255/32", [(0xFFFFFFFF, False)]),
        ("::/0", [(0, False)]),
        ("fe80::/10", [(0xFE80 << 112, False), (0xFEC0 << 112, True)]),
        ("ff00::/8", [(0xFF << 120, False)]),
    ],
)
def test_a_network_is_two_elements_unless_it_has_the_last_address(network, elements):
    assert bounds([network], set_elements._LAYOUTS[6 if ":" in network else 4]) == elements


@pytest.mark.parametrize("network", ["::/96", "::1/128", "::102:304/128", "::ffff:0:0/96"])
def test_ipv6_is_never_written_as_ipv4(network):
    layout = set_elements._LAYOUTS[6]
    assert read(sorted(bounds([network], layout), reverse=True), layout) == [network]


# -- messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_many_networks_are_several_messages_and_no_network_is_in_two(version):
    layout = set_elements._LAYOUTS[version]
    prefix, length = ("10.0.{}.{}", 32) if version == 4 else ("2001:db8::{}:{}", 128)
    networks = [f"{prefix.format(n >> 6, n & 63)}/{length}" for n in range(4000)]
    sent = list(set_elements._messages("table", Change("set", version, networks)))
    assert len(sent) == -(-4000 // layout.per_message)
    assert all(len(message.body) <= 0xFFFF + 64 for message in sent)
    for message in sent:
        body = messages.parse(message.body[messages.NFNETLINK_HEADER_SIZE :])
        rows = [
            set_elements._parsed(body[3][start:end]) for _kind, start, end in messages.attributes(body[3])
        ]
        assert [is_end for _address, is_end in rows] == [False, True] * (len(rows) // 2)


def test_what_is_removed_goes_before_what_is_added():
    sent = set_elements._messages("table", Change("set", 4, iter(["10.0.0.0/9"]), iter(["10.0.0.0/8"])))
    assert [message.kind & 0xFF for message in sent] == [14, 12]


def test_nothing_to_change_is_no_message():
    assert list(set_elements._messages("table", Change("set", 4))) == []


@pytest.mark.parametrize(
    "version, text",
    [
        (4, "10.0.0.0"),
        (4, "10.0.0.0/33"),
        (4, "10.0.0.0/08"),
        (4, "10.0.0.0/-1"),
        (4, "10.0.0/24"),
        (4, "10.0.0.0/24/24"),
        (4, "2001:db8::/32"),
        (4, "10.0.0.0\0/24"),
        (4, ""),
        (6, "10.0.0.0/8"),
        (6, "2001:db8::/129"),
        (6, "fe80::%eth0/64"),
    ],
)
def test_what_is_no_network_is_refused_by_name(version, text):
    with pytest.raises(ValueError, match="is no CIDR of"):
        list(set_elements._messages("table", Change("set", version, [text])))


def test_host_bits_are_refused():
    with pytest.raises(ValueError, match=r"'10\.0\.0\.1/24' has host bits"):
        list(set_elements._messages("table", Change("set", 4, ["10.0.0.1/24"])))


# -- what the kernel lists ---------------------------------------------------------------------------


def test_elements_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="something else than networks of 32 bits"):
        list(set_elements._bounds([listed([(1, False)], set_elements._LAYOUTS[6])], set_elements._LAYOUTS[4]))


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order"):
        read([(1, False), (2, True)], set_elements._LAYOUTS[4])


# -- replaces ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "add, remove, expected",
    [
        (["10.0.0.0/25", "10.0.0.128/25"], ["10.0.0.0/24"], True),
        (["10.0.0.0/23"], ["10.0.0.0/24", "10.0.1.0/24"], True),
        (["10.0.0.0/24"], ["10.0.0.0/24"], True),
        (["10.0.0.0/24"], ["10.0.1.0/24"], False),
        (["10.0.1.0/24"], [], False),
        ([], [], False),
    ],
)
def test_a_network_takes_the_place_of_another_where_they_overlap(add, remove, expected):
    assert set_elements.replaces(Change("set", 4, add, remove)) is expected


@given(VERSIONS, CHOICES, st.integers(1, 5))
def test_networks_apart_replace_nothing(version, choice, cuts):
    networks = samples.disjoint(choice, version, cuts)
    half = len(networks) // 2
    assert not set_elements.replaces(Change("set", version, networks[:half], networks[half:]))
    assert set_elements.replaces(Change("set", version, networks[:half], [samples.WHOLE[version]])) == (
        half > 0
    )


# -- errors ------------------------------------------------------------------------------------------


@given(VERSIONS, CHOICES, st.integers(0, 1))
def test_an_error_names_the_network_that_the_kernel_points_at(version, choice, cuts):
    networks = samples.disjoint(choice, version, cuts)
    (message,) = set_elements._messages("table", Change("set", version, networks))
    body = bytes(message.body)
    start = next(begins for kind, begins, _ends in messages.attributes(body, 4) if kind == 3)
    row = iter(networks)
    wanted = ""
    for _kind, begins, ends in messages.attributes(body, start):
        wanted = wanted if set_elements._parsed(body[begins:ends])[1] else next(row)
        offset = messages.HEADER_SIZE + begins - messages.ATTRIBUTE_HEADER_SIZE
        error = messages.NetlinkError("change", 17, "", messages.packed(message, 3), offset)
        assert str(set_elements._explained(error)).startswith(
            f"add {wanted} to set set of table inet table: "
        )


def test_an_error_of_which_the_kernel_says_nothing_names_the_set():
    (message,) = set_elements._messages("table", Change("set", 4, remove=["10.0.0.0/8"]))
    error = messages.NetlinkError("change", 2, "", messages.packed(message, 3))
    expected = "remove networks from set set of table inet table: No such file or directory"
    assert str(set_elements._explained(error)) == expected


def test_an_error_of_no_message_stays_as_it_is():
    error = messages.NetlinkError("change sets", 90)
    assert set_elements._explained(error) is error
