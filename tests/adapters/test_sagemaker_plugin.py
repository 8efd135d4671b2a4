"""The MLflow face of the ``sagemaker`` target, in a process of its own as a notebook is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.sagemaker_target import ROLE
from tests.fakes.sagemaker import SageMaker
from tests.models import REPOSITORY

SCRIPT = """
import json, sys
import mlflow.deployments
from mlflow.exceptions import MlflowException
from adapters.sagemaker import plugin

class Quick(plugin.SageMakerDeploymentClient):
    def target_settings(self):
        return {**super().target_settings(), "look_seconds": 0.02}

client = Quick("sagemaker:/us-east-1")
told = []
def tell(what):
    told.append(what)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[SageMaker]:
    with SageMaker(looks=1) as fake:
        yield fake


@pytest.fixture
def fake(running: SageMaker) -> SageMaker:
    running.reset()
    return running


def run(fake: SageMaker, folder: Path, script: str, **environment: str) -> list[Any]:
    """What the script told."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    given = {
        "AWS_ENDPOINT_URL": fake.url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "MODELPORT_FOLDER": str(folder),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    ran = subprocess.run(
        [sys.executable, "-c", f"{SCRIPT}\n{script}\nprint(json.dumps(told))"],
        cwd=REPOSITORY,
        env={**kept, **given, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return list(json.loads(ran.stdout.splitlines()[-1]))


def test_a_whole_life_with_mlflows_own_keys(fake: SageMaker, tmp_path: Path) -> None:
    script = f"""
config = {{
    "execution_role_arn": "{ROLE}", "image_url": "image:1", "instance_type": "ml.m5.xlarge", "instance_count": "2",
    "archive": "False", "synchronous": True, "timeout_seconds": 300, "variant_name": "prod", "region_name": "us-east-1",
    "env": {{"A": "1"}}, "tags": {{"team": "risk"}}, "bucket": "models", "async_inference_config": {{}},
}}
created = client.create_deployment("churn", "s3://models/a.tar.gz", config=config)
tell([created["name"], created["status"], created["traffic"]])
try:
    client.create_deployment("churn", "s3://models/a.tar.gz", config=config)
except MlflowException as error:
    tell(error.error_code)
tell(client.predict("churn", {{"inputs": [1]}}).get_predictions().iloc[0, 0])
updated = client.update_deployment("churn", "s3://models/b.tar.gz")
tell(updated["variants"])
tell([each["name"] for each in client.list_deployments()])
client.delete_deployment("churn")
client.delete_deployment("churn")
tell(client.list_deployments())
"""
    created, twice, answer, variants, listed, gone = run(fake, tmp_path, script)
    assert created == ["churn", "InService", {"prod": 100}]
    assert (twice, answer) == ("RESOURCE_ALREADY_EXISTS", "s3://models/a.tar.gz")
    (variant,) = variants
    assert (variant["name"], variant["model_uri"]) == ("prod", "s3://models/b.tar.gz")
    kept = {"instance_type": "ml.m5.xlarge", "instance_count": 2, "env": {"A": "1"}, "tags": {"team": "risk"}}
    assert variant["config"].items() >= kept.items()
    assert (listed, gone) == (["churn"], [])
    there = fake.things()
    assert (there["models"], there["configs"], there["endpoints"]) == ([], [], {})


def test_a_failure_says_why_and_is_taken_back(fake: SageMaker, tmp_path: Path) -> None:
    script = f"""
config = {{"execution_role_arn": "{ROLE}", "image_url": "image:1", "env": {{"FAKE_FAILS": "no weights"}}}}
for asked in (config, {{**config, "no_such_key": 1}}, {{"image_url": "image:1"}}):
    try:
        client.create_deployment("churn", "s3://models/a.tar.gz", config=asked)
    except MlflowException as error:
        tell(error.message)
"""
    failed, unknown, missing = run(fake, tmp_path, script)
    assert "no weights" in failed
    assert "no_such_key" in unknown
    assert "execution_role_arn" in missing
    there = fake.things()
    assert (there["models"], there["configs"], there["endpoints"]) == ([], [], {})


def test_a_model_that_was_packed_is_read_back_by_its_own_uri(fake: SageMaker, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: nothing\n")
    script = f"""
config = {{"execution_role_arn": "{ROLE}", "image_url": "image:1", "bucket": "models"}}
tell(client.create_deployment("churn", "{folder}", config=config)["variants"])
tell(client.update_deployment("churn", config={{"instance_count": 3}})["variants"])
client.delete_deployment("churn")
"""
    (first,), (second,) = run(fake, tmp_path, script)
    assert first["model_uri"].startswith(f"{folder}#content=")
    assert (second["model_uri"], second["config"]["instance_count"]) == (first["model_uri"], 3)
    assert fake.objects() == {}


def test_the_module_is_laid_out_as_mlflow_asks(fake: SageMaker, tmp_path: Path) -> None:
    script = """
from mlflow.deployments import BaseDeploymentClient
classes = [v for v in vars(plugin).values() if isinstance(v, type) and issubclass(v, BaseDeploymentClient)]
tell([each.__name__ for each in classes])
tell([callable(plugin.run_local), plugin.target_help().splitlines()[0]])
"""
    classes, (runs, title) = run(fake, tmp_path, script)
    assert (classes, runs) == (["SageMakerDeploymentClient"], True)
    assert title.startswith("Amazon SageMaker")
