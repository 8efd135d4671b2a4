"""``docs/targets/databricks.md``: what it shows is run through the service against the fake workspace."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.databricks.describe import DatabricksConfig, DatabricksSettings
from modelport.cli import app
from operations.database import Database
from tests.adapters import databricks_docs
from tests.adapters.databricks_target import theirs
from tests.fakes.databricks import TOKEN, Databricks
from tests.modelport.real_server import serving

PAGE = Path(__file__).parents[2] / "docs/targets/databricks.md"


@pytest.fixture(scope="module")
def running() -> Iterator[Databricks]:
    with Databricks(seconds=0.05) as workspace:
        yield workspace


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def workspace(running: Databricks, monkeypatch: pytest.MonkeyPatch) -> Databricks:
    running.reset()
    running.conduct(aliases={"main.ml.iris": {"champion": "3"}})
    monkeypatch.setenv("LAKEHOUSE", TOKEN)
    return running


@pytest.fixture
def url(workspace: Databricks, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(db, monkeypatch, ["databricks"]) as url:
        yield url


def commands() -> list[str]:
    """What the page types at its prompts."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def run(command: str, url: str, workspace: Databricks) -> str:
    command = command.replace("https://dbc-1234.cloud.databricks.com", workspace.url)
    program, *arguments = shlex.split(command)
    assert program == "modelport"
    ran = CliRunner().invoke(app, [*arguments, "--url", url])
    assert ran.exit_code == 0, f"{command}: {ran.output}"
    return ran.stdout


def test_the_commands_do_what_the_page_says(url: str, workspace: Databricks, tmp_path: Path) -> None:
    told, there = [], []
    for command in commands():
        told.append(run(command, url, workspace))
        there.append(workspace.endpoint("iris"))

    _, created, predicted, split, pinned, traffic, rolled_back, _ = range(len(told))
    assert json.loads(told[predicted])["predictions"] == ["main.ml.iris/3"]
    assert json.loads(told[pinned])["predictions"] == ["main.ml.iris/4"]
    assert shares(there[split]) == {"now": 90, "next": 10}
    assert versions(there[split]) == {"now": "3", "next": "4"}
    assert shares(there[traffic]) == {"now": 50, "next": 50}
    assert versions(there[rolled_back]) == versions(there[created]) == {"main": "3"}
    assert {"key": "team", "value": "fraud"} in (there[rolled_back] or {})["tags"]
    assert there[-1] is None
    assert TOKEN not in everything_kept(tmp_path)


def test_adopting_through_the_service(url: str, workspace: Databricks) -> None:
    run(commands()[0], url, workspace)
    workspace.plant(theirs("wild"))
    run("modelport adopt lakehouse/wild", url, workspace)
    answer = run("""modelport predict lakehouse/wild -d '{"inputs": [1]}'""", url, workspace)
    assert json.loads(answer)["served"] == "theirs_1"


def test_a_failure_is_told_to_who_asked(url: str, workspace: Databricks, tmp_path: Path) -> None:
    run(commands()[0], url, workspace)
    workspace.conduct(failure=f"no weights for {TOKEN}")
    ran = CliRunner().invoke(app, ["deploy", "lakehouse/iris", "--model", "models:/main.ml.broken/1", "--url", url])
    assert ran.exit_code == 1
    assert "no weights for ***" in ran.output
    assert workspace.endpoint("iris") is None
    assert TOKEN not in everything_kept(tmp_path)


def test_predictions_stream_through_the_service(url: str, workspace: Databricks) -> None:
    for command in commands()[:2]:
        run(command, url, workspace)
    answer = run("""modelport predict lakehouse/iris -d '{"inputs": [1], "stream": true}'""", url, workspace)
    assert answer.count("data: ") == 4
    assert "main.ml.iris/3 2" in answer


def test_the_example_of_an_external_model_is_valid() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert DatabricksConfig.model_validate(tomllib.loads(example)).external_model is not None


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(databricks_docs.keys(DatabricksConfig), id="config"),
        pytest.param(databricks_docs.keys(DatabricksSettings), id="settings"),
        pytest.param(databricks_docs.faults(), id="faults"),
    ],
)
def test_the_tables_are_those_of_the_code(table: str) -> None:
    assert table in PAGE.read_text(), "python -m tests.adapters.databricks_docs prints the tables anew"


def shares(endpoint: dict[str, Any] | None) -> dict[str, int]:
    assert endpoint is not None
    routes = endpoint["config"]["traffic_config"]["routes"]
    return {route["served_entity_name"].rsplit("-", 1)[0]: route["traffic_percentage"] for route in routes}


def versions(endpoint: dict[str, Any] | None) -> dict[str, str]:
    assert endpoint is not None
    entities = endpoint["config"]["served_entities"]
    return {entity["name"].rsplit("-", 1)[0]: entity["entity_version"] for entity in entities}


def everything_kept(folder: Path) -> str:
    """All that the service wrote down: its database with every table, and whatever else is in its folder."""
    with sqlite3.connect(folder / "modelport.db") as database:
        dumped = "\n".join(database.iterdump())
    database.close()
    assert "lakehouse" in dumped
    files = [path for path in folder.rglob("*") if path.is_file()]
    return dumped + "".join(path.read_bytes().decode("latin-1") for path in files)
