"""What the ``sagemaker`` target takes and can do. Imports pydantic only."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from adapters.description import Capabilities, Description, Limits, Strict
from adapters.sagemaker.structures import (
    AsyncInferenceConfig,
    DataCaptureConfig,
    DeploymentConfig,
    KmsKey,
    RoleArn,
    ServerlessConfig,
    VpcConfig,
)

EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=1024)]
EnvironmentValue = Annotated[str, StringConstraints(max_length=1024)]
# The vendor's pattern: letters, digits and spaces of any language, and _.:/=+-@
TagKey = Annotated[str, StringConstraints(pattern=r"^[\w\s.:/=+@-]+$", min_length=1, max_length=128)]
TagValue = Annotated[str, StringConstraints(pattern=r"^[\w\s.:/=+@-]*$", max_length=256)]
Image = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=255)]
Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
InstanceType = Annotated[str, StringConstraints(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$")]

OUR_TAGS = "modelport:"
MOST_TAGS = 46  # the vendor takes 50, and some are ours


def _none_if_empty(value: Any) -> Any:
    """MLflow's own default for these is an empty dictionary."""
    return None if value == {} else value


class SageMakerConfig(Strict):
    """Config of one variant. Those of the whole endpoint must agree where several variants give them."""

    image_url: Image | None = Field(
        None,
        description="image of the model's container; absent: the target's, else MLFLOW_SAGEMAKER_DEPLOY_IMG_URL of the "
        "worker",
    )
    execution_role_arn: RoleArn | None = Field(
        None, description="role that SageMaker takes to read the model and the image; absent: the target's"
    )
    bucket: Bucket | None = Field(None, description="S3 bucket of packed MLflow models; absent: the target's")
    env: dict[EnvironmentName, EnvironmentValue] | None = Field(
        None, max_length=98, description="environment variables of the model's container"
    )
    tags: dict[TagKey, TagValue] | None = Field(
        None, max_length=MOST_TAGS, description="tags of models, endpoint configuration and endpoint (whole endpoint)"
    )
    instance_type: InstanceType = Field("ml.m4.xlarge", description="kind of instance")
    instance_count: int = Field(1, ge=1, description="instances of this variant at first; scaling is the vendor's")
    serverless_config: Annotated[ServerlessConfig | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="MemorySizeInMB, MaxConcurrency, ProvisionedConcurrency: no instances"
    )
    async_inference_config: Annotated[AsyncInferenceConfig | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="OutputConfig, ClientConfig: requests are queued, answers go to S3 (whole endpoint)"
    )
    data_capture_config: DataCaptureConfig | None = Field(
        None, description="requests and answers that are written to S3 (whole endpoint)"
    )
    vpc_config: VpcConfig | None = Field(None, description="SecurityGroupIds and Subnets of the model's container")
    enable_network_isolation: bool = Field(False, description="the container reaches no network")
    container_mode: Literal["SingleModel", "MultiModel"] = Field(
        "SingleModel",
        description="MultiModel: model_uri is the S3 prefix of many artefacts, and a request names one with the header "
        "X-Amzn-SageMaker-Target-Model",
    )
    kms_key: KmsKey | None = Field(None, description="key that encrypts the instances' storage (whole endpoint)")
    volume_size: int | None = Field(None, ge=1, le=512, description="storage of an instance in GB")
    model_data_download_timeout: int | None = Field(
        None, ge=60, le=3600, description="seconds that an instance may take to get the model"
    )
    container_startup_health_check_timeout: int | None = Field(
        None, ge=60, le=3600, description="seconds that the container may take until it answers /ping"
    )
    shadow_percent: int | None = Field(
        None,
        ge=1,
        le=100,
        description="makes this a shadow variant: it gets a copy of so much of the traffic, and its answers are not "
        "used; its traffic is 0, and there is one other variant",
    )
    deployment_config: DeploymentConfig | None = Field(
        None,
        description="how updates to this revision are rolled out: blue/green at once, canary or linear, or rolling, "
        "and alarms that send it back (whole endpoint)",
    )
    retain_all_variant_properties: bool = Field(
        False, description="an update keeps the instance counts that scaling has come to (whole endpoint)"
    )
    archive: bool = Field(
        False, description="keep all earlier configurations and models until the deployment is deleted (whole endpoint)"
    )
    variant_name: Name | None = Field(None, description="as MLflow has it; if given, the variant's own name")
    region_name: str | None = Field(None, description="as MLflow has it; if given, the target's own region")
    assume_role_arn: RoleArn | None = Field(None, description="as MLflow has it; if given, the target's own role")
    mode: Literal["create", "replace"] | None = Field(
        None, description="as MLflow has it, without effect; for MLflow's `add` give a revision several variants"
    )
    synchronous: bool = Field(True, description="as MLflow has it, without effect: who waits is the client's choice")
    timeout_seconds: int = Field(1200, ge=1, description="as MLflow has it, without effect: operations have a deadline")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if any(key.startswith((OUR_TAGS, "aws:")) for key in self.tags or {}):
            raise ValueError(f"tags that begin with {OUR_TAGS} or aws: are not for users")
        given = self.model_fields_set
        if self.serverless_config is None:
            return self
        # what SageMaker refuses for serverless endpoints, said before anything was done
        without = {
            "instance_type",
            "instance_count",
            "volume_size",
            "vpc_config",
            "data_capture_config",
            "async_inference_config",
            "kms_key",
            "shadow_percent",
        }
        wrong = sorted(name for name in without & given if getattr(self, name) is not None)
        if self.container_mode == "MultiModel":
            wrong.append("container_mode MultiModel")
        if self.enable_network_isolation:
            wrong.append("enable_network_isolation")
        if wrong:
            raise ValueError(f"a serverless variant goes without {', '.join(wrong)}")
        return self


