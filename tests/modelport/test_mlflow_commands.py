"""The whole ``mlflow deployments`` command line, against a real server over a platform in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelport.client import Client
from tests.fakes.platform import Platform
from tests.modelport.mlflow_process import Ran, commands
from tests.modelport.on_platform import *  # noqa: F403 - fixtures

MODEL = ["--model-uri", "models:/iris/1"]


def run(target: str, *argv: list[str]) -> list[Ran]:
    return commands(*([*words, "-t", target] for words in argv))


def succeeded(target: str, *argv: list[str]) -> list[str]:
    ran = run(target, *argv)
    assert [(each.code, each.error) for each in ran] == [(0, "")] * len(argv)
    return [each.output for each in ran]


def fields(output: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in output.splitlines() if line)


def test_deployments(client: Client, target: str) -> None:
    create = ["create", "--name", "iris", "-m", "models:/iris/1", "-f", "python_function"]
    options = ["replicas=2", 'platform={"gpu": "T4"}', "labels=team=vision", "timeout_seconds=60"]
    created, listed, got, updated, changed, anew, *_, empty = succeeded(
        target,
        [*create, *(word for option in options for word in ("-C", option))],
        ["list"],
        ["get", "--name", "iris"],
        ["update", "--name", "iris", "--config", "replicas=3"],
        ["update", "--name", "iris", "--model-uri", "models:/iris/2", "--flavor", "onnx", "-C", "platform=null"],
        ["get", "--name", "iris"],
        ["delete", "--name", "iris", "-C", "wait=true"],
        ["delete", "--name", "iris"],
        ["list"],
    )
    assert created == "\npython_function deployment iris is created\n"
    assert "'name': 'iris'" in listed
    shown = {"name": "iris", "status": "serving", "model_uri": "models:/iris/1", "labels": "{'team': 'vision'}"}
    assert fields(got).items() > shown.items()
    assert "'replicas': 2" in fields(got)["config"]
    assert "'platform': {'gpu': 'T4'}" in fields(got)["config"]
    assert updated == "Deployment iris is updated (with flavor python_function)\n"
    assert changed == "Deployment iris is updated (with flavor onnx)\n"
    assert fields(anew)["config"] == "{'replicas': 3}"
    assert empty == "List of all deployments:\n[]\n"
    kinds = ["delete", "update", "update", "create"]
    assert [(each.kind, each.state) for each in client.operations(deployment="iris")] == [
        (kind, "succeeded") for kind in kinds
    ]


def test_endpoints(client: Client, target: str) -> None:
    inside = ["--endpoint", "shop"]
    begun, added, listed, got, *_, endpoint, endpoints = succeeded(
        target,
        ["create", "--name", "a", *MODEL, *inside],
        ["create", "--name", "b", *MODEL, *inside, "-C", "traffic=20", "-C", "replicas=2"],
        ["list", *inside],
        ["get", "--name", "b", *inside],
        ["update", "--name", "b", *inside, "-C", "traffic=50", "-C", "replicas=4"],
        ["update-endpoint", *inside, "--config", "traffic=a=0,b=100", "-C", "labels=team=shop"],
        ["delete", "--name", "a", *inside],
        ["delete", "--name", "a", *inside],
        ["get-endpoint", *inside],
        ["list-endpoints"],
    )
    assert begun == "\npython_function deployment a is created\n"
    assert added == "\npython_function deployment b is created\n"
    assert "'name': 'a'" in listed
    assert "'name': 'b'" in listed
    assert fields(got).items() > {"name": "b", "endpoint": "shop", "traffic": "20", "config": "{'replicas': 2}"}.items()
    shown = {"name": "shop", "deployments": "['b']", "traffic": "{'b': 100}", "labels": "{'team': 'shop'}"}
    assert fields(endpoint).items() > shown.items()
    assert "'name': 'shop'" in endpoints
    splits = [revision.traffic for revision in client.revisions("prod", "shop")]
    assert splits == [{"b": 100}, {"a": 0, "b": 100}, {"a": 50, "b": 50}, {"a": 80, "b": 20}, {"a": 100}]

    succeeded(target, ["delete-endpoint", *inside], ["delete-endpoint", *inside])
    assert list(client.list()) == []


def test_the_last_deployment_takes_its_endpoint_with_it(client: Client, target: str) -> None:
    succeeded(
        target,
        ["create", "--name", "a", *MODEL, "--endpoint", "shop"],
        ["delete", "--name", "a", "--endpoint", "shop"],
    )
    assert list(client.list()) == []


def test_create_endpoint_is_broken_in_mlflow_or_works(client: Client, target: str) -> None:
    """MLflow's command gives its function ``endpoint``, which has ``name`` (2.22 to 3.17): no plugin is reached."""
    config = ["-C", "model_uri=models:/iris/1", "-C", "replicas=2"]
    [ran] = run(target, ["create-endpoint", "--endpoint", "shop", *config])
    assert (ran.code, ran.error) in {
        (0, ""),
        (1, "TypeError: create_endpoint() got an unexpected keyword argument 'endpoint'"),
    }
    assert [each.name for each in client.list()] == ([] if ran.code else ["shop"])


