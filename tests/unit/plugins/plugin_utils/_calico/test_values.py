# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import networks, values
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

READERS = [
    values.text,
    values.boolean,
    values.order,
    values.resource_name,
    values.policy_name,
    values.node_name,
    values.interface_name,
    values.labels,
    values.selector_expression,
    values.action,
    values.direction,
    values.ip_version,
    values.protocol,
    values.port,
    values.address,
    values.cidr,
    values.set_member,
    values.tier_name,
    values.addresses_by_interface,
]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@given(value=samples.junk())
def test_any_value_is_read_or_refused_with_what_was_found(read, value):
    try:
        read(value)
    except values.Refused as refusal:
        message = str(refusal)
    else:
        message = "read"
    assert message


LONG_LABEL, LONG_NAME = "a" * 63, ".".join(["a" * 61] * 4)


@pytest.mark.parametrize(
    "read, accepted",
    [
        (values.boolean, [True, False]),
        (values.order, [0, -1, 1.5, 10**6]),
        (values.resource_name, ["a", "a-b", "a.b.c", "0", LONG_NAME]),
        (values.policy_name, ["a", "a-b", "default.a", "0.0"]),
        (values.node_name, ["a", "Node_1", "node 1", "a" * 253, "192.0.2.1"]),
        (values.interface_name, ["eth0", "a" * 15, "bond0.12", "Wlp_3-s0", "..a", "*", ""]),
        (values.action, ["Allow", "Deny", "Log", "Pass"]),
        (values.direction, ["Ingress", "Egress"]),
        (values.ip_version, [4, 6]),
        (values.protocol, ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite", 1, 255, "1", "255"]),
        (values.port, [1, 65535, "80", "1:65535", "80:80", "web", "a", "1a", "a-b-c", "a" * 15]),
        (values.address, ["10.0.0.1", "::1", "2001:DB8::1"]),
        (values.cidr, ["10.0.0.0/8", "10.0.0.1/32", "0.0.0.0/0", "fd00::/8", "::/0", "FD00::1/128"]),
        (values.set_member, ["10.0.0.0/8", "10.0.0.1", "10.0.0.1/8", "fd00::1", "fd00::1/8", "::/0"]),
        (values.selector_expression, ["", "all()", f"a == '{'b' * 1017}'"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_accepted(read, accepted):
    for value in accepted:
        read(value)


@pytest.mark.parametrize(
    "read, refused, message",
    [
        (values.text, [None, 5, True, [], {}], "expected a string"),
        (values.boolean, [None, "true", "yes", 1, 0], "allowed: true or false"),
        (values.order, [None, True, "1", math.nan, math.inf, -math.inf, 10**400], "expected a finite number"),
        (
            values.resource_name,
            ["", "A", "a_b", "-a", "a-", ".a", "a.", "a..b", "a b", "a\n", "ä", LONG_NAME + "aaaaaaa"],
            "allowed: up to 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
        ),
        (values.policy_name, ["", "a.b.c", "A", "a.", ".a", "a$b", "a" * 254], "at most one '.'"),
        (values.node_name, ["", "  ", "a" * 254], "expected the name of a host"),
        (
            values.interface_name,
            ["a" * 16, "eth 0", "eth0/1", "eth0\n", "eth0:1", ".", "..", "eth*", "ä"],
            "allowed: 1 to 15 letters, digits",
        ),
        (values.action, ["allow", "ALLOW", "", None, 1, ["Allow"]], "allowed: Allow, Deny, Log, Pass"),
        (values.direction, ["ingress", "Both", None], "allowed: Ingress, Egress"),
        (values.ip_version, [5, "4", 4.0, None, True], "allowed: 4 or 6"),
        (
            values.protocol,
            ["tcp", "icmpv6", "IGMP", "0", "256", 0, 256, -1, True, 6.0, None],
            "allowed: TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite (exactly so), or a number from 1 to 255",
        ),
        (
            values.port,
            [0, 65536, -1, True, 80.0, None, "0", "65536", "0:1", "1:65536", "9" * 9, []],
            "allowed: a number from 1 to 65535, a range 'first:last', or a port's name",
        ),
        (
            values.port,
            [
                "HTTP",
                "",
                "1-2-3",
                "1:",
                ":1",
                "1:2:3",
                " 80",
                "+80",
                "9" * 5000,
                "-a",
                "a-",
                "a--b",
                "a" * 16,
                "a_b",
            ],
            "or a port's name (1 to 15 lower-case letters, digits and single '-', a letter among them)",
        ),
        (
            values.address,
            ["10.0.0.1/32", "host", "", "10.0.0", "10.0.0.256", "010.0.0.1", "fe80::1%eth0", "10.0.0.1 "],
            "expected an IP address without mask",
        ),
        (values.address, ["::ffff:10.0.0.1"], "which is IPv4 written as IPv6: write '10.0.0.1'"),
        (values.cidr, ["::ffff:10.0.0.0/104"], "which is IPv4 written as IPv6"),
        (values.set_member, ["::ffff:10.0.0.1"], "which is IPv4 written as IPv6"),
        (values.cidr, ["10.0.0.1", "fd00::1"], "a rule needs a CIDR: write '"),
        (values.cidr, ["10.0.0.1/8", "fd00::1/64"], "has host bits set: write '"),
        (
            values.cidr,
            ["", "10.0.0.0/33", "fd00::/129", "10.0.0.0/255.0.0.0", "10.0.0.0/-1", "10.0.0.0/", "a/8"],
            "expected a CIDR such as '10.0.0.0/8' or 'fd00::/8'",
        ),
        (
            values.set_member,
            ["", "10.0.0.0/33", "10.0.0.0/0.0.0.255", "host", "fe80::1%0"],
            "expected a CIDR",
        ),
        (
            values.tier_name,
            ["", "Other", "a.b", "x" * 64, "-a"],
            "allowed: up to 63 lower-case letters, digits and '-'",
        ),
        (values.selector_expression, ["a" * 1025], "found 1025 characters, allowed: at most 1024"),
        (values.port, ["2:1", "65535:80"], "a range has its lower end first"),
        (values.selector_expression, ["global()", "has(a) && global()"], "all() picks everything"),
        (values.selector_expression, ["a = 'b'"], "column 3: expected an operator"),
    ],
)
def test_refused(read, refused, message):
    for value in refused:
        with pytest.raises(values.Refused) as refusal:
            read(value)
        assert message in str(refusal.value)


@pytest.mark.parametrize(
    "read, written, value",
    [
        (values.order, 9, 9.0),
        (values.action, "Pass", "pass"),
        (values.direction, "Egress", "egress"),
        (values.tier_name, "default", "default"),
        (values.protocol, "TCP", "TCP"),
        (values.protocol, 6, 6),
        (values.port, 80, (80, 80)),
        (values.port, "80", (80, 80)),
        (values.port, "80:90", (80, 90)),
        (values.address, "2001:DB8:0::1", ipaddress.ip_address("2001:db8::1")),
        (values.cidr, "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/8")),
        (values.set_member, "10.1.2.3/8", networks.parse("10.0.0.0/8")),
        (values.set_member, "10.1.2.3", networks.parse("10.1.2.3/32")),
        (values.set_member, "fd00::1", networks.parse("fd00::1/128")),
    ],
)
def test_read_values(read, written, value):
    assert read(written) == value


@pytest.mark.parametrize(
    "written, better", [("10.0.0.1", "10.0.0.1/32"), ("fd00::1", "fd00::1/128"), ("10.1.2.3/8", "10.0.0.0/8")]
)
def test_a_refused_cidr_tells_what_to_write(written, better):
    with pytest.raises(values.Refused, match=f"write '{better}'$"):
        values.cidr(written)
    assert str(values.cidr(better)) == better


# -- labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["a", "A", "a.b_c-d", LONG_LABEL, "example.org/a", "a/b", f"{LONG_NAME}/{LONG_LABEL}", "0"]
)
def test_label_keys(key):
    assert values.labels({key: ""}) == {key: ""}


@pytest.mark.parametrize(
    "key",
    ["", "-a", "a-", "a b", "/a", "a/", "a/b/c", "A.org/a", "a" * 64, "ä", 5, None, True, "a" * 254 + "/a"],
)
def test_refused_label_keys(key):
    with pytest.raises(values.Refused, match=r"^found label key .*, allowed: up to 63 letters"):
        values.labels({key: "x"})


@pytest.mark.parametrize("value", ["", "a", "A-b_c.d", LONG_LABEL, "0"])
def test_label_values(value):
    assert values.labels({"a": value}) == {"a": value}


@pytest.mark.parametrize(
    "value, message",
    [
        *((value, "allowed: up to 63 letters") for value in ("-a", "a-", "a b", "a/b", "a" * 64, "ä", " ")),
        *((other, r"expected a string \(quote it\)$") for other in (5, True, 1.0)),
        *((other, "expected a string$") for other in (None, ["a"], {"a": "b"})),
    ],
)
def test_refused_label_values(value, message):
    with pytest.raises(values.Refused, match=f"^label key: found .*{message}"):
        values.labels({"key": value})


@pytest.mark.parametrize("value", [None, "a", ["a"], 5])
def test_labels_are_a_mapping(value):
    with pytest.raises(values.Refused, match="expected a mapping of labels"):
        values.labels(value)


@given(st.one_of(st.text(max_size=70), st.from_regex(r"[a-z./-]{1,8}", fullmatch=True)))
def test_a_label_key_is_one_that_labels_take(name):
    if values.is_label_key(name):
        assert values.labels({name: ""}) == {name: ""}
    else:
        with pytest.raises(values.Refused):
            values.labels({name: ""})


# -- addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written, read",
    [
        ({}, {}),
        ({"eth0": "192.0.2.1"}, {"eth0": ["192.0.2.1"]}),
        ({"eth0": ["192.0.2.1", "fd00::1"], "eth1": []}, {"eth0": ["192.0.2.1", "fd00::1"], "eth1": []}),
    ],
)
def test_addresses_by_interface(written, read):
    found = values.addresses_by_interface(written)
    assert {interface: [str(one) for one in members] for interface, members in found.items()} == read


@pytest.mark.parametrize(
    "written, message",
    [
        (None, "found null, expected a mapping of interface to addresses"),
        ("192.0.2.1", "found '192.0.2.1', expected a mapping of interface to addresses"),
        (["192.0.2.1"], "found a list, expected a mapping of interface to addresses"),
        ({"eth0": 5}, "eth0: found 5, expected a list of addresses"),
        ({"eth0": None}, "eth0: found null, expected a list of addresses"),
        ({"eth0": [5]}, "eth0: found 5, expected a string (quote it)"),
        ({"eth0": ["192.0.2.0/24"]}, "eth0: found '192.0.2.0/24', expected an IP address without mask"),
    ],
)
def test_refused_addresses_by_interface(written, message):
    with pytest.raises(values.Refused) as refusal:
        values.addresses_by_interface(written)
    assert str(refusal.value) == message
