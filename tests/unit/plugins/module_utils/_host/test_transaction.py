# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and application of a policy, step by step and with nft failing at every step."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._host import paths, state, system, transaction
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import counters, nftables
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import (
    policy,
    rule,
)

ENGINE = transaction.EngineFile("e1" * 32, b"the engine")
UPGRADE = transaction.EngineFile("e2" * 32, b"a later engine")
WEB = samples.host([policy("web", [rule(protocol=model.TCP)], [rule(protocol=model.TCP)])])
DENY = samples.host([policy("web", [rule(model.DENY)], [rule(protocol=model.TCP)])])


def planned(host: MemoryHost, wanted: model.HostPolicy | None, engine: transaction.EngineFile = ENGINE):
    return transaction.plan(state.read_state(host), wanted, engine)


def enforce(
    host: MemoryHost, wanted: model.HostPolicy | None, engine: transaction.EngineFile = ENGINE
) -> transaction.Plan:
    plan = planned(host, wanted, engine)
    transaction.apply(host, plan)
    return plan


def enforcing(wanted: model.HostPolicy, engine: transaction.EngineFile = ENGINE) -> MemoryHost:
    host = MemoryHost()
    enforce(host, wanted, engine)
    return host


def rules_in_force(host: MemoryHost) -> dict[str, list[str]]:
    return {name: one.members for name, one in host.in_force().items()}


def table_of(wanted: model.HostPolicy) -> dict[str, list[str]]:
    host = MemoryHost()
    host.nft(nftables.text(wanted))
    return {name: one.members for name, one in host.ours.items()}


def assert_enforces(
    host: MemoryHost, wanted: model.HostPolicy, engine: transaction.EngineFile = ENGINE
) -> None:
    """The host holds this policy, whole, and nothing else."""
    assert {name: one.members for name, one in host.ours.items()} == table_of(wanted)
    record = state.read_state(host).record
    assert record is not None
    assert record.policy == wanted
    assert record.digest == wanted.digest
    assert record.engine == engine.digest
    assert set(host.contents) == {paths.POLICY_FILE, paths.engine_path(engine.digest)}
    assert host.contents[paths.engine_path(engine.digest)] == (engine.content, 0o755)
    assert state.read_state(host).drift == ()


# -- one change after the other ----------------------------------------------------------------------


@given(samples.untracked_policies())
def test_the_first_run_changes_and_the_second_does_not(wanted):
    host = MemoryHost()
    first = enforce(host, wanted)
    assert first.changed
    assert first.before == ""
    assert_enforces(host, wanted)

    before, effects = host.state(), host.effects
    second = enforce(host, wanted)
    assert second.is_empty
    assert not second.changed
    assert second.before == second.after
    assert host.state() == before
    assert host.effects == effects


@given(samples.untracked_policies(), samples.untracked_policies())
def test_another_policy_replaces_the_first(old, new):
    host = enforcing(old)
    plan = enforce(host, new)
    assert plan.changed == (old.digest != new.digest)
    assert_enforces(host, new)
    assert planned(host, new).is_empty


def test_the_plan_shows_both_policies_and_the_engine():
    plan = planned(enforcing(WEB), DENY, UPGRADE)
    assert plan.before.startswith("GlobalNetworkPolicy/web ingress: allow TCP\n")
    assert plan.after.startswith("GlobalNetworkPolicy/web ingress: deny\n")
    assert plan.before.endswith("engine e1e1e1e1e1e1e1e1\n")
    assert plan.after.endswith("engine e2e2e2e2e2e2e2e2\n")


def test_the_record_is_private_and_says_when():
    content, mode = enforcing(WEB).contents[paths.POLICY_FILE]
    assert mode == 0o600
    applied = dt.datetime.fromisoformat(json.loads(content)["applied"])
    assert applied.utcoffset() == dt.timedelta(0)


def test_counters_survive_the_change_of_other_rules():
    tcp = rule(protocol=model.TCP)
    old = samples.host([policy("web", [tcp, rule(protocol=model.UDP)])])
    new = samples.host([policy("web", [rule(model.DENY, protocol=model.ICMP), tcp])])
    names = [counters.of_rules(one.policies["GlobalNetworkPolicy/web"]) for one in (old, new)]
    name = names[0]["GlobalNetworkPolicy/web/ingress/0"]
    assert name == names[1]["GlobalNetworkPolicy/web/ingress/1"]
    host = enforcing(old)
    host.ours[name].packets = 7
    enforce(host, new)
    assert host.ours[name].packets == 7


