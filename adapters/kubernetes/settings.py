"""Settings and config keys that the ``kserve`` and the ``kubernetes`` target share. Imports pydantic only."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from adapters.description import Strict

# of an address of a Service: {service} and {namespace} are filled in
SERVICE_URL = "http://{service}.{namespace}.svc.cluster.local"
OURS = "modelport/"
NAME_OF_A_SECRET = re.compile(r"(^|_)(SECRETS?|PASSWORD|PASSWD|TOKEN|CREDENTIALS?|APIKEY)(_|$)")
PAIRS_OF_SECRETS = {("API", "KEY"), ("ACCESS", "KEY"), ("PRIVATE", "KEY"), ("SECRET", "KEY"), ("ACCOUNT", "KEY")}
LOOKS_LIKE_A_SECRET = re.compile(
    r"A[KS]IA[0-9A-Z]{16}|dapi[0-9a-f]{32}|gh[pousr]_\w{30,}|sk-[\w-]{16,}|xox[abpr]-[\w-]{10,}"
    r"|eyJ[\w-]+\.eyJ[\w-]+\.|-----BEGIN [A-Z ]*PRIVATE KEY"
)
REFERENCE = re.compile(r"\{\{secrets/([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)/([-._a-zA-Z0-9]+)\}\}")
HARMLESS = re.compile(r"true|false|yes|no|on|off|\d*", re.IGNORECASE)

Quantity = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?([KMGTPE]i|[numkMGTPE]|[eE]\d+)?$")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
LabelKey = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class Resources(Strict):
    """What the model's container asks for and may take, by Kubernetes' names: cpu, memory, nvidia.com/gpu."""

    requests: dict[str, Quantity] = Field({}, description="at least")
    limits: dict[str, Quantity] = Field({}, description="at most")


class Toleration(Strict):
    """A taint of nodes that the model's pods put up with."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(None, ge=0)


class PodConfig(Strict):
    """What every model's pod can be told."""

    resources: Resources | None = Field(None, description="requests and limits of the model's container")
    env: dict[EnvironmentName, str] = Field(
        {}, description="of the model's server; secrets as {{secrets/NAME/KEY}} only, of a Secret of the namespace"
    )
    args: list[str] | None = Field(None, description="arguments of the model's server instead of its own")
    service_account: ObjectName | None = Field(
        None, description="ServiceAccount of the pods; it carries what reads the model from its storage"
    )
    node_selector: dict[LabelKey, LabelValue] = Field({}, description="labels that a node must have")
    tolerations: list[Toleration] = Field([], description="taints that the pods put up with")
    labels: dict[LabelKey, LabelValue] = Field({}, description="of the whole deployment")
    annotations: dict[LabelKey, str] = Field({}, description="of the whole deployment")

    @field_validator("env")
    @classmethod
    def _variables_hold_no_secret(cls, given: dict[str, str]) -> dict[str, str]:
        for name, value in given.items():
            if REFERENCE.fullmatch(value):
                continue
            if value.startswith("{{") or _names_a_secret(name, value) or LOOKS_LIKE_A_SECRET.search(value):
                raise ValueError(
                    f"the value of {name} looks like a secret in plain text, or refers to none: "
                    "{{secrets/NAME/KEY}} is the key of a Secret in the namespace"
                )
        return given

    @field_validator("labels", "annotations")
    @classmethod
    def _marks_are_ours(cls, given: dict[str, str]) -> dict[str, str]:
        for key in given:
            if key.startswith(OURS) or key == "serving.kserve.io/deploymentMode":
                raise ValueError(f"{key} is kept by modelport")
        return given


class ClusterSettings(Strict):
    """How the cluster is reached."""

    api_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s@]+(/[^\s@]*)?$",
        description="address of the API server, for credentials that are a token; else it is in the kubeconfig",
    )
    ca_file: str | None = Field(None, description="file with the CA of api_url on every worker; unset: the system's")
    ca_data: str | None = Field(None, description="the same CA as text, PEM")
    context: str | None = Field(None, description="context of the kubeconfig; unset: its current one")
    service_url: str = Field(
        SERVICE_URL,
        pattern=r"^https?://\S+$",
        description="where the API reaches a Service: {service} and {namespace} are filled in",
    )
    predict_credentials: str | None = Field(
        None,
        pattern=r"^(env|file):.+$",
        description="reference to a bearer token for predictions, where what is in front of the models wants one",
    )
    look_seconds: float | None = Field(
        None, gt=0, description="time between two looks at a change under way; unset: the target's default of 5 s"
    )
    retry_after_cap_seconds: float = Field(
        60.0, gt=0, description="longest pause that the API server's Retry-After is granted"
    )
    list_page_size: int = Field(500, ge=1, description="objects in one page of a list")


def pod_fields(config: PodConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the config says of the container, and what of the pod, by Kubernetes' names."""
    given = config.model_dump(mode="json", exclude_none=True)
    env = [{"name": name, **_value(value)} for name, value in sorted(config.env.items())]
    container: dict[str, Any] = {"env": env} if env else {}
    resources = {kind: values for kind, values in given.get("resources", {}).items() if values}
    container |= {"resources": resources} if resources else {}
    container |= {"args": config.args} if config.args is not None else {}
    pod: dict[str, Any] = {"serviceAccountName": config.service_account} if config.service_account else {}
    pod |= {"nodeSelector": config.node_selector} if config.node_selector else {}
    tolerations = [
        {"tolerationSeconds" if key == "toleration_seconds" else key: value for key, value in each.items()}
        for each in given["tolerations"]
    ]
    pod |= {"tolerations": tolerations} if tolerations else {}
    return container, pod


def reference_to(name: str, key: str) -> str:
    """How a variable's value says that it is this key of this Secret."""
    return f"{{{{secrets/{name}/{key}}}}}"


def _value(value: str) -> dict[str, Any]:
    found = REFERENCE.fullmatch(value)
    if found is None:
        return {"value": value}
    return {"valueFrom": {"secretKeyRef": {"name": found[1], "key": found[2]}}}


def _names_a_secret(name: str, value: str) -> bool:
    words = name.upper().split("_")
    named = NAME_OF_A_SECRET.search(name.upper()) is not None or bool(PAIRS_OF_SECRETS & set(pairwise(words)))
    return named and HARMLESS.fullmatch(value) is None
