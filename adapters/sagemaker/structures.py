"""Structures that SageMaker takes as they are, with its own names and the ranges of its service model (2017-07-24)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from adapters.description import Strict

S3Uri = Annotated[str, StringConstraints(pattern=r"^s3://[^/]+(/.*)?$", max_length=512)]
KmsKey = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9:/_-]*$", max_length=2048)]
RoleArn = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@/_-]+$", max_length=2048)
]
TopicArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]*:[0-9]{12}:[a-zA-Z0-9_.-]+$")]
ResourceId = Annotated[str, StringConstraints(pattern=r"^[-0-9a-zA-Z]+$", max_length=32)]


class VpcConfig(Strict):
    """Where the model's containers have their network."""

    SecurityGroupIds: tuple[ResourceId, ...] = Field(min_length=1, max_length=5)
    Subnets: tuple[ResourceId, ...] = Field(min_length=1, max_length=16)


class CaptureOption(Strict):
    """What is captured."""

    CaptureMode: Literal["Input", "Output", "InputAndOutput"]


class CaptureContentTypes(Strict):
    """Which content types are captured as text."""

    CsvContentTypes: tuple[str, ...] | None = Field(None, min_length=1, max_length=10)
    JsonContentTypes: tuple[str, ...] | None = Field(None, min_length=1, max_length=10)


class DataCaptureConfig(Strict):
    """Requests and answers that are written to S3."""

    EnableCapture: bool | None = None
    InitialSamplingPercentage: int = Field(ge=0, le=100)
    DestinationS3Uri: S3Uri
    KmsKeyId: KmsKey | None = None
    CaptureOptions: tuple[CaptureOption, ...] = Field(min_length=1, max_length=32)
    CaptureContentTypeHeader: CaptureContentTypes | None = None


class AsyncClient(Strict):
    """How many requests one instance works on at once."""

    MaxConcurrentInvocationsPerInstance: int | None = Field(None, ge=1, le=1000)


class AsyncNotification(Strict):
    """SNS topics that hear of answers and failures."""

    SuccessTopic: TopicArn | None = None
    ErrorTopic: TopicArn | None = None
    IncludeInferenceResponseIn: tuple[Literal["SUCCESS_NOTIFICATION_TOPIC", "ERROR_NOTIFICATION_TOPIC"], ...] | None = (
        Field(None, max_length=2)
    )


class AsyncOutput(Strict):
    """Where answers are written."""

    S3OutputPath: S3Uri | None = None
    S3FailurePath: S3Uri | None = None
    KmsKeyId: KmsKey | None = None
    NotificationConfig: AsyncNotification | None = None


class AsyncInferenceConfig(Strict):
    """An asynchronous endpoint."""

    OutputConfig: AsyncOutput
    ClientConfig: AsyncClient | None = None


class ServerlessConfig(Strict):
    """A serverless variant."""

    MemorySizeInMB: int = Field(ge=1024, le=6144)
    MaxConcurrency: int = Field(ge=1, le=200)
    ProvisionedConcurrency: int | None = Field(None, ge=1, le=200)


class CapacitySize(Strict):
    """A part of the fleet."""

    Type: Literal["INSTANCE_COUNT", "CAPACITY_PERCENT"]
    Value: int = Field(ge=1)


class TrafficRouting(Strict):
    """How traffic moves to the new fleet. CanarySize at most 50 %, LinearStepSize 10 to 50 % of capacity."""

    Type: Literal["ALL_AT_ONCE", "CANARY", "LINEAR"]
    WaitIntervalInSeconds: int = Field(ge=0, le=3600)
    CanarySize: CapacitySize | None = None
    LinearStepSize: CapacitySize | None = None

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if (self.CanarySize is not None) != (self.Type == "CANARY"):
            raise ValueError("CanarySize belongs to Type CANARY, and must be there then")
        if (self.LinearStepSize is not None) != (self.Type == "LINEAR"):
            raise ValueError("LinearStepSize belongs to Type LINEAR, and must be there then")
        for size, least in ((self.CanarySize, 1), (self.LinearStepSize, 10)):
            if size is not None and size.Type == "CAPACITY_PERCENT" and not least <= size.Value <= 50:
                raise ValueError(f"of capacity it may be {least} to 50 percent")
        return self


class BlueGreen(Strict):
    """A whole new fleet beside the old one."""

    TrafficRoutingConfiguration: TrafficRouting
    TerminationWaitInSeconds: int | None = Field(None, ge=0, le=3600)
    MaximumExecutionTimeoutInSeconds: int | None = Field(None, ge=600, le=28800)


class Rolling(Strict):
    """The fleet is replaced batch by batch."""

    MaximumBatchSize: CapacitySize
    WaitIntervalInSeconds: int = Field(ge=0, le=3600)
    MaximumExecutionTimeoutInSeconds: int | None = Field(None, ge=600, le=28800)
    RollbackMaximumBatchSize: CapacitySize | None = None


class Alarm(Strict):
    """A CloudWatch alarm."""

    AlarmName: str = Field(min_length=1, max_length=255)


class AutoRollback(Strict):
    """Alarms that send an update back."""

    Alarms: tuple[Alarm, ...] = Field(min_length=1, max_length=10)


class DeploymentConfig(Strict):
    """How an update is rolled out: exactly one of the two policies."""

    BlueGreenUpdatePolicy: BlueGreen | None = None
    RollingUpdatePolicy: Rolling | None = None
    AutoRollbackConfiguration: AutoRollback | None = None

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        if (self.BlueGreenUpdatePolicy is None) == (self.RollingUpdatePolicy is None):
            raise ValueError("give exactly one of BlueGreenUpdatePolicy and RollingUpdatePolicy")
        return self