def test_predict(target: str, tmp_path: Path) -> None:
    given, result = tmp_path / "input.json", tmp_path / "output.json"
    given.write_text(json.dumps([{"x": 1.0}, {"x": None}]))
    _, printed, written, both = run(
        target,
        ["create", "--name", "iris", *MODEL],
        ["predict", "--name", "iris", "--input-path", str(given)],
        ["predict", "--endpoint", "iris", "-I", str(given), "--output-path", str(result)],
        ["predict", "--endpoint", "iris", "--name", "iris", "-I", str(given)],
    )
    assert json.loads(printed.output)["predictions"] == ["models:/iris/1"], printed
    assert (written.code, written.output) == (0, "")
    assert json.loads(result.read_text())["predictions"] == ["models:/iris/1"]
    assert both.code == 2


def test_explain_says_that_it_cannot(target: str, tmp_path: Path) -> None:
    given = tmp_path / "input.json"
    given.write_text("[[1.0]]")
    ran = run(
        target,
        ["explain", "--name", "iris", "-I", str(given)],
        ["explain", "--endpoint", "iris", "--input-path", str(given), "-O", str(tmp_path / "output.json")],
    )
    for each in ran:
        assert each.code == 1
        assert each.error.startswith("MlflowException: iris: explaining predictions is not supported")


@pytest.mark.parametrize("uri", ["modelport", "modelport://models.internal:8000/prod", "modelport+https://m/prod"])
def test_help_needs_no_server(uri: str) -> None:
    [told] = succeeded(uri, ["help"])
    for words in ("modelport://HOST:PORT/TARGET", "wait=false", "traffic=20", "modelport targets help"):
        assert words in told


def test_a_failure_has_the_targets_words_and_says_what_to_do(platform: Platform, target: str) -> None:
    failing = ["-C", 'platform={"fails": "no weights in the cellar"}']
    _, twice, unread, failed, absent, served = run(
        target,
        ["create", "--name", "iris", *MODEL],
        ["create", "--name", "iris", *MODEL],
        ["update", "--name", "iris", "-C", "replica=2"],
        ["update", "--name", "iris", *failing],
        ["get", "--name", "other"],
        ["get", "--name", "iris"],
    )
    assert "prod/iris" in twice.error
    assert "config.replica" in unread.error
    assert "no weights in the cellar" in failed.error
    assert "modelport ops retry" in failed.error
    assert "--url http://127.0.0.1" in failed.error
    assert "no such deployment" in absent.error
    assert fields(served.output)["status"] == "serving"
    for each in (twice, unread, failed, absent):
        assert each.code == 1
        assert each.error.startswith("MlflowException: ")
    assert platform.counts()["creations"]["iris"] == 1


def test_wait_false_comes_back_with_the_operation(platform: Platform, client: Client, target: str) -> None:
    platform.conduct(seconds=3600.0)
    [created] = succeeded(target, ["create", "--name", "iris", *MODEL, "-C", "wait=false"])
    assert created == "\npython_function deployment iris is created\n"
    assert [each.final for each in client.operations()] == [False]
    [late] = run(f"{target}?timeout_seconds=0.2", ["update", "--name", "iris", "-C", "replicas=2"])
    assert "The operation goes on" in late.error
    [begun] = succeeded(f"{target}?wait=false", ["delete", "--name", "iris", "-C", "cancel_pending=yes"])
    assert begun == "Deployment iris is deleted\n"
    assert [each.kind for each in client.operations()] == ["delete", "update", "create"]
