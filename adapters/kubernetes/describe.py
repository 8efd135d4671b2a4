"""What the ``kubernetes`` target takes and can do. Imports pydantic only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from adapters.description import Capabilities, Description, Limits
from adapters.kubernetes.settings import ClusterSettings, PodConfig

Image = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=1024)]


class KubernetesConfig(PodConfig):
    """Config of the variant, of which a deployment has one."""

    image: Image | None = Field(
        None, description="image of the model's server; it has mlflow in it; unset: the setting image of the target"
    )
    holds_model: bool = Field(
        False, description="the image has the model in it, as mlflow models build-docker makes it: run it as it is"
    )
    command: list[str] | None = Field(None, description="what to run instead of mlflow; {model_uri} is filled in")
    port: int = Field(8080, ge=1, le=65535, description="port that the model's server listens on")
    health_path: str = Field("/ping", pattern=r"^/\S*$", description="path that answers 200 once the model is loaded")
    replicas: int = Field(1, ge=0, description="pods; a change of this alone replaces none")
    start_seconds: int = Field(
        600, ge=1, description="longest time that the pods of a new version may take to be ready"
    )
    stop_seconds: int = Field(
        30, ge=1, description="time that a pod has for the predictions that it is at when it is to stop"
    )

    @model_validator(mode="after")
    def _runs_one_thing(self) -> KubernetesConfig:
        if self.holds_model and (self.command or self.args):
            raise ValueError("holds_model runs the image as it is: leave command and args out")
        return self


class KubernetesSettings(ClusterSettings):
    """Settings of one namespace."""

    image: Image | None = Field(None, description="image of model servers whose config names none")
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        "ClusterIP", description="type of the Services that are made"
    )
    service_port: int = Field(80, ge=1, le=65535, description="port of the Services that are made")
    drain_seconds: float = Field(
        15.0, ge=0, description="time between the Service's switch and the end of the pods before"
    )
    failure_log_lines: int = Field(20, ge=0, description="last lines of a failed pod's log that a failure quotes")


DESCRIPTION = Description(
    scheme="kubernetes",
    title="Kubernetes without KServe, kubernetes:/NAMESPACE",
    config_model=KubernetesConfig,
    settings_model=KubernetesSettings,
    capabilities=Capabilities(
        # one Service sends to pods alike, whatever shares were wanted
        max_variants=1,
        can_pin=True,
        has_logs=True,
        resolves_models=False,
        # a Deployment is called NAME-DIGEST, and its pods something more
        name_pattern=r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
    ),
    extra="kserve",
    limits=Limits(parallel=16),
    deadline_seconds=3600.0,
    look_seconds=5.0,
)
