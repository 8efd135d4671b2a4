"""The nested parts of a variant's config and what they are called in ARM; pydantic only.

Names are those of the command line's YAML (``az ml``, version 2) in snake case, and numbers are in seconds or
milliseconds as their names say; ARM wants durations as ISO 8601 text.
Source: ``OnlineDeployment`` and ``OnlineEndpoint`` in azure-ai-ml 1.35's ARM client, api-version 2025-12-01.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from adapters.contract import JSON
from adapters.description import Strict

DURATION = re.compile(r"P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?")


class Probe(Strict):
    """When the container counts as alive or ready."""

    initial_delay: float | None = Field(None, ge=0, description="seconds before the first try")
    period: float | None = Field(None, gt=0, description="seconds between two tries")
    timeout: float | None = Field(None, gt=0, description="seconds that one try may take")
    success_threshold: int | None = Field(None, ge=1, description="tries in a row that count as well")
    failure_threshold: int | None = Field(None, ge=1, description="tries in a row that count as failed")


class RequestSettings(Strict):
    """How requests are let in."""

    request_timeout_ms: int | None = Field(None, gt=0, le=180_000, description="how long one prediction may take")
    max_concurrent_requests_per_instance: int | None = Field(None, ge=1, description="how many at once")
    max_queue_wait_ms: int | None = Field(None, ge=0, description="deprecated by Azure: how long a request may wait")


class Amounts(Strict):
    """Amounts of Kubernetes, such as ``500m`` and ``2Gi``."""

    cpu: str | None = Field(None, description="processors")
    memory: str | None = Field(None, description="memory")
    nvidia_gpu: str | None = Field(None, description="graphics processors")


class Resources(Strict):
    """What a container asks a cluster for."""

    requests: Amounts | None = Field(None, description="at least")
    limits: Amounts | None = Field(None, description="at most")


class Scale(Strict):
    """Scaling by utilisation, which Kubernetes compute has of itself."""

    min_instances: int = Field(ge=1, description="at least")
    max_instances: int = Field(ge=1, description="at most")
    target_utilization_percentage: int = Field(70, ge=1, le=100, description="of the processors")
    polling_interval: int = Field(1, ge=1, description="seconds between two looks of the scaler")

    @model_validator(mode="after")
    def _is_a_range(self) -> Scale:
        if self.min_instances > self.max_instances:
            raise ValueError("min_instances is more than max_instances")
        return self


class Code(Strict):
    """A scoring script, for models that are not of MLflow."""

    code: str = Field(min_length=1, description="azureml:NAME:VERSION or the ARM id of a code asset")
    scoring_script: str = Field(min_length=1, description="the file in it")


class Identity(Strict):
    """Whose rights the model's containers have."""

    type: Literal["system_assigned", "user_assigned", "none"] = "system_assigned"
    user_assigned_identities: list[str] = Field([], description="ARM ids of identities")

    @model_validator(mode="after")
    def _fits_its_type(self) -> Identity:
        if (self.type == "user_assigned") != bool(self.user_assigned_identities):
            raise ValueError("user_assigned needs user_assigned_identities, and they need it")
        if any(not one.startswith("/subscriptions/") for one in self.user_assigned_identities):
            raise ValueError("user_assigned_identities are ARM ids: /subscriptions/...")
        return self


IDENTITIES = {"system_assigned": "SystemAssigned", "user_assigned": "UserAssigned", "none": "None"}
PROBES = {"liveness_probe": "livenessProbe", "readiness_probe": "readinessProbe", "startup_probe": "startupProbe"}
PROBE_KEYS = {"success_threshold": "successThreshold", "failure_threshold": "failureThreshold"}
PROBE_TIMES = {"initial_delay": "initialDelay", "period": "period", "timeout": "timeout"}
AMOUNTS = {"cpu": "cpu", "memory": "memory", "nvidia_gpu": "gpu"}


def duration(seconds: float) -> str:
    """``PT90S`` for ninety seconds."""
    return f"PT{seconds:g}S" if seconds < 1_000_000 else f"PT{seconds:.0f}S"


