# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import packet as packets
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

SMALLEST = {
    "direction": "ingress",
    "interface": "eth0",
    "protocol": "TCP",
    "src": "192.0.2.1",
    "dst": "192.0.2.2",
}


def test_defaults():
    assert packets.packet(SMALLEST) == packets.Packet(
        direction="ingress",
        interface="eth0",
        protocol=6,
        src=ipaddress.ip_address("192.0.2.1"),
        dst=ipaddress.ip_address("192.0.2.2"),
        pre_nat_dst=ipaddress.ip_address("192.0.2.2"),
        sport=0,
        dport=0,
        pre_nat_dport=0,
        icmp_type=None,
        icmp_code=None,
        out_interface=None,
        fragment="none",
        ct_state="new",
    )


@pytest.mark.parametrize("field", sorted(set(packets.FIELDS) - set(SMALLEST)))
def test_a_null_field_has_its_default(field):
    assert packets.packet({**SMALLEST, field: None}) == packets.packet(SMALLEST)


@pytest.mark.parametrize("field", sorted(SMALLEST))
def test_required_fields(field):
    without = {key: value for key, value in SMALLEST.items() if key != field}
    for fields in (without, {**SMALLEST, field: None}):
        with pytest.raises(packets.PacketError, match=f"^packet.{field}: missing$"):
            packets.packet(fields)


@pytest.mark.parametrize(
    "given_protocol, number",
    [
        ("TCP", 6),
        ("tcp", 6),
        ("Udp", 17),
        ("ICMP", 1),
        ("icmpv6", 58),
        ("SCTP", 132),
        ("UDPLite", 136),
        ("47", 47),
        (0, 0),
        (255, 255),
    ],
)
def test_protocols(given_protocol, number):
    assert packets.packet({**SMALLEST, "protocol": given_protocol}).protocol == number


NUMBER_FIELDS = {
    "sport": 65535,
    "dport": 65535,
    "pre_nat_dport": 65535,
    "icmp_type": 255,
    "icmp_code": 255,
}


def refusals() -> t.Any:
    """A field, a value that it does not take, and what the message must say besides both."""
    cases = [
        ("direction", "in", "allowed: ingress, egress, forward"),
        ("direction", ["ingress"], "allowed: ingress, egress, forward"),
        *(
            (field, value, "expected a string")
            for field in ("interface", "out_interface")
            for value in (5, True, ["eth0"])
        ),
        ("fragment", "last", "allowed: none, first, later"),
        ("ct_state", "NEW", "allowed: new, established, related, invalid, untracked"),
        *(
            ("protocol", value, "a number from 0 to 255 or one of TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite")
            for value in ("ospf", 256, -1, "256", True, 6.0, "9" * 5000)
        ),
        *(
            (field, value, "expected an IP address")
            for field in ("src", "dst", "pre_nat_dst")
            for value in ("host", "10.0.0.0/8", 5, "", True, ["10.0.0.1"], "1.2.3.4.5")
        ),
        *(
            (field, value, f"allowed: a number from 0 to {last}")
            for field, last in NUMBER_FIELDS.items()
            for value in (-1, last + 1, "http", True, 1.0, [1], "", "9" * 5000)
        ),
    ]
    return [
        pytest.param(field, value, message, id=f"{field}={value!r:.12}") for field, value, message in cases
    ]


@pytest.mark.parametrize("field, value, message", refusals())
def test_refusals_name_the_field_what_was_found_and_what_is_allowed(field, value, message):
    with pytest.raises(packets.PacketError) as refusal:
        packets.packet({**SMALLEST, field: value})
    assert str(refusal.value).startswith(f"packet.{field}: found {shown(value)}, ")
    assert message in str(refusal.value)


def test_an_unknown_field_is_refused_with_the_known_ones():
    with pytest.raises(
        packets.PacketError, match=r"^packet.port: unknown field, allowed: direction, .*ct_state"
    ):
        packets.packet({**SMALLEST, "port": 80})


@pytest.mark.parametrize("value", [None, "packet", 5, ["direction"]])
def test_a_packet_is_a_mapping(value):
    with pytest.raises(packets.PacketError, match=r"^packet: found .*, expected a mapping$"):
        packets.packet(value)


@pytest.mark.parametrize("field", ["src", "dst", "pre_nat_dst"])
def test_addresses_are_of_one_ip_version(field):
    with pytest.raises(packets.PacketError, match="different IP versions"):
        packets.packet({**SMALLEST, field: "2001:db8::1"})


@pytest.mark.parametrize(
    "fields",
    [{"protocol": "ICMP"}, {"protocol": 47}, {"protocol": "UDPLite"}, {"fragment": "later"}],
    ids=str,
)
def test_no_ports_where_a_packet_shows_none(fields):
    packet = packets.packet({**SMALLEST, "sport": 1, "dport": 2, "pre_nat_dport": 3, **fields})
    assert (packet.sport, packet.dport, packet.pre_nat_dport) == (None, None, None)


