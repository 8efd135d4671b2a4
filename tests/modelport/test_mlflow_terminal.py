"""``mlflow deployments`` as a person runs it: progress on a terminal, Ctrl-C, and a model served on this machine."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from modelport.client import Client
from stack.ports import free_port
from tests.fakes.platform import Platform
from tests.modelport.mlflow_process import PYTHON, environment
from tests.modelport.on_platform import *  # noqa: F403 - fixtures
from tests.models import FLOWERS, REPOSITORY, ModelURIs, train
from tests.stack.waiting import until


class Terminal:
    """A command whose standard error is a terminal."""

    def __init__(self, *command: str, env: dict[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=environment(env),
            cwd=REPOSITORY,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def read_until(self, words: str) -> None:
        while words not in self.shown:
            assert self._read(), f"ended without {words!r}: {self.shown}"

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        try:
            self.shown += os.read(self._ours, 4096).decode(errors="replace")
        except OSError:  # Linux says so when the other end is closed
            return False
        return True


@contextmanager
def mlflow(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Terminal]:
    terminal = Terminal(PYTHON, "-m", "mlflow", "deployments", *arguments, env=env)
    try:
        yield terminal
    finally:
        terminal.close()


def test_ctrl_c_leaves_the_operation_and_says_how_to_go_on(platform: Platform, client: Client, target: str) -> None:
    platform.conduct(seconds=3600.0)
    with mlflow("create", "--name", "iris", "-m", "models:/iris/1", "-t", target) as terminal:
        terminal.read_until("create prod/iris")
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert terminal.end() != 0
    [operation] = client.operations()
    assert operation.state == "waiting"
    at = f"--url {client.url}"
    assert f"modelport status {operation.id} --wait {at}" in terminal.shown
    assert f"modelport ops cancel {operation.id} {at}" in terminal.shown


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelURIs:
    return train(tmp_path_factory.mktemp("models"))


def test_run_local_serves_until_ctrl_c(models: ModelURIs) -> None:
    port = free_port()
    options = ["--name", "try", "-m", models.path, "-t", "modelport", "-C", f"port={port}"]
    with mlflow("run-local", *options) as terminal, httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        until(lambda: _answers(http), seconds=90)
        answer = http.post("/invocations", content=json.dumps(FLOWERS), headers={"Content-Type": "application/json"})
        assert answer.json()["predictions"] == [0, 1]
        os.killpg(terminal.process.pid, signal.SIGINT)
        terminal.end()
    assert f"try: http://127.0.0.1:{port}/invocations" in terminal.shown


@pytest.mark.parametrize(
    ("options", "complaint"),
    [(["-C", "image=x"], "run_local takes no config image"), (["--flavor", "onnx"], "leave the flavor 'onnx' out")],
)
def test_run_local_refuses_what_it_cannot(tmp_path: Path, options: list[str], complaint: str) -> None:
    with mlflow("run-local", "--name", "try", "-m", str(tmp_path), "-t", "modelport", *options) as terminal:
        assert terminal.end() != 0
    assert complaint in terminal.shown


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/ping").status_code == 200
    except httpx.HTTPError:
        return False
