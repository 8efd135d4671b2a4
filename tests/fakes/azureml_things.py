"""A workspace's online endpoints, deployments and models, kept in memory; time passes whenever something is asked.

Modelled on azure-ai-ml's ARM client (paths, fields, states) and its recordings. One write at a time is taken of an
endpoint and what is in it; a write leaves what serves as it is until it has succeeded. A deployment with traffic
cannot be deleted. ``properties.AzureAsyncOperationUri`` of a thing is the address of its last operation.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
NAME = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
ENDPOINT_KEYS = {
    "authMode", "compute", "description", "keys", "mirrorTraffic", "properties", "publicNetworkAccess", "traffic",
}  # fmt: skip
DEPLOYMENT_KEYS = {
    "appInsightsEnabled", "codeConfiguration", "containerResourceRequirements", "dataCollector", "description",
    "egressPublicNetworkAccess", "endpointComputeType", "environmentId", "environmentVariables", "instanceType",
    "livenessProbe", "model", "modelMountPath", "properties", "readinessProbe", "requestSettings", "scaleSettings",
    "startupProbe",
}  # fmt: skip
TOP_KEYS = {"identity", "kind", "location", "properties", "sku", "tags"}


class Refusal(Exception):
    def __init__(self, status: int, code: str | None, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


@dataclass
class Fate:
    """How an accepted write will end, and when: after so many seconds (inf: never), or reads that showed it."""

    seconds: float
    outcome: str = "succeeds"  # or "fails", "canceled", "reverts"
    message: str = ""
    looks: int | None = None


@dataclass
class Operation:
    id: str
    fate: Fate
    land: Callable[[], None]
    give_up: Callable[[str], None]
    begun_at: float = field(default_factory=time.monotonic)
    shown: int = 0
    status: str = "InProgress"
    message: str = ""

    @property
    def is_due(self) -> bool:
        if self.fate.looks is not None and self.fate.seconds < float("inf"):
            return self.shown >= self.fate.looks
        return time.monotonic() >= self.begun_at + self.fate.seconds


@dataclass
class Thing:
    """An endpoint or a deployment: what it was asked to be, and how it stands."""

    name: str
    body: Document
    state: str = "Creating"
    operation: Operation | None = None
    keys: list[str] = field(default_factory=list)
    deployments: dict[str, Thing] = field(default_factory=dict)
    log: str = ""


class Things:
    """Whatever is served in one workspace; ``address`` makes the address of an operation."""

    def __init__(self, path: str, follows: Callable[[], bool]) -> None:
        self.path, self.address, self._follows = path, "", follows
        self.endpoints: dict[str, Thing] = {}
        self.models: dict[tuple[str, str], Document] = {}
        self.operations: dict[str, Operation] = {}
        self.busy: dict[str, Operation] = {}
        self._numbers = itertools.count(1)
        self.interruptible = False

    def put_endpoint(self, name: str, body: Document, fate: Fate) -> tuple[Thing, bool]:
        """What is there now, and whether this changes anything."""
        _check_name(name, "endpoint")
        _check_known(body, TOP_KEYS, "")
        _check_known(body.get("properties") or {}, ENDPOINT_KEYS, "properties.")
        if not body.get("location") or not (body.get("identity") or {}).get("type"):
            raise _invalid("The location and identity fields are required.")
        if body["properties"].get("authMode") not in ("Key", "AMLToken", "AADToken"):
            raise _invalid("The AuthMode field is required.")
        there = self.find(name)
        self._check_traffic(there, body["properties"])
        if there is None:
            there = self.endpoints[name] = Thing(name, {**body, "properties": {"traffic": {}, **body["properties"]}})
            there.keys = [f"key-{name}-{next(self._numbers)}", f"key-{name}-{next(self._numbers)}"]
            self._begin(name, there, fate, lambda: None)
            return there, True
        self.refuse_while_busy(name, f"Cannot update endpoint {name}")
        body = {**body, "properties": {**body["properties"], "properties": _added(there.body, body)}}
        if _same(there.body, body) and there.state == "Succeeded":
            return there, False
        before, thing = there.body, there

        def land() -> None:
            thing.body = before if fate.outcome == "reverts" else body

        there.state = "Updating"
        self._begin(name, there, fate, land)
        return there, True

    def patch_endpoint(self, name: str, body: Document, fate: Fate) -> tuple[Thing, bool]:
        _check_known(body, {"tags", "identity"}, "")
        there = self.get(name)
        self.refuse_while_busy(name, f"Cannot update endpoint {name}")
        after = {**there.body, **body}
        changed, thing = after != there.body, there

        def land() -> None:
            thing.body = after

        there.state = "Updating"
        self._begin(name, there, fate, land)
        return there, changed

    def put_deployment(self, name: str, deployment: str, body: Document, fate: Fate) -> tuple[Thing, bool]:
        there = self.get(name)
        _check_name(deployment, "deployment")
        _check_known(body, TOP_KEYS, "")
        _check_known(body.get("properties") or {}, DEPLOYMENT_KEYS, "properties.")
        kind = body["properties"].get("endpointComputeType")
        if kind != ("Kubernetes" if there.body["properties"].get("compute") else "Managed") or not body.get("location"):
            raise _invalid("endpointComputeType does not fit the endpoint.")
        self.refuse_while_busy(name, f"Cannot create a deployment in endpoint {name}")
        if len(there.deployments) >= 20 and deployment not in there.deployments:
            raise Refusal(400, "BadRequest", "The quota of 20 deployments of an endpoint is used up.")
        old = there.deployments.get(deployment)
        if old is not None and _same(old.body, body) and old.state == "Succeeded":
            return old, False
        thing = there.deployments[deployment] = Thing(deployment, deepcopy(body), "Updating" if old else "Creating")
        self._begin(name, thing, fate, lambda: None)
        return thing, True

    def delete_deployment(self, name: str, deployment: str, fate: Fate) -> Operation | None:
        there = self.get(name)
        thing = there.deployments.get(deployment)
        if thing is None:
            return None
        if there.body["properties"].get("traffic", {}).get(deployment):
            raise _invalid(f"Cannot delete deployment {deployment}: it has live traffic.")
        if self.interruptible and self.busy.get(name) is thing.operation:
            del self.busy[name]
        self.refuse_while_busy(name, f"Cannot delete deployment {deployment} of endpoint {name}")

        def land() -> None:
            there.deployments.pop(deployment, None)
            there.body["properties"]["traffic"].pop(deployment, None)

        thing.state = "Deleting"
        return self._begin(name, thing, fate, land)

    def delete_endpoint(self, name: str, fate: Fate) -> Operation | None:
        there = self.find(name)
        if there is None:
            return None
        self.refuse_while_busy(name, f"Cannot delete endpoint {name}")
        there.state = "Deleting"
        return self._begin(name, there, fate, lambda: self.endpoints.pop(name, None) and None)

    def find(self, name: str) -> Thing | None:
        self.pass_time(name)
        return self.endpoints.get(name)

    def get(self, name: str) -> Thing:
        there = self.find(name)
        if there is None:
            raise Refusal(404, "ResourceNotFound", f"The Resource 'onlineEndpoints/{name}' was not found.")
        return there

    def refuse_while_busy(self, name: str, words: str) -> None:
        if name in self.busy:
            raise Refusal(409, "Conflict", f"{words} because it is in Updating provisioning state.")

    def show(self, there: Thing, name: str | None = None) -> Document:
        """As ARM shows it; ``name`` is that of the endpoint where it is a deployment."""
        properties = dict(there.body["properties"])
        state = there.state
        if name is None:
            if there.name in self.busy and state == "Succeeded" and self._follows():
                state = "Updating"
            base = self.address.removesuffix("/operations")
            properties |= {
                "scoringUri": f"{base}/score/{there.name}/score",
                "swaggerUri": f"{base}/score/{there.name}/swagger.json",
                "mirrorTraffic": properties.get("mirrorTraffic") or {},
                "publicNetworkAccess": properties.get("publicNetworkAccess", "Enabled"),
            }
            properties.pop("keys", None)
        told = {"AzureAsyncOperationUri": self.url(there.operation)} if there.operation else {}
        properties |= {"provisioningState": state, "properties": {**(properties.get("properties") or {}), **told}}
        kind = "onlineEndpoints" if name is None else f"onlineEndpoints/{name}/deployments"
        return {
            "id": f"{self.path}/{kind}/{there.name}",
            "name": there.name,
            "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
            "location": there.body["location"],
            "tags": dict(there.body.get("tags") or {}),
            "kind": properties.get("endpointComputeType", "Managed"),
            "properties": properties,
            **({"identity": _shown_identity(there.body)} if name is None else {}),
            **({"sku": there.body["sku"]} if "sku" in there.body else {}),
        }

    def url(self, operation: Operation) -> str:
        return f"{self.address}/{operation.id}?api-version=2022-02-01-preview"

    def seen(self, name: str) -> None:
        """A read showed how the endpoint stands."""
        if name in self.busy:
            self.busy[name].shown += 1

    def pass_time(self, name: str) -> None:
        operation = self.busy.get(name)
        if operation is not None and operation.is_due:
            self.end(name, operation.fate)

    def end(self, name: str, fate: Fate) -> None:
        operation = self.busy.pop(name)
        if fate.outcome in ("succeeds", "reverts"):
            operation.status = "Succeeded"
            operation.land()
        else:
            operation.status = "Canceled" if fate.outcome == "canceled" else "Failed"
            operation.message = fate.message
            operation.give_up(operation.status)

    def _begin(self, name: str, thing: Thing, fate: Fate, land: Callable[[], None]) -> Operation:
        def landed() -> None:
            thing.state = "Succeeded"
            thing.log = f"serving {thing.name}\n"
            land()

        def gave_up(status: str) -> None:
            thing.state = status
            thing.log = f"Loading the model\nERROR: {fate.message}\n"

        number = next(self._numbers)
        operation = Operation(f"odidp:{number:08x}", fate, landed, gave_up)
        thing.operation = self.operations[operation.id] = self.busy[name] = operation
        self.pass_time(name)
        return operation

    def _check_traffic(self, there: Thing | None, properties: Document) -> None:
        traffic, mirror = properties.get("traffic") or {}, properties.get("mirrorTraffic") or {}
        known = {name for name, each in (there.deployments if there else {}).items() if each.state == "Succeeded"}
        if not set(traffic) | set(mirror) <= known:
            raise _invalid("Traffic names a deployment that is not there or has not succeeded.")
        if sum(traffic.values()) not in (0, 100):
            raise _invalid("The sum of all traffic percentages must be 0 or 100.")
        if sum(mirror.values()) > 50 or any(traffic.get(name) for name, share in mirror.items() if share):
            raise _invalid("Mirror traffic is 50 percent at most, of deployments without live traffic.")


def _shown_identity(body: Document) -> Document:
    given = body["identity"]
    own = {"principalId": "p", "tenantId": "t"} if "SystemAssigned" in given["type"] else {}
    users = {one: {"principalId": "p", "clientId": "c"} for one in given.get("userAssignedIdentities") or {}}
    return {"type": given["type"], **own, **({"userAssignedIdentities": users} if users else {})}


def _added(before: Document, after: Document) -> Document:
    """Properties can be added to and not removed; the operation's address is the service's own."""
    told = {**(before["properties"].get("properties") or {}), **(after["properties"].get("properties") or {})}
    return {key: value for key, value in told.items() if key != "AzureAsyncOperationUri"}


def _same(one: Document, other: Document) -> bool:
    def bare(body: Document) -> Document:
        properties = {key: value for key, value in body["properties"].items() if value not in (None, {}, "")}
        return {**body, "properties": properties}

    return bare(one) == bare(other)


def _check_name(name: str, kind: str) -> None:
    if not 3 <= len(name) <= 32 or NAME.fullmatch(name) is None:
        raise _invalid(f"The name of the {kind}, {name}, is not valid.")


def _check_known(body: Document, keys: set[str], where: str) -> None:
    for key in body:
        if key not in keys:
            raise _invalid(f"Could not find member '{where}{key}' on object.")


def _invalid(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)
