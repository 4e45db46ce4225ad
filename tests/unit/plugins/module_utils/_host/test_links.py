# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which interfaces raw sees no packets of, and that the user is told."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._host import links, state
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model


def test_every_interface_is_known(tmp_path):
    assert links.interfaces(str(tmp_path))["lo"] is None


@pytest.mark.parametrize(
    "entry, master, reason",
    [
        ("brport", "br0", "a port of the bridge br0"),
        ("bonding_slave", "bond0", "a member of the bond bond0"),
    ],
)
def test_what_arrives_on_an_enslaved_interface_has_its_masters_name(tmp_path, entry, master, reason):
    (tmp_path / "lo" / entry).mkdir(parents=True)
    (tmp_path / master).mkdir()
    (tmp_path / "lo" / "master").symlink_to(tmp_path / master)
    assert links.interfaces(str(tmp_path))["lo"] == reason


@pytest.mark.parametrize(
    "kind, reason", [("", "the parent of mv0 (a macvlan, or what is like one)"), ("DEVTYPE=vlan\n", None)]
)
def test_a_macvlan_takes_packets_from_its_parent_and_a_vlan_does_not(tmp_path, kind, reason):
    (tmp_path / "lo").mkdir()
    (tmp_path / "mv0").mkdir()
    (tmp_path / "mv0" / "uevent").write_text(f"{kind}INTERFACE=mv0\n", encoding="utf-8")
    (tmp_path / "lo" / "upper_mv0").symlink_to(tmp_path / "mv0")
    assert links.interfaces(str(tmp_path))["lo"] == reason


ENDPOINT = model.Endpoint("web", "eth0")


@pytest.mark.parametrize(
    "interface, known, told",
    [
        ("eth0", {"eth0": None}, []),
        ("eth0", {"lo": None}, ["there is no interface eth0 on this host, only lo"]),
        ("eth0", {"eth0": "a port of the bridge br0"}, ["interface eth0 is a port of the bridge br0, whose"]),
        (model.EVERY_INTERFACE, {"lo": None}, []),
        (None, {"lo": None}, []),
    ],
)
def test_an_endpoint_that_judges_nothing_is_told(interface, known, told):
    endpoint = dataclasses.replace(ENDPOINT, interface=interface, addresses=("192.0.2.1",))
    notes = state.endpoint_notes(model.HostPolicy("node", endpoints=(endpoint,)), known)
    assert len(notes) == len(told)
    for note, words in zip(notes, told):
        assert note.startswith("endpoint web: ")
        assert words in note


@pytest.mark.parametrize("address, own", [("127.0.0.1", True), ("192.0.2.77", False)])
def test_the_hosts_own_addresses_are_known_by_binding_to_them(address, own):
    assert links.has_address(address) is own


def test_what_cannot_be_told_of_an_address_is_not_held_against_it(monkeypatch):
    def refuse(*_arguments):
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    assert links.has_address("2001:db8::1")


@pytest.mark.parametrize(
    "interface, addresses, told",
    [
        ("eth0", ("192.0.2.1",), False),
        ("eth0", ("192.0.2.1", "2001:db8::1"), True),
        (None, ("192.0.2.1", "2001:db8::1"), False),
        (None, ("2001:db8::1",), True),
        (model.EVERY_INTERFACE, ("2001:db8::1",), True),
        ("eth0", (), False),
    ],
)
def test_an_address_that_others_know_and_the_host_has_not_got_is_told(interface, addresses, told):
    endpoint = dataclasses.replace(ENDPOINT, interface=interface, addresses=addresses)
    policy = model.HostPolicy("node", endpoints=(endpoint,))
    notes = state.address_notes(policy, {"192.0.2.1"}.__contains__)
    assert ["does not have the address 2001:db8::1," in note for note in notes] == [True] * told
