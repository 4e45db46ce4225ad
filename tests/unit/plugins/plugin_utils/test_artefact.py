# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._host.provenance import Extent
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.plugin_utils import _artefact
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

WEB, DB = (samples.host([samples.policy(name, [samples.rule()])]) for name in ("web", "db"))
POLICIES = {"web-1": WEB, "db-1": DB}
EXTENT = Extent("0" * 16, 3, 2, 2)
# Inventory names are no file names.
ODD_NAMES = (
    "../../etc/passwd",
    "a/b",
    "..",
    ".",
    "index",
    "index.json",
    "web 1",
    "wéb",
    "fd00::1",
    "a" * 250,
    "a" * 251,
    "é" * 80,
    "%2e",
    "A",
)


def entries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_written_can_be_read(tmp_path):
    directory = _artefact.write_temporary(POLICIES, EXTENT, tmp_path)
    for host, policy in POLICIES.items():
        found = _artefact.read(directory, host)
        assert (found.digest, found.policy) == (policy.digest, model.to_dict(policy))
        assert found.inventory == EXTENT
        assert len(model.dumps(policy)) <= found.size <= len(model.dumps(policy)) + 100


def test_a_host_without_endpoint_is_in_it_too(tmp_path):
    directory = _artefact.write_temporary({"lone": None}, EXTENT, tmp_path)
    found = _artefact.read(directory, "lone")
    assert (found.digest, found.policy) == (None, None)


def test_a_host_that_was_not_compiled_is_refused(tmp_path):
    directory = _artefact.write_temporary(POLICIES, EXTENT, tmp_path)
    with pytest.raises(
        _artefact.ArtefactError, match=r"^host lone was not in the inventory that was compiled"
    ):
        _artefact.read(directory, "lone")


def test_only_hosts_with_a_policy_are_counted():
    assert _artefact.count({**POLICIES, "lone": None}) == 2
    assert _artefact.count({}) == 0
    assert _artefact.digest_of({**POLICIES, "lone": None}) == _artefact.digest_of(POLICIES)


def test_nobody_else_can_read_it(tmp_path):
    directory = _artefact.write_temporary(POLICIES, EXTENT, tmp_path / "made" / "as needed")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"policies", "index.json", "summary.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_odd_host_names_stay_in_the_directory(tmp_path):
    policies = dict.fromkeys(ODD_NAMES, WEB) | {"web-1": DB}
    directory = _artefact.write_temporary(policies, EXTENT, tmp_path / "parent")
    assert entries(tmp_path) == ["parent"]
    assert entries(tmp_path / "parent") == [directory.name]
    review = _artefact.write_review(policies, EXTENT, tmp_path / "review")
    assert entries(tmp_path) == ["parent", "review"]
    assert entries(review) == ["hosts", "summary.json"]
    assert len(entries(review / "hosts")) == len(policies)
    for host, policy in policies.items():
        for place in (directory, review):
            assert _artefact.read(place, host).policy == model.to_dict(policy)


def test_equal_policies_share_a_directory_and_others_have_another(tmp_path):
    directory = _artefact.write_temporary(POLICIES, EXTENT, tmp_path)
    assert _artefact.write_temporary(dict(reversed(POLICIES.items())), EXTENT, tmp_path) == directory
    assert _artefact.write_temporary({**POLICIES, "db-1": WEB}, EXTENT, tmp_path) != directory
    assert len(entries(tmp_path)) == 2


def test_equal_policies_of_another_inventory_have_another_directory_and_the_same_files(tmp_path):
    other = dataclasses.replace(EXTENT, hosts=4)
    one, two = (_artefact.write_temporary(POLICIES, extent, tmp_path) for extent in (EXTENT, other))
    assert one != two
    assert [_artefact.read(directory, "web-1").inventory for directory in (one, two)] == [EXTENT, other]
    assert (one / "policies").read_text() == (two / "policies").read_text()


def test_a_directory_that_is_there_is_not_written_again(tmp_path):
    directory = _artefact.write_temporary(POLICIES, EXTENT, tmp_path)
    (directory / "mark").touch()
    assert _artefact.write_temporary(POLICIES, EXTENT, tmp_path) == directory
    assert (directory / "mark").exists()


