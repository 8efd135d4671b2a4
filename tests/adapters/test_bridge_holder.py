"""The process that holds a plugin: started once, whoever asks; gone when nobody does; never in the way."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from adapters.bridge import asking
from adapters.bridge.asking import holder_of
from adapters.bridge.invoke import invoke
from adapters.contract import Permanent, Request, Temporary, Unreachable
from adapters.local.launch import read_json
from tests.adapters.bridge_target import BridgeTarget, bridge_target
from tests.fakes import bridge
from tests.models import REPOSITORY

REGISTRY = """
import sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
client.create_registered_model("iris")
client.create_model_version("iris", "/models/1")
client.create_model_version("iris", "/models/2")
client.set_registered_model_alias("iris", "champion", "1")
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "shelf").mkdir()
    with bridge.installed_in(tmp_path):
        yield tmp_path / "shelf"


@pytest.fixture
def target(tmp_path: Path, shelf: Path) -> Iterator[BridgeTarget]:
    with bridge_target(tmp_path, "shelf", {"SHELF": str(shelf)}) as target:
        yield target


def holders(folder: Path) -> list[psutil.Process]:
    """Those that wait for requests, their forks apart."""
    found = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in (p.info["cmdline"] or ())]
    pids = {process.pid for process in found}
    return [process for process in found if process.ppid() not in pids]


def test_many_that_ask_at_once_are_answered_by_one_process(target: BridgeTarget) -> None:
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda _: target.adapter.check(), range(6)))
    assert len(set(said)) == 1
    assert len(holders(holder_of(target.place).folder)) == 1


def test_it_ends_when_nobody_asks_and_starts_anew_for_who_does(tmp_path: Path, shelf: Path) -> None:
    with bridge_target(tmp_path, "shelf", {"SHELF": str(shelf)}, idle_seconds=0.2) as target:
        target.adapter.check()
        folder = holder_of(target.place).folder
        target.wait_until(lambda: not folder.exists())
        assert "lists 0 deployments" in target.adapter.check()


def test_one_that_was_killed_is_replaced_and_a_call_goes_on_without_it(target: BridgeTarget, shelf: Path) -> None:
    progress = target.bring(target.spec("models:/hang/1"), until=lambda p: bool(p.again_in))
    folder = holder_of(target.place).folder
    state = read_json(folder / "state.json")
    assert state is not None
    os.kill(state["pid"], signal.SIGKILL)
    (shelf / "go").touch()
    assert target.bring(handle=progress.handle).outcome == "done"
    assert (shelf / "calls.log").read_text().count("create") == 1


def test_other_variables_are_another_process(target: BridgeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    before = holder_of(target.place).folder
    monkeypatch.setenv("MODELPORT_DATABASE_URL", "postgresql://user:s3cr3t@host/db")
    assert holder_of(target.place).folder == before
    assert "MODELPORT_DATABASE_URL" not in holder_of(target.place).environment
    monkeypatch.setenv("TRITON_CONTROL_TOKEN", "another")
    assert holder_of(target.place).folder != before


def test_a_plugin_that_does_not_answer_is_given_up(target: BridgeTarget, shelf: Path) -> None:
    target.bring(target.spec("models:/a/1"))
    (shelf / "hang-get").touch()
    (shelf / "hang-predict").touch()
    impatient = BridgeTarget(target.folder, "shelf", {"SHELF": str(shelf)})
    impatient.adapter._place = replace(target.place, call_timeout_seconds=0.3)
    with pytest.raises(Temporary, match=r"no answer within 0\.3 s"):
        impatient.look(target.plan(None))
    with pytest.raises(Unreachable) as unreachable:
        predict_within(target, 0.3)
    assert unreachable.value.timed_out
    (shelf / "go").touch()


def test_a_call_that_cannot_end_itself_is_killed(
    target: BridgeTarget, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = target.bring(target.spec("models:/hang/1"), until=lambda p: bool(p.again_in))
    monkeypatch.setattr("adapters.bridge.rollout.GRACE_SECONDS", -10_000)
    failed = target.bring(handle=progress.handle)
    assert "outcome unknown" in failed.message
    assert [call["outcome"]["kind"] for call in failed.handle["calls"]] == ["lost"]


def test_aliases_and_the_latest_of_mlflows_registry_become_versions(tmp_path: Path, shelf: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REGISTRY, uri], cwd=REPOSITORY, check=True, capture_output=True
    )
    variables = {"SHELF": str(shelf), "MLFLOW_REGISTRY_URI": uri, "MLFLOW_TRACKING_URI": uri}
    with bridge_target(tmp_path, "shelf", variables) as target:

        def resolved(model_uri: str) -> str:
            return target.adapter.resolve(target.spec(model_uri)).variants[0].model_uri

        assert resolved("models:/iris@champion") == "models:/iris/1"
        assert resolved("models:/iris/latest") == "models:/iris/2"
        for fixed in ("models:/iris/1", "meta-llama/Llama-3.3-70B", "s3://bucket/a@b", "runs:/1/model"):
            assert resolved(fixed) == fixed
        with pytest.raises(Permanent, match=r"variant main: models:/iris@nobody names nothing"):
            resolved("models:/iris@nobody")


def test_a_folder_for_sockets_that_others_can_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = asking.private_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    with pytest.raises(Permanent, match="not this user's alone"):
        asking.private_folder()


def predict_within(target: BridgeTarget, timeout: float) -> None:
    assert target.route is not None
    invoke(target.place, target.route, Request(b'{"inputs": [1]}', "application/json"), timeout)
