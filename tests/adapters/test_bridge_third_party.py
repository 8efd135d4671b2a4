"""Two plugins from the registry, against loopback servers: mlflow-crusoe 0.1.3 and mlflow-triton-control 0.3.1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from adapters import registry
from adapters.bridge.adapter import BridgeAdapter
from adapters.bridge.asking import help_holder
from adapters.contract import Place
from tests.adapters.bridge_target import BridgeTarget, end, end_holder
from tests.fakes.bridge.loopback import TOKEN, Loopback, loopback

crusoe_installed = pytest.mark.skipif(
    not (find_spec("mlflow_crusoe") and find_spec("openai")), reason="mlflow-crusoe is not installed"
)
triton_installed = pytest.mark.skipif(
    not find_spec("mlflow_triton_control"), reason="mlflow-triton-control is not installed"
)

TRITON: dict[str, Any] = {"s3_profile_id": 1, "image": "triton:25.01"}


@pytest.fixture(scope="module")
def ended() -> Iterator[list[Place]]:
    """Every target of the module; the process that holds a plugin is shared by the tests and ends with the last."""
    places: list[Place] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANTED", TOKEN)
        yield places
        for place in places:
            end(place)


@pytest.fixture(scope="module")
def serving() -> Iterator[Loopback]:
    with loopback() as served:
        yield served


@pytest.fixture
def server(serving: Loopback) -> Loopback:
    serving.ready_after = 0
    for collected in (serving.calls, serving.asked, serving.deployments):
        collected.clear()
    serving.go.clear()
    return serving


@pytest.fixture
def crusoe(tmp_path: Path, server: Loopback, ended: list[Place]) -> BridgeTarget:
    environment = {"MLFLOW_CRUSOE_STORE_DIR": str(tmp_path / "store")}
    target = BridgeTarget(
        tmp_path, "crusoe", environment, credentials="env:PLANTED", credential_variable="CRUSOE_API_KEY"
    )
    ended.append(target.place)
    return target


@pytest.fixture
def triton(tmp_path: Path, server: Loopback, ended: list[Place]) -> BridgeTarget:
    uri = server.url.replace("http:", "triton-control:")
    target = BridgeTarget(tmp_path, uri, credentials="env:PLANTED", credential_variable="TRITON_CONTROL_TOKEN")
    ended.append(target.place)
    return target


@crusoe_installed
def test_crusoe_from_create_to_delete(crusoe: BridgeTarget, server: Loopback) -> None:
    assert crusoe.adapter.check().startswith("crusoe (mlflow-crusoe 0.1.3, MLflow ")
    api_base = f"{server.url}/v1"
    created = crusoe.bring(crusoe.spec("openai/gpt-oss-120b", temperature=0.7, api_base=api_base))
    assert (created.outcome, created.route) == ("done", {"name": "d", "family": "deployments"})

    answer = json.loads(crusoe.predict(b'{"messages": [{"role": "user", "content": "hello"}]}').body)
    assert answer["choices"][0]["message"]["content"] == "openai/gpt-oss-120b heard hello"
    assert server.asked[0]["temperature"] == 0.7

    crusoe.bring(crusoe.spec("zai/GLM-5.3", api_base=api_base))
    assert "zai/GLM-5.3 heard hi" in crusoe.predict(b'{"prompt": "hi"}').body.decode()
    [observed] = crusoe.adapter.observe_all()
    assert (observed.name, observed.uid, observed.detail["shown"]["model"]) == ("d", "u-1", "zai/GLM-5.3")
    assert TOKEN not in json.dumps(observed.detail)

    assert crusoe.bring(None).outcome == "done"
    assert list(crusoe.adapter.observe_all()) == []


@crusoe_installed
def test_the_help_of_crusoe_is_the_plugins_own() -> None:
    try:
        words = registry.describe("crusoe").help()
    finally:
        end_holder(help_holder("crusoe"))
    assert "Crusoe API key (overrides env var)" in words
    assert "credential_variable" in words


@triton_installed
def test_triton_from_create_to_delete(triton: BridgeTarget, server: Loopback) -> None:
    created = triton.bring(triton.spec("s3://bucket/models/iris", **TRITON))
    assert created.message == "serves"
    assert server.calls["POST /api/deployments"] == 1
    assert [(each.name, each.uid) for each in triton.adapter.observe_all()] == [("d", "u-1")]

    failed = triton.bring(triton.spec("s3://bucket/models/other", **TRITON))
    assert (failed.outcome, failed.message) == ("failed", "Updating deployments is not supported")
    assert triton.bring(handle=failed.handle, toward="back").message == "nothing was changed"
    assert server.deployments["d"]["model_uri"] == "s3://bucket/models/iris"

    assert triton.bring(None).outcome == "done"
    assert triton.bring(None).outcome == "done"
    assert server.calls["DELETE /api/deployments/mlflow/d"] == 1


@triton_installed
def test_triton_blocks_and_the_worker_that_began_it_may_go(triton: BridgeTarget, server: Loopback) -> None:
    server.ready_after = None
    progress = triton.bring(
        triton.spec("s3://bucket/models/iris", "triton", **TRITON), until=lambda p: bool(p.again_in)
    )
    triton.wait_until(lambda: server.calls["GET /api/deployments/mlflow/d"])
    triton.adapter = BridgeAdapter(triton.place)
    triton.fence += 1
    server.go.set()
    assert triton.bring(handle=progress.handle).outcome == "done"
    assert server.calls["POST /api/deployments"] == 1


@triton_installed
def test_triton_that_gets_not_ready_is_taken_back(triton: BridgeTarget, server: Loopback) -> None:
    server.ready_after = None
    failed = triton.bring(triton.spec("s3://bucket/models/iris", wait_timeout_seconds=0.1, **TRITON))
    assert failed.outcome == "failed"
    assert "did not become ready: starting" in failed.message
    assert triton.bring(handle=failed.handle, toward="back").message == "nothing of it is left"
    assert server.deployments == {}


@triton_installed
def test_triton_refuses_what_it_cannot_do(triton: BridgeTarget, server: Loopback) -> None:
    failed = triton.bring(triton.spec("s3://bucket/models/iris", "sklearn", **TRITON))
    assert failed.message == "Only the triton flavor is supported"
    assert triton.bring(handle=failed.handle, toward="back").outcome == "done"
    assert server.calls["POST /api/deployments"] == 0
