"""``docs/targets/azureml.md``: what it shows is run through the service against the fake workspace."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.azureml.describe import AzureMlConfig, AzureMlSettings
from modelport.cli import app
from operations.database import Database
from tests.adapters import azureml_docs
from tests.adapters.azureml_target import theirs
from tests.fakes.azureml import TOKEN, URI, AzureMl
from tests.modelport.real_server import serving

PAGE = Path(__file__).parents[2] / "docs/targets/azureml.md"


@pytest.fixture(scope="module")
def running() -> Iterator[AzureMl]:
    with AzureMl(seconds=0.01) as workspace:
        yield workspace


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def workspace(running: AzureMl, monkeypatch: pytest.MonkeyPatch) -> AzureMl:
    running.reset()
    running.conduct(versions={"iris": "3"})
    monkeypatch.setenv("AZURE_ROBOT", TOKEN)
    return running


@pytest.fixture
def url(workspace: AzureMl, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(db, monkeypatch, ["azureml"]) as url:
        yield url


def commands() -> list[str]:
    """What the page types at its prompts."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def run(command: str, url: str, workspace: AzureMl) -> str:
    if "targets add" in command:
        command = command.replace("azureml:/SUBSCRIPTION/GROUP/WORKSPACE", URI)
        command += f" -s resource_manager={workspace.url}"
    program, *arguments = shlex.split(command)
    assert program == "modelport"
    ran = CliRunner().invoke(app, [*arguments, "--url", url])
    assert ran.exit_code == 0, f"{command}: {ran.output}"
    return ran.stdout


def test_the_commands_do_what_the_page_says(url: str, workspace: AzureMl, tmp_path: Path) -> None:
    told, there = [], []
    for command in commands():
        told.append(run(command, url, workspace))
        there.append(workspace.image("iris"))

    _, created, predicted, split, pinned, traffic, rolled_back, _ = range(len(told))
    assert json.loads(told[predicted])["predictions"] == ["azureml:iris:3"]
    assert json.loads(told[pinned])["predictions"] == ["azureml:iris:4"]
    assert shares(there[split]) == {"now": 90, "next": 10}
    assert models(there[split]) == {"now": "3", "next": "4"}
    assert shares(there[traffic]) == {"now": 50, "next": 50}
    assert models(there[rolled_back]) == models(there[created]) == {"main": "3"}
    assert (there[rolled_back] or {})["endpoint"]["tags"]["team"] == "fraud"
    assert there[-1] is None
    assert TOKEN not in everything_kept(tmp_path)


def test_adopting_and_failing_through_the_service(url: str, workspace: AzureMl, tmp_path: Path) -> None:
    run(commands()[0], url, workspace)
    workspace.plant(theirs("wild"))
    run("modelport adopt ml/wild", url, workspace)
    answer = run("""modelport predict ml/wild -d '{"inputs": [1]}'""", url, workspace)
    assert json.loads(answer)["served"] == "blue"

    workspace.conduct(failure=f"no weights for {TOKEN}")
    ran = CliRunner().invoke(app, ["deploy", "ml/iris", "--model", "models:/broken/1", "--url", url])
    assert ran.exit_code == 1
    assert "no weights for ***" in ran.output
    assert workspace.image("iris") is None
    assert TOKEN not in everything_kept(tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(azureml_docs.keys(AzureMlConfig), id="config"),
        pytest.param(azureml_docs.keys(AzureMlSettings), id="settings"),
        pytest.param(azureml_docs.faults(), id="faults"),
    ],
)
def test_the_tables_are_those_of_the_code(table: str) -> None:
    assert table in PAGE.read_text(), "python -m tests.adapters.azureml_docs prints the tables anew"


def shares(image: dict[str, Any] | None) -> dict[str, int]:
    assert image is not None
    traffic = image["endpoint"]["properties"]["traffic"]
    return {name.rpartition("-")[0]: share for name, share in traffic.items()}


def models(image: dict[str, Any] | None) -> dict[str, str]:
    assert image is not None
    there = {each["name"]: each["properties"]["model"] for each in image["deployments"]}
    return {name.rpartition("-")[0]: model.rpartition("/")[2] for name, model in there.items()}


def everything_kept(folder: Path) -> str:
    """All that the service wrote down: its database with every table, and whatever else is in its folder."""
    with sqlite3.connect(folder / "modelport.db") as database:
        dumped = "\n".join(database.iterdump())
    database.close()
    assert "azureml" in dumped
    files = [path for path in folder.rglob("*") if path.is_file()]
    return dumped + "".join(path.read_bytes().decode("latin-1") for path in files)
