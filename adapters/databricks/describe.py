"""What the ``databricks`` target takes and can do. Imports pydantic only."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, field_validator, model_validator

from adapters.databricks.external import REMEDY, ExternalModel, is_reference
from adapters.databricks.gateway import AiGateway, InferenceTable, Notifications, RateLimit
from adapters.description import Capabilities, Description, Limits, Strict

MARKS = ("modelport_installation", "modelport_uid", "modelport_content", "modelport_adopted")
WORDS_OF_SECRETS = {"SECRET", "PASSWORD", "PASSWD", "TOKEN", "CREDENTIAL", "CREDENTIALS", "APIKEY", "PAT"}
PAIRS_OF_SECRETS = {("API", "KEY"), ("ACCESS", "KEY"), ("PRIVATE", "KEY"), ("SECRET", "KEY"), ("ACCOUNT", "KEY")}
LOOKS_LIKE_A_SECRET = re.compile(
    r"dapi[0-9a-f]{32}|dose[0-9a-f]{32}|sk-[\w-]{16,}|A[KS]IA[0-9A-Z]{16}|gh[pousr]_\w{30,}|xox[abpr]-[\w-]{10,}"
    r"|eyJ[\w-]+\.eyJ[\w-]+\.|-----BEGIN [A-Z ]*PRIVATE KEY"
)
MOST_VARIABLES = 30  # "Environment variables, per served model: 30" (Model Serving limits and regions)
LONGEST_TAG_KEY, LONGEST_TAG_VALUE = 127, 255
HARMLESS = re.compile(r"true|false|yes|no|on|off|\d*", re.IGNORECASE)


SIZED = (
    "workload_size",
    "min_provisioned_concurrency",
    "max_provisioned_concurrency",
    "min_provisioned_throughput",
    "max_provisioned_throughput",
    "provisioned_model_units",
)


class DatabricksConfig(Strict):
    """Config of one variant, by the names of the serving API and of MLflow's ``create_endpoint``.

    The keys from ``tags`` on belong to the whole endpoint: variants that give one must agree on it.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    entity_name: str | None = Field(
        None,
        validation_alias=AliasChoices("entity_name", "model_name"),
        description="if given, the model's name as in its URI",
    )
    entity_version: str | None = Field(
        None,
        validation_alias=AliasChoices("entity_version", "model_version"),
        description="version of a model whose URI has none; if both have one, the same",
    )
    workload_size: str | None = Field(
        None,
        min_length=1,
        description="Small, Medium, Large or a size of your workspace's own; unset and nothing else sized: Small",
    )
    workload_type: (
        Literal[
            "CPU",
            "CPU_MEDIUM",
            "CPU_LARGE",
            "GPU_SMALL",
            "GPU_MEDIUM",
            "GPU_LARGE",
            "GPU_XLARGE",
            "GPU_XLARGE_8",
            "MULTIGPU_MEDIUM",
        ]
        | None
    ) = Field(None, description="kind of compute; unset: the workspace's default, CPU")
    scale_to_zero_enabled: bool = Field(
        False, description="give compute back while nobody predicts; the first prediction then takes minutes"
    )
    min_provisioned_concurrency: int | None = Field(None, ge=0, description="instead of workload_size: at least")
    max_provisioned_concurrency: int | None = Field(None, ge=1, description="instead of workload_size: at most")
    min_provisioned_throughput: int | None = Field(
        None, ge=0, description="foundation models: tokens per second, at least"
    )
    max_provisioned_throughput: int | None = Field(
        None, ge=1, description="foundation models: tokens per second, at most"
    )
    provisioned_model_units: int | None = Field(None, ge=1, description="foundation models: model units")
    burst_scaling_enabled: bool | None = Field(None, description="whether to scale past provisioned_model_units")
    environment_vars: dict[str, str] = Field(
        {}, description="of the model's server; secrets as {{secrets/SCOPE/KEY}} only"
    )
    instance_profile_arn: str | None = Field(
        None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:instance-profile/.+$", description="how the model reaches AWS"
    )
    external_model: ExternalModel | None = Field(None, description="of a model with the URI external:/PROVIDER/NAME")

    tags: dict[str, str] | None = Field(None, description="of the endpoint; they reach the billing logs")
    ai_gateway: AiGateway | None = Field(None, description="usage tracking, inference tables, rate limits, guardrails")
    rate_limits: list[RateLimit] | None = Field(None, description="deprecated by Databricks: use ai_gateway")
    auto_capture_config: InferenceTable | None = Field(
        None, description="deprecated by Databricks: use ai_gateway.inference_table_config"
    )
    email_notifications: Notifications | None = Field(None, description="who gets mail when an update ends")
    route_optimized: bool | None = Field(None, description="shorter way to the model; cannot be changed later")
    budget_policy_id: str | None = Field(None, description="cannot be changed later")
    description: str | None = Field(None, description="cannot be changed later")

    @field_validator("entity_version", mode="before")
    @classmethod
    def _version_is_text(cls, given: Any) -> Any:
        return str(given) if isinstance(given, int) and not isinstance(given, bool) else given

    @field_validator("environment_vars")
    @classmethod
    def _variables_hold_no_secret(cls, given: dict[str, str]) -> dict[str, str]:
        if len(given) > MOST_VARIABLES:
            raise ValueError(f"a served entity takes {MOST_VARIABLES} at most")
        for name, value in given.items():
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
                raise ValueError(f"{name[:80]!r} is no name of a variable")
            if not is_reference(value) and (_names_a_secret(name, value) or LOOKS_LIKE_A_SECRET.search(value)):
                raise ValueError(f"the value of {name} looks like a secret in plain text; {REMEDY}")
        return given

    @field_validator("tags", mode="before")
    @classmethod
    def _tags_may_be_a_list(cls, given: Any) -> Any:
        if isinstance(given, list) and all(isinstance(tag, dict) and set(tag) <= {"key", "value"} for tag in given):
            return {tag.get("key"): tag.get("value", "") for tag in given}
        return given

    @field_validator("tags")
    @classmethod
    def _tags_are_not_ours(cls, given: dict[str, str] | None) -> dict[str, str] | None:
        for key, value in (given or {}).items():
            if key in MARKS:
                raise ValueError(f"{key} is kept by modelport")
            if not 1 <= len(key) <= LONGEST_TAG_KEY or len(value) > LONGEST_TAG_VALUE:
                raise ValueError(f"{key[:80]!r} or its value is too long: {LONGEST_TAG_KEY} and {LONGEST_TAG_VALUE}")
        return given

    @model_validator(mode="after")
    def _is_sized_in_one_way(self) -> DatabricksConfig:
        given = [key for key in SIZED if getattr(self, key) is not None]
        ways = {key.removeprefix("min_").removeprefix("max_") for key in given}
        if len(ways) > 1:
            raise ValueError(f"{', '.join(given)} exclude each other")
        for kind in ("concurrency", "throughput"):
            least, most = (getattr(self, f"{end}_provisioned_{kind}") for end in ("min", "max"))
            if least is not None and (most is None or least > most):
                raise ValueError(f"min_provisioned_{kind} needs a max_provisioned_{kind} that is not less")
        if self.max_provisioned_concurrency is not None and self.min_provisioned_concurrency is None:
            raise ValueError("max_provisioned_concurrency needs min_provisioned_concurrency")
        return self

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> DatabricksConfig:
        served = {*SIZED, "workload_type", "environment_vars", "entity_name", "entity_version", "burst_scaling_enabled"}
        beside = [key for key in sorted(served) if getattr(self, key)]
        if self.external_model is not None and (beside or self.scale_to_zero_enabled):
            raise ValueError(f"external_model excludes {', '.join(beside) or 'scale_to_zero_enabled'}")
        return self


