"""One script of MLflow's documented calls, against MLflow's own ``sagemaker`` client and ours, by the URI alone.

Both end at a fake SageMaker of their own. What theirs gets wrong is asserted too, so this fails when it is put right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.database import Database
from tests.adapters.sagemaker_target import ROLE
from tests.fakes.sagemaker import SageMaker
from tests.modelport.mlflow_process import FRAME, Called, calls
from tests.modelport.real_server import serving

KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
CONFIG = {
    "execution_role_arn": ROLE,
    "bucket": "models",
    "image_url": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mlflow-pyfunc:3",
    "region_name": "us-east-1",
    "archive": False,
    "instance_type": "ml.m5.xlarge",
    "instance_count": 1,
    "synchronous": True,
    "timeout_seconds": 120,
}
DELETION = {key: CONFIG[key] for key in ("region_name", "archive", "synchronous", "timeout_seconds")}
NAMES = ("created", "twice", "got", "listed", "predicted", "updated", "gone", "absent", "left", "deleted")


@pytest.fixture
def model(tmp_path: Path) -> str:
    """An MLflow model that is packed and never loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    flavor = {"loader_module": "mlflow.sklearn", "model_path": "weights", "python_version": "3.11.0"}
    (folder / "MLmodel").write_text(json.dumps({"flavors": {"python_function": flavor}}))
    (folder / "weights").write_text("1")
    return str(folder)


@pytest.fixture
def theirs() -> Iterator[SageMaker]:
    with SageMaker(create_seconds=0.1, update_seconds=0.1, delete_seconds=0.0) as fake:
        yield fake


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SageMaker]:
    with SageMaker(create_seconds=0.1, update_seconds=0.1, delete_seconds=0.0) as fake:
        settings = {"endpoint_url": fake.url, "look_seconds": 0.05}
        target = {"uri": "sagemaker:/us-east-1", "settings": settings}
        ours = {"MODELPORT_TARGETS": json.dumps({"aws": target}), "MODELPORT_MODEL_ROOTS": json.dumps([str(tmp_path)])}
        for key, value in {**KEYS, **ours}.items():
            monkeypatch.setenv(key, value)
        yield fake


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def url(ours: SageMaker, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    del ours
    with serving(db, monkeypatch, ["sagemaker"]) as url:
        yield url


def script(uri: str, model: str, env: dict[str, str]) -> dict[str, Called]:
    config = {"config": CONFIG}
    said = calls(
        uri,
        ("create_deployment", ["iris", model], config),
        ("create_deployment", ["iris", model], config),
        ("get_deployment", ["iris"]),
        ("list_deployments",),
        ("predict", ["iris", {FRAME: {"x": [1.0]}}]),
        ("update_deployment", ["iris", model], {"config": {**CONFIG, "instance_count": 2}}),
        ("delete_deployment", ["iris"], {"config": DELETION}),
        ("get_deployment", ["iris"]),
        ("list_deployments",),
        ("delete_deployment", ["iris"], {"config": DELETION}),
        env={**KEYS, **env},
    )
    return dict(zip(NAMES, said, strict=True))


def test_the_same_script_by_the_uri_alone(theirs: SageMaker, ours: SageMaker, url: str, model: str) -> None:
    mlflows = script("sagemaker:/us-east-1", model, {"AWS_ENDPOINT_URL": theirs.url})
    modelports = script(f"{url.replace('http:', 'modelport:')}/aws", model, {})
    for said in (mlflows, modelports):
        assert {each: said[each].type for each in NAMES[:-1]} == {
            "created": "dict",
            "twice": "MlflowException",
            "got": "dict",
            "listed": "list",
            "predicted": "PredictionsResponse",
            "updated": "dict",
            "gone": "NoneType",
            "absent": "MlflowException",
            "left": "list",
        }
        for each in ("created", "updated"):
            assert said[each].value.items() >= {"name": "iris", "flavor": "python_function"}.items()
        assert len(said["listed"].value) == 1
        assert said["left"].value == []
    assert mlflows["predicted"].value["received"] == modelports["predicted"].value["received"]
    for fake in (theirs, ours):
        assert not fake.objects()
        assert not any(fake.things()[kind] for kind in ("models", "configs", "endpoints"))
    assert _shape(theirs) == _shape(ours) == (1, 1, 1)

    # what theirs gets wrong
    assert "name" not in mlflows["got"].value
    assert "name" not in mlflows["listed"].value[0]
    assert mlflows["absent"].error_code == "INTERNAL_ERROR"
    assert mlflows["deleted"].type == "ClientError"  # of botocore, bare
    # and ours right
    assert modelports["got"].value["name"] == modelports["listed"].value[0]["name"] == "iris"
    assert modelports["absent"].error_code == "RESOURCE_DOES_NOT_EXIST"
    assert modelports["deleted"].type == "NoneType"


def _shape(fake: SageMaker) -> tuple[int, ...]:
    """How often the endpoint was created, updated and deleted."""
    return tuple(len(fake.log(action)) for action in ("CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint"))
