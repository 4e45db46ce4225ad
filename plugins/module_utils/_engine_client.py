# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The modules' side of the engine: find it on the host, or take the one that was sent, and ask it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import typing as t

from ansible_collections.netpolicy.host.plugins.module_utils._host import paths

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "request": {"type": "str", "no_log": True},
    "engine_digest": {"type": "str"},
    "engine_sha256": {"type": "str"},
    "engine": {"type": "str", "no_log": True},
}
"""What the action plugins pass to every module that asks the engine."""


def ask(module: AnsibleModule) -> dict[str, t.Any]:
    """The engine's answer to the action plugin's request.

    Ends the module where there is no engine yet, or where the engine reports an error. A request with
    `if_installed` is answered without an engine on a host that holds nothing of ours.
    """
    if sys.version_info < (3, 9):  # noqa: UP036  # older ones get as far as here
        module.fail_json(msg=f"needs Python 3.9 or later on the host, found {sys.version.split()[0]}")
    if not module.params["request"] or not module.params["engine_digest"]:
        module.fail_json(msg="this module works through its action plugin: call it as a task")
    request = {**json.loads(module.params["request"]), "check": module.check_mode}
    if request.get("if_installed") and not paths.is_anything_installed():
        module.exit_json(changed=False, digest=None, conntrack_deleted=0)
    path = _path(module)
    code, output, errors = module.run_command(
        [sys.executable, "-I", path], data=json.dumps(request), binary_data=False
    )
    try:
        answer = json.loads(output)
    except ValueError:
        last = errors.strip().splitlines()[-1:] or ["no output"]
        module.fail_json(msg=f"the engine on the host ended with code {code}: {last[0]}")
    if "error" in answer:
        module.fail_json(msg=answer.pop("error"), **answer)
    if "skipped" in answer:
        module.exit_json(changed=False, skipped=True, skip_reason=answer["skipped"])
    for note in answer.get("notes", []):
        module.warn(note)
    return answer


def _path(module: AnsibleModule) -> str:
    if module.params["engine"]:
        path = os.path.join(module.tmpdir, "netpolicy-host-engine.pyz")
        with open(path, "wb") as file:
            file.write(base64.b64decode(module.params["engine"]))
        return path
    path = paths.engine_path(module.params["engine_digest"])
    if _sha256(path) != module.params["engine_sha256"]:
        module.exit_json(changed=False, engine_missing=True)
    return path


def _sha256(path: str) -> str | None:
    """Of a file's content: a file that was cut off or replaced is as good as none."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None
