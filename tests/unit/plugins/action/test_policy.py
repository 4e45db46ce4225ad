# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of enforcing a policy, with the real engine on a host in memory as the other side."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.netpolicy.host.plugins.action import policy as plugin
from ansible_collections.netpolicy.host.plugins.action import policy_info
from ansible_collections.netpolicy.host.plugins.module_utils._host import engine, paths, transaction
from ansible_collections.netpolicy.host.plugins.module_utils._host.provenance import Extent
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.plugin_utils import _artefact, _engine
from ansible_collections.netpolicy.host.tests.unit.plugins.action import tasks
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

SMALL = samples.host([samples.policy("web", [samples.rule()])])
LARGE = samples.host(
    [samples.policy("web", [samples.rule(source=model.Side(("s:many",)))])],
    sets={
        "s:many": model.AddressSet("many", tuple(f"10.{a}.{b}.1/32" for a in range(64) for b in range(99)))
    },
)


class Far:
    """A managed host in memory, on which our modules run as by Ansible; `calls` are their arguments."""

    def __init__(self) -> None:
        self.host = MemoryHost()
        self.calls: list[dict[str, t.Any]] = []

    def run_module(
        self, module_name: str, module_args: dict[str, t.Any], task_vars: object
    ) -> dict[str, t.Any]:
        del module_name, task_vars
        request = {**json.loads(module_args["request"]), "check": False}
        self.calls.append({**module_args, "request": request})
        digest, sent = module_args["engine_digest"], module_args.get("engine")
        if request.get("if_installed") and not self.host.contents:
            return {"changed": False, "digest": None}
        installed, _mode = self.host.contents.get(paths.engine_path(digest), (b"", 0))
        if not sent and hashlib.sha256(installed).hexdigest() != module_args["engine_sha256"]:
            return {"changed": False, "engine_missing": True}
        packed = transaction.EngineFile(digest, base64.b64decode(sent) if sent else installed)
        return engine.serve(self.host, packed, request)


@pytest.fixture(name="far")
def fixture_far(monkeypatch):
    far = Far()
    for one in (plugin, policy_info):
        # `self` first: the action that runs the module.
        monkeypatch.setattr(one.ActionModule, "_execute_module", lambda _self, **call: far.run_module(**call))
    return far


@pytest.fixture(name="compiled")
def fixture_compiled(tmp_path):
    def compile_(**policies: model.HostPolicy | None) -> dict[str, str]:
        enforced = _artefact.count(policies)
        extent = Extent("0" * 16, len(policies), enforced, enforced)
        return {"directory": str(_artefact.write_temporary(policies, extent, tmp_path))}

    return compile_


def run(host: str = "node", **arguments: t.Any) -> dict[str, t.Any]:
    action = tasks.action(plugin.ActionModule, **arguments)
    return action.run(task_vars={"inventory_hostname": host})


def test_the_engine_travels_once(far, compiled):
    for changed in (True, False):
        answer = run(compiled=compiled(node=SMALL))
        assert (answer["changed"], answer["digest"]) == (changed, SMALL.digest)
    assert [bool(call.get("engine")) for call in far.calls] == [False, True, False]
    assert {call["engine_digest"] for call in far.calls} == {_engine.engine().digest}
    stored, _mode = far.host.contents[paths.engine_path(_engine.engine().digest)]
    assert stored == _engine.engine().archive


def test_a_small_policy_travels_at_once_and_a_large_one_when_it_is_missing(far, compiled):
    assert len(model.dumps(LARGE)) > plugin.SEND_AT_ONCE > len(model.dumps(SMALL))
    run(compiled=compiled(node=SMALL))
    far.calls.clear()
    for policy, sent in ((SMALL, [True]), (LARGE, [False, True]), (LARGE, [False]), (SMALL, [True])):
        run(compiled=compiled(node=policy), shrink_limit=100)
        assert [bool(call["request"]["policy"]) for call in far.calls] == sent
        far.calls.clear()


