# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as it is packed for managed hosts."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile

import pytest

from ansible_collections.netpolicy.host.plugins.plugin_utils import _engine

PACKED = _engine.engine()
ARCHIVE = zipfile.ZipFile(io.BytesIO(PACKED.archive))
SOURCES = sorted(name for name in ARCHIVE.namelist() if ARCHIVE.read(name))


def test_the_same_bytes_every_time():
    pack = _engine.engine.__wrapped__
    assert pack() == pack()


def test_members_are_sorted_and_dated_alike():
    members = ARCHIVE.infolist()
    assert [one.filename for one in members] == sorted(one.filename for one in members)
    assert {one.date_time for one in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {one.compress_type for one in members} == {zipfile.ZIP_DEFLATED}
    assert {one.external_attr >> 16 for one in members} == {0o644}


def test_the_engine_is_all_of_its_packages_and_nothing_else():
    packages = {name.split("/")[1] for name in SOURCES if "/" in name}
    assert packages == set(_engine.PACKAGES)
    for package in packages:
        found = {path.name for path in _engine._directory(package).glob("*.py")}
        assert {name.rpartition("/")[2] for name in SOURCES if f"/{package}/" in name} == found


def test_the_digest_is_in_the_program():
    assert PACKED.digest in ARCHIVE.read("__main__.py").decode()
    assert len(PACKED.digest) == 64


@pytest.mark.parametrize("change", ["content", "name"])
def test_the_digest_changes_with_the_sources(tmp_path, monkeypatch, change):
    for package in _engine.PACKAGES:
        (tmp_path / package).mkdir()
        for path in _engine._directory(package).glob("*.py"):
            (tmp_path / package / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(_engine, "_directory", lambda package: tmp_path / package)
    pack = _engine.engine.__wrapped__
    before = pack()
    paths = tmp_path / "_host" / "paths.py"
    if change == "content":
        paths.write_bytes(paths.read_bytes() + b"\n")
    else:
        paths.rename(tmp_path / "_host" / "other.py")
    assert pack().digest != before.digest
    assert pack().archive != before.archive


@pytest.mark.parametrize("name", SOURCES)
def test_the_engine_needs_python_3_9_and_its_standard_library_only(name):
    tree = ast.parse(ARCHIVE.read(name), feature_version=(3, 9))
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        for module in modules:
            assert module.partition(".")[0] in sys.stdlib_module_names | {"netpolicy_host"}


@pytest.mark.parametrize("request_", ["{}", '{"verb": "launch"}'])
def test_the_archive_runs_alone_and_answers_in_json(tmp_path, request_):
    """As root and as anybody else: a request that asks for nothing is answered with an error."""
    path = tmp_path / "engine.pyz"
    path.write_bytes(PACKED.archive)
    done = subprocess.run(
        [sys.executable, "-I", path], input=request_, capture_output=True, text=True, check=False, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads(done.stdout)) == {"error"}
