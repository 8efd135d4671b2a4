from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from stack.supervisor import ChildEnded, Supervisor
from stack.up import CHECKOUT
from tests.stack.waiting import until

STUBBORN = "trap '' TERM; sh -c \"trap '' TERM; echo grandchild \\$\\$; sleep 600 & wait; wait\""


@pytest.fixture
def supervisor(tmp_path):
    made = Supervisor(tmp_path / "logs", cwd=tmp_path, echo=False, grace_seconds=0.3)
    yield made
    made.stop()


def shell(supervisor, name, script, **options):
    return supervisor.start(name, ["sh", "-c", script], env=os.environ, **options)


def test_what_a_process_writes_is_in_its_file(supervisor, tmp_path):
    child = shell(supervisor, "talker", "echo out; echo err >&2")
    until(child.ended.is_set)
    assert (tmp_path / "logs" / "talker.log").read_text() == "out\nerr\n"


def test_lines_are_echoed_with_the_name_of_their_process(tmp_path, capsys):
    supervisor = Supervisor(tmp_path / "logs", cwd=tmp_path, echo=True, grace_seconds=0.3)
    until(shell(supervisor, "talker", "echo hello").ended.is_set)
    supervisor.stop()
    assert capsys.readouterr().out.endswith("talker | hello\n")


def test_the_end_of_a_needed_process_stops_the_others_and_says_why(supervisor):
    other = shell(supervisor, "other", "exec sleep 600")
    needed = shell(supervisor, "needed", "echo last words; exit 3")
    supervisor.need(needed)
    with pytest.raises(ChildEnded, match=r"needed ended with exit code 3(.|\n)*last words"):
        supervisor.wait()
    until(other.ended.is_set)


def test_a_process_that_had_ended_before_it_was_needed_counts(supervisor):
    child = shell(supervisor, "early", "exit 1")
    until(child.ended.is_set)
    supervisor.need(child)
    with pytest.raises(ChildEnded):
        supervisor.check()


def test_a_process_ended_by_a_signal_is_reported_by_the_signals_name(supervisor):
    child = shell(supervisor, "victim", "exec sleep 600")
    supervisor.need(child)
    child.process.send_signal(signal.SIGKILL)
    with pytest.raises(ChildEnded, match="victim was ended by SIGKILL"):
        supervisor.wait()


def test_the_end_of_a_process_that_is_not_needed_stops_nothing(supervisor):
    other = shell(supervisor, "other", "exec sleep 600")
    until(shell(supervisor, "once", "true").ended.is_set)
    supervisor.check()
    assert psutil.pid_exists(other.process.pid)
    assert not other.ended.is_set()


def test_stop_kills_what_ignores_sigterm_and_its_descendants(supervisor):
    child = shell(supervisor, "stubborn", STUBBORN)
    until(child.tail)
    grandchild = int(child.tail().split()[1])
    supervisor.stop()
    until(lambda: not _alive(grandchild))
    assert child.process.wait() == -signal.SIGKILL


def test_descendants_do_not_outlive_a_leader_that_crashed(supervisor):
    child = shell(supervisor, "leader", "sleep 600 & echo $!; kill -9 $$")
    until(child.ended.is_set)
    orphan = int(child.tail())
    until(lambda: not _alive(orphan))


def test_lower_stages_are_stopped_after_higher_ones(tmp_path):
    supervisor = Supervisor(tmp_path / "logs", cwd=tmp_path, echo=False, grace_seconds=10.0)
    record = "trap 'echo {0} >> order; exit' TERM; echo ready; while :; do sleep 0.05; done"
    broker = shell(supervisor, "broker", record.format("broker"), stage=0)
    slow = shell(supervisor, "slow", "trap 'sleep 0.3; echo slow >> order; exit' TERM; echo ready; sleep 600 & wait")
    until(lambda: broker.tail() and slow.tail())
    supervisor.stop()
    assert (tmp_path / "order").read_text().split() == ["slow", "broker"]


def test_stopping_twice_is_stopping_once_and_nothing_starts_afterwards(supervisor):
    supervisor.stop()
    supervisor.stop()
    with pytest.raises(RuntimeError, match="stopping"):
        shell(supervisor, "late", "true")


def test_closing_commands_run_and_folders_go_when_every_process_is_gone(supervisor, tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    child = shell(supervisor, "one", "exec sleep 600")
    supervisor.finally_run(["sh", "-c", f"kill -0 {child.process.pid} || echo gone > {tmp_path}/closing"])
    supervisor.finally_remove(folder)
    supervisor.stop()
    assert (tmp_path / "closing").read_text() == "gone\n"
    assert not folder.exists()


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    script = textwrap.dedent(f"""
        import json, os, time
        from pathlib import Path
        from stack.supervisor import Supervisor
        supervisor = Supervisor(Path({str(tmp_path)!r}), cwd=Path({str(tmp_path)!r}), echo=False, grace_seconds=0.3)
        supervisor.finally_run(["sh", "-c", "echo closed > closing"])
        supervisor.finally_remove(Path({str(folder)!r}))
        pids = [supervisor.start(name, ["sh", "-c", command], env=os.environ).process.pid
                for name, command in (("meek", "exec sleep 600"), ("stubborn", "trap '' TERM; sleep 600; sleep 600"))]
        print(json.dumps(pids), flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    ) as victim:
        pids = json.loads(victim.stdout.readline())
        victim.kill()
    until(lambda: not any(map(_alive, pids)))
    until(lambda: Path(tmp_path / "closing").exists() and not folder.exists())


def test_output_that_a_detached_process_keeps_open_does_not_hide_the_end(supervisor):
    child = shell(supervisor, "parent", "setsid sleep 20 & echo $!; exit 5")
    until(child.ended.is_set)
    assert child.process.returncode == 5
    os.kill(int(child.tail().split()[0]), signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_waiting_returns_when_stopping_was_asked_for(supervisor):
    supervisor.need(shell(supervisor, "one", "exec sleep 600"))
    supervisor.stop()
    supervisor.wait()
