"""The MLflow face of the ``azureml`` target, against the fake workspace."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.deployments import BaseDeploymentClient
    from mlflow.exceptions import MlflowException

from adapters.azureml import connection, plugin
from tests.adapters.azureml_target import theirs
from tests.fakes.azureml import TOKEN, URI, AzureMl

FILES = "azureml://jobs/train-7/outputs/artifacts/paths/model"


@pytest.fixture(scope="module")
def running() -> Iterator[AzureMl]:
    with AzureMl(seconds=0) as workspace:
        yield workspace


class Chain:
    """The default chain of azure-identity, where it has found something."""

    def get_token(self, *scopes: str) -> Any:
        return type("AccessToken", (), {"token": TOKEN})


@pytest.fixture
def workspace(running: AzureMl, monkeypatch: pytest.MonkeyPatch) -> AzureMl:
    running.reset()
    monkeypatch.setattr(connection, "_opened", lambda *_: Chain())
    monkeypatch.setattr(connection, "_credentials", {})
    return running


@pytest.fixture
def client(workspace: AzureMl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    settings = {"resource_manager": workspace.url, "look_seconds": 0.01}
    monkeypatch.setattr(plugin.AzureMlDeploymentClient, "target_settings", lambda self: settings)
    made = plugin.AzureMlDeploymentClient(URI)
    yield made
    made._adapter.close()


def test_a_whole_life(client: Any, workspace: AzureMl) -> None:
    made = client.create_deployment(
        "iris", "azureml:iris:1", config={"instance_type": "Standard_DS3_v2", "tags": '{"team": "a"}'}
    )
    assert (made["name"], made["status"], made["traffic"]) == ("iris", "serving", {"main": 100})
    assert made["variants"][0]["model_uri"] == "azureml:iris:1"

    changed = client.update_deployment("iris", "azureml:iris:2", config={"instance_count": "2"})
    assert changed["variants"][0]["model_uri"] == "azureml:iris:2"
    config = changed["variants"][0]["config"]
    assert (config["instance_count"], config["instance_type"]) == (2, "Standard_DS3_v2")
    there = workspace.image("iris")
    assert there is not None
    assert there["endpoint"]["tags"]["team"] == "a"

    workspace.plant(theirs("theirs"))
    assert [each["name"] for each in client.list_deployments()] == ["iris"]
    assert client.get_deployment("iris") == client.list_deployments()[0]
    assert client.predict("iris", {"inputs": [1]})["predictions"] == ["azureml:iris:2"]

    client.delete_deployment("iris")
    assert workspace.image("iris") is None
    client.delete_deployment("iris")


def test_a_model_that_is_registered_for_it_goes_with_it(client: Any, workspace: AzureMl) -> None:
    made = client.create_deployment("iris", FILES)
    assert made["variants"][0]["model_uri"] == FILES
    assert len(workspace.models()) == 1
    client.update_deployment("iris", config={"instance_count": 2})
    assert len(workspace.models()) == 1
    client.delete_deployment("iris")
    assert workspace.models() == []


def test_a_failure_says_why_and_leaves_nothing(client: Any, workspace: AzureMl) -> None:
    with pytest.raises(MlflowException, match="no weights in the cellar"):
        client.create_deployment("iris", "azureml:broken:1")
    assert workspace.image("iris") is None


def test_what_is_somebody_elses_is_not_touched(client: Any, workspace: AzureMl) -> None:
    workspace.plant(theirs("iris"))
    before = workspace.image("iris")
    with pytest.raises(MlflowException, match="not ours"):
        client.create_deployment("iris", "azureml:iris:1")
    client.delete_deployment("iris")
    assert workspace.image("iris") == before


def test_config_is_checked_before_anything_is_done(client: Any, workspace: AzureMl) -> None:
    with pytest.raises(MlflowException, match="looks like a secret") as raised:
        client.create_deployment("iris", "azureml:iris:1", config={"environment_variables": {"API_KEY": "hush"}})
    assert "hush" not in str(raised.value)
    assert workspace.counts()["calls"].get("ENDPOINT") is None


def test_the_module_is_a_plugin_of_mlflow() -> None:
    found = [
        each
        for each in vars(plugin).values()
        if isinstance(each, type) and issubclass(each, BaseDeploymentClient) and each is not BaseDeploymentClient
    ]
    assert found == [plugin.AzureMlDeploymentClient]
    assert "instance_type" in plugin.target_help()
    assert callable(plugin.run_local)
