"""The main job through real processes on both databases: a real model is deployed, updated under load, and deleted."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from adapters.local.stop import stop_all
from stack.demo import Load, connect, finish
from tests.models import FLOWERS, ModelURIs, train
from tests.stack.parts import Parts

pytestmark = pytest.mark.stack

PATH = "/v1/deployments/local/iris"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelURIs:
    return train(tmp_path_factory.mktemp("models"))


def predictions(client: httpx.Client) -> list[int]:
    answer = client.post(f"{PATH}/predict", json=FLOWERS).raise_for_status()
    assert answer.headers["Modelport-Origin"] == "model"
    return list(answer.json()["predictions"])


@pytest.mark.timeout(240)
def test_a_real_model_is_created_updated_under_load_and_deleted(
    tmp_path: Path, database_url: str, models: ModelURIs
) -> None:
    left = None
    with Parts(tmp_path, database_url, env={"MLFLOW_TRACKING_URI": models.tracking_uri}) as parts:
        try:
            with connect(parts.api_url) as client:
                asked = {"target": "local", "name": "iris", "model_uri": models.alias}
                created = finish(client, client.post("/v1/deployments", json=asked))
                assert created["state"] == "succeeded"
                revision = client.get(f"{PATH}/revisions").json()["items"][0]
                assert [variant["resolved_uri"] for variant in revision["variants"]] == [models.v1]
                assert predictions(client) == [0, 1]

                with Load(parts.api_url, PATH, FLOWERS) as load:
                    updated = finish(client, client.patch(PATH, json={"model_uri": models.v2}))
                    load.some_more()
                assert updated["state"] == "succeeded"
                assert load.failures == []
                assert load.answers > 20
                assert predictions(client) == [100, 101]

                deleted = finish(client, client.delete(PATH))
                assert deleted["state"] == "succeeded"
                assert client.post(f"{PATH}/predict", json=FLOWERS).status_code == 404
        finally:
            left = stop_all(tmp_path)
    assert left == 0, "a model server outlived its deployment"