def test_a_change_of_places_alone_is_recorded_and_is_no_change():
    host = enforcing(samples.untracked_sample())
    moved = dataclasses.replace(
        samples.untracked_sample(), places={"GlobalNetworkPolicy/web/ingress/0": "other.yml:1"}
    )
    plan = enforce(host, moved)
    assert not plan.changed
    assert plan.steps == ()
    assert_enforces(host, moved)
    assert planned(host, moved).is_empty


# -- engine ------------------------------------------------------------------------------------------


def test_another_engine_replaces_the_first_and_touches_no_packet():
    host = enforcing(WEB)
    plan = enforce(host, WEB, UPGRADE)
    assert plan.changed
    assert plan.steps == ()
    assert_enforces(host, WEB, UPGRADE)
    assert not planned(host, WEB, UPGRADE).changed


def test_a_lost_engine_is_written_again():
    host = enforcing(WEB)
    host.remove(paths.engine_path(ENGINE.digest))
    assert planned(host, WEB).changed
    enforce(host, WEB)
    assert_enforces(host, WEB)


@pytest.mark.parametrize("content", [b"", b"the engin", b"another"])
def test_a_damaged_engine_is_written_again(content):
    host = enforcing(WEB)
    host.contents[paths.engine_path(ENGINE.digest)] = (content, 0o755)
    assert planned(host, WEB).changed
    enforce(host, WEB)
    assert_enforces(host, WEB)


def test_other_files_in_the_engines_directory_go():
    host = enforcing(WEB)
    host.write(f"{paths.ENGINE_DIRECTORY}/engine-old.pyz", b"", 0o755)
    assert enforce(host, WEB).changed
    assert_enforces(host, WEB)


# -- drift -------------------------------------------------------------------------------------------

DRIFTS = {
    "a rule was added": (
        "add rule inet netpolicy_host raw-prerouting accept\n",
        "chain raw-prerouting has 'accept', which is not ours",
    ),
    "a chain was emptied": (
        "flush chain inet netpolicy_host raw-output\n",
        "'oifname vmap @.* is missing from chain raw-output, or was changed",
    ),
    "a chain was added": ("add chain inet netpolicy_host mine\n", "chain mine is not ours"),
    "the table was deleted": ("delete table inet netpolicy_host\n", "the table is missing"),
}


@pytest.mark.parametrize("script, told", DRIFTS.values(), ids=DRIFTS)
@pytest.mark.parametrize("wanted", [WEB, DENY], ids=["the same policy", "another policy"])
def test_drift_is_seen_shown_and_repaired(script, told, wanted):
    host = enforcing(WEB)
    host.nft(script)
    (drift,) = state.read_state(host).drift
    assert re.fullmatch(told, drift)
    plan = enforce(host, wanted)
    assert plan.changed
    assert len(plan.steps) <= 2
    assert f"({drift})\n" in plan.before
    assert drift not in plan.after
    assert_enforces(host, wanted)
    assert not planned(host, wanted).changed


def guarded(elements: int) -> model.HostPolicy:
    return samples.host(
        [policy("web", [rule(source=model.Side(("s:x",)))])],
        sets={
            "s:x": model.AddressSet(
                "x", tuple(f"10.{one // 256}.{one % 256}.0/32" for one in range(elements))
            )
        },
    )


@pytest.mark.parametrize("elements, seen", [(2, True), (5000, True), (5001, False)])
def test_drift_of_what_a_set_holds_is_seen_where_it_is_not_large(elements, seen):
    host = enforcing(guarded(elements))
    (name,) = (name for name in host.ours if host.ours[name].kind == "set")
    host.ours[name].members.pop()
    assert bool(state.read_state(host).drift) == seen
    enforce(host, guarded(elements))
    assert bool(host.ours[name].members[elements - 1 :]) == seen


def test_drift_of_what_a_map_holds_is_seen():
    host = enforcing(WEB)
    (name,) = (
        name for name in host.ours if name.startswith("raw-ingress-") and host.ours[name].kind == "map"
    )
    host.ours[name].members.clear()
    assert state.read_state(host).drift == (f"map {name} was changed",)
    enforce(host, WEB)
    assert_enforces(host, WEB)