class SageMakerSettings(Strict):
    """Settings of one account and region."""

    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] | None = Field(
        None, description="AWS region; absent: that of the URI, else us-west-2 as MLflow has it"
    )
    endpoint_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+$")] | None = Field(
        None, description="address that all AWS services are asked at, for tests and gateways; absent: the vendor's"
    )
    profile: str | None = Field(None, description="profile of the worker's AWS files that signs")
    assume_role_arn: RoleArn | None = Field(None, description="role that is taken for every call; absent: the URI's")
    external_id: str | None = Field(None, min_length=2, max_length=1224, description="ExternalId for taking that role")
    execution_role_arn: RoleArn | None = Field(None, description="role of models that name none")
    image_url: Image | None = Field(None, description="image of models that name none")
    bucket: Bucket | None = Field(None, description="S3 bucket of packed MLflow models, where the config names none")
    prefix: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9!_.*'()/-]+$")] = Field(
        "modelport", description="what the S3 keys of packed models begin with"
    )
    keep_revisions: int = Field(
        1, ge=0, description="earlier configurations with their models that are kept for going back by hand"
    )
    look_seconds: float | None = Field(
        None, gt=0, description="time between two looks at a change under way; absent: 30 s, the vendor's own pace"
    )
    package_seconds: float = Field(
        1800.0, gt=0, description="how long packing and uploading an MLflow model may take on a worker that fell silent"
    )
    tracking_uri: str | None = Field(
        None,
        description="MLflow server of runs:/ and models:/ URIs; absent: MLFLOW_TRACKING_URI of the worker",
    )
    registry_uri: str | None = Field(None, description="MLflow model registry; absent: MLflow's own choice")


DESCRIPTION = Description(
    scheme="sagemaker",
    title="Amazon SageMaker endpoints; sagemaker, sagemaker:/REGION or sagemaker:/REGION/ROLE_ARN",
    config_model=SageMakerConfig,
    settings_model=SageMakerSettings,
    capabilities=Capabilities(
        max_variants=10,
        can_split=True,
        can_pin=True,
        has_logs=True,
        can_adopt=True,
        name_pattern=r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?",
        max_body_bytes=6 * 1024 * 1024,  # BodyBlob of InvokeEndpoint
    ),
    extra="sagemaker",
    # the vendor publishes no rate; what is throttled all the same waits and goes on
    limits=Limits(writes=300, per_seconds=30.0, parallel=16),
    deadline_seconds=3600.0,
    look_seconds=30.0,
)
