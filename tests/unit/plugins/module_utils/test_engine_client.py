# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules find the engine and hand on its answer; small programs stand in for the engine."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils import _engine_client
from ansible_collections.netpolicy.host.plugins.module_utils._host import paths

DIGEST = "e1" * 32
ECHO = "import json, sys; print(json.dumps({'asked': json.load(sys.stdin), 'isolated': sys.flags.isolated}))"


class Ended(Exception):  # a module that has ended is no error
    """The module has ended with this result."""

    def __init__(self, **result: object) -> None:
        super().__init__(result)
        self.result = result


class Module:
    """What the client needs of an AnsibleModule."""

    def __init__(self, tmpdir: str, **params: object) -> None:
        self.params = {"request": '{"verb": "info"}', "engine_digest": DIGEST, "engine": None, **params}
        self.params.setdefault("engine_sha256", hashlib.sha256(ECHO.encode()).hexdigest())
        self.check_mode = False
        self.tmpdir = tmpdir
        self.warnings: list[str] = []

    def run_command(self, command, data, binary_data):
        assert not binary_data
        done = subprocess.run(command, input=data, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def fail_json(self, **result):
        raise Ended(failed=True, **result)

    def exit_json(self, **result):
        raise Ended(**result)

    def warn(self, text):
        self.warnings.append(text)


@pytest.fixture(name="module")
def fixture_module(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ENGINE_DIRECTORY", str(tmp_path / "installed"))
    monkeypatch.setattr(paths, "CONFIG_DIRECTORY", str(tmp_path / "none"))
    (tmp_path / "installed").mkdir()
    (tmp_path / "sent").mkdir()

    def make(installed: str | None = None, sent: str | None = None, **params: object) -> Module:
        if installed is not None:
            (tmp_path / "installed" / "engine-e1e1e1e1e1e1e1e1.pyz").write_text(installed)
            params.setdefault("engine_sha256", hashlib.sha256(installed.encode()).hexdigest())
        engine = None if sent is None else base64.b64encode(sent.encode()).decode()
        return Module(str(tmp_path / "sent"), engine=engine, **params)

    return make


def ended(module: t.Any) -> dict[str, t.Any]:
    with pytest.raises(Ended) as end:
        _engine_client.ask(module)
    return end.value.result


@pytest.mark.parametrize("where", ["installed", "sent"])
def test_the_engine_is_asked_and_its_answer_returned(module, where):
    answer = _engine_client.ask(module(**{where: ECHO}, request='{"verb": "info", "text": "ä"}'))
    assert answer == {"asked": {"verb": "info", "text": "ä", "check": False}, "isolated": 1}


def test_check_mode_is_the_modules(module):
    asking = module(installed=ECHO, request='{"check": false}')
    asking.check_mode = True
    assert _engine_client.ask(asking)["asked"] == {"check": True}


def test_the_engine_that_was_sent_is_asked_rather_than_an_installed_one(module):
    assert "asked" in _engine_client.ask(module(installed="raise SystemExit(1)", sent=ECHO))


def test_without_an_engine_the_module_says_so(module):
    assert ended(module()) == {"changed": False, "engine_missing": True}


def test_an_engine_of_another_digest_is_none(module):
    assert ended(module(installed=ECHO, engine_digest="f" * 64)) == {"changed": False, "engine_missing": True}


@pytest.mark.parametrize("content", ["", ECHO[:-1], "import os"])
def test_an_engine_that_was_cut_off_or_replaced_is_none(module, content):
    sha256 = hashlib.sha256(ECHO.encode()).hexdigest()
    asking = module(installed=content, engine_sha256=sha256)
    assert ended(asking) == {"changed": False, "engine_missing": True}


@pytest.mark.parametrize("parameter", ["request", "engine_digest"])
def test_a_module_outside_of_its_action_says_so(module, parameter):
    result = ended(module(installed=ECHO, **{parameter: None}))
    assert result["failed"]
    assert "action plugin" in result["msg"]


def test_an_error_ends_the_module_with_what_stands_beside_it(module):
    program = 'print(\'{"error": "no nft", "nft_missing": true}\')'
    assert ended(module(installed=program)) == {"failed": True, "msg": "no nft", "nft_missing": True}


def test_a_host_that_holds_nothing_of_ours_needs_no_engine_to_say_so(module, tmp_path):
    asking = module(request='{"verb": "remove", "if_installed": true}')
    assert ended(asking) == {"changed": False, "engine_missing": True}  # it has a directory of ours
    (tmp_path / "installed").rmdir()
    assert ended(asking) == {"changed": False, "digest": None, "conntrack_deleted": 0}


def test_a_host_that_cannot_have_policy_is_skipped(module):
    program = 'print(\'{"skipped": "not a Linux host: aix"}\')'
    assert ended(module(installed=program)) == {
        "changed": False,
        "skipped": True,
        "skip_reason": "not a Linux host: aix",
    }


def test_notes_become_warnings(module):
    asking = module(installed='print(\'{"notes": ["one", "two"]}\')')
    _engine_client.ask(asking)
    assert asking.warnings == ["one", "two"]


@pytest.mark.parametrize(
    "program, message",
    [
        ("raise SystemExit('first\\nlast')", "the engine on the host ended with code 1: last"),
        ("1 / 0", "the engine on the host ended with code 1: ZeroDivisionError: division by zero"),
        ("print('not JSON')", "the engine on the host ended with code 0: no output"),
        ("", "the engine on the host ended with code 0: no output"),
    ],
)
def test_an_engine_that_dies_is_reported_without_its_traceback(module, program, message):
    assert ended(module(installed=program)) == {"failed": True, "msg": message}