ENDPOINT_WIDE = (
    "tags",
    "ai_gateway",
    "rate_limits",
    "auto_capture_config",
    "email_notifications",
    "route_optimized",
    "budget_policy_id",
    "description",
)


def _names_a_secret(name: str, value: str) -> bool:
    words = name.upper().split("_")
    named = bool(WORDS_OF_SECRETS & set(words) or PAIRS_OF_SECRETS & set(pairwise(words)))
    return named and HARMLESS.fullmatch(value) is None


class DatabricksSettings(Strict):
    """Settings of one workspace."""

    host: str | None = Field(
        None,
        pattern=r"^https?://[^/\s@]+/?$",
        description="address of the workspace; unset: from the credentials, the profile or DATABRICKS_HOST",
    )
    profile: str | None = Field(
        None, description="profile of ~/.databrickscfg on every worker; as in the URI databricks://PROFILE"
    )
    look_seconds: float | None = Field(
        None, gt=0, description="time between two looks at a change under way; unset: the target's default of 10 s"
    )
    retry_after_cap_seconds: float = Field(
        300.0, gt=0, description="longest pause that the workspace's Retry-After is granted"
    )
    quota_seconds: float = Field(
        600.0, gt=0, description="pause before trying again what went over a quota of the workspace"
    )
    failure_log_lines: int = Field(20, ge=0, description="last lines of the build log that a failure quotes")


DESCRIPTION = Description(
    scheme="databricks",
    title="Databricks Model Serving, databricks or databricks://PROFILE",
    config_model=DatabricksConfig,
    settings_model=DatabricksSettings,
    capabilities=Capabilities(
        max_variants=10,
        model_schemes=("external",),
        can_split=True,
        can_pin=True,
        has_logs=True,
        can_adopt=True,
        name_pattern=r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?",
    ),
    extra="databricks",
    # "Create/update operations, per workspace: 50 in 5 minutes" (docs.databricks.com, Model Serving limits and regions)
    limits=Limits(writes=50, per_seconds=300.0, parallel=8),
    deadline_seconds=3600.0,
    look_seconds=10.0,
)