@given(samples.untracked_policies())
def test_another_nft_that_lists_the_same_table_in_other_words_is_no_drift(wanted):
    host = enforcing(wanted)
    before = host.state()
    host.nft_version = "1.1.0"
    assert state.read_state(host).drift == ()
    plan = enforce(host, wanted)
    assert (plan.changed, plan.steps) == (False, ())
    assert_enforces(host, wanted)
    assert host.state()[0] == before[0]
    assert planned(host, wanted).is_empty


def test_drift_under_another_nft_is_seen_where_names_tell():
    host = enforcing(WEB)
    host.nft_version = "1.1.0"
    host.nft("flush chain inet netpolicy_host raw-output\n")
    assert state.read_state(host).drift == ("the table was changed by something else",)
    enforce(host, WEB)
    assert_enforces(host, WEB)


def test_a_table_of_ours_without_a_record_is_built_anew():
    host = MemoryHost()
    host.nft("add table inet netpolicy_host\n")
    host.nft("add chain inet netpolicy_host left\n")
    plan = enforce(host, WEB)
    assert plan.before == "(the table exists, but no policy is installed)\n"
    assert_enforces(host, WEB)


def test_other_tables_are_left_alone():
    host = MemoryHost()
    host.nft("add table inet filter\n")
    host.nft("add chain inet filter input\n")
    other = host.tables[("inet", "filter")]
    enforce(host, WEB)
    enforce(host, DENY)
    enforce(host, None)
    assert host.tables == {("inet", "filter"): other}


# -- a record that cannot be read --------------------------------------------------------------------

RECORD = json.loads(enforcing(samples.untracked_sample()).contents[paths.POLICY_FILE][0])


def with_record(content: bytes) -> MemoryHost:
    host = enforcing(samples.untracked_sample())
    host.contents[paths.POLICY_FILE] = (content, 0o600)
    return host


