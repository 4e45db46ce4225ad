# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real host, with its files and lock in a temporary directory and a script in the place of nft."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import textwrap
import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._host import system

if t.TYPE_CHECKING:
    from pathlib import Path

HOST = system.LinuxHost()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_file_is_written_with_its_mode_and_its_directories(tmp_path, mode, umask):
    path = tmp_path / "some" / "where" / "file"
    before = os.umask(umask)
    try:
        HOST.write(str(path), b"content", mode)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert HOST.read(str(path)) == b"content"


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "file"
    HOST.write(str(path), b"old", 0o644)
    with path.open("rb") as reader:
        HOST.write(str(path), b"new", 0o600)
        # Who has opened the old file reads the old file.
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["file"]


def test_what_is_left_of_a_write_that_was_killed_can_be_told(tmp_path, monkeypatch):
    path = str(tmp_path / "file")
    # What is done to the temporary file after a death is done by nobody.
    monkeypatch.setattr(os, "replace", lambda _source, _target: None)
    HOST.write(path, b"content", 0o644)
    (left,) = names(tmp_path)
    assert system.is_unfinished(str(tmp_path / left), of=path)
    assert not system.is_unfinished(path, of=path)
    assert not system.is_unfinished(str(tmp_path / ".files.x"), of=path)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(system.HostError, match=f"^cannot write {path}: Is a directory$"):
        HOST.write(str(path), b"content", 0o644)
    assert names(tmp_path) == ["file"]


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "below"
    with pytest.raises(system.HostError, match=f"^cannot write {path}: "):
        HOST.write(str(path), b"content", 0o644)


def test_a_missing_file_reads_as_none(tmp_path):
    assert HOST.read(str(tmp_path / "none")) is None


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(system.Damaged, match=f"^cannot read {tmp_path}: Is a directory$"):
        HOST.read(str(tmp_path))


def test_files_of_a_directory_are_sorted_paths(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / name).write_bytes(b"")
    assert HOST.files(str(tmp_path)) == [str(tmp_path / name) for name in ("a", "b", "c")]
    assert HOST.files(str(tmp_path / "none")) is None


