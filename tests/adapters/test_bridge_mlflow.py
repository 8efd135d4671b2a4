"""MLflow's own clients behind ``mlflow+sagemaker`` and ``mlflow+databricks``, against the fakes of those vendors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.contract import Denied, Place
from tests.adapters.bridge_target import BridgeTarget, end
from tests.fakes.databricks import TOKEN, Databricks
from tests.fakes.sagemaker import SageMaker

ROLE = "arn:aws:iam::123456789012:role/execution"
SECRET = "pl4nted-s3cr3t"
MLMODEL = "flavors:\n  python_function:\n    loader_module: nothing\n    python_version: 3.11.0\n"
SAGEMAKER = {"execution_role_arn": ROLE, "bucket": "models", "image_url": "image:1", "instance_type": "ml.m5.large"}


@pytest.fixture(scope="module")
def ended() -> Iterator[list[Place]]:
    """Every target of the module; the process that holds a plugin is shared by the tests and ends with the last."""
    places: list[Place] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANTED_KEY", SECRET)
        patch.setenv("PLANTED_TOKEN", TOKEN)
        yield places
        for place in places:
            end(place)


@pytest.fixture(scope="module")
def sagemaker() -> Iterator[SageMaker]:
    with SageMaker(keys={"AKIATESTS": SECRET}, create_seconds=0.2, update_seconds=0.2, delete_seconds=0.1) as fake:
        yield fake


@pytest.fixture
def on_sagemaker(tmp_path: Path, sagemaker: SageMaker, ended: list[Place]) -> BridgeTarget:
    sagemaker.reset()
    environment = {"AWS_ACCESS_KEY_ID": "AKIATESTS", "AWS_ENDPOINT_URL": sagemaker.url, "AWS_MAX_ATTEMPTS": "1"}
    target = BridgeTarget(
        tmp_path,
        "mlflow+sagemaker:/us-east-1",
        environment,
        credentials="env:PLANTED_KEY",
        credential_variable="AWS_SECRET_ACCESS_KEY",
        delete_config={"archive": True, "synchronous": False},
    )
    ended.append(target.place)
    return target


@pytest.fixture(scope="module")
def databricks() -> Iterator[Databricks]:
    with Databricks(seconds=0.2) as workspace:
        yield workspace


@pytest.fixture
def on_databricks(tmp_path: Path, databricks: Databricks, ended: list[Place]) -> BridgeTarget:
    databricks.reset()
    target = BridgeTarget(
        tmp_path,
        "mlflow+databricks",
        {"DATABRICKS_HOST": databricks.url},
        credentials="env:PLANTED_TOKEN",
        credential_variable="DATABRICKS_TOKEN",
    )
    ended.append(target.place)
    return target


def model(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    (folder / name / "MLmodel").write_text(MLMODEL)
    return str(folder / name)


def entity(**config: object) -> dict[str, object]:
    served = {"entity_name": "${model_name}", "entity_version": "${model_version}", "workload_size": "Small"}
    return {"served_entities": [{"name": "one", "scale_to_zero_enabled": True, **served, **config}]}


def test_sagemaker_from_create_to_delete(on_sagemaker: BridgeTarget, sagemaker: SageMaker, tmp_path: Path) -> None:
    target, quick = on_sagemaker, {**SAGEMAKER, "archive": True, "synchronous": False}
    assert target.adapter.check() == "sagemaker (MLflow itself, MLflow 3.17.2) lists 0 deployments"
    created = target.bring(target.spec(model(tmp_path, "one"), **quick))
    assert created.message == "serves: EndpointStatus InService"
    assert target.predict().status == 200

    before = sagemaker.things()["endpoints"]["d"]["EndpointConfigName"]
    assert target.bring(target.spec(model(tmp_path, "two"), **quick, instance_count=2)).outcome == "done"
    assert sagemaker.things()["endpoints"]["d"]["EndpointConfigName"] != before
    [observed] = target.adapter.observe_all()
    assert (observed.name, observed.uid, observed.status) == ("d", "u-1", "serving")

    assert target.bring(None).outcome == "done"
    assert target.bring(None).outcome == "done"
    assert sagemaker.counts()["calls"]["DeleteEndpoint"] == 1
    assert "d" not in sagemaker.things()["endpoints"]


def test_sagemakers_client_blocks_until_it_fails_and_what_it_left_is_removed(
    on_sagemaker: BridgeTarget, sagemaker: SageMaker, tmp_path: Path
) -> None:
    sagemaker.faults({"kind": "fails", "action": "CreateEndpoint", "message": "no weights in the cellar"})
    failed = on_sagemaker.bring(on_sagemaker.spec(model(tmp_path, "one"), **SAGEMAKER))
    assert failed.outcome == "failed"
    assert "sagemaker" in failed.message.lower()
    assert sagemaker.things()["endpoints"]["d"]["EndpointStatus"] == "Failed"

    assert on_sagemaker.bring(handle=failed.handle, toward="back").message == "nothing of it is left"
    assert "d" not in sagemaker.things()["endpoints"]


def test_sagemakers_refusal_holds_no_secret(on_sagemaker: BridgeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", "wrong-s3cr3t")
    with pytest.raises(Denied) as refused:
        on_sagemaker.bring(on_sagemaker.spec("/no/model"))
    assert "wrong-s3cr3t" not in refused.value.message
    end(on_sagemaker.place)


def test_databricks_from_create_to_delete(on_databricks: BridgeTarget, databricks: Databricks) -> None:
    target = on_databricks
    assert target.adapter.check().endswith("lists 0 endpoints")
    created = target.bring(target.spec("models:/main.ml.iris/1", **entity()))
    assert created.message == "serves: state.ready READY, state.config_update NOT_UPDATING"
    assert created.route == {"name": "d", "family": "endpoints"}
    assert json.loads(target.predict().body)["predictions"] == ["main.ml.iris/1"]

    assert target.bring(target.spec("models:/main.ml.iris/2", **entity())).outcome == "done"
    assert json.loads(target.predict().body)["predictions"] == ["main.ml.iris/2"]
    assert [(o.name, o.uid, o.status) for o in target.adapter.observe_all()] == [("d", "u-1", "serving")]

    assert target.bring(None).outcome == "done"
    assert target.bring(None).outcome == "done"
    assert databricks.endpoint("d") is None
    assert databricks.counts()["calls"]["DELETE"] == 1


def test_an_update_that_databricks_gives_up_is_taken_back(on_databricks: BridgeTarget, databricks: Databricks) -> None:
    target = on_databricks
    target.bring(target.spec("models:/main.ml.iris/1", **entity()))
    failed = target.bring(target.spec("models:/main.ml.broken/1", **entity()))
    assert (failed.outcome, failed.message) == (
        "failed",
        "the target gave up: state.ready READY, state.config_update UPDATE_FAILED",
    )
    undone = target.bring(handle=failed.handle, toward="back")
    assert (undone.outcome, undone.message) == ("done", "the revision before serves")
    assert json.loads(target.predict().body)["predictions"] == ["main.ml.iris/1"]


def test_a_model_of_databricks_that_refuses_keeps_its_status(
    on_databricks: BridgeTarget, databricks: Databricks
) -> None:
    on_databricks.bring(on_databricks.spec("models:/main.ml.iris/1", **entity()))
    databricks.conduct(model_status=400)
    assert on_databricks.predict().status == 400