OPTIONAL = ("whole", "prints")
UNREADABLE = {
    "empty": b"",
    "broken": b"{",
    "not text": b"\xff",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 100000,
    "of an older format": json.dumps({**RECORD, "format": 0}).encode(),
    "of another digest": json.dumps({**RECORD, "digest": "0" * 64}).encode(),
    **{f"{key} null": json.dumps({**RECORD, key: None}).encode() for key in RECORD if key not in OPTIONAL},
    **{
        f"{key} missing": json.dumps(samples.without(RECORD, (key,))).encode()
        for key in RECORD
        if key != "prints"
    },
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_record_that_cannot_be_read_counts_as_none(content):
    host = with_record(content)
    current = state.read_state(host)
    assert current.record is None
    assert len(current.notes) == 1
    assert current.notes[0].startswith(
        "/etc/netpolicy-host/policy.json cannot be read and counts as absent: "
    )
    enforce(host, WEB)
    assert_enforces(host, WEB)


@pytest.mark.parametrize(
    "steps, known", [(("format",), state.RECORD_FORMAT), (("policy", "format"), model.FORMAT)]
)
def test_a_record_of_a_newer_version_is_left_alone(steps, known):
    host = with_record(json.dumps(samples.replaced(RECORD, steps, known + 1)).encode())
    for wanted in (WEB, None):
        with pytest.raises(
            system.HostError, match=rf"was written by a newer version .*format {known + 1}.* reads {known}\)"
        ):
            planned(host, wanted)


def test_a_record_of_an_older_policy_format_can_be_trusted_without_being_read():
    older = samples.replaced(RECORD, ("policy",), {"format": model.FORMAT - 1, "something": "else"})
    host = with_record(json.dumps(older).encode())
    record = state.read_state(host).record
    assert record is not None
    assert (record.policy, record.digest) == (None, samples.untracked_sample().digest)
    assert state.read_state(host).drift == ()
    plan = enforce(host, WEB)
    assert plan.before == "(a policy of another version)\n"
    assert len(plan.steps) == 3
    assert_enforces(host, WEB)


FORMATS = (("format",), ("policy", "format"), ("policy",))


@given(
    st.sampled_from([steps for steps in samples.positions(RECORD) if steps and steps not in FORMATS]),
    samples.junk(),
)
def test_whatever_a_record_holds_the_policy_can_be_applied_and_removed(steps, value):
    text = json.dumps(samples.replaced(RECORD, steps, value), default=str, skipkeys=True)
    host = with_record(text.encode())
    enforce(host, WEB)
    assert_enforces(host, WEB)
    host.contents[paths.POLICY_FILE] = (text.encode(), 0o600)
    enforce(host, None)
    assert host.is_clean()


# -- removal -----------------------------------------------------------------------------------------


@given(samples.untracked_policies())
def test_removal_leaves_nothing(wanted):
    host = enforcing(wanted)
    plan = enforce(host, None)
    assert plan.changed
    assert plan.after == ""
    assert host.is_clean()
    assert planned(host, None).is_empty


def test_there_is_nothing_to_remove_from_an_untouched_host():
    host = MemoryHost()
    host.write("/etc/hosts", b"", 0o644)
    assert planned(host, None).is_empty


@pytest.mark.parametrize(
    "path", [paths.POLICY_FILE, paths.engine_path("0" * 64), f"{paths.CONFIG_DIRECTORY}/anything"]
)
def test_any_single_file_of_ours_is_removed(path):
    host = MemoryHost()
    host.write(path, b"", 0o644)
    assert enforce(host, None).changed
    assert host.is_clean()


@pytest.mark.parametrize("directory", [paths.CONFIG_DIRECTORY, paths.ENGINE_DIRECTORY])
def test_an_empty_directory_of_ours_is_removed(directory):
    host = MemoryHost()
    host.directories.add(directory)
    assert enforce(host, None).changed
    assert host.is_clean()


def test_a_table_alone_is_removed():
    host = MemoryHost()
    host.nft("add table inet netpolicy_host\n")
    assert enforce(host, None).changed
    assert host.tables == {}


def test_what_is_removed_can_be_installed_again():
    host = enforcing(WEB)
    enforce(host, None)
    enforce(host, WEB)
    assert_enforces(host, WEB)


# -- nft failing -------------------------------------------------------------------------------------


def fail_from_now(host: MemoryHost, step: int) -> None:
    host.fail_at = len(host.scripts) + step


@given(samples.untracked_policies(), samples.untracked_policies(), st.integers(0, 2))
def test_wherever_nft_fails_the_old_or_the_new_policy_is_in_force_whole(old, new, step):
    host = enforcing(old)
    record, table, before = host.contents[paths.POLICY_FILE], host.state(), rules_in_force(host)
    fail_from_now(host, step)
    plan = planned(host, new)
    if step >= len(plan.steps):
        transaction.apply(host, plan)
        assert_enforces(host, new)
        return
    with pytest.raises(system.HostError, match=r"busy$"):
        transaction.apply(host, plan)
    assert host.contents[paths.POLICY_FILE] == record
    switched = any(not one.undo for one in plan.steps[:step])
    if switched:
        # Only the removal of what is not in use any more was left to do.
        assert rules_in_force(host).items() <= table_of(new).items()
    else:
        assert rules_in_force(host) == before
        assert host.state() == table
    host.fail_at = None
    enforce(host, new)
    assert_enforces(host, new)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_each_step_of_a_change_may_fail(step):
    host = enforcing(WEB)
    before, scripts = host.state(), len(host.scripts)
    fail_from_now(host, step)
    with pytest.raises(system.HostError, match=r"^nft -f -: Error: Device or resource busy$"):
        enforce(host, DENY)
    if step < 2:
        assert host.state() == before
    else:
        # Packets have taken the new way; what is left to tidy up is told by the next run's drift.
        assert rules_in_force(host).items() <= table_of(DENY).items()
        assert len(host.scripts) == scripts + step + 1
    host.fail_at = None
    enforce(host, DENY)
    assert_enforces(host, DENY)


@pytest.mark.parametrize("step", [0, 1])
def test_a_first_policy_that_fails_leaves_no_table_and_no_record(step):
    host = MemoryHost()
    fail_from_now(host, step)
    with pytest.raises(system.HostError, match="busy"):
        enforce(host, WEB)
    assert host.tables == {}
    assert paths.POLICY_FILE not in host.contents
    host.fail_at = None
    enforce(host, WEB)
    assert_enforces(host, WEB)


def test_an_addition_that_cannot_be_taken_back_is_told_with_the_first_error():
    host = enforcing(WEB)
    table = rules_in_force(host)
    plan = planned(host, DENY)

    class Dead(MemoryHost):
        """The kernel takes one more script and then none."""

        def nft(self, script: str) -> None:
            if self.scripts:
                raise system.HostError(f"no {len(self.scripts)}")
            super().nft(script)

    dying = Dead()
    dying.tables, dying.contents = host.tables, host.contents
    with pytest.raises(
        system.HostError, match=r"^no 1; and what was added before it could not be removed: no 1$"
    ):
        transaction.apply(dying, plan)
    assert rules_in_force(dying) == table


def test_a_repair_that_fails_leaves_the_table_as_it_was():
    host = enforcing(WEB)
    host.nft(DRIFTS["a rule was added"][0])
    before = host.state()
    fail_from_now(host, 0)
    with pytest.raises(system.HostError, match="busy"):
        enforce(host, WEB)
    assert host.state() == before


def test_a_removal_that_fails_leaves_everything():
    host = enforcing(WEB)
    before = host.state()
    fail_from_now(host, 0)
    with pytest.raises(system.HostError, match="busy"):
        enforce(host, None)
    assert host.state() == before
    assert_enforces(host, WEB)


class Dying(MemoryHost):
    """A host whose engine is killed instead of having the n-th effect."""

    dies_at = 0

    def _lives(self) -> None:
        if self.effects == self.dies_at:
            raise KeyboardInterrupt

    def nft(self, script: str) -> None:
        self._lives()
        super().nft(script)

    def write(self, path: str, content: bytes, mode: int) -> None:
        self._lives()
        super().write(path, content, mode)

    def remove(self, path: str) -> None:
        self._lives()
        super().remove(path)


@pytest.mark.parametrize("old", [None, WEB], ids=["first policy", "another policy"])
@pytest.mark.parametrize("wanted", [DENY, None], ids=["apply", "remove"])
def test_a_death_at_any_moment_is_repaired_by_the_next_run(old, wanted):
    """And it shows: whatever is half done, the record does not vouch for it."""
    deaths = 0
    while True:
        host = Dying()
        host.dies_at = -1
        if old is not None:
            enforce(host, old)
        before, host.dies_at = rules_in_force(host), host.effects + deaths
        try:
            enforce(host, wanted, UPGRADE)
        except KeyboardInterrupt:
            deaths += 1
        else:
            break
        in_force = rules_in_force(host)
        assert in_force in (before, {}) or in_force.items() <= table_of(DENY).items()
        host.dies_at = -1
        assert not planned(host, wanted, UPGRADE).is_empty
        enforce(host, wanted, UPGRADE)
        if wanted is None:
            assert host.is_clean()
        else:
            assert_enforces(host, wanted, UPGRADE)
    assert deaths >= (6 if wanted is not None else 0)


def test_a_death_before_drift_is_repaired_does_not_make_the_drift_good():
    host = Dying()
    host.dies_at = -1
    enforce(host, WEB)
    host.ours["raw-prerouting"].members.insert(0, "accept")
    host.dies_at = host.effects + 1  # the record is written, the table is not
    with pytest.raises(KeyboardInterrupt):
        enforce(host, WEB)
    host.dies_at = -1
    assert state.read_state(host).drift == ("the table was changed by something else",)
    enforce(host, WEB)
    assert_enforces(host, WEB)


def test_a_file_that_was_never_finished_goes_with_the_next_run_and_is_no_change():
    host = enforcing(WEB)
    path = f"{paths.CONFIG_DIRECTORY}/.policy.json.8f3k2a_x"
    host.write(path, b'{"applied": "2026-', 0o600)
    host.write(f"{paths.CONFIG_DIRECTORY}/notes", b"somebody else's", 0o644)
    plan = enforce(host, WEB)
    assert (plan.remove, plan.changed) == ((path,), False)
    assert planned(host, WEB).is_empty
    assert host.read(f"{paths.CONFIG_DIRECTORY}/notes") is not None


def test_a_host_that_cannot_be_written_to_is_found_before_anything_is_in_force():
    host = enforcing(WEB)
    before = host.state()

    class Full(MemoryHost):
        """No file can be written."""

        def write(self, path: str, _content: bytes, _mode: int) -> None:
            raise system.HostError(f"cannot write {path}: No space left on device")

    full = Full()
    full.tables, full.contents, full.directories = host.tables, host.contents, host.directories
    with pytest.raises(system.HostError, match="No space left"):
        enforce(full, DENY)
    assert full.state() == before
