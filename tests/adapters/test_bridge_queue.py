"""Plugins through the queue, with real processes: workers that are killed in the middle of a blocking create."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.bridge.stop import stop_all
from stack.demo import connect, finish
from stack.up import CHECKOUT
from tests.fakes import bridge
from tests.fakes.bridge.loopback import TOKEN, Loopback, loopback
from tests.fakes.databricks import TOKEN as DATABRICKS_TOKEN
from tests.fakes.databricks import Databricks
from tests.stack.parts import Parts
from tests.stack.waiting import until

DOCS = (CHECKOUT / "docs" / "targets" / "mlflow-plugins.md").read_text()

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


crusoe_installed = pytest.mark.skipif(
    not (find_spec("mlflow_crusoe") and find_spec("openai")), reason="mlflow-crusoe is not installed"
)


@dataclass
class Running:
    """The whole system, where the plugins are installed."""

    parts: Parts
    client: httpx.Client
    shelf: Path
    loopback: Loopback

    def register(self, name: str, uri: str, settings: dict[str, Any], credentials: str | None = None) -> None:
        body = {"uri": uri, "settings": {"look_seconds": 0.5, **settings}, "credentials": credentials}
        assert self.client.put(f"/v1/targets/{name}", json=body).status_code == 201

    def kill_the_workers(self) -> None:
        for node in self.parts.nodes:
            self.parts.kill(node)
        for node in self.parts.nodes:
            self.parts.start(node)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("bridge")
    shelf = folder / "shelf"
    shelf.mkdir()
    with (
        bridge.installed_in(folder),
        loopback() as served,
        tempfile.TemporaryDirectory(prefix="mp-b-") as short,
    ):
        path = os.pathsep.join([str(CHECKOUT), os.environ["PYTHONPATH"]])
        env = {"PYTHONPATH": path, "TMPDIR": short, "HOME": str(folder), "MODELPORT_LEASE_SECONDS": "45"}
        env["MODELPORT_CHECK_SECONDS"] = "60"  # a busy machine imports MLflow and a plugin for longer than the default
        env |= {"PLANTED": TOKEN, "CRUSOE_KEY": TOKEN, "LAKEHOUSE": DATABRICKS_TOKEN}
        with Parts(folder, env=env) as parts, connect(parts.api_url) as client:
            try:
                yield Running(parts, client, shelf, served)
            finally:
                stop_all(folder, Path(short).glob("modelport-*/*"))


def test_a_worker_killed_in_the_middle_of_a_blocking_create(system: Running) -> None:
    system.register("shelf", "shelf", {"environment": {"SHELF": str(system.shelf)}})
    asked = {"target": "shelf", "name": "iris", "model_uri": "models:/hang/1", "config": {"size": 3}}
    accepted = system.client.post("/v1/deployments", json=asked)
    log = system.shelf / "calls.log"
    until(lambda: log.exists() and "create iris" in log.read_text(), seconds=120)

    system.kill_the_workers()
    (system.shelf / "go").touch()
    created = finish(system.client, accepted)

    assert created["state"] == "succeeded"
    assert log.read_text().split("\n").count("create iris") == 1
    answer = system.client.post("/v1/deployments/shelf/iris/predict", json={"inputs": [1]})
    assert answer.json()["predictions"] == ["models:/hang/1"]
    assert finish(system.client, system.client.delete("/v1/deployments/shelf/iris"))["state"] == "succeeded"
    assert log.read_text().split("\n").count("delete iris") == 1


@crusoe_installed
def test_crusoe_is_created_listed_asked_and_deleted(system: Running) -> None:
    settings = {
        "environment": {"MLFLOW_CRUSOE_STORE_DIR": str(system.shelf / "crusoe")},
        "credential_variable": "CRUSOE_API_KEY",
    }
    system.register("crusoe", "crusoe", settings, "env:PLANTED")
    config = {"api_base": f"{system.loopback.url}/v1", "max_tokens": "64"}
    asked = {"target": "crusoe", "name": "chat", "model_uri": "zai/GLM-5.3", "config": config}
    finish(system.client, system.client.post("/v1/deployments", json=asked))

    listed = system.client.get("/v1/deployments", params={"target": "crusoe"}).json()["items"]
    assert [each["name"] for each in listed] == ["chat"]
    answer = system.client.post("/v1/deployments/crusoe/chat/predict", json={"prompt": "hello"})
    assert "heard hello" in answer.text
    finish(system.client, system.client.delete("/v1/deployments/crusoe/chat"))
    assert list((system.shelf / "crusoe").iterdir()) == []


@pytest.mark.skipif(not find_spec("mlflow_triton_control"), reason="mlflow-triton-control is not installed")
def test_tritons_blocking_create_survives_the_workers(system: Running) -> None:
    server = system.loopback
    server.ready_after = None
    uri = server.url.replace("http:", "triton-control:")
    system.register("triton", uri, {"credential_variable": "TRITON_CONTROL_TOKEN"}, "env:PLANTED")
    config = {"s3_profile_id": 1, "image": "triton:25.01"}
    asked = {"target": "triton", "name": "iris", "model_uri": "s3://bucket/models/iris", "config": config}
    accepted = system.client.post("/v1/deployments", json=asked)
    until(lambda: server.calls["POST /api/deployments"], seconds=120)

    system.kill_the_workers()
    server.go.set()
    finish(system.client, accepted)
    assert server.calls["POST /api/deployments"] == 1

    listed = system.client.get("/v1/deployments", params={"target": "triton"}).json()["items"]
    assert [each["name"] for each in listed] == ["iris"]
    refused = system.client.post("/v1/deployments/triton/iris/predict", json={"inputs": [1]})
    assert (refused.status_code, "Prediction is not supported" in refused.text) == (502, True)
    finish(system.client, system.client.delete("/v1/deployments/triton/iris"))
    assert server.deployments == {}


# the documentation


def documented(system: Running, target: str, replaced: dict[str, str], folder: Path) -> list[str]:
    """Run the commands of the documentation that concern this target, in their order; what each printed."""
    printed = []
    for line in re.findall(r"^\$ (modelport .*)$", DOCS, re.MULTILINE):
        command = shlex.split(line)
        if not any(word.split("/")[0] == target for word in command):
            continue
        for before, after in replaced.items():
            command = [word.replace(before, after) for word in command]
        ran = subprocess.run(
            [sys.executable, "-m", *command],
            env={
                **os.environ,
                "PYTHONPATH": str(CHECKOUT),
                "MODELPORT_URL": system.parts.api_url,
                "MODELPORT_TIMEOUT_SECONDS": "90",
            },
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        printed.append(ran.stdout)
    return printed


@crusoe_installed
def test_the_documented_use_of_a_plugin(system: Running, tmp_path: Path) -> None:
    replaced = {"https://api.inference.crusoecloud.com": system.loopback.url}
    _, check, words, _, prediction, _ = documented(system, "llm", replaced, tmp_path)
    assert "mlflow-crusoe" in check
    assert "Supported config keys" in words
    assert "heard hello" in prediction


def test_the_documented_use_of_mlflows_own_client(system: Running, tmp_path: Path) -> None:
    [config] = re.findall(r"^```json\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    (tmp_path / "iris.json").write_text(config)
    with Databricks(seconds=0.2) as workspace:
        replaced = {"https://dbc-1234.cloud.databricks.com": workspace.url}
        _, _, prediction, _ = documented(system, "lake", replaced, tmp_path)
        assert json.loads(prediction)["predictions"] == ["main.ml.iris/3"]
        assert workspace.endpoint("iris") is None
