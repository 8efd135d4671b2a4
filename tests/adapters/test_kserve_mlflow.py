"""The MLflow faces of ``kserve`` and ``kubernetes``, against the fake cluster and through a kubeconfig."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.deployments import BaseDeploymentClient
    from mlflow.exceptions import MlflowException

from adapters.kserve import plugin as kserve
from adapters.kubernetes import connection
from adapters.kubernetes import plugin as plain
from tests.adapters.kserve_target import theirs
from tests.fakes.kubernetes import NAMESPACE, TOKEN, Kubernetes


@pytest.fixture(scope="module")
def running() -> Iterator[Kubernetes]:
    with Kubernetes(seconds=0) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kubernetes]:
    running.reset()
    document = {
        "clusters": [{"name": "c", "cluster": {"server": running.url}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setenv("MODELPORT_GATEWAY_URL", running.url)
    monkeypatch.setenv("MODELPORT_SERVICE_URL", running.settings["service_url"])
    yield running
    connection.forget()


def quick(kind: Any, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Any:
    told = kind.target_settings
    monkeypatch.setattr(kind, "target_settings", lambda self: {**told(self), "look_seconds": 0.02, **settings})
    return kind


@pytest.fixture
def client(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> Any:
    return quick(kserve.KServeDeploymentClient, monkeypatch)(f"kserve:/{NAMESPACE}")


def test_a_whole_life(client: Any, cluster: Kubernetes) -> None:
    made = client.create_deployment("iris", "s3://m/1", config={"min_replicas": "2", "labels": '{"team": "a"}'})
    assert (made["name"], made["status"], made["traffic"]) == ("iris", "serving", {"main": 100})
    changed = client.update_deployment("iris", "s3://m/2", config={"max_replicas": 4})
    assert changed["variants"][0]["model_uri"] == "s3://m/2"
    assert changed["variants"][0]["config"]["min_replicas"] == 2
    cluster.plant("inferenceservices", "theirs", theirs())
    assert [each["name"] for each in client.list_deployments()] == ["iris"]
    assert client.get_deployment("iris") == client.list_deployments()[0]
    assert client.predict("iris", {"inputs": [1]})["predictions"] == ["s3://m/2"]
    client.delete_deployment("iris")
    assert set(cluster.objects("inferenceservices")) == {"theirs"}
    client.delete_deployment("iris")


def test_a_failure_says_why_and_leaves_nothing(client: Any, cluster: Kubernetes) -> None:
    with pytest.raises(MlflowException, match="no weights in the cellar"):
        client.create_deployment("iris", "s3://m/broken")
    assert cluster.objects("inferenceservices") == {}


def test_what_is_somebody_elses_is_not_touched(client: Any, cluster: Kubernetes) -> None:
    cluster.plant("inferenceservices", "iris", theirs())
    before = cluster.objects("inferenceservices")["iris"]
    with pytest.raises(MlflowException, match="not ours"):
        client.create_deployment("iris", "s3://m/1")
    client.delete_deployment("iris")
    assert cluster.objects("inferenceservices")["iris"] == before


def test_a_whole_life_without_kserve(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"image": "mlflow:3", "drain_seconds": 0}
    client = quick(plain.KubernetesDeploymentClient, monkeypatch, **settings)(f"kubernetes:/{NAMESPACE}")
    client.create_deployment("iris", "models:/iris/1", config={"replicas": "2"})
    changed = client.update_deployment("iris", "models:/iris/2")
    assert changed["variants"][0] == {
        "name": "main", "model_uri": "models:/iris/2", "flavor": None, "config": {"replicas": 2},
    }  # fmt: skip
    assert client.predict("iris", {"inputs": [1]})["predictions"] == ["models:/iris/2"]
    client.delete_deployment("iris")
    assert cluster.objects("deployments") == cluster.objects("services") == {}


@pytest.mark.parametrize("module", [kserve, plain])
def test_the_module_is_a_plugin_of_mlflow(module: Any) -> None:
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BaseDeploymentClient) and each is not BaseDeploymentClient
    ]
    assert len(found) == 1
    assert "service_account" in module.target_help()
    assert callable(module.run_local)
