"""The ``local`` target's processes and records: whose they are, who may write, and what survives whom."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.contract import Conflict, Fence, Permanent, Progress, Seen, Temporary, Unreachable
from adapters.local.adapter import LocalAdapter
from adapters.local.launch import SERVER, STATE, read_json, write_json
from tests.adapters.local_target import LIGHT_SERVER, LocalTarget, local_target, processes_of


@pytest.fixture
def target(tmp_path: Path) -> Iterator[LocalTarget]:
    with local_target(tmp_path) as target:
        yield target


def loading(progress: Progress) -> bool:
    return "loads its model" in progress.message


def test_a_deployment_is_created_once_whoever_repeats_its_first_step(target: LocalTarget) -> None:
    handle = target.plan(target.spec(main=target.model("v1", hang=True)))
    seen = target.look(handle)
    other = LocalAdapter(target.place, LIGHT_SERVER)

    for adapter in (target.adapter, other):
        adapter.step(handle, seen, "forward", Fence(1))
    other.close()

    assert len(processes_of(target.folder)) == 1


def test_launches_at_the_same_moment_end_as_one_server(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))
    folder = next(iter((target.folder / "installation/local/here/u-1").glob("main-*")))
    os.kill(next(iter(target.pids())), signal.SIGKILL)
    command = target.adapter._interpreter.command("launch.py", str(folder))
    environment = target.adapter._interpreter.environment(read_json(folder / SERVER)["config"]["env"])

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: subprocess.run(command, env=environment, check=False).returncode, range(4)))

    assert ended == [0, 0, 0, 0]
    assert len(processes_of(target.folder)) == 1


def test_a_launch_that_was_cut_short_is_made_up_for(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1"))
    progress = target.bring(desired, until=loading)
    server = target.folder / "installation/local/here/u-1" / progress.handle["servers"]["main"]
    os.kill(next(iter(target.pids())), signal.SIGKILL)
    (server / STATE).unlink()

    assert target.bring(desired, handle=progress.handle).outcome == "done"


def test_a_server_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    with local_target(tmp_path, stop_seconds=0.3) as target:
        target.bring(target.spec(main=target.model("v1", predict_seconds=60)))
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(target.predict)
            target.wait_until(target.predicting)
            deleted = target.bring(None)
            with pytest.raises(Unreachable):
                answer.result()
        assert (deleted.outcome, len(deleted.handle["killed"])) == ("done", 1)
        assert not processes_of(target.folder)


def test_servers_are_found_again_by_another_process(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1"))
    target.bring(desired)
    before = target.pids()
    target.adapter.close()
    target.adapter = LocalAdapter(target.place, LIGHT_SERVER)

    [observed] = target.adapter.observe_all()
    assert (observed.name, observed.uid, observed.status) == ("d", "u-1", "serving")
    assert (observed.spec, observed.route) == (desired, target.route)
    assert target.bring(desired).outcome == "done"
    assert target.pids() == before


def test_a_killed_server_is_observed_and_restored(target: LocalTarget) -> None:
    desired = target.spec({"a": 50, "b": 50}, a=target.model("a"), b=target.model("b"))
    target.bring(desired)
    killed = next(server["pid"] for name, server in target.servers().items() if name.startswith("a-"))
    os.kill(killed, signal.SIGKILL)

    target.wait_until(lambda: [observed.status for observed in target.adapter.observe_all()] == ["degraded"])
    with pytest.raises(Unreachable, match="variant a "):
        target.predict("a")
    assert target.bring(desired).outcome == "done"
    assert target.answer("a") == "a"


def test_a_reused_pid_is_not_taken_for_the_server(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1"))
    target.bring(desired)
    [server] = (target.folder / "installation/local/here/u-1").glob("main-*")
    [pid] = target.pids()
    os.kill(pid, signal.SIGKILL)
    write_json(server / STATE, {**read_json(server / STATE), "pid": os.getpid()})

    assert [observed.status for observed in target.adapter.observe_all()] == ["down"]
    assert target.bring(None).outcome == "done"


def test_a_step_with_an_old_fence_writes_nothing(target: LocalTarget) -> None:
    target.fence = 7
    target.bring(target.spec(main=target.model("v1")))
    handle = target.plan(None)

    with pytest.raises(Temporary, match="fence 7"):
        target.adapter.step(handle, target.look(handle), "forward", Fence(6))

    assert target.answer() == "v1"


def test_the_fence_outlives_a_delete(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1"))
    handle = target.plan(desired)
    seen = target.look(handle)
    target.bring(desired)
    target.fence = 2
    target.bring(None)

    with pytest.raises(Temporary):
        target.adapter.step(handle, seen, "forward", Fence(1))

    assert not processes_of(target.folder)


def test_another_installations_deployment_is_a_conflict(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1"))
    target.bring(desired)
    other = LocalAdapter(replace(target.place, installation="other"), LIGHT_SERVER)
    handle = other.plan(target.change(desired, installation="other"))

    seen = other.look_many({"k": handle})["k"]

    assert isinstance(seen, Seen)
    with pytest.raises(Conflict, match="installation test"):
        other.step(handle, seen, "forward", Fence(1))
    other.close()


def test_a_servers_environment_holds_no_secret_of_ours(target: LocalTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPORT_DATABASE_URL", "postgresql://u:secret@h/d")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    target.bring(target.spec(main=target.model("v1")))

    environment = json.loads(target.predict().body)["environment"]

    assert "secret" not in json.dumps(environment)
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_named_variables_are_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "models")
    with local_target(tmp_path, pass_environment=["AWS_PROFILE"]) as target:
        target.bring(target.spec(main=target.model("v1")))

        assert json.loads(target.predict().body)["environment"]["AWS_PROFILE"] == "models"


def test_logs_are_the_last_lines_of_each_variant(target: LocalTarget) -> None:
    desired = target.spec({"a": 50, "b": 50}, a=target.model("a"), b=target.model("b"))
    handle = target.bring(desired).handle

    assert "Started server process" in target.adapter.logs(handle, "a", 10)
    assert target.adapter.logs(handle, None, 1).splitlines()[0] == "==> a <=="
    assert len(target.adapter.logs(handle, "b", 1).splitlines()) == 1


def test_a_target_of_another_machine_is_refused(target: LocalTarget) -> None:
    with pytest.raises(Permanent, match="belongs to the machine elsewhere"):
        LocalAdapter(replace(target.place, uri="local://elsewhere"))
    LocalAdapter(replace(target.place, uri=f"local://{socket.gethostname()}")).close()


def test_an_interpreter_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with local_target(tmp_path, python="/no/such/python") as target:
        handle = target.plan(target.spec(main=target.model("v1")))
        with pytest.raises(Permanent, match="/no/such/python does not start"):
            target.step(handle)


def test_stop_ends_every_server_once(target: LocalTarget) -> None:
    target.bring(target.spec({"a": 50, "b": 50}, a=target.model("a"), b=target.model("b")))
    command = [sys.executable, "-m", "adapters.local.stop", str(target.folder)]

    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]

    assert said == ["stopped 2 model servers\n", "stopped 0 model servers\n"]
    assert not processes_of(target.folder)
