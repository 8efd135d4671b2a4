"""What the ``azureml`` target takes and can do. Imports pydantic only."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from adapters.azureml.shapes import Code, Identity, Probe, RequestSettings, Resources, Scale
from adapters.description import Capabilities, Description, Limits, Strict

MARKS = ("modelport_installation", "modelport_uid", "modelport_content", "modelport_model")
REFERENCE = re.compile(r"\$\{\{(azureml://connections/[^{}]+|keyvault:https://[^{}]+)\}\}")
REMEDY = (
    "refer to a secret: ${{azureml://connections/NAME/credentials/KEY}} or ${{keyvault:https://VAULT/secrets/NAME}}"
)
WORDS_OF_SECRETS = {"SECRET", "PASSWORD", "PASSWD", "TOKEN", "CREDENTIAL", "CREDENTIALS", "APIKEY", "SAS"}
PAIRS_OF_SECRETS = {("API", "KEY"), ("ACCESS", "KEY"), ("PRIVATE", "KEY"), ("SECRET", "KEY"), ("ACCOUNT", "KEY")}
LOOKS_LIKE_A_SECRET = re.compile(
    r"eyJ[\w-]+\.eyJ[\w-]+\.|-----BEGIN [A-Z ]*PRIVATE KEY|AccountKey=|SharedAccessKey=|[?&]sig=|sk-[\w-]{16,}"
    r"|A[KS]IA[0-9A-Z]{16}|gh[pousr]_\w{30,}"
)
HARMLESS = re.compile(r"true|false|yes|no|on|off|\d*", re.IGNORECASE)
# "50 tags ... name 512 characters, value 256" (Azure Resource Manager, tags); three of an endpoint's are ours
MOST_TAGS, LONGEST_TAG_KEY, LONGEST_TAG_VALUE = 47, 512, 256
MOST_MIRRORED = 50


class AzureMlConfig(Strict):
    """Config of one variant, by the names of ``az ml``'s YAML.

    The keys from ``auth_mode`` on belong to the whole endpoint: variants that give one must agree on it.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    instance_type: str | None = Field(
        None, min_length=1, description="size of the machines; unset: Azure's default, Standard_F4s_v2"
    )
    instance_count: int = Field(1, ge=1, description="how many machines or pods")
    environment: str | None = Field(
        None, min_length=1, description="azureml:NAME:VERSION, a registry's or an ARM id; MLflow models need none"
    )
    environment_variables: dict[str, str] = Field(
        {}, description="of the model's server; secrets as ${{azureml://connections/...}} or ${{keyvault:...}} only"
    )
    code_configuration: Code | None = Field(None, description="scoring script; MLflow models need none")
    model_mount_path: str | None = Field(None, description="where a container of your own finds the model")
    request_settings: RequestSettings | None = Field(None, description="time limit and how many requests at once")
    liveness_probe: Probe | None = Field(None, description="whether the container lives")
    readiness_probe: Probe | None = Field(None, description="whether it takes requests")
    startup_probe: Probe | None = Field(None, description="whether it has started")
    app_insights_enabled: bool = Field(False, description="log to Application Insights")
    egress_public_network_access: Literal["enabled", "disabled"] | None = Field(
        None, description="managed compute: whether the model may call out"
    )
    scale_settings: Scale | None = Field(None, description="Kubernetes compute: scaling by utilisation")
    resources: Resources | None = Field(None, description="Kubernetes compute: what a pod asks for")
    smoke_request: dict[str, Any] | None = Field(
        None, description="body that a new deployment must answer well before it gets traffic; unset: any answer"
    )

    auth_mode: Literal["key", "aml_token", "aad_token"] | None = Field(
        None, description="what predictions sign in with; unset at the create: key"
    )
    compute: str | None = Field(
        None, min_length=1, description="attached Kubernetes compute, by name or ARM id; unset: managed compute"
    )
    tags: dict[str, str] | None = Field(None, description="of the endpoint")
    description: str | None = Field(None, description="of the endpoint")
    identity: Identity | None = Field(None, description="of the endpoint; unset at the create: system_assigned")
    public_network_access: Literal["enabled", "disabled"] | None = Field(
        None, description="whether predictions may come from the internet"
    )
    mirror_traffic: dict[str, int] | None = Field(
        None, description="percent of the requests, by variant, that a variant without traffic gets a copy of"
    )
    secret_stores_access: bool | None = Field(
        None, description="let the endpoint's identity read the workspace's connections; cannot be changed later"
    )

    @field_validator("environment_variables")
    @classmethod
    def _variables_hold_no_secret(cls, given: dict[str, str]) -> dict[str, str]:
        for name, value in given.items():
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
                raise ValueError(f"{name[:80]!r} is no name of a variable")
            if not REFERENCE.fullmatch(value) and (_names_a_secret(name, value) or LOOKS_LIKE_A_SECRET.search(value)):
                raise ValueError(f"the value of {name} looks like a secret in plain text; {REMEDY}")
        return given

    @field_validator("tags")
    @classmethod
    def _tags_are_not_ours(cls, given: dict[str, str] | None) -> dict[str, str] | None:
        if len(given or {}) > MOST_TAGS:
            raise ValueError(f"an endpoint takes {MOST_TAGS} at most, beside modelport's own")
        for key, value in (given or {}).items():
            if key in MARKS:
                raise ValueError(f"{key} is kept by modelport")
            if not 1 <= len(key) <= LONGEST_TAG_KEY or len(value) > LONGEST_TAG_VALUE or re.search(r"[<>%&\\?/]", key):
                raise ValueError(
                    f"{key[:80]!r} or its value is too long ({LONGEST_TAG_KEY} and {LONGEST_TAG_VALUE}), or has one of "
                    "< > % & \\ ? / in it"
                )
        return given

    @field_validator("mirror_traffic")
    @classmethod
    def _mirrors_to_one(cls, given: dict[str, int] | None) -> dict[str, int] | None:
        shares = [share for share in (given or {}).values() if share]
        if len(shares) > 1 or any(not 0 <= share <= MOST_MIRRORED for share in (given or {}).values()):
            raise ValueError(f"one variant can get copies, of {MOST_MIRRORED} percent of the requests at most")
        return given

    @model_validator(mode="after")
    def _fits_its_compute(self) -> AzureMlConfig:
        kubernetes = [key for key in ("scale_settings", "resources") if getattr(self, key) is not None]
        managed = [key for key in ("egress_public_network_access", "public_network_access") if getattr(self, key)]
        if self.compute is None and kubernetes:
            raise ValueError(f"{', '.join(kubernetes)} needs compute, the name of an attached Kubernetes cluster")
        managed += ["mirror_traffic"] if any((self.mirror_traffic or {}).values()) else []
        if self.compute is not None and managed:
            raise ValueError(f"Kubernetes compute has no {', '.join(managed)}")
        return self


