from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from modelport.cli import app
from modelport.client import Client
from modelport.exits import Exit
from modelport.repeating import Repeats
from tests.fakes.control_plane import ControlPlane
from tests.modelport.running import Run


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MODELPORT_URL", "MODELPORT_API_KEY", "MODELPORT_PROFILE", "MODELPORT_TIMEOUT_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELPORT_CONFIG", str(tmp_path / "profiles" / "config.toml"))


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        yield plane


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[Client]:
    with Client(plane.url, timeout=60, repeats=Repeats(first_pause_seconds=0.001)) as client:
        yield client


@pytest.fixture
def run(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MODELPORT_URL", plane.url)

    def invoke(*arguments: str, input: bytes | None = None) -> Result:  # noqa: A002 - CliRunner's own name
        return CliRunner().invoke(app, arguments, input=input)

    return invoke


@pytest.fixture
def deployed(run: Run) -> None:
    assert run("deploy", "local/iris", "--model", "m:/1").exit_code == Exit.OK
