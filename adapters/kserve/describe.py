"""What the ``kserve`` target takes and can do. Imports pydantic only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from adapters.description import Capabilities, Description, Limits
from adapters.kubernetes.settings import ClusterSettings, PodConfig

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63)]
# "Serverless" and "RawDeployment" are what releases before 0.16 call them
Mode = Literal["Standard", "Knative", "RawDeployment", "Serverless"]


class KServeConfig(PodConfig):
    """Config of one variant. ``labels``, ``annotations`` and ``deployment_mode`` belong to the whole InferenceService:
    variants that give one must agree on it.
    """

    model_format: Word = Field("mlflow", description="format that a serving runtime of the cluster knows")
    model_format_version: Word | None = Field(None, description="version of that format; unset: any")
    protocol: Literal["v2", "v1"] = Field("v2", description="inference protocol; MLflow models are served with v2")
    runtime: Word | None = Field(None, description="ServingRuntime; unset: KServe chooses one for the format")
    runtime_version: str | None = Field(None, description="tag of the runtime's image; unset: the runtime's own")
    min_replicas: int | None = Field(None, ge=0, description="replicas at least; 0 scales to zero; unset: 1")
    max_replicas: int | None = Field(None, ge=1, description="replicas at most; unset: no autoscaling beyond the least")
    scale_metric: Literal["cpu", "memory", "concurrency", "rps"] | None = Field(
        None, description="what is scaled by: cpu or memory in Standard mode, any in Knative mode"
    )
    scale_target: int | None = Field(None, ge=1, description="value of the metric that is aimed at, per replica")
    scale_metric_type: Literal["Utilization", "Value", "AverageValue"] | None = Field(
        None, description="how scale_target is meant"
    )
    container_concurrency: int | None = Field(None, ge=0, description="predictions at once in one replica; 0: no limit")
    timeout_seconds: int | None = Field(None, ge=1, description="longest prediction")
    deployment_mode: Mode | None = Field(
        None, description="mode of a new InferenceService, which cannot change later; unset: the cluster's default"
    )

    @model_validator(mode="after")
    def _replicas_fit(self) -> KServeConfig:
        if self.max_replicas is not None and (self.min_replicas or 0) > self.max_replicas:
            raise ValueError("min_replicas is more than max_replicas")
        if self.scale_target is not None and self.scale_metric is None:
            raise ValueError("scale_target needs scale_metric")
        return self


class KServeSettings(ClusterSettings):
    """Settings of one namespace with KServe."""

    gateway_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s@]+(/[^\s@]*)?$",
        description="where the API reaches the ingress gateway; unset: the host that an InferenceService shows",
    )
    stalled_looks: int = Field(
        20,
        ge=1,
        description="looks at a split that is settled and not in force, before the cluster is said to have none",
    )


DESCRIPTION = Description(
    scheme="kserve",
    title="KServe on Kubernetes, kserve:/NAMESPACE",
    config_model=KServeConfig,
    settings_model=KServeSettings,
    capabilities=Capabilities(
        max_variants=2,
        can_split=True,
        can_pin=True,
        has_logs=True,
        can_adopt=True,
        # a revision's name, NAME-predictor-00001, and a canary's, NAME-second-predictor, are labels of 63 at most
        name_pattern=r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
    ),
    extra="kserve",
    limits=Limits(parallel=16),
    deadline_seconds=3600.0,
    look_seconds=5.0,
)
