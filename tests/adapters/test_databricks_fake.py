"""The fake workspace, driven through a whole life by the vendor's own clients."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import (
    NotFound,
    OperationFailed,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceConflict,
    ResourceDoesNotExist,
    TooManyRequests,
)
from databricks.sdk.service.serving import (
    AiGatewayConfig,
    AiGatewayRateLimit,
    AiGatewayRateLimitRenewalPeriod,
    EndpointCoreConfigInput,
    EndpointStateConfigUpdate,
    EndpointTag,
    RateLimit,
    RateLimitRenewalPeriod,
    Route,
    ServedEntityInput,
    ServingModelWorkloadType,
    TrafficConfig,
)

from tests.fakes.databricks import TOKEN, Databricks


@pytest.fixture(scope="module")
def running() -> Iterator[Databricks]:
    with Databricks(seconds=0.05) as workspace:
        yield workspace


@pytest.fixture
def workspace(running: Databricks) -> Databricks:
    running.reset()
    return running


@pytest.fixture
def sdk(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> WorkspaceClient:
    # the client's pauses between polls and retries are the vendor's; here they take no time
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    config = Config(host=workspace.url, token=TOKEN, retry_timeout_seconds=1)
    return WorkspaceClient(config=config)


def entity(name: str, version: str, model: str = "main.ml.iris") -> ServedEntityInput:
    return ServedEntityInput(
        name=name,
        entity_name=model,
        entity_version=version,
        workload_size="Small",
        workload_type=ServingModelWorkloadType.CPU,
        scale_to_zero_enabled=True,
    )


def config(*entities: ServedEntityInput, **traffic: int) -> dict[str, Any]:
    routes = [Route(served_entity_name=name, traffic_percentage=share) for name, share in traffic.items()]
    return {"served_entities": list(entities), "traffic_config": TrafficConfig(routes=routes)}


def created(sdk: WorkspaceClient, name: str = "iris") -> Any:
    core = EndpointCoreConfigInput(name=name, **config(entity("one", "1"), one=100))
    return sdk.serving_endpoints.create_and_wait(name, config=core, tags=[EndpointTag("team", "a")])


def test_the_sdk_sees_a_whole_life(sdk: WorkspaceClient, workspace: Databricks) -> None:
    api = sdk.serving_endpoints
    there = created(sdk)
    assert there.state is not None
    assert there.state.config_update == EndpointStateConfigUpdate.NOT_UPDATING
    assert there.pending_config is None

    updated = api.update_config_and_wait("iris", **config(entity("one", "1"), entity("two", "2"), one=80, two=20))
    assert [each.name for each in updated.config.served_entities] == ["one", "two"]
    assert [route.traffic_percentage for route in updated.config.traffic_config.routes] == [80, 20]

    api.patch("iris", add_tags=[EndpointTag("stage", "x")], delete_tags=["team"])
    per_minute = AiGatewayRateLimit(calls=5, renewal_period=AiGatewayRateLimitRenewalPeriod.MINUTE)
    api.put_ai_gateway("iris", rate_limits=[per_minute])
    api.put("iris", rate_limits=[RateLimit(calls=7, renewal_period=RateLimitRenewalPeriod.MINUTE)])
    shown = api.get("iris")
    assert [(tag.key, tag.value) for tag in shown.tags] == [("stage", "x")]
    assert AiGatewayConfig.from_dict(shown.ai_gateway.as_dict()).rate_limits == [per_minute]
    assert workspace.endpoint("iris")["rate_limits"] == [{"calls": 7, "renewal_period": "minute"}]

    listed = list(api.list())
    assert [each.name for each in listed] == ["iris"]
    assert [each.entity_version for each in listed[0].config.served_entities] == ["1", "2"]

    answer = api.query("iris", inputs=[1])
    assert answer.served_model_name in {"one", "two"}
    assert "Model server is ready" in api.build_logs("iris", "two").logs
    assert api.logs("iris", "two").logs == "serving two\n"

    api.delete("iris")
    with pytest.raises(ResourceDoesNotExist):
        api.get("iris")
    assert list(api.list()) == []


def test_a_failed_update_leaves_the_old_config_serving(sdk: WorkspaceClient) -> None:
    created(sdk)
    with pytest.raises(OperationFailed):
        sdk.serving_endpoints.update_config_and_wait("iris", **config(entity("new", "1", "main.ml.broken"), new=100))
    there = sdk.serving_endpoints.get("iris")
    assert [each.name for each in there.config.served_entities] == ["one"]
    assert there.state.ready.value == "READY"
    assert there.state.config_update == EndpointStateConfigUpdate.UPDATE_FAILED
    failed = there.pending_config.served_entities[0].state
    assert "no weights in the cellar" in failed.deployment_state_message


def test_errors_are_those_that_the_sdk_knows(sdk: WorkspaceClient, workspace: Databricks) -> None:
    api = sdk.serving_endpoints
    created(sdk)
    with pytest.raises(ResourceAlreadyExists, match="already exists"):
        created(sdk)
    with pytest.raises(NotFound):
        api.delete("none")
    with pytest.raises(NotFound, match="does not exist"):
        api.query("none", inputs=[1])
    workspace.conduct(seconds=100)
    api.update_config("iris", **config(entity("two", "2"), two=100))
    with pytest.raises(ResourceConflict, match="currently being updated"):
        api.update_config("iris", **config(entity("three", "3"), three=100))
    workspace.faults({"kind": "denied", "verb": "GET"})
    with pytest.raises(PermissionDenied):
        api.get("iris")


def test_the_write_limit(workspace: Databricks) -> None:
    workspace.conduct(writes_limit=2, writes_window=60)
    client = WorkspaceClient(config=Config(host=workspace.url, token=TOKEN, retry_timeout_seconds=1))
    for name in ("a", "b"):
        core = EndpointCoreConfigInput(name=name, **config(entity("one", "1"), one=100))
        client.serving_endpoints.create(name, config=core)
    refused = workspace.request(
        "POST", "/api/2.0/serving-endpoints", {"name": "c", "config": {"served_entities": [entity("x", "1").as_dict()]}}
    )
    assert refused.status_code == 429
    assert 0 < float(refused.headers["Retry-After"]) <= 60
    assert TooManyRequests.__name__ in {base.__name__ for base in type(_error(client, refused)).__mro__}


def _error(client: WorkspaceClient, refused: Any) -> Exception:
    import requests
    from databricks.sdk.errors.parser import _Parser

    answer = requests.Response()
    answer.status_code, answer._content = refused.status_code, refused.content
    answer.headers.update(refused.headers)
    answer.request = requests.Request("POST", "http://x/").prepare()
    error = _Parser().get_api_error(answer)
    assert error is not None
    return error


def test_oauth_for_machines(workspace: Databricks) -> None:
    workspace.conduct(clients={"robot": "s3cret"})
    client = WorkspaceClient(
        config=Config(host=workspace.url, client_id="robot", client_secret="s3cret", retry_timeout_seconds=1)
    )
    assert list(client.serving_endpoints.list()) == []
    assert workspace.counts()["tokens"] == 1
    call = workspace.log("LIST")[-1]
    assert call["headers"]["authorization"] == "Bearer oauth-1"


def test_a_dropped_write_is_repeated_by_the_sdk(sdk: WorkspaceClient, workspace: Databricks) -> None:
    """Why the adapter does not use it for writes."""
    workspace.faults({"kind": "drop_after", "verb": "CREATE", "count": 1})
    with pytest.raises(ResourceAlreadyExists, match="already exists"):
        created(sdk)
    assert workspace.counts()["calls"]["CREATE"] == 2


def test_mlflows_own_client(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.deployments import get_deploy_client
    monkeypatch.setenv("DATABRICKS_HOST", workspace.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    workspace.conduct(seconds=0)
    client = get_deploy_client("databricks")
    assert client is not None
    body = {"served_entities": [entity("one", "1").as_dict()]}
    client.create_endpoint(config={"name": "iris", "config": body, "tags": [{"key": "team", "value": "a"}]})
    client.update_endpoint_config(
        "iris", {"served_entities": [entity("two", "2").as_dict()], "traffic_config": _all_to("two")}
    )
    client.update_endpoint_tags("iris", {"add_tags": [{"key": "stage", "value": "x"}]})
    client.update_endpoint_ai_gateway("iris", {"usage_tracking_config": {"enabled": True}})
    there = client.get_endpoint("iris")
    assert [each["name"] for each in there["config"]["served_entities"]] == ["two"]
    assert {tag["key"] for tag in there["tags"]} == {"team", "stage"}
    assert client.predict(endpoint="iris", inputs={"inputs": [1]})["served"] == "two"
    events = list(client.predict_stream(endpoint="iris", inputs={"inputs": [1]}))
    assert [event["served"] for event in events] == ["two"] * 3
    assert [each["name"] for each in client.list_endpoints()] == ["iris"]
    client.delete_endpoint("iris")
    assert workspace.endpoint("iris") is None


def _all_to(name: str) -> dict[str, Any]:
    return {"routes": [{"served_model_name": name, "traffic_percentage": 100}]}


@pytest.mark.parametrize("kind", ["stale", "not_found"])
def test_reads_may_lag(workspace: Databricks, sdk: WorkspaceClient, kind: str) -> None:
    created(sdk)
    workspace.faults({"kind": kind, "verb": "GET", "name": "iris"}, {"kind": kind, "verb": "LIST"})
    with pytest.raises(NotFound):
        sdk.serving_endpoints.get("iris")
    assert list(sdk.serving_endpoints.list()) == []
    assert sdk.serving_endpoints.get("iris").name == "iris"


def test_an_update_can_be_stopped(workspace: Databricks, sdk: WorkspaceClient) -> None:
    created(sdk)
    workspace.faults({"kind": "stuck", "verb": "CONFIG"})
    sdk.serving_endpoints.update_config("iris", **config(entity("two", "2"), two=100))
    workspace.cancel("iris")
    there = sdk.serving_endpoints.get("iris")
    assert there.state.config_update == EndpointStateConfigUpdate.UPDATE_CANCELED
    assert there.pending_config.served_entities[0].state.deployment.value == "DEPLOYMENT_ABORTED"