def test_a_host_gets_its_own_policy(far, compiled):
    other = samples.host([samples.policy("db", [samples.rule()])])
    run(host="node", compiled=compiled(near=other, node=SMALL))
    assert any(name.startswith("GlobalNetworkPolicy/web/ingress/") for name in far.host.ours)


def test_a_host_without_endpoint_loses_the_policy_it_has(far, compiled):
    run(compiled=compiled(node=SMALL))
    assert run(compiled=compiled(near=SMALL, node=None))["changed"]
    assert far.host.is_clean()


def test_a_host_that_never_had_an_endpoint_is_sent_nothing_but_a_question(far, compiled):
    assert run(compiled=compiled(near=SMALL, node=None)) == {"changed": False, "digest": None}
    assert [call.get("engine") for call in far.calls] == [None]


def test_a_host_that_compile_has_not_seen_keeps_what_it_has(far, compiled):
    run(compiled=compiled(node=SMALL))
    before = far.host.state()
    with pytest.raises(AnsibleActionFail, match=r"^host node was not in the inventory that was compiled"):
        run(compiled=compiled(near=SMALL))
    assert far.host.state() == before


def test_a_policy_belongs_on_its_own_host(far, compiled):
    with pytest.raises(AnsibleActionFail, match=r"^delegated to other: the policy of node belongs on node"):
        run(compiled=compiled(node=SMALL), delegate_to="other")
    assert far.calls == []
    assert run(compiled=compiled(node=SMALL), delegate_to="node")["changed"]


def test_a_host_without_endpoint_keeps_the_policy_of_another_name_of_it(far, compiled):
    run(compiled=compiled(node=SMALL))
    answer = run(host="alias", compiled=compiled(node=SMALL, alias=None))
    assert answer["error"].startswith("this machine enforces the policy of host node, not of alias")
    assert far.host.ours


def test_absent_needs_no_compiled_policies(far, compiled):
    run(compiled=compiled(node=SMALL))
    assert run(state="absent")["changed"]
    assert far.host.is_clean()


@pytest.mark.parametrize("value", [None, {}, {"directory": 5}, {"changed": False}], ids=str)
def test_present_needs_compiled_policies(far, value):
    with pytest.raises(AnsibleActionFail, match=r"^compiled: expected the result of netpolicy.host.compile"):
        run(compiled=value)
    assert far.calls == []


def test_compiled_policies_that_are_gone_are_told(far, tmp_path):
    with pytest.raises(AnsibleActionFail, match="there are no compiled policies in"):
        run(compiled={"directory": str(tmp_path / "gone")})
    assert far.calls == []


@pytest.mark.parametrize(
    "arguments",
    [{"state": "enabled"}, {"compiled": "text"}, {"polcy": {}}],
    ids=["state", "compiled", "other"],
)
def test_bad_arguments_are_refused(far, arguments):
    with pytest.raises(AnsibleActionFail):
        run(**arguments)
    assert far.calls == []


# -- owner, takeover and shrink_limit ----------------------------------------------------------------


def said(far: Far) -> dict[str, t.Any]:
    """What the last request says of the run."""
    request = far.calls[-1]["request"]
    return {key: request.get(key) for key in ("provenance", "takeover", "shrink_limit")}


@pytest.mark.parametrize("policy", [SMALL, LARGE, None], ids=["small", "large", "none"])
def test_the_host_is_told_whose_run_it_is_and_what_it_saw(far, compiled, policy):
    everything = compiled(node=policy, near=SMALL, lone=None)
    extent = {
        "id": "0" * 16,
        "hosts": 3,
        "hosts_with_policy": 1 + bool(policy),
        "endpoints": 1 + bool(policy),
    }
    run(compiled=everything)
    assert said(far) == {
        "provenance": {"owner": "ansible", "inventory": extent},
        "takeover": False,
        "shrink_limit": 20,
    }
    # As -e gives them: texts.
    run(compiled=everything, owner="team-a", takeover="yes", shrink_limit="100")
    assert said(far) == {
        "provenance": {"owner": "team-a", "inventory": extent},
        "takeover": True,
        "shrink_limit": 100,
    }


