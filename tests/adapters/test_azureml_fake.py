"""The fake workspace, driven by the vendor's pipeline and pollers: azure-mgmt-core as azure-ai-ml uses it.

``azureml_vendor`` drives it with azure-ai-ml's own generated client, by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ServiceResponseError, map_error
from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest
from azure.mgmt.core import ARMPipelineClient
from azure.mgmt.core.exceptions import ARMErrorFormat
from azure.mgmt.core.polling.arm_polling import ARMPolling

from tests.adapters.azureml_target import theirs
from tests.fakes.azureml import PATH, TOKEN, AzureMl

ENDPOINT = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {"authMode": "Key"}}


class Vendor:
    """The few calls of azure-ai-ml's client, through the pipeline and the poller that it has them from."""

    def __init__(self, url: str) -> None:
        policies = [RequestIdPolicy(), HeadersPolicy({"Authorization": f"Bearer {TOKEN}"})]
        self.client: Any = ARMPipelineClient(base_url=url, policies=policies)
        self.url = url

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """One call; where it starts a long-running operation, the poller's end of it."""
        url = path if path.startswith("http") else f"{self.url}{PATH}/{path}?api-version=2025-12-01"
        request = HttpRequest(method, url, **({} if body is None else {"json": body}))
        answer = self.client._pipeline.run(request)
        response = answer.http_response
        if response.status_code >= 400:
            map_error(response.status_code, response, {409: ResourceExistsError})
            raise HttpResponseError(response=response, error_format=ARMErrorFormat)
        if method in ("GET", "POST"):
            return response.json()
        polling = ARMPolling(0.01, lro_options={"final-state-via": "azure-async-operation"})
        return LROPoller(self.client, answer, lambda each: each.http_response.status_code, polling).result(30)


@pytest.fixture(scope="module")
def running() -> Iterator[AzureMl]:
    with AzureMl(seconds=1, looks=2) as workspace:
        yield workspace


@pytest.fixture
def workspace(running: AzureMl) -> AzureMl:
    running.reset()
    return running


@pytest.fixture
def vendor(workspace: AzureMl) -> Iterator[Vendor]:
    vendor = Vendor(workspace.url)
    yield vendor
    vendor.client.close()


def deployment(model: str = "iris") -> dict[str, Any]:
    properties = {"endpointComputeType": "Managed", "model": f"{PATH}/models/{model}/versions/1"}
    return {"location": "westeurope", "sku": {"name": "Default", "capacity": 1}, "properties": properties}


def with_traffic(**traffic: int) -> dict[str, Any]:
    return {**ENDPOINT, "properties": {**ENDPOINT["properties"], "traffic": traffic}}


def state(vendor: Vendor, path: str) -> Any:
    return vendor.send("GET", path)["properties"]["provisioningState"]


@pytest.mark.parametrize("conduct", [{}, {"location": True}, {"running": "Updating", "retry_after": 0.01}])
def test_the_whole_life_with_the_vendors_pollers(workspace: AzureMl, vendor: Vendor, conduct: dict[str, Any]) -> None:
    workspace.conduct(**conduct)
    path = "onlineEndpoints/iris"
    vendor.send("PUT", path, ENDPOINT)
    assert state(vendor, path) == "Succeeded"
    for name in ("blue", "green"):
        vendor.send("PUT", f"{path}/deployments/{name}", deployment())
        assert state(vendor, f"{path}/deployments/{name}") == "Succeeded"
    vendor.send("PUT", path, with_traffic(blue=90, green=10))
    assert vendor.send("GET", path)["properties"]["traffic"] == {"blue": 90, "green": 10}
    vendor.send("PATCH", path, {"tags": {"team": "fraud"}})
    assert [each["tags"] for each in vendor.send("GET", "onlineEndpoints")["value"]] == [{"team": "fraud"}]
    assert vendor.send("POST", f"{path}/listKeys")["primaryKey"]
    assert "serving" in vendor.send("POST", f"{path}/deployments/green/getLogs", {"tail": 5})["content"]
    vendor.send("PUT", path, with_traffic(green=100))
    vendor.send("DELETE", f"{path}/deployments/blue")
    assert [each["name"] for each in vendor.send("GET", f"{path}/deployments")["value"]] == ["green"]
    vendor.send("DELETE", path)
    assert vendor.send("GET", "onlineEndpoints") == {"value": []}


@pytest.mark.parametrize("location", [False, True])
@pytest.mark.parametrize("codeless", [False, True])
def test_a_deployment_that_fails_is_told_by_the_poller(
    workspace: AzureMl, vendor: Vendor, location: bool, codeless: bool
) -> None:
    workspace.conduct(location=location, codeless=codeless)
    vendor.send("PUT", "onlineEndpoints/iris", ENDPOINT)
    with pytest.raises(HttpResponseError, match="no weights in the cellar"):
        vendor.send("PUT", "onlineEndpoints/iris/deployments/blue", deployment("broken"))
    assert state(vendor, "onlineEndpoints/iris/deployments/blue") == "Failed"