def seconds(text: str) -> float | None:
    """The same back, whatever units ARM shows; None where it is no duration."""
    found = DURATION.fullmatch(text)
    if found is None or not any(found.groupdict().values()):
        return None
    parts = {unit: float(value or 0) for unit, value in found.groupdict().items()}
    return parts["d"] * 86400 + parts["h"] * 3600 + parts["m"] * 60 + parts["s"]


def probe(given: JSON) -> JSON:
    """ARM's document of a probe."""
    times = {arm: duration(given[key]) for key, arm in PROBE_TIMES.items() if key in given}
    return times | {arm: given[key] for key, arm in PROBE_KEYS.items() if key in given}


def probe_of(shown: JSON) -> JSON:
    """The config of a probe that ARM shows."""
    times = {key: seconds(str(shown[arm])) for key, arm in PROBE_TIMES.items() if shown.get(arm)}
    return times | {key: shown[arm] for key, arm in PROBE_KEYS.items() if shown.get(arm) is not None}


def requests(given: JSON) -> JSON:
    """ARM's request settings."""
    shown: JSON = {}
    for key, arm in (("request_timeout_ms", "requestTimeout"), ("max_queue_wait_ms", "maxQueueWait")):
        if key in given:
            shown[arm] = duration(given[key] / 1000)
    if "max_concurrent_requests_per_instance" in given:
        shown["maxConcurrentRequestsPerInstance"] = given["max_concurrent_requests_per_instance"]
    return shown


def requests_of(shown: JSON) -> JSON:
    """The config of the request settings that ARM shows."""
    given: JSON = {}
    for key, arm in (("request_timeout_ms", "requestTimeout"), ("max_queue_wait_ms", "maxQueueWait")):
        found = seconds(str(shown[arm])) if shown.get(arm) else None
        if found is not None:
            given[key] = round(found * 1000)
    if shown.get("maxConcurrentRequestsPerInstance") is not None:
        given["max_concurrent_requests_per_instance"] = shown["maxConcurrentRequestsPerInstance"]
    return given


def resources(given: JSON) -> JSON:
    """ARM's container resources."""
    names = {"requests": "containerResourceRequests", "limits": "containerResourceLimits"}
    return {arm: {AMOUNTS[k]: v for k, v in given[key].items()} for key, arm in names.items() if key in given}


def resources_of(shown: JSON) -> JSON:
    """The config of the container resources that ARM shows."""
    names = {"requests": "containerResourceRequests", "limits": "containerResourceLimits"}
    given: JSON = {}
    for key, arm in names.items():
        amounts = {k: (shown.get(arm) or {}).get(v) for k, v in AMOUNTS.items()}
        if any(amounts.values()):
            given[key] = {k: v for k, v in amounts.items() if v}
    return given


def scale(given: JSON | None) -> JSON:
    """ARM's scale settings; None: as many instances as were asked for."""
    if given is None:
        return {"scaleType": "Default"}
    return {
        "scaleType": "TargetUtilization",
        "minInstances": given["min_instances"],
        "maxInstances": given["max_instances"],
        "targetUtilizationPercentage": given.get("target_utilization_percentage", 70),
        "pollingInterval": duration(given.get("polling_interval", 1)),
    }


def scale_of(shown: JSON) -> JSON | None:
    """The config of the scale settings that ARM shows."""
    if shown.get("scaleType") != "TargetUtilization":
        return None
    return {
        "min_instances": shown.get("minInstances") or 1,
        "max_instances": shown.get("maxInstances") or 1,
        "target_utilization_percentage": shown.get("targetUtilizationPercentage") or 70,
        "polling_interval": int(seconds(str(shown.get("pollingInterval") or "")) or 1),
    }


def identity(given: JSON) -> JSON:
    """ARM's identity of an endpoint."""
    users: dict[str, Any] = {one: {} for one in given.get("user_assigned_identities", [])}
    return {"type": IDENTITIES[given.get("type", "system_assigned")]} | (
        {"userAssignedIdentities": users} if users else {}
    )


def identity_of(shown: JSON) -> JSON | None:
    """The config of an endpoint's identity; None for the usual one."""
    users = sorted(shown.get("userAssignedIdentities") or {})
    if users:
        return {"type": "user_assigned", "user_assigned_identities": users}
    return {"type": "none"} if shown.get("type") == "None" else None