def test_a_run_that_was_faster_wins(tmp_path, monkeypatch):
    """The other run's directory appears after we looked for it."""
    rename = Path.rename

    def beaten(self: Path, target: Path) -> Path:
        if not target.exists():
            monkeypatch.setattr(Path, "rename", rename)
            _artefact.write_temporary(POLICIES, EXTENT, tmp_path)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", beaten)
    directory = _artefact.write_temporary(POLICIES, EXTENT, tmp_path)
    assert entries(tmp_path) == [directory.name]
    assert _artefact.read(directory, "web-1").digest == WEB.digest


def test_a_directory_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        _artefact.ArtefactError, match=f"cannot write the compiled policies below {tmp_path}/file"
    ):
        _artefact.write_temporary(POLICIES, EXTENT, tmp_path / "file")


def test_a_directory_without_summary_is_no_artefact(tmp_path):
    directory = _artefact.write_temporary(POLICIES, EXTENT, tmp_path)
    (directory / "summary.json").unlink()
    for place in (directory, tmp_path / "none"):
        with pytest.raises(
            _artefact.ArtefactError, match=r"^there are no compiled policies in .* of the same run$"
        ):
            _artefact.read(place, "web-1")


WRITERS = {
    "policies": _artefact.write_temporary,
    "index.json": _artefact.write_temporary,
    "hosts/web-1.json": _artefact.write_review,
    "summary.json": _artefact.write_review,
}
DAMAGE = (
    "",
    "[]",
    "5",
    '{"web-1": 5}',
    '{"web-1": ["a", -1]}',
    '{"digest": "0"}',
    '{"inventory": {}}',
    "\xff",
)


@pytest.mark.parametrize("file", WRITERS)
@pytest.mark.parametrize("text", DAMAGE)
def test_what_cannot_be_read_is_told(tmp_path, file, text):
    directory = WRITERS[file](POLICIES, EXTENT, tmp_path)
    (directory / file).write_text(text, encoding="latin-1")
    with pytest.raises(
        _artefact.ArtefactError, match=r"pass the result of netpolicy.host.compile of the same run"
    ):
        _artefact.read(directory, "web-1")


def test_other_places_make_another_directory_and_the_same_digest(tmp_path):
    moved = {"web-1": dataclasses.replace(WEB, places={"GlobalNetworkPolicy/web/ingress/0": "other.yml:1"})}
    assert _artefact.digest_of(moved) == _artefact.digest_of({"web-1": WEB})
    directories = {_artefact.write_temporary(one, EXTENT, tmp_path) for one in (moved, {"web-1": WEB})}
    assert len(directories) == 2


# -- for review --------------------------------------------------------------------------------------


def test_a_review_can_be_read_by_people_and_by_us(tmp_path):
    directory = _artefact.write_review(POLICIES, EXTENT, tmp_path / "review")
    assert directory == tmp_path / "review"
    assert entries(directory / "hosts") == ["db-1.json", "web-1.json"]
    text = (directory / "hosts" / "web-1.json").read_text()
    assert text.count("\n") > 20
    assert text.endswith("}\n")
    found = _artefact.read(directory, "web-1")
    assert (found.digest, found.policy) == (WEB.digest, model.to_dict(WEB))


def test_a_review_is_written_over_and_hosts_that_are_gone_leave_it(tmp_path):
    _artefact.write_review(POLICIES, EXTENT, tmp_path)
    (tmp_path / "notes.txt").touch()
    _artefact.write_review({"web-1": DB}, EXTENT, tmp_path)
    assert entries(tmp_path) == ["hosts", "notes.txt", "summary.json"]
    assert entries(tmp_path / "hosts") == ["web-1.json"]
    found = _artefact.read(tmp_path, "web-1")
    assert found.digest == DB.digest
    with pytest.raises(_artefact.ArtefactError):
        _artefact.read(tmp_path, "db-1")


def test_a_review_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        _artefact.ArtefactError, match=f"cannot write the compiled policies to {tmp_path}/file"
    ):
        _artefact.write_review(POLICIES, EXTENT, tmp_path / "file")


HOSTS = st.dictionaries(st.text(max_size=5), st.sampled_from((WEB, DB)), max_size=4)


@given(HOSTS, HOSTS)
def test_the_digest_of_all_tells_inventories_apart(one, other):
    assert (_artefact.digest_of(one) == _artefact.digest_of(other)) == (one == other)
    assert _artefact.digest_of(dict(reversed(one.items()))) == _artefact.digest_of(one)