ENDPOINT_WIDE = (
    "auth_mode",
    "compute",
    "tags",
    "description",
    "identity",
    "public_network_access",
    "mirror_traffic",
    "secret_stores_access",
)


def _names_a_secret(name: str, value: str) -> bool:
    words = name.upper().split("_")
    named = bool(WORDS_OF_SECRETS & set(words) or PAIRS_OF_SECRETS & set(pairwise(words)))
    return named and HARMLESS.fullmatch(value) is None


class AzureMlSettings(Strict):
    """Settings of one workspace."""

    credential: Literal["default", "managed_identity"] = Field(
        "default",
        description="without a reference to credentials: azure-identity's DefaultAzureCredential, or the managed "
        "identity of the machine",
    )
    managed_identity_client_id: str | None = Field(
        None, description="which of the machine's identities; unset: the system-assigned one"
    )
    location: str | None = Field(None, description="region of the workspace; unset: asked of Azure")
    resource_manager: str = Field(
        "https://management.azure.com",
        pattern=r"^https?://[^/\s@]+/?$",
        description="address of Azure Resource Manager; another one in other clouds",
    )
    authority: str | None = Field(
        None, pattern=r"^https://[^\s@]+$", description="where to sign in; unset: login.microsoftonline.com"
    )
    instance_discovery: bool = Field(
        True, description="false where the authority is a private cloud's, which Microsoft's directory does not know"
    )
    scoring_scope: str = Field(
        "https://ml.azure.com/.default", description="scope of the tokens for endpoints with aad_token"
    )
    check_pinned: bool = Field(
        True, description="ask a new deployment before it gets traffic; false where workers cannot reach endpoints"
    )
    look_seconds: float | None = Field(
        None, gt=0, description="time between two looks at a change under way; unset: the target's default of 15 s"
    )
    retry_after_cap_seconds: float = Field(300.0, gt=0, description="longest pause that Azure's Retry-After is granted")
    quota_seconds: float = Field(600.0, gt=0, description="pause before trying again what went over a quota")
    failure_log_lines: int = Field(20, ge=0, description="last lines of the container's log that a failure quotes")


DESCRIPTION = Description(
    scheme="azureml",
    title="Azure ML online endpoints, azureml:/SUBSCRIPTION/RESOURCE_GROUP/WORKSPACE",
    config_model=AzureMlConfig,
    settings_model=AzureMlSettings,
    capabilities=Capabilities(
        # an endpoint takes twenty deployments, and an update needs the new ones beside the old
        max_variants=10,
        can_split=True,
        can_pin=True,
        has_logs=True,
        can_adopt=True,
        # 3 to 32 characters (azure-ai-ml's ``validate_endpoint_or_deployment_name``)
        name_pattern=r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]",
    ),
    extra="azureml",
    # writes per subscription, principal and region: a bucket of 200 that gets 10 a second (Azure Resource Manager,
    # "request limits and throttling"): never more than 400 arrive in 20 s, and the half is left to others
    limits=Limits(writes=200, per_seconds=20.0, parallel=8),
    deadline_seconds=7200.0,
    look_seconds=15.0,
)
