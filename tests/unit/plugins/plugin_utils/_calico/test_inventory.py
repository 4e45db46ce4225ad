# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Ansible's own merging would lose a definition, or never reads it."""

from __future__ import annotations

import json

import pytest

from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico.site import Site


def network_set(name: str) -> dict[str, object]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkSet",
        "metadata": {"name": name},
        "spec": {"nets": ["192.0.2.0/24"]},
    }


def inline(*names: str) -> str:
    """An inventory file that defines sets of these names in its own variables of group all."""
    variables = {"netpolicy_resources": [network_set(name) for name in names]}
    return json.dumps({"all": {"hosts": {"web-1": {}}, "vars": variables}})


def names(site: Site, *sources: str) -> list[str]:
    return sorted(resource.name for resource in site.collect(sources=sources).resources)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_the_same_variable_of_a_group_in_two_sources_counts_twice(site):
    site.write({"one.yml": inline("one"), "two.yml": inline("two")})
    assert names(site, "one.yml", "two.yml") == ["one", "two"]


def test_the_same_variable_of_a_group_in_two_files_of_a_directory_counts_twice(site):
    site.write({"inventory/a.yml": inline("one"), "inventory/b.yml": inline("two")})
    assert names(site, "inventory") == ["one", "two"]


def test_an_inventory_plugin_is_not_asked_again(site):
    # Settings of a plugin name no hosts: read as an inventory of their own they are an error, or a query.
    settings = "plugin: ansible.builtin.constructed\nstrict: false\n# netpolicy_resources\n"
    site.write({"inventory/a.yml": inline("one"), "inventory/b.constructed.yml": settings})
    assert names(site, "inventory") == ["one"]


def test_a_file_that_ansible_passes_over_is_a_finding(site):
    variables = json.dumps({"netpolicy_resources": [network_set("lost")]})
    site.write(
        {
            "inventory/hosts.yml": inline("one"),
            "inventory/group_vars/all.yml": variables,
            "inventory/group_vars/all/other.yml": "{}",
        }
    )
    (finding,) = site.collect().findings
    assert finding.name.endswith("inventory/group_vars/all.yml")
    assert "Ansible does not read it" in finding.message


def test_a_long_list_of_hosts_on_the_command_line_is_no_path(site):
    site.write({"inventory/hosts.yml": inline("one")})
    many = ",".join(f"host-{number}" for number in range(1000))
    inventory = site.read(sources=["inventory/hosts.yml"])
    inventory._inventory._sources.append(many)
    assert inventory._sources == [site.root / "inventory" / "hosts.yml"]


def test_the_id_of_an_inventory_is_that_of_its_sources_however_they_are_named(site):
    site.write({"one.yml": inline("one"), "two.yml": inline("two")})
    (site.root / "link.yml").symlink_to(site.root / "one.yml")
    both = site.read(sources=["one.yml", "two.yml"]).id
    assert len(both) == 16
    for sources in (["two.yml", "one.yml"], ["link.yml", "two.yml"], ["one.yml", "./two.yml", "one.yml"]):
        assert site.read(sources=sources).id == both
    site.write({"two.yml": inline("three")})
    assert site.read(sources=["one.yml", "two.yml"]).id == both, "the sources, not what they hold today"
    assert site.read(sources=["one.yml"]).id != both


def test_a_source_that_is_not_there_and_a_list_of_hosts_are_part_of_the_id(site):
    site.write({"one.yml": inline("one")})
    ids = {site.read(sources=sources).id for sources in (["one.yml"], ["one.yml", "gone.yml"])}
    inventory = site.read(sources=["one.yml"])
    inventory._inventory._sources.append("host-1,host-2")
    assert len({*ids, inventory.id}) == 3