def test_what_is_no_directory_holds_no_files_and_can_be_removed(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert HOST.files(str(tmp_path / "file")) == []


def test_removal_of_files_directories_and_nothing(tmp_path):
    HOST.write(str(tmp_path / "directory" / "file"), b"", 0o600)
    HOST.write(str(tmp_path / "file"), b"", 0o600)
    for name in ("directory", "file", "none"):
        HOST.remove(str(tmp_path / name))
    assert names(tmp_path) == []


def test_removal_of_a_link_leaves_what_it_points_to(tmp_path):
    HOST.write(str(tmp_path / "directory" / "file"), b"", 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "directory")
    HOST.remove(str(tmp_path / "link"))
    assert names(tmp_path) == ["directory"]
    assert names(tmp_path / "directory") == ["file"]


# -- lock --------------------------------------------------------------------------------------------


@pytest.fixture(name="lock_file")
def fixture_lock_file(tmp_path, monkeypatch):
    path = tmp_path / "netpolicy-host.lock"
    monkeypatch.setattr(system, "LOCK_FILE", str(path))
    return path


def test_the_lock_is_exclusive_and_leaves_no_file(lock_file):
    with HOST.lock():
        assert lock_file.exists()
        with pytest.raises(system.HostError, match=f"another netpolicy.host run .*{lock_file}"), HOST.lock():
            pass
        # Who did not get it did not take it away either.
        assert lock_file.exists()
    assert not lock_file.exists()
    with HOST.lock():
        pass


def test_the_lock_is_given_back_after_an_error(lock_file):
    with pytest.raises(KeyError), HOST.lock():
        raise KeyError
    assert not lock_file.exists()
    with HOST.lock():
        pass


def test_the_lock_of_another_process_counts(lock_file):
    holder = textwrap.dedent("""
        import fcntl, sys
        file = open(sys.argv[1], "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        print("held", flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(lock_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(system.HostError, match=r"another netpolicy.host run"), HOST.lock():
            pass
        process.communicate("")
    # Its file is still there, its lock is not.
    assert lock_file.exists()
    with HOST.lock():
        pass


@pytest.mark.parametrize("replaced", [False, True])
def test_a_lock_whose_file_was_removed_is_taken_again(lock_file, monkeypatch, replaced):
    """The last holder removed the file between our opening it and our locking it."""
    flock, calls = fcntl.flock, []

    def removed_meanwhile(handle, operation):
        calls.append(handle)
        if len(calls) == 1:
            lock_file.unlink()
            if replaced:
                lock_file.write_bytes(b"")
        flock(handle, operation)

    monkeypatch.setattr("fcntl.flock", removed_meanwhile)
    with HOST.lock():
        assert len(calls) == 2
        with lock_file.open("rb") as other, pytest.raises(BlockingIOError):
            flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not lock_file.exists()


def test_a_lock_whose_new_file_another_holds_is_not_ours(lock_file, monkeypatch):
    flock = fcntl.flock
    others: list[t.IO[bytes]] = []

    def replaced_meanwhile(handle, operation):
        if not others:
            lock_file.unlink()
            others.append(lock_file.open("wb"))
            flock(others[0], fcntl.LOCK_EX)
        flock(handle, operation)

    monkeypatch.setattr("fcntl.flock", replaced_meanwhile)
    with pytest.raises(system.HostError, match=r"another netpolicy.host run"), HOST.lock():
        pass
    assert lock_file.exists()
    others[0].close()


def test_a_lock_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "LOCK_FILE", str(tmp_path / "none" / "lock"))
    with pytest.raises(system.HostError, match=r"^cannot lock .*: No such file or directory$"), HOST.lock():
        pass


# -- nft ---------------------------------------------------------------------------------------------


@pytest.fixture(name="nft")
def fixture_nft(tmp_path, monkeypatch):
    """Puts a script in the place of nft; it is given $asked, where it may leave what it was asked."""
    monkeypatch.setattr(system, "SEARCH_PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()

    def install(script: str):
        path = tmp_path / "bin" / "nft"
        path.write_text(f"#!/bin/sh\nasked={tmp_path}/asked\n{script}\n")
        path.chmod(0o755)
        return tmp_path / "asked"

    return install


LISTING = {"nftables": [{"map": {"name": "b"}}, {"set": {"name": "s"}}, {"map": {"name": "a"}}]}
LISTS = f"""
echo "$@" "$LC_ALL" >> $asked
case "$*" in
"list tables") echo "table inet other"; echo "table inet ours" ;;
--json*) echo '{json.dumps(LISTING)}' ;;
*) echo "$*" ;;
esac
"""


@pytest.mark.parametrize(
    "whole, texts",
    [
        (
            False,
            [
                "-s -n --terse list table inet ours",
                "-s -n list map inet ours a",
                "-s -n list map inet ours b",
            ],
        ),
        (True, ["-s -n list table inet ours"]),
    ],
)
def test_a_table_is_listed_with_elements_of_maps_and_if_asked_for_of_sets(nft, whole, texts):
    asked = nft(LISTS)
    listing = HOST.table("inet", "ours", whole=whole)
    assert listing == system.Listing(LISTING, "".join(f"{text}\n" for text in texts))
    first = ["list tables", "--json --terse list table inet ours"]
    assert asked.read_text().splitlines() == [f"{arguments} C" for arguments in first + texts]


@pytest.mark.parametrize("tables", ["", "table inet other", "table ip ours", "table inet ours2"])
def test_no_such_table_is_none(nft, tables):
    nft(f'echo "{tables}"')
    assert HOST.table("inet", "ours") is None


@pytest.mark.parametrize("output", ["{broken", "", "[]", "{}", '{"nftables": [{"map": {}}]}'])
def test_a_table_that_nft_lists_in_a_way_that_cannot_be_read_has_no_listing(nft, output):
    nft(f"if [ $1 = list ]; then echo 'table inet ours'; else echo '{output}'; fi")
    assert HOST.table("inet", "ours") == system.Listing({}, "")


def test_a_failure_to_list_is_an_error(nft):
    nft('echo "Error: Operation not permitted" >&2; exit 1')
    with pytest.raises(system.HostError, match=r"^nft list tables: Error: Operation not permitted$"):
        HOST.table("inet", "ours")


def test_a_script_reaches_nft_as_its_input(nft):
    # The builtin read: there is nothing else on the search path.
    asked = nft('echo "$@" > $asked; while read -r line; do echo "$line" >> $asked; done')
    HOST.nft("add table inet ours\nadd table inet x\n")
    assert asked.read_text() == "-f -\nadd table inet ours\nadd table inet x\n"


@pytest.mark.parametrize(
    "script, message",
    [
        ('echo "Error: No such file or directory" >&2; exit 1', "nft -f -: Error: No such file or directory"),
        ("exit 3", "nft -f -: failed without a word"),
    ],
)
def test_a_script_that_fails_is_told(nft, script, message):
    nft(script)
    with pytest.raises(system.HostError) as error:
        HOST.nft("add table inet ours\n")
    assert str(error.value) == message
    assert not isinstance(error.value, system.NftMissing)


def test_an_nft_that_does_not_answer_is_told(nft, monkeypatch):
    monkeypatch.setattr(system, "NFT_TIMEOUT", 0.01)
    nft("while :; do :; done")
    with pytest.raises(system.HostError, match=r"^nft -f -: no answer in 0.01 seconds$"):
        HOST.nft("add table inet ours\n")


def test_an_nft_that_cannot_be_run_is_told(nft, tmp_path):
    nft("")
    (tmp_path / "bin" / "nft").write_bytes(b"no program")
    with pytest.raises(system.HostError, match=r"^nft -f -: Exec format error$"):
        HOST.nft("add table inet ours\n")


def test_without_nft_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(system.NftMissing, match="install the package nftables"):
        HOST.table("inet", "ours")
    with pytest.raises(system.NftMissing, match="install the package nftables"):
        HOST.nft("add table inet ours\n")
