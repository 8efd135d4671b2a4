"""The ``local`` target with real models in MLflow's own scoring server, and its MLflow face."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.contract import Permanent, Temporary
from tests.adapters.local_target import SCORING_SERVER, Load, LocalTarget, local_target
from tests.models import FLOWERS, REPOSITORY, ModelURIs, train

BODY = json.dumps(FLOWERS).encode()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelURIs:
    return train(tmp_path_factory.mktemp("models"))


@pytest.fixture
def target(tmp_path: Path, models: ModelURIs) -> Iterator[LocalTarget]:
    with local_target(tmp_path, app=SCORING_SERVER, tracking_uri=models.tracking_uri) as target:
        yield target


def predictions(target: LocalTarget) -> list[int]:
    return list(json.loads(target.predict(body=BODY).body)["predictions"])


def test_everything_that_moves_is_fixed(target: LocalTarget, models: ModelURIs) -> None:
    asked = {
        "version": models.v1,
        "alias": models.alias,
        "latest": models.latest,
        "run": models.run,
        "model": f"models:/{models.model_id}",
    }

    resolved = target.spec(**asked)

    assert {variant.name: variant.model_uri for variant in resolved.variants} == {
        "version": "models:/iris/1",
        "alias": "models:/iris/1",
        "latest": "models:/iris/2",
        "run": f"models:/{models.model_id}",
        "model": f"models:/{models.model_id}",
    }


@pytest.mark.parametrize("uri", ["models:/absent/1", "models:/iris@absent", "runs:/absent/model", "models:/m-absent"])
def test_what_names_nothing_is_refused_by_name(target: LocalTarget, uri: str) -> None:
    with pytest.raises(Permanent, match=f"variant main: {uri}: "):
        target.spec(main=uri)


def test_a_registry_that_does_not_answer_is_temporary(tmp_path: Path) -> None:
    with (
        local_target(tmp_path, app=SCORING_SERVER, tracking_uri="http://127.0.0.1:1") as target,
        pytest.raises(Temporary, match="models:/iris/1"),
    ):
        target.spec(main="models:/iris/1")


def test_check_says_which_registry_answered(target: LocalTarget, models: ModelURIs) -> None:
    assert models.tracking_uri in target.adapter.check()


def test_an_update_under_load_loses_no_prediction(target: LocalTarget, models: ModelURIs) -> None:
    target.bring(target.spec(main=models.v1))
    assert predictions(target) == [0, 1]

    with Load(lambda: target.predict(body=BODY)) as load:
        load.wait_for(lambda load: len(load.answers) > 5)
        target.bring(target.spec(main=models.v2))
        asked = len(load.answers)
        load.wait_for(lambda load: len(load.answers) > asked + 5)

    assert load.failures == []
    assert predictions(target) == [100, 101]


def test_a_path_is_served_and_a_bad_body_is_the_models_to_refuse(target: LocalTarget, models: ModelURIs) -> None:
    target.bring(target.spec(main=models.path))

    assert predictions(target) == [0, 1]
    assert target.predict(body=b"{}").status == 400


def test_a_broken_model_shows_its_last_words_and_the_old_serves_on(target: LocalTarget, models: ModelURIs) -> None:
    target.bring(target.spec(main=models.v1))

    failed = target.bring(target.spec(main=models.broken))
    undone = target.bring(None, "back", failed.handle)

    assert failed.outcome == "failed"
    assert failed.message.endswith("RuntimeError: the weights of this model are missing")
    assert undone.outcome == "done"
    assert predictions(target) == [0, 1]


PLUGIN = """
import json, sys
import mlflow
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from adapters.local import plugin

models, flowers = json.loads(sys.argv[1]), json.loads(sys.argv[2])
mlflow.set_tracking_uri(models["tracking_uri"])

[client_class] = [
    item for item in vars(plugin).values() if isinstance(item, type) and issubclass(item, BaseDeploymentClient)
]
client = client_class("local")


def code_of(call, *arguments):
    try:
        call(*arguments)
    except MlflowException as error:
        return error.error_code, error.message


said = {}
said["created"] = client.create_deployment("iris", models["v1"], config={"request_timeout_seconds": "30"})
said["twice"] = code_of(client.create_deployment, "iris", models["v1"])
answer = client.predict("iris", flowers)
said["predicted"] = [isinstance(answer, PredictionsResponse), answer.get_predictions()[0].tolist()]
said["broken"] = code_of(client.update_deployment, "iris", models["broken"])
said["bad_config"] = code_of(client.update_deployment, "iris", None, None, {"instances": 3})
said["served_on"] = client.predict("iris", flowers)["predictions"]
client.update_deployment("iris", models["v2"])
said["updated"] = client.predict("iris", flowers)["predictions"]
said["listed"] = [deployment["name"] for deployment in client.list_deployments()]
said["got"] = client.get_deployment("iris")
client.delete_deployment("iris")
client.delete_deployment("iris")
said["gone"] = code_of(client.get_deployment, "iris")
said["help"] = plugin.target_help()
plugin.run_local("run-locally", models["path"])
said["run_local"] = client.predict("run-locally", flowers)["predictions"]
client.delete_deployment("run-locally")
print(json.dumps(said))
"""


@pytest.fixture(scope="session")
def said(models: ModelURIs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What the MLflow face said through the whole life of a deployment, in a process that may import MLflow."""
    folder = tmp_path_factory.mktemp("plugin")
    with local_target(folder):
        ran = subprocess.run(
            [sys.executable, "-c", PLUGIN, json.dumps(vars(models)), json.dumps(FLOWERS)],
            cwd=REPOSITORY,
            env={**os.environ, "MODELPORT_FOLDER": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        yield json.loads(ran.stdout.splitlines()[-1])


def test_plugin_results_always_have_a_name(said: dict[str, object]) -> None:
    assert said["created"]["name"] == said["got"]["name"] == "iris"
    assert said["listed"] == ["iris"]


def test_plugin_blocks_until_what_was_asked_for_serves(said: dict[str, object]) -> None:
    assert said["predicted"] == [True, [0, 1]]
    assert said["updated"] == [100, 101]


def test_plugin_update_keeps_the_config_that_is_not_given(said: dict[str, object]) -> None:
    assert said["got"]["variants"][0]["config"] == {"request_timeout_seconds": 30}


def test_plugin_refuses_to_create_twice(said: dict[str, object]) -> None:
    assert said["twice"][0] == "RESOURCE_ALREADY_EXISTS"


def test_plugin_names_the_config_key_at_fault(said: dict[str, object]) -> None:
    assert said["bad_config"][0] == "INVALID_PARAMETER_VALUE"
    assert "instances" in said["bad_config"][1]


def test_plugin_failure_has_the_models_words_and_is_taken_back(said: dict[str, object]) -> None:
    assert "the weights of this model are missing" in said["broken"][1]
    assert said["served_on"] == [0, 1]


def test_plugin_delete_is_idempotent(said: dict[str, object]) -> None:
    assert said["gone"][0] == "RESOURCE_DOES_NOT_EXIST"


def test_plugin_help_names_every_key(said: dict[str, object]) -> None:
    assert "startup_timeout_seconds: float" in said["help"]


def test_plugin_runs_locally(said: dict[str, object]) -> None:
    assert said["run_local"] == [0, 1]
