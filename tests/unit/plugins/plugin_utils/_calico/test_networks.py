# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks as numbers say what `ipaddress` says, only sooner."""

from __future__ import annotations

import ipaddress
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import networks

BITS = {4: 32, 6: 128}
CLASSES = {4: ipaddress.IPv4Network, 6: ipaddress.IPv6Network}


@st.composite
def near_networks(draw: st.DrawFn, version: int) -> list[str]:
    """Networks that are likely to lie in each other, or beside."""
    base = draw(st.sampled_from((0, 10 << (BITS[version] - 8), (1 << BITS[version]) - 4096)))
    members = draw(
        st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 13) | st.integers(0, BITS[version])))
    )
    return [str(CLASSES[version]((base | low, BITS[version] - host), strict=False)) for low, host in members]


@pytest.mark.parametrize("version", [4, 6])
@given(st.data())
def test_collapsed_networks_are_those_of_ipaddress(version, data):
    texts = data.draw(near_networks(version))
    read = [network for network in map(networks.parse, texts) if network is not None]
    assert len(read) == len(texts)
    members: list[t.Any] = [CLASSES[version](text) for text in texts]
    expected = ipaddress.collapse_addresses(members)
    assert networks.collapsed(read, version) == tuple(map(str, expected))
    assert networks.collapsed(read, 10 - version) == ()


@given(st.ip_addresses(), st.integers(0, 128))
def test_every_network_is_read_and_written_as_ipaddress_does(address, length):
    length = min(length, BITS[address.version])
    wanted = ipaddress.ip_network(f"{address}/{length}", strict=False)
    found = networks.parse(f"{address}/{length}")
    assert str(found) == str(wanted)
    assert found == networks.of(wanted)
    assert str(networks.parse(str(address))) == f"{address}/{BITS[address.version]}"


@given(st.text() | st.from_regex(r"[0-9a-f:.]{1,20}(/[0-9]{0,4})?", fullmatch=True))
def test_any_other_text_is_none(text):
    found = networks.parse(text)
    try:
        expected = str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        assert found is None
    else:
        # ipaddress also takes netmasks, zones and digits of other scripts.
        assert found is None or str(found) == expected


@pytest.mark.parametrize("text", ["10.0.0.0/255.0.0.0", "fe80::1%eth0", "10.0.0.1/٣", "010.0.0.1", "1.2.3"])
def test_what_only_python_takes_for_a_network_is_none(text):
    assert networks.parse(text) is None


@pytest.mark.parametrize(
    "text, mapped", [("::ffff:10.0.0.1", True), ("::ffff:0:0/96", True), ("::/0", False), ("::1", False)]
)
def test_ipv4_written_as_ipv6_is_known(text, mapped):
    found = networks.parse(text)
    assert found is not None
    assert found.is_mapped is mapped