@pytest.mark.parametrize("fragment", ["none", "first"])
def test_ports_of_packets_that_show_them(fragment):
    packet = packets.packet({**SMALLEST, "sport": 1, "dport": "2", "fragment": fragment})
    assert (packet.sport, packet.dport, packet.pre_nat_dport) == (1, 2, 2)


def test_before_nat():
    packet = packets.packet({**SMALLEST, "dport": 80, "pre_nat_dst": "203.0.113.1", "pre_nat_dport": 0})
    assert str(packet.pre_nat_dst) == "203.0.113.1"
    assert packet.pre_nat_dport == 0


@pytest.mark.parametrize("src, version", [("10.0.0.1", 4), ("::1", 6)])
def test_ip_version(src, version):
    assert packets.packet({**SMALLEST, "src": src, "dst": src}).ip_version == version


@pytest.mark.parametrize("protocol", ["ICMP", "ICMPv6"])
def test_a_later_fragment_shows_no_type(protocol):
    fields = {**SMALLEST, "protocol": protocol, "icmp_type": 3, "icmp_code": 4}
    for fragment, expected in (("none", (3, 4)), ("first", (3, 4)), ("later", (None, None))):
        packet = packets.packet({**fields, "fragment": fragment})
        assert (packet.icmp_type, packet.icmp_code) == expected


# -- the packet that an error is about ---------------------------------------------------------------

ERROR = {**SMALLEST, "protocol": "ICMP", "icmp_type": 3}
QUOTED = {"protocol": "UDP", "src": "192.0.2.2", "dst": "198.51.100.1", "sport": 5000, "dport": 53}


@pytest.mark.parametrize(
    "direction, interfaces, other_way, on",
    [
        ("ingress", {}, "egress", "eth0"),
        ("egress", {}, "ingress", "eth0"),
        ("forward", {"out_interface": "eth1"}, "forward", "eth1"),
        ("forward", {}, "forward", ""),
    ],
)
def test_a_quoted_packet_went_the_other_way(direction, interfaces, other_way, on):
    quoted = packets.packet({**ERROR, "direction": direction, **interfaces, "quoted": QUOTED}).quoted
    assert quoted == packets.packet({**QUOTED, "direction": other_way, "interface": on})


def test_quoted_ports_may_be_left_out():
    without = {key: value for key, value in QUOTED.items() if key not in ("sport", "dport")}
    quoted = packets.packet({**ERROR, "quoted": without}).quoted
    assert quoted == packets.packet({**without, "direction": "egress", "interface": "eth0"})


@pytest.mark.parametrize(
    "quoted, message",
    [
        ("packet", "packet.quoted: found 'packet', expected a mapping"),
        ([], "packet.quoted: found a list, expected a mapping"),
        ({}, "packet.quoted.protocol: missing"),
        ({**QUOTED, "src": None}, "packet.quoted.src: missing"),
        ({**QUOTED, "src": "host"}, "packet.quoted.src: found 'host', expected an IP address"),
        ({**QUOTED, "dport": "dns"}, "packet.quoted.dport: found 'dns', allowed: a number from 0 to 65535"),
        ({**QUOTED, "protocol": 256}, "packet.quoted.protocol: found 256, allowed: a number from 0 to 255"),
        ({**QUOTED, "dst": "::1"}, "packet.quoted: src, dst and pre_nat_dst are of different IP versions"),
        ({**QUOTED, "src": "::1", "dst": "::1"}, "packet.quoted: of another IP version than the packet"),
        *(
            (
                {**QUOTED, field: "eth0"},
                f"packet.quoted.{field}: unknown field, allowed: protocol, src, dst, ",
            )
            for field in ("direction", "interface", "quoted", "ct_state", "fragment", "a b")
        ),
    ],
    ids=str,
)
def test_a_bad_quoted_packet_is_named(quoted, message):
    with pytest.raises(packets.PacketError) as refusal:
        packets.packet({**ERROR, "quoted": quoted})
    assert str(refusal.value).startswith(message)


@given(samples.junk())
def test_anything_quoted_is_read_or_refused_by_its_path(value):
    if value is None:
        return
    with pytest.raises(packets.PacketError, match=r"^packet\.quoted"):
        packets.packet({**ERROR, "quoted": value})


@given(samples.junk())
def test_anything_else_is_refused(value):
    with pytest.raises(packets.PacketError):
        packets.packet(value)


@given(st.dictionaries(st.sampled_from(packets.FIELDS), samples.junk()))
def test_any_value_of_any_field_is_read_or_refused(fields):
    try:
        packet = packets.packet({**SMALLEST, **fields})
    except packets.PacketError as refusal:
        message = str(refusal)
    else:
        message = "packet"
        assert packet.direction in packets.DIRECTIONS
        assert 0 <= packet.protocol <= 255
        assert packet.src.version == packet.dst.version == packet.pre_nat_dst.version
    assert message.startswith("packet")
