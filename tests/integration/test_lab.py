# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: hosts are apart from each other and from the machine, and nothing of them stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import connections, conntrack, firewall, reaper, services, state
from tests.lab.command import CommandError
from tests.lab.host import HostError
from tests.lab.lab import Lab
from tests.lab.plan import HostSpec, Interface, namespace_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT = Path(__file__).parents[2]
# What a person would still call at once; it takes about half a second here.
GONE_WITHIN = 5.0


@pytest.fixture(scope="module")
def pair(labs: Callable[..., Lab]) -> Lab:
    """A server, and a client with three addresses and a second interface."""
    client = HostSpec("client", (Interface("eth0", addresses=3), Interface("back0", network="back")))
    return labs("server", client)


@pytest.fixture(scope="module")
def memcached(pair: Lab) -> services.Service:
    """A memcached on the server of the pair."""
    return services.memcached(pair["server"])


def traces(lab_id: str) -> list[str]:
    """Everything on the machine that belongs to a lab: namespaces, processes, mounts, its directory."""
    mark = f"{namespace_prefix(lab_id)}|{state.directory(lab_id)}"
    found = [f"namespace {name}" for name in reaper.namespaces_of(lab_id)]
    found += [f"process {pid}" for pid in reaper.processes_of(reaper.namespaces_of(lab_id))]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if re.search(mark, line):
            found.append(f"process {path.parent.name}: {line}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if re.search(mark, line)]
    return found + [f"directory {path}" for path in state.STATE.glob(f"*{lab_id}*")]


def mine() -> set[str]:
    """The labs of this process; others may have theirs on the machine at the same time."""
    return {record.plan.id for record in state.labs() if record.owner and record.owner.pid == os.getpid()}


def wait_until_gone(lab_id: str, timeout: float = GONE_WITHIN) -> list[str]:
    """What is left of a lab after at most ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while (left := traces(lab_id)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@contextmanager
def owner(script: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that owns a lab: it runs ``script``, whose first line of output is the lab's id."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    argv = [sys.executable, "-c", f"from tests.lab.lab import Lab\nimport os, time\n{script}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment, cwd=CHECKOUT) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


class TestHosts:
    """What a host is."""

    @pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
    @pytest.mark.parametrize("user", ["root", "ops"])
    @pytest.mark.parametrize("host", ["server", "client"])
    def test_ssh_reaches_it(self, pair: Lab, host: str, user: str, ipv6: bool) -> None:
        answer = pair.ssh(host, "hostname; id -un; cat /etc/hostname", user=user, ipv6=ipv6).stdout
        assert answer.split() == [host, user, host]

    def test_operator_may_become_root(self, pair: Lab) -> None:
        assert pair.ssh("server", "sudo -n id -u", user="ops").stdout.strip() == "0"

    def test_hosts_reach_each_other_by_name(self, pair: Lab) -> None:
        outcome = connections.attempt(pair["client"], pair["server"].ipv4, 22, "ssh", number=3)
        assert outcome.succeeded == 3
        assert pair["client"].run("getent", "ahostsv4", "server").stdout.split()[0] == pair["server"].ipv4

    def test_wanted_interfaces_and_addresses(self, pair: Lab) -> None:
        links = json.loads(pair["client"].run("ip", "-j", "addr").stdout)
        found = {
            link["ifname"]: sorted(a["local"] for a in link["addr_info"] if a["scope"] == "global")
            for link in links
            if link["ifname"] != "lo"
        }
        wanted = {i.name: sorted((*i.ipv4, *i.ipv6)) for i in pair["client"].plan.interfaces}
        assert found == wanted
        assert [len(addresses) for addresses in found.values()] == [6, 2]

    def test_files_are_its_own(self, pair: Lab) -> None:
        for directory in ("etc", "run", "tmp", "dev/shm", "root", "var/lib"):
            pair["server"].run("touch", f"/{directory}/np-lab-test")
            assert not Path("/", directory, "np-lab-test").exists()
            assert pair["client"].run("test", "-e", f"/{directory}/np-lab-test", check=False).returncode == 1

    def test_pinned_bpf_objects_are_its_own(self, pair: Lab) -> None:
        pair["server"].run("mkdir", "/sys/fs/bpf/np-lab-test")
        assert "np-lab-test" not in pair["client"].run("ls", "/sys/fs/bpf").stdout
        assert not Path("/sys/fs/bpf/np-lab-test").exists()
        assert pair["client"].run("stat", "-f", "-c", "%T", "/sys/fs/bpf").stdout.strip() == "bpf_fs"

    def test_ruleset_is_its_own(self, pair: Lab) -> None:
        pair["server"].run("nft", "add table inet np_lab_test")
        assert "np_lab_test" in pair["server"].run("nft", "list", "tables").stdout
        assert "np_lab_test" not in pair["client"].run("nft", "list", "tables").stdout

    def test_sees_its_own_network_alone(self, pair: Lab) -> None:
        assert set(pair["client"].run("ls", "/sys/class/net").stdout.split()) == {"lo", "eth0", "back0"}

    def test_sees_its_own_processes_alone(self, pair: Lab) -> None:
        processes = pair["client"].run("ps", "-eo", "comm=").stdout.split()
        assert processes[0] == "sh"
        assert set(processes) <= {"sh", "sshd", "sleep", "ps", "nsenter"}

    def test_cannot_change_the_machine(self, pair: Lab) -> None:
        for name in ("kernel/hostname", "vm/swappiness"):
            write = pair["server"].run("sh", "-c", f"echo x > /proc/sys/{name}", check=False)
            assert "Read-only" in write.stderr
        pair["server"].run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def test_machine_does_not_shine_through(self, pair: Lab) -> None:
        present = pair["server"].run("sh", "-c", "ls -d /etc/netpolicy-host /.dockerenv", check=False)
        assert present.stdout == ""

    def test_orphans_are_collected(self, pair: Lab) -> None:
        pair["server"].run("sh", "-c", "(sleep 0.05 &) ; (true &)")
        time.sleep(0.3)
        assert "Z" not in pair["server"].run("ps", "-eo", "stat=").stdout

    def test_restart_keeps_files_and_loses_the_rest(self, labs: Callable[..., Lab]) -> None:
        lab = labs("first", "second")
        host = lab["first"]
        assert lab.ssh("first", "echo kept > /etc/kept; echo lost > /run/lost").returncode == 0
        host.run("nft", "add table inet lost")
        lab.restart("first")
        assert lab.ssh("first", "cat /etc/kept").stdout == "kept\n"
        assert lab.ssh("first", "hostname", ipv6=True).stdout == "first\n"
        assert host.run("nft", "list", "tables").stdout == ""
        assert not (host.files / "run" / "lost").exists()
        assert lab.ssh("second", "hostname").stdout == "second\n"


class TestSeparation:
    """Labs beside each other."""

    def test_two_labs_with_hosts_of_the_same_name(self, labs: Callable[..., Lab], pair: Lab) -> None:
        other = labs("server", "client")
        assert other.id != pair.id
        addresses = [{a for h in lab.hosts.values() for a in (h.ipv4, h.ipv6)} for lab in (pair, other)]
        assert not addresses[0] & addresses[1]
        other["server"].run("touch", "/etc/np-lab-other")
        assert pair.ssh("server", "ls /etc/np-lab-other", check=False).returncode != 0
        assert other.ssh("server", "ls /etc/np-lab-other").returncode == 0

    @pytest.mark.usefixtures("pair")
    def test_nothing_is_added_to_the_machines_network(self) -> None:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert not re.search(r"\b(br0|v\d+-\d+)\b", links)

    def test_refuses_hosts_that_cannot_be(self) -> None:
        before = mine()
        with pytest.raises(ValueError, match="same name"):
            Lab.up("a", "a")
        with pytest.raises(ValueError, match="not a name"):
            Lab.up("a/b")
        assert mine() == before


class TestCleaningUp:
    """Nothing of a lab stays, however it ends."""

    def test_after_the_block(self) -> None:
        with Lab.up("a") as lab:
            assert len(traces(lab.id)) > 4
            assert lab.ssh("a", "true", share=True).returncode == 0
        assert wait_until_gone(lab.id) == []

    def test_after_an_error_in_the_block(self) -> None:
        def fail() -> None:
            with Lab.up("a") as lab:
                ids.append(lab.id)
                services.memcached(lab["a"])
                raise ZeroDivisionError

        ids: list[str] = []
        with pytest.raises(ZeroDivisionError):
            fail()
        assert wait_until_gone(ids[0]) == []

    def test_after_a_host_that_does_not_start(self, tmp_path: Path) -> None:
        before = mine()
        (tmp_path / "etc").mkdir()
        for database in ("passwd", "shadow", "group"):
            (tmp_path / "etc" / database).touch()
        with pytest.raises(HostError, match="did not start"):
            Lab.up("a", root=tmp_path)
        assert mine() == before

    def test_after_the_owner_was_killed(self) -> None:
        script = """
lab = Lab.up("a", "b")
lab["a"].spawn("sleep", "1000")
lab.ssh("b", "true", share=True)
print(lab.id, flush=True)
time.sleep(1000)
"""
        with owner(script) as (process, lab_id):
            assert len(traces(lab_id)) > 4
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert wait_until_gone(lab_id) == []

    def test_after_the_owners_whole_process_group_was_killed(self) -> None:
        script = 'os.setpgid(0, 0)\nlab = Lab.up("a")\nprint(lab.id, flush=True)\ntime.sleep(1000)'
        with owner(script) as (process, lab_id):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert wait_until_gone(lab_id) == []

    @pytest.mark.parametrize("milliseconds", [0, 40, 80, 120, 160, 200])
    def test_after_the_owner_was_killed_while_it_started(self, milliseconds: int) -> None:
        # The id is printed as soon as it is known, in the middle of everything.
        script = """
from tests.lab import reaper
start = reaper.start_watching
def watching(lab_id):
    print(lab_id, flush=True)
    return start(lab_id)
reaper.start_watching = watching
Lab.up("a", "b", "c", "d")
time.sleep(1000)
"""
        with owner(script) as (process, lab_id):
            time.sleep(milliseconds / 1000)
            process.kill()
            process.wait()
            # Killed before its reaper could start, a lab is left for the next one to remove.
            left = wait_until_gone(lab_id, GONE_WITHIN if milliseconds else 1.0)
            assert not left or milliseconds == 0
            reaper.reap()
            assert wait_until_gone(lab_id) == []

    def test_reap_removes_the_labs_of_dead_owners_only(self, pair: Lab) -> None:
        standing = Lab.up("stays", owned=False)
        try:
            # An owner that dies together with its reaper.
            script = 'lab = Lab.up("a")\nprint(lab.id, lab._watcher.pid, flush=True)\ntime.sleep(1000)'
            with owner(script) as (process, line):
                dead, watcher = line.split()
                os.kill(int(watcher), signal.SIGKILL)
                assert dead not in reaper.reap()
                process.kill()
                process.wait()
                time.sleep(0.5)
                assert traces(dead)
                assert dead in reaper.reap()
                assert wait_until_gone(dead) == []
            assert standing.ssh("stays", "hostname").stdout == "stays\n"
            assert pair.ssh("server", "hostname").stdout == "server\n"
        finally:
            standing.down()
        assert wait_until_gone(standing.id) == []

    def test_down_twice_is_no_error(self) -> None:
        lab = Lab.up("a")
        lab.down()
        lab.down()
        with pytest.raises(FileNotFoundError):
            Lab.attach(lab.id)


class TestCommandLine:
    """``python -m tests.lab``."""

    def test_up_use_down(self) -> None:
        def call(*arguments: str) -> subprocess.CompletedProcess[str]:
            argv = [sys.executable, "-m", "tests.lab", *arguments]
            return subprocess.run(argv, capture_output=True, text=True, cwd=CHECKOUT, check=False)

        up = call("up", "one", "two")
        lab_id = re.search(r"Lab (\w+) is up", up.stdout)[1]  # type: ignore[index]
        try:
            assert f"Lab {lab_id}, until down" in call("list").stdout
            assert call("shell", "--lab", lab_id, "two", "hostname").stdout == "two\n"
            inventory = re.search(r"ansible -i (\S+)", up.stdout)[1]  # type: ignore[index]
            # From the machine's own network: ssh enters the lab's by itself.
            ping = subprocess.run(
                [
                    Path(sys.executable).parent / "ansible",
                    "-i",
                    inventory,
                    "one",
                    "-m",
                    "ansible.builtin.ping",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            assert '"pong"' in ping.stdout
        finally:
            assert call("down", lab_id).returncode == 0
        assert call("down", lab_id).returncode == 1
        assert wait_until_gone(lab_id) == []


class TestConnections:
    """Counting connections rightly."""

    @pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
    def test_server_counts_the_same(self, pair: Lab, memcached: services.Service, ipv6: bool) -> None:
        server = pair["server"]
        before = self.accepted(memcached)
        address = server.ipv6 if ipv6 else server.ipv4
        outcome = connections.attempt(pair["client"], address, memcached.port, "memcached", number=500)
        assert (outcome.attempted, outcome.succeeded, outcome.failed) == (500, 500, 0)
        # The question itself takes a connection.
        assert self.accepted(memcached) - before == 500 + 1

    def accepted(self, memcached: services.Service) -> int:
        """How many connections memcached itself says it has had."""
        ask = f"exec 3<>/dev/tcp/127.0.0.1/{memcached.port}; printf 'stats\\r\\nquit\\r\\n' >&3; cat <&3"
        stats = memcached.host.run("bash", "-c", ask).stdout
        return int(dict(line.split()[1:] for line in stats.splitlines()[:-1])["total_connections"])

    def test_redis_is_answered(self, pair: Lab) -> None:
        service = services.redis(pair["server"])
        outcome = connections.attempt(pair["client"], pair["server"].ipv6, service.port, "redis", number=200)
        assert outcome.succeeded == 200
        service.stop()
        assert not pair["server"].listens_on(service.port)

    def test_closed_port(self, pair: Lab) -> None:
        outcome = connections.attempt(pair["client"], pair["server"].ipv4, 9, "memcached", number=50)
        assert (outcome.succeeded, outcome.failed, outcome.reasons) == (0, 50, {"ECONNREFUSED": 50})
        assert outcome.seconds < 1

    def test_no_such_host(self, pair: Lab) -> None:
        outcome = connections.attempt(
            pair["client"], pair["client"].ipv4[:-1] + "250", 9, "memcached", number=10, timeout=0.2
        )
        assert outcome.reasons == {"timeout": 10}

    def test_wrong_answers_are_failures(self, pair: Lab, memcached: services.Service) -> None:
        outcome = connections.attempt(
            pair["client"], pair["server"].ipv4, memcached.port, "redis", number=20, timeout=0.5
        )
        assert (outcome.succeeded, outcome.reasons) == (0, {"wrong answer": 20})

    def test_sources_take_turns(self, pair: Lab, memcached: services.Service) -> None:
        server, sources = pair["server"], pair["client"].plan.interfaces[0].ipv6
        firewall.install(server, firewall.stateful(serves=[memcached.port]))
        try:
            outcome = connections.attempt(
                pair["client"], server.ipv6, memcached.port, "memcached", number=300, sources=sources
            )
            assert outcome.succeeded == 300
            for source in sources:
                found = conntrack.entries(server, protocol="tcp", src=source, dport=memcached.port, ipv6=True)
                assert len(found) == 100
        finally:
            firewall.remove(server)

    def test_foreign_source_is_refused(self, pair: Lab) -> None:
        with pytest.raises(CommandError, match="Cannot assign requested address"):
            connections.attempt(pair["client"], pair["server"].ipv4, 22, "ssh", sources=["192.0.2.1"])


class TestConntrack:
    """The connection table."""

    def test_says_when_nothing_is_tracked(self, pair: Lab) -> None:
        assert not conntrack.is_tracking(pair["client"])
        with pytest.raises(conntrack.NotTrackingError, match="client"):
            conntrack.fill(pair["client"], dst=pair["client"].ipv4)

    def test_full_table_stops_new_connections(self, labs: Callable[..., Lab]) -> None:
        lab = labs("server", "client")
        server, client = lab["server"], lab["client"]
        service = services.memcached(server)
        firewall.install(server, firewall.stateful(serves=[service.port]))
        assert conntrack.is_tracking(server)
        some = connections.attempt(client, server.ipv4, service.port, "memcached", number=60)
        assert some.succeeded == 60
        assert len(conntrack.entries(server, protocol="tcp", src=client.ipv4, dport=service.port)) == 60

        conntrack.flush(server)
        assert conntrack.fill(server, dst=server.ipv4, room=100) == conntrack.limit() - 100
        assert conntrack.fill(server, dst=server.ipv4, sources=conntrack.RESERVE_SOURCES) == conntrack.limit()
        none = connections.attempt(client, server.ipv4, service.port, "memcached", number=60)
        assert (none.succeeded, none.reasons) == (0, {"timeout": 60})

        assert conntrack.delete(server, src=f"{conntrack.RESERVE_SOURCES}.0.0/16") == 100
        again = connections.attempt(client, server.ipv4, service.port, "memcached", number=60)
        assert again.succeeded == 60

        conntrack.flush(server)
        assert conntrack.count(server) < 100
        # The machine's own table had no part in it.
        assert conntrack.count(client) == 0


class TestPlaybook:
    """Running ansible."""

    def test_results_can_be_read(self, pair: Lab, tmp_path: Path) -> None:
        book = tmp_path / "book.yml"
        book.write_text(
            """
- hosts: all
  gather_facts: false
  tasks:
    - name: Write
      ansible.builtin.copy: {content: "{{ greeting }}", dest: /etc/greeting, mode: "0644"}
      become: true
    - name: Fail on one
      ansible.builtin.fail: {msg: as asked}
      when: inventory_hostname == "client"
    - name: Keep quiet
      ansible.builtin.command: echo secret
      no_log: true
"""
        )
        inventory = pair.inventory(
            groups={"servers": ["server"]},
            group_vars={"servers": {"greeting": "hello"}},
            host_vars={"client": {"greeting": "good day"}},
            user="ops",
        )
        run = pair.ansible_playbook("-i", str(inventory), str(book))
        assert run.rc == 2
        assert (run.stats["server"].changed, run.stats["server"].failures) == (2, 0)
        assert (run.stats["client"].changed, run.stats["client"].failures) == (1, 1)
        assert run.changed == 3
        [failed] = run.of(task="Fail on one", host="client")
        assert (failed.outcome, failed.result["msg"]) == ("failed", "as asked")
        assert [each.outcome for each in run.of(action="ansible.builtin.fail", host="server")] == ["skipped"]
        assert "secret" not in str(run.of(task="Keep quiet"))
        assert (pair["client"].files / "etc/greeting").read_text() == "good day"
        with pytest.raises(AssertionError, match="as asked"):
            run.check()

    def test_over_ipv6(self, pair: Lab, tmp_path: Path) -> None:
        book = tmp_path / "book.yml"
        book.write_text("- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.ping: }]\n")
        run = pair.ansible_playbook("-i", str(pair.inventory(ipv6=True)), str(book)).check()
        assert [stats.ok for stats in run.stats.values()] == [1, 1]
