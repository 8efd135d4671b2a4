"""What the ``sagemaker`` target takes, and the requests that it makes of it; no call to anybody."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from pydantic import ValidationError

from adapters.contract import JSON, Permanent, Place, Spec, Variant
from adapters.sagemaker.account import Address
from adapters.sagemaker.describe import DESCRIPTION, SageMakerConfig, SageMakerSettings
from adapters.sagemaker.goals import Defaults, goal_of
from adapters.sagemaker.naming import Owner, fleet_of, from_tag, shares, tag_value

ROLE = "arn:aws:iam::123456789012:role/execution"
DEFAULTS = Defaults("image:1", ROLE, "packed")
OWNER = Owner("here", "0197-uid", "churn")
MLFLOWS_KEYS = {
    "assume_role_arn",
    "execution_role_arn",
    "bucket",
    "image_url",
    "region_name",
    "archive",
    "instance_type",
    "instance_count",
    "vpc_config",
    "data_capture_config",
    "synchronous",
    "timeout_seconds",
    "variant_name",
    "env",
    "tags",
    "async_inference_config",
    "serverless_config",
    "mode",
}
CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 600,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30},
        },
        "TerminationWaitInSeconds": 120,
        "MaximumExecutionTimeoutInSeconds": 3600,
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
}
EVERYTHING: JSON = {
    "image_url": "image:2",
    "execution_role_arn": ROLE,
    "env": {"A": "1"},
    "tags": {"team": "risk"},
    "instance_type": "ml.g5.2xlarge",
    "instance_count": 3,
    "vpc_config": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]},
    "data_capture_config": {
        "EnableCapture": True,
        "InitialSamplingPercentage": 10,
        "DestinationS3Uri": "s3://captured/here",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    },
    "async_inference_config": {
        "OutputConfig": {
            "S3OutputPath": "s3://answers/here",
            "NotificationConfig": {"ErrorTopic": "arn:aws:sns:us-east-1:123456789012:errors"},
        },
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
    },
    "enable_network_isolation": True,
    "kms_key": "alias/endpoint",
    "volume_size": 100,
    "model_data_download_timeout": 1200,
    "container_startup_health_check_timeout": 900,
    "deployment_config": CANARY,
    "retain_all_variant_properties": True,
}


def spec(*variants: Variant, **traffic: int) -> Spec:
    return Spec(variants, traffic)


def one(model_uri: str = "s3://models/a.tar.gz", **config: Any) -> Spec:
    return spec(Variant("main", model_uri, None, config), main=100)


def accepted_by_the_vendors_model(operation: str, request: JSON) -> None:
    shape = botocore.session.Session().get_service_model("sagemaker").operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()


def test_every_config_key_of_mlflows_own_client_is_known() -> None:
    assert set(SageMakerConfig.model_fields) >= MLFLOWS_KEYS
    mlflows_defaults = {"archive": False, "synchronous": True, "timeout_seconds": 1200, "mode": "create"}
    SageMakerConfig.model_validate({**mlflows_defaults, "async_inference_config": {}, "serverless_config": {}})


def test_nothing_slow_is_imported_to_describe_it() -> None:
    slow = "{'boto3', 'botocore', 'mlflow', 'httpx'}"
    code = f"import sys, adapters.sagemaker.describe; print(sorted({slow} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_help_names_every_key() -> None:
    for model in (SageMakerConfig, SageMakerSettings):
        for key in model.model_fields:
            assert f"  {key}: " in DESCRIPTION.help()


def test_everything_that_can_be_said_reaches_the_vendor() -> None:
    goal = goal_of(OWNER, one(**EVERYTHING), DEFAULTS)
    (model,) = (each["request"] for each in goal["models"].values())
    accepted_by_the_vendors_model("CreateModel", model)
    accepted_by_the_vendors_model("CreateEndpointConfig", goal["request"])
    accepted_by_the_vendors_model("UpdateEndpoint", {"EndpointName": "x", "EndpointConfigName": "y", **goal["update"]})
    assert model["PrimaryContainer"] == {
        "Image": "image:2",
        "ModelDataUrl": "s3://models/a.tar.gz",
        "Environment": {"A": "1"},
    }
    assert (model["ExecutionRoleArn"], model["EnableNetworkIsolation"]) == (ROLE, True)
    assert model["VpcConfig"] == EVERYTHING["vpc_config"]
    assert goal["request"]["ProductionVariants"] == [
        {
            "VariantName": "main",
            "ModelName": model["ModelName"],
            "InitialVariantWeight": 100.0,
            "InstanceType": "ml.g5.2xlarge",
            "InitialInstanceCount": 3,
            "VolumeSizeInGB": 100,
            "ModelDataDownloadTimeoutInSeconds": 1200,
            "ContainerStartupHealthCheckTimeoutInSeconds": 900,
        }
    ]
    for key, said in (
        ("DataCaptureConfig", "data_capture_config"),
        ("AsyncInferenceConfig", "async_inference_config"),
        ("KmsKeyId", "kms_key"),
    ):
        assert goal["request"][key] == EVERYTHING[said]
    assert goal["update"]["DeploymentConfig"] == CANARY
    assert goal["update"]["RetainAllVariantProperties"]
    for tags in (model["Tags"], goal["request"]["Tags"]):
        told = {tag["Key"]: tag["Value"] for tag in tags}
        assert told["team"] == "risk"
        assert (told["modelport:installation"], told["modelport:uid"]) == ("here", "0197-uid")


def test_serverless_and_many_models() -> None:
    serverless = goal_of(OWNER, one(serverless_config={"MemorySizeInMB": 2048, "MaxConcurrency": 5}), DEFAULTS)
    (variant,) = serverless["request"]["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    assert not {"InstanceType", "InitialInstanceCount"} & variant.keys()
    many = goal_of(OWNER, one("s3://models/all/", container_mode="MultiModel"), DEFAULTS)
    (model,) = (each["request"] for each in many["models"].values())
    assert (model["PrimaryContainer"]["Mode"], model["PrimaryContainer"]["ModelDataUrl"]) == (
        "MultiModel",
        "s3://models/all/",
    )
    for goal in (serverless, many):
        accepted_by_the_vendors_model("CreateEndpointConfig", goal["request"])


def test_a_shadow_variant() -> None:
    variants = (
        Variant("main", "s3://models/a.tar.gz", None, {}),
        Variant("shadow", "s3://models/b.tar.gz", None, {"shadow_percent": 20}),
    )
    goal = goal_of(OWNER, spec(*variants, main=100, shadow=0), DEFAULTS)
    (production,), (shadow,) = goal["request"]["ProductionVariants"], goal["request"]["ShadowProductionVariants"]
    assert (production["InitialVariantWeight"], shadow["InitialVariantWeight"]) == (100.0, 20.0)
    assert goal["traffic"] == {"main": 100}
    with pytest.raises(Permanent, match="shadow"):
        goal_of(OWNER, spec(*variants, main=90, shadow=10), DEFAULTS)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"instance_count": 0}, "instance_count"),
        ({"volume_size": 513}, "volume_size"),
        ({"model_data_download_timeout": 59}, "model_data_download_timeout"),
        ({"container_startup_health_check_timeout": 3601}, "container_startup_health_check_timeout"),
        ({"instance_type": "large"}, "instance_type"),
        ({"execution_role_arn": "role"}, "execution_role_arn"),
        ({"no_such_key": 1}, "no_such_key"),
        ({"mode": "add"}, "mode"),
        ({"env": {"1": "x"}}, "env"),
        ({"tags": {"modelport:uid": "x"}}, "not for users"),
        ({"tags": {"a;b": "x"}}, "tags"),
        ({"vpc_config": {"Subnets": ["s-1"]}}, "SecurityGroupIds"),
        ({"serverless_config": {"MemorySizeInMB": 512, "MaxConcurrency": 1}}, "MemorySizeInMB"),
        ({"serverless_config": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}, "kms_key": "k"}, "goes without kms_key"),
        ({"deployment_config": {}}, "exactly one"),
        (
            {
                "deployment_config": {
                    "BlueGreenUpdatePolicy": {
                        "TrafficRoutingConfiguration": {
                            "Type": "LINEAR",
                            "WaitIntervalInSeconds": 0,
                            "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 5},
                        }
                    }
                }
            },
            "10 to 50",
        ),
    ],
)
def test_what_the_vendor_would_refuse_is_refused_at_once(config: JSON, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SageMakerConfig.model_validate(config)


@pytest.mark.parametrize(
    ("variants", "told"),
    [
        ([{"kms_key": "a"}, {"kms_key": "b"}], "kms_key is of the whole endpoint"),
        ([{"serverless_config": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}, {}], "serverless"),
        ([{"variant_name": "other"}, {}], "variant_name"),
        ([{"container_mode": "MultiModel"}, {}], "MultiModel needs"),
    ],
)
def test_variants_that_do_not_fit_together(variants: list[JSON], told: str) -> None:
    uri = "models:/x/1"
    both = spec(Variant("a", uri, None, variants[0]), Variant("b", uri, None, variants[1]), a=50, b=50)
    with pytest.raises(Permanent, match=told):
        goal_of(OWNER, both, DEFAULTS)


def test_endpoint_wide_keys_may_be_said_once() -> None:
    said = {"kms_key": "k", "tags": {"a": "b"}, "deployment_config": CANARY}
    both = spec(
        Variant("a", "s3://m/a.tar.gz", None, said), Variant("b", "s3://m/b.tar.gz", None, {"kms_key": "k"}), a=1, b=99
    )
    goal = goal_of(OWNER, both, DEFAULTS)
    assert goal["request"]["KmsKeyId"] == "k"
    assert all({"Key": "a", "Value": "b"} in each["request"]["Tags"] for each in goal["models"].values())


@pytest.mark.parametrize("missing", ["image_url", "execution_role_arn", "bucket"])
def test_what_is_nowhere_said_is_asked_for(missing: str) -> None:
    defaults = Defaults(**{**vars(DEFAULTS), missing: None})
    with pytest.raises(Permanent, match=f"variant main has no {missing}: set it"):
        goal_of(OWNER, one("models:/churn/1"), defaults)


def test_the_content_is_what_serves_and_not_how_it_came_or_whose_it_is() -> None:
    base = goal_of(OWNER, one(), DEFAULTS)
    same = goal_of(Owner("there", "x", "y"), one(deployment_config=CANARY, instance_type="ml.m4.xlarge"), DEFAULTS)
    assert same["content"] == base["content"]
    assert not set(same["models"]) & set(base["models"])
    others = [
        one("s3://models/b.tar.gz"),
        one(instance_count=2),
        one(kms_key="k"),
        one(env={"A": "b"}),
        one(tags={"a": "b"}),
    ]
    contents = {goal_of(OWNER, each, DEFAULTS)["content"] for each in others}
    assert len(contents | {base["content"]}) == 6


def test_traffic_alone_keeps_the_fleet() -> None:
    variants = (Variant("a", "s3://m/a.tar.gz"), Variant("b", "s3://m/b.tar.gz"))
    first, second = (goal_of(OWNER, spec(*variants, a=a, b=100 - a), DEFAULTS) for a in (80, 30))
    assert first["fleet"] == second["fleet"] == fleet_of(first["config"])
    assert (first["config"], first["content"]) != (second["config"], second["content"])


@pytest.mark.parametrize("name", ["a", "churn", "x" * 63, f"{'y' * 30}-{'z' * 32}"])
def test_names_fit_the_vendor_and_tell_whose_they_are(name: str) -> None:
    owner = Owner("here", "uid", name)
    goal = goal_of(owner, one("models:/churn/1"), DEFAULTS)
    for made in (goal["config"], *goal["models"]):
        assert len(made) <= 63
        assert owner.owns(made)
        assert not Owner("here", "another", name).owns(made)
    assert not owner.owns(name)
    accepted_by_the_vendors_model("CreateEndpointConfig", goal["request"])


def test_weights_are_shares_of_a_hundred() -> None:
    assert shares({"a": 1.0, "b": 1.0, "c": 1.0}) == {"a": 34, "b": 33, "c": 33}
    assert shares({"a": 30.0, "b": 70.0}) == {"a": 30, "b": 70}
    assert shares({"a": 0.0}) == {}


def test_any_text_can_stand_in_a_tag() -> None:
    text = "/models/a b/#content=%;é"
    assert from_tag(tag_value(text)) == text
    assert tag_value("models:/churn/1") == "models:/churn/1"
    assert from_tag(tag_value("x" * 300)) is None


@pytest.mark.parametrize(
    ("uri", "settings", "region", "role"),
    [
        ("sagemaker", {}, "us-west-2", None),
        ("sagemaker:/", {}, "us-west-2", None),
        ("sagemaker:/eu-west-1", {}, "eu-west-1", None),
        (f"sagemaker:/eu-west-1/{ROLE}", {}, "eu-west-1", ROLE),
        (
            f"sagemaker:/eu-west-1/{ROLE}",
            {"region": "eu-west-2", "assume_role_arn": f"{ROLE}2"},
            "eu-west-2",
            f"{ROLE}2",
        ),
    ],
)
def test_the_targets_uri_is_mlflows(uri: str, settings: JSON, region: str, role: str | None) -> None:
    found = Address.of(Place("aws", uri, "here", ""), SageMakerSettings.model_validate(settings))
    assert (found.region, found.role) == (region, role)


def test_a_role_without_a_region_is_refused() -> None:
    with pytest.raises(Permanent, match="without a region"):
        Address.of(Place("aws", f"sagemaker:/{ROLE}", "here", ""), SageMakerSettings())


def test_the_vendors_own_addresses() -> None:
    def host(region: str) -> str:
        return Address(region, None, None).host("runtime.sagemaker")

    assert host("us-east-1") == "https://runtime.sagemaker.us-east-1.amazonaws.com"
    assert host("cn-north-1") == "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn"