def test_what_azure_refuses(vendor: Vendor, workspace: AzureMl) -> None:
    workspace.plant(theirs("iris", blue=100, green=0))
    path = "onlineEndpoints/iris"
    for method, where, body in (
        ("PUT", path, with_traffic(blue=60)),
        ("PUT", path, with_traffic(gone=100)),
        ("PUT", path, {**ENDPOINT, "unknown": 1}),
        ("PUT", path, {**ENDPOINT, "identity": None}),
        ("PUT", "onlineEndpoints/x", ENDPOINT),
        ("PATCH", path, {"properties": {"traffic": {"blue": 100}}}),
        ("DELETE", f"{path}/deployments/blue", None),
        ("PUT", f"{path}/deployments/red", deployment("gone")),
    ):
        with pytest.raises(HttpResponseError) as refused:
            vendor.send(method, where, body)
        assert refused.value.status_code == 400, (method, where)


def test_one_write_at_a_time(vendor: Vendor, workspace: AzureMl) -> None:
    workspace.plant(theirs("iris"))
    workspace.conduct(looks=None, seconds=1000)
    workspace.request("PUT", "onlineEndpoints/iris/deployments/green", deployment()).raise_for_status()
    assert state(vendor, "onlineEndpoints/iris") == "Updating"
    with pytest.raises(ResourceExistsError, match="because it is in Updating provisioning state"):
        vendor.send("PUT", "onlineEndpoints/iris/deployments/red", deployment())
    with pytest.raises(ResourceExistsError):
        vendor.send("DELETE", "onlineEndpoints/iris")


def test_an_equal_write_changes_nothing(vendor: Vendor, workspace: AzureMl) -> None:
    vendor.send("PUT", "onlineEndpoints/iris", ENDPOINT)
    for _ in range(2):
        vendor.send("PUT", "onlineEndpoints/iris/deployments/blue", deployment())
        vendor.send("PUT", "onlineEndpoints/iris", with_traffic(blue=100))
    assert workspace.counts()["effects"]["iris"] == {"endpoint": 1, "deployment": 1, "traffic": 1}


def test_time_passes_by_the_clock_without_looks(vendor: Vendor, workspace: AzureMl) -> None:
    workspace.conduct(looks=None, seconds=0.02)
    vendor.send("PUT", "onlineEndpoints/iris", ENDPOINT)
    assert state(vendor, "onlineEndpoints/iris") == "Succeeded"


@pytest.mark.parametrize(("kind", "status"), [("throttled", 429), ("unavailable", 503), ("quota", 400)])
def test_refusals_on_demand(vendor: Vendor, workspace: AzureMl, kind: str, status: int) -> None:
    workspace.faults({"kind": kind, "verb": "ENDPOINT", "retry_after": 7})
    with pytest.raises(HttpResponseError) as refused:
        vendor.send("PUT", "onlineEndpoints/iris", ENDPOINT)
    assert refused.value.status_code == status
    assert refused.value.response is not None
    assert refused.value.response.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert workspace.image("iris") is None
    assert workspace.pending() == []


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_connections_break_before_or_after_the_change(vendor: Vendor, workspace: AzureMl, kind: str) -> None:
    workspace.faults({"kind": kind, "verb": "ENDPOINT"})
    with pytest.raises(ServiceResponseError):
        vendor.send("PUT", "onlineEndpoints/iris", ENDPOINT)
    assert (workspace.image("iris") is not None) == (kind == "drop_after")


def test_reads_lag_or_miss_or_are_denied(vendor: Vendor, workspace: AzureMl) -> None:
    vendor.send("PUT", "onlineEndpoints/iris", ENDPOINT)
    vendor.send("PUT", "onlineEndpoints/iris/deployments/blue", deployment())
    vendor.send("PUT", "onlineEndpoints/iris", with_traffic(blue=100))
    workspace.faults({"kind": "stale", "verb": "GET"}, {"kind": "not_found", "verb": "LIST"})
    assert vendor.send("GET", "onlineEndpoints/iris")["properties"]["traffic"] == {}
    assert vendor.send("GET", "onlineEndpoints/iris")["properties"]["traffic"] == {"blue": 100}
    assert vendor.send("GET", "onlineEndpoints") == {"value": []}
    workspace.faults({"kind": "denied", "verb": "GET"})
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        vendor.send("GET", "onlineEndpoints/iris")


def test_lists_come_in_pages(vendor: Vendor, workspace: AzureMl) -> None:
    workspace.plant(*(theirs(f"model-{n}") for n in range(5)))
    workspace.conduct(page_size=2)
    page, names = vendor.send("GET", "onlineEndpoints"), []
    while True:
        names += [each["name"] for each in page["value"]]
        if "nextLink" not in page:
            break
        page = vendor.send("GET", page["nextLink"])
    assert names == [f"model-{n}" for n in range(5)]
