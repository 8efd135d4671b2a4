"""The MLflow face of the ``databricks`` target, against the fake workspace."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.deployments import BaseDeploymentClient
    from mlflow.exceptions import MlflowException

from adapters.databricks import plugin
from tests.adapters.databricks_target import theirs
from tests.fakes.databricks import TOKEN, Databricks


@pytest.fixture(scope="module")
def running() -> Iterator[Databricks]:
    with Databricks(seconds=0) as workspace:
        yield workspace


@pytest.fixture
def workspace(running: Databricks, monkeypatch: pytest.MonkeyPatch) -> Databricks:
    running.reset()
    monkeypatch.setenv("DATABRICKS_HOST", running.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    return running


@pytest.fixture
def client(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(plugin.DatabricksDeploymentClient, "target_settings", lambda self: {"look_seconds": 0.02})
    made = plugin.DatabricksDeploymentClient("databricks")
    yield made
    made._adapter.close()


def test_a_whole_life(client: Any, workspace: Databricks) -> None:
    made = client.create_deployment(
        "iris", "models:/main.ml.iris/1", config={"workload_size": "Small", "tags": '{"team": "a"}'}
    )
    assert (made["name"], made["status"], made["traffic"]) == ("iris", "serving", {"main": 100})
    assert made["variants"][0]["model_uri"] == "models:/main.ml.iris/1"

    changed = client.update_deployment("iris", "models:/main.ml.iris/2", config={"workload_size": "Medium"})
    assert changed["variants"][0]["model_uri"] == "models:/main.ml.iris/2"
    again = client.update_deployment("iris", config={"scale_to_zero_enabled": "true"})
    assert again["variants"][0]["config"] == {"workload_size": "Medium", "scale_to_zero_enabled": True}
    there = workspace.endpoint("iris")
    assert there is not None
    assert {"key": "team", "value": "a"} in there["tags"]

    workspace.plant(theirs("theirs"))
    assert [each["name"] for each in client.list_deployments()] == ["iris"]
    assert client.get_deployment("iris") == client.list_deployments()[0]
    assert client.predict("iris", {"inputs": [1]})["predictions"] == ["main.ml.iris/2"]

    client.delete_deployment("iris")
    assert workspace.endpoint("iris") is None
    client.delete_deployment("iris")


def test_aliases_are_resolved(client: Any, workspace: Databricks) -> None:
    workspace.conduct(aliases={"main.ml.iris": {"champion": "4"}})
    made = client.create_deployment("iris", "models:/main.ml.iris@champion")
    assert made["variants"][0]["model_uri"] == "models:/main.ml.iris/4"


def test_a_failure_says_why_and_leaves_nothing(client: Any, workspace: Databricks) -> None:
    with pytest.raises(MlflowException, match="no weights in the cellar"):
        client.create_deployment("iris", "models:/main.ml.broken/1")
    assert workspace.endpoint("iris") is None


def test_what_is_somebody_elses_is_not_touched(client: Any, workspace: Databricks) -> None:
    workspace.plant(theirs("iris"))
    before = workspace.endpoint("iris")
    with pytest.raises(MlflowException, match="not ours"):
        client.create_deployment("iris", "models:/main.ml.iris/1")
    client.delete_deployment("iris")
    assert workspace.endpoint("iris") == before


def test_config_is_checked_before_anything_is_done(client: Any, workspace: Databricks) -> None:
    with pytest.raises(MlflowException, match="secret scope") as raised:
        client.create_deployment("iris", "models:/m/1", config={"environment_vars": {"API_KEY": "hush"}})
    assert "hush" not in str(raised.value)
    assert workspace.counts()["calls"].get("CREATE") is None


def test_predictions_stream(client: Any) -> None:
    client.create_deployment("iris", "models:/main.ml.iris/1")
    events = list(client.predict_stream("iris", {"inputs": [1]}))
    assert [event["delta"] for event in events] == [f"main.ml.iris/1 {n}" for n in range(3)]
    first = client.predict_stream("iris", {"inputs": [1]})
    assert next(first)["delta"] == "main.ml.iris/1 0"
    first.close()


def test_a_stream_that_is_none(client: Any, workspace: Databricks) -> None:
    client.create_deployment("iris", "models:/main.ml.iris/1")
    workspace.conduct(model_status=400)
    with pytest.raises(MlflowException, match=r"answered 400 and no stream: .*ValueError"):
        list(client.predict_stream("iris", {"inputs": [1]}))
    with pytest.raises(MlflowException, match="a body as dict"):
        list(client.predict_stream("iris", [1]))


def test_the_module_is_a_plugin_of_mlflow() -> None:
    found = [
        each
        for each in vars(plugin).values()
        if isinstance(each, type) and issubclass(each, BaseDeploymentClient) and each is not BaseDeploymentClient
    ]
    assert found == [plugin.DatabricksDeploymentClient]
    assert "workload_size" in plugin.target_help()
    assert callable(plugin.run_local)