def test_absent_says_nothing_of_the_run(far):
    run(state="absent", owner="team-a")
    assert said(far) == {"provenance": None, "takeover": None, "shrink_limit": None}


@pytest.mark.parametrize("wanted", [SMALL, LARGE, None], ids=["small", "large", "none"])
def test_the_policy_of_another_owner_stays_until_it_is_taken_over(far, compiled, wanted):
    run(compiled=compiled(node=SMALL, near=SMALL), owner="team-a")
    before = far.host.state()
    arguments = {"compiled": compiled(node=wanted, near=SMALL, more=SMALL), "owner": "team-b"}
    assert "belongs to owner team-a" in run(**arguments)["error"]
    assert far.host.state() == before
    assert run(**arguments, takeover=True)["changed"]


@pytest.mark.parametrize("wanted", [SMALL, None], ids=["policy", "none"])
def test_half_of_an_inventory_is_refused_until_it_is_allowed(far, compiled, wanted):
    run(compiled=compiled(node=SMALL, near=SMALL, far=SMALL))
    before = far.host.state()
    broken = compiled(node=wanted, near=SMALL if wanted is None else None)
    assert "2 of 3 are gone (66.7 %)" in run(compiled=broken)["error"]
    assert far.host.state() == before
    assert "error" not in run(compiled=broken, shrink_limit=67)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"owner": None}, r"^owner: found '', allowed: "),
        ({"shrink_limit": None}, r"shrink_limit.*NoneType"),
        ({"takeover": None}, r"takeover.*NoneType"),
        ({"owner": ""}, r"^owner: found '', allowed: 1 to 64 printable characters"),
        ({"owner": " a"}, r"^owner: found ' a', allowed: "),
        ({"owner": "a\nb"}, r"^owner: found 'a\\nb', allowed: "),
        ({"owner": "a" * 65}, r"^owner: found 'aaa"),
        ({"shrink_limit": 101}, r"^shrink_limit: found 101, allowed: a percentage from 0 to 100$"),
        ({"shrink_limit": -1}, r"^shrink_limit: found -1, allowed: "),
        ({"shrink_limit": "much"}, r"shrink_limit.*much"),
        ({"takeover": "perhaps"}, r"takeover.*perhaps"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(far, compiled, arguments, message):
    with pytest.raises(AnsibleActionFail, match=message):
        run(compiled=compiled(node=SMALL), **arguments)
    assert far.calls == []


@pytest.mark.parametrize(
    "connection, windows, reason",
    [
        ("ansible.netcommon.network_cli", False, "it is a network device"),
        ("network_cli", False, "it is a network device"),
        ("ansible.netcommon.netconf", False, "it is a network device"),
        ("ansible.netcommon.httpapi", False, "it is a network device"),
        ("ansible.builtin.winrm", True, "it runs Windows"),
        ("ansible.builtin.ssh", True, "it runs Windows"),
    ],
)
def test_hosts_that_are_no_linux_are_skipped_with_a_reason(far, connection, windows, reason):
    where = {"connection": connection, "windows": windows}
    for result in (run(state="absent", **where), information(**where)):
        assert result == {"changed": False, "skipped": True, "skip_reason": f"not a Linux host: {reason}"}
    assert far.calls == []


# -- policy_info -------------------------------------------------------------------------------------


def information(**where: t.Any) -> dict[str, t.Any]:
    return tasks.action(policy_info.ActionModule, **where).run(task_vars={})


def test_information_needs_the_engine_too(far):
    assert information()["installed"] is None
    assert [bool(call.get("engine")) for call in far.calls] == [False, True]


@pytest.mark.usefixtures("far")
def test_information_of_what_is_enforced(compiled):
    run(compiled=compiled(node=SMALL))
    assert information()["installed"]["digest"] == SMALL.digest
