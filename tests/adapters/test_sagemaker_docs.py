"""``docs/targets/sagemaker.md``: what it shows is run through the service against a fake SageMaker."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.sagemaker.describe import SageMakerConfig, SageMakerSettings
from modelport.cli import app
from operations.database import Database
from tests.adapters import sagemaker_docs
from tests.adapters.sagemaker_target import ACCESS_KEY, SECRET, SageMakerHarness
from tests.fakes.sagemaker import SageMaker
from tests.modelport.real_server import serving

PAGE = Path(__file__).parents[2] / "docs/targets/sagemaker.md"
REGISTERED = "modelport targets add prod sagemaker:/us-east-1 "


@pytest.fixture(scope="module")
def running() -> Iterator[SageMaker]:
    seconds = {f"{verb}_seconds": 0.05 for verb in ("create", "update", "weights", "delete")}
    with SageMaker(**seconds, keys={ACCESS_KEY: SECRET}) as fake:
        yield fake


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def fake(running: SageMaker, monkeypatch: pytest.MonkeyPatch) -> SageMaker:
    running.reset()
    monkeypatch.setenv("PROD_AWS", f"{ACCESS_KEY}:{SECRET}")
    return running


@pytest.fixture
def url(fake: SageMaker, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(db, monkeypatch, ["sagemaker"]) as url:
        yield url


def commands() -> list[str]:
    """What the page types at its prompts."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def run(command: str, url: str, fake: SageMaker) -> str:
    if command.startswith("curl "):
        environment = {"MODELPORT_URL": url, "PATH": "/usr/bin:/bin"}
        ran = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
        return ran.stdout
    command = command.replace(REGISTERED, f"{REGISTERED}-s endpoint_url={fake.url} -s look_seconds=0.02 ")
    program, *arguments = shlex.split(command)
    assert program == "modelport"
    ended = CliRunner().invoke(app, [*arguments, "--url", url])
    assert ended.exit_code == 0, f"{command}: {ended.output}"
    return ended.stdout


def test_the_commands_do_what_the_page_says(url: str, fake: SageMaker, tmp_path: Path) -> None:
    told, there = [], []
    for command in commands():
        told.append(run(command, url, fake))
        there.append(fake.things()["endpoints"].get("churn"))

    _, created, predicted, split, pinned, traffic, rolled_back, put, _ = range(len(told))
    assert answer(told[predicted]) == "s3://my-models/churn/v1.tar.gz"
    assert answer(told[pinned]) == "s3://my-models/churn/v2.tar.gz"
    assert weights(there[split]) == {"now": 90, "next": 10}
    assert weights(there[traffic]) == {"now": 50, "next": 50}
    assert there[traffic]["EndpointConfigName"] == there[split]["EndpointConfigName"]
    assert there[rolled_back]["EndpointConfigName"] == there[created]["EndpointConfigName"]
    assert json.loads(told[put])["state"] == "succeeded"
    assert there[put]["LastDeploymentConfig"]["AutoRollbackConfiguration"] == {
        "Alarms": [{"AlarmName": "churn-errors"}]
    }
    assert there[-1] is None
    left = fake.things()
    assert (left["models"], left["configs"]) == ([], [])
    assert SECRET not in everything_kept(tmp_path)
    assert ACCESS_KEY not in everything_kept(tmp_path)


def test_adopting_through_the_service(url: str, fake: SageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    run(commands()[0], url, fake)
    fake.conduct(keys={})
    SageMakerHarness(fake).plant("wild")
    fake.conduct(keys={ACCESS_KEY: SECRET})
    run("modelport adopt prod/wild", url, fake)
    assert answer(run("""modelport predict prod/wild -d '{"inputs": [1]}'""", url, fake)) == "s3://models/theirs.tar.gz"


def test_a_failure_is_told_to_who_asked_and_undone(url: str, fake: SageMaker, tmp_path: Path) -> None:
    run(commands()[0], url, fake)
    command = "deploy prod/churn --model s3://my-models/churn/v1.tar.gz -C env.FAKE_FAILS='no weights'"
    ran = CliRunner().invoke(app, [*shlex.split(command), "--url", url])
    assert ran.exit_code == 1
    assert "no weights" in ran.output
    left = fake.things()
    assert (left["models"], left["configs"], left["endpoints"]) == ([], [], {})


def test_an_asynchronous_prediction_through_the_service(url: str, fake: SageMaker) -> None:
    run(commands()[0], url, fake)
    output = "async_inference_config.OutputConfig.S3OutputPath=s3://my-models/answers"
    run(f"modelport deploy prod/slow --model s3://my-models/a.tar.gz -C {output}", url, fake)
    told = json.loads(run("""modelport predict prod/slow -d '{"inputs": [1]}'""", url, fake))
    assert told["output_location"] == "s3://my-models/answers/1.out"


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(sagemaker_docs.keys(SageMakerConfig), id="config"),
        pytest.param(sagemaker_docs.keys(SageMakerSettings), id="settings"),
        pytest.param(sagemaker_docs.faults(), id="faults"),
    ],
)
def test_the_tables_are_those_of_the_code(table: str) -> None:
    assert table in PAGE.read_text(), "python -m tests.adapters.sagemaker_docs prints the tables anew"


def answer(text: str) -> str:
    return str(json.loads(text)["predictions"][0])


def weights(endpoint: Any) -> dict[str, float]:
    return {each["VariantName"]: each["CurrentWeight"] for each in endpoint["ProductionVariants"]}


def everything_kept(folder: Path) -> str:
    """All that the service wrote down: its database with every table, and whatever else is in its folder."""
    with sqlite3.connect(folder / "modelport.db") as database:
        dumped = "\n".join(database.iterdump())
    database.close()
    assert "prod" in dumped
    files = [path for path in folder.rglob("*") if path.is_file()]
    return dumped + "".join(path.read_bytes().decode("latin-1") for path in files)
