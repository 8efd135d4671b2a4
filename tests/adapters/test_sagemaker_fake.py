"""The fake SageMaker, proven by the vendor's own client and its waiters."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from tests.fakes.sagemaker import SageMaker

ROLE = "arn:aws:iam::123456789012:role/execution"
KEYS = {"AKIATESTS": "planted-secret"}
FAST = {"Delay": 0.02, "MaxAttempts": 400}


@pytest.fixture(scope="module")
def running() -> Iterator[SageMaker]:
    with SageMaker(looks=2, keys=KEYS) as fake:
        yield fake


@pytest.fixture
def fake(running: SageMaker) -> SageMaker:
    running.reset()
    return running


Client = Any  # boto3 makes its clients' classes when it is asked for one


@pytest.fixture
def session() -> boto3.Session:
    return boto3.Session("AKIATESTS", "planted-secret", region_name="us-east-1")


@pytest.fixture
def client(fake: SageMaker, session: boto3.Session) -> Iterator[Client]:
    yield from _client(fake, session, "sagemaker")


@pytest.fixture
def runtime(fake: SageMaker, session: boto3.Session) -> Iterator[Client]:
    yield from _client(fake, session, "sagemaker-runtime")


@pytest.fixture
def s3(fake: SageMaker, session: boto3.Session) -> Iterator[Client]:
    yield from _client(fake, session, "s3")


@pytest.fixture
def sts(fake: SageMaker, session: boto3.Session) -> Iterator[Client]:
    yield from _client(fake, session, "sts")


def _client(fake: SageMaker, session: boto3.Session, service: str) -> Iterator[Client]:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    client = session.client(service, endpoint_url=fake.url, config=config)
    yield client
    client.close()


def model(client: Client, name: str, data: str = "s3://models/a.tar.gz", **environment: str) -> None:
    container = {"Image": "image:1", "ModelDataUrl": data, "Environment": environment}
    client.create_model(
        ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE, Tags=[{"Key": "team", "Value": "a"}]
    )


def config(client: Client, name: str, **weights: float) -> None:
    variants = [
        {
            "VariantName": variant,
            "ModelName": variant,
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.xlarge",
            "InitialVariantWeight": weight,
        }
        for variant, weight in weights.items()
    ]
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)


def created(client: Client) -> None:
    model(client, "a")
    model(client, "b", "s3://models/b.tar.gz")
    config(client, "one", a=1.0)
    client.create_endpoint(EndpointName="churn", EndpointConfigName="one", Tags=[{"Key": "team", "Value": "a"}])
    client.get_waiter("endpoint_in_service").wait(EndpointName="churn", WaiterConfig=FAST)


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    told = error.value.response["Error"]
    return told["Code"], told["Message"]


def test_a_whole_life(client: Client, runtime: Client) -> None:
    created(client)
    there = client.describe_endpoint(EndpointName="churn")
    assert (there["EndpointStatus"], there["EndpointConfigName"]) == ("InService", "one")
    assert runtime.invoke_endpoint(EndpointName="churn", Body=b"{}")["InvokedProductionVariant"] == "a"

    config(client, "two", a=0.0, b=100.0)
    client.update_endpoint(EndpointName="churn", EndpointConfigName="two")
    under_way = client.describe_endpoint(EndpointName="churn")
    assert under_way["EndpointStatus"] == "Updating"
    assert under_way["PendingDeploymentSummary"]["EndpointConfigName"] == "two"
    assert runtime.invoke_endpoint(EndpointName="churn", Body=b"{}")["InvokedProductionVariant"] == "a"
    client.get_waiter("endpoint_in_service").wait(EndpointName="churn", WaiterConfig=FAST)
    assert client.describe_endpoint(EndpointName="churn")["EndpointConfigName"] == "two"
    assert runtime.invoke_endpoint(EndpointName="churn", Body=b"{}")["InvokedProductionVariant"] == "b"
    pinned = runtime.invoke_endpoint(EndpointName="churn", Body=b"{}", TargetVariant="a")
    assert pinned["InvokedProductionVariant"] == "a"

    client.update_endpoint_weights_and_capacities(
        EndpointName="churn", DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredWeight": 50}]
    )
    client.get_waiter("endpoint_in_service").wait(EndpointName="churn", WaiterConfig=FAST)
    weights = client.describe_endpoint(EndpointName="churn")["ProductionVariants"]
    assert {v["VariantName"]: v["CurrentWeight"] for v in weights} == {"a": 50.0, "b": 100.0}

    client.delete_endpoint(EndpointName="churn")
    assert client.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "Deleting"
    client.get_waiter("endpoint_deleted").wait(EndpointName="churn", WaiterConfig=FAST)
    for name in ("one", "two"):
        client.delete_endpoint_config(EndpointConfigName=name)
    for name in ("a", "b"):
        client.delete_model(ModelName=name)
    assert client.list_endpoints()["Endpoints"] == client.list_models()["Models"] == []


def test_a_failed_create_can_only_be_deleted(client: Client) -> None:
    model(client, "a", FAKE_FAILS="no weights in the cellar")
    config(client, "one", a=1.0)
    client.create_endpoint(EndpointName="churn", EndpointConfigName="one")
    with pytest.raises(WaiterError):
        client.get_waiter("endpoint_in_service").wait(EndpointName="churn", WaiterConfig=FAST)
    there = client.describe_endpoint(EndpointName="churn")
    assert (there["EndpointStatus"], there["FailureReason"]) == ("Failed", "no weights in the cellar")
    with pytest.raises(ClientError, match="failed endpoint"):
        client.update_endpoint(EndpointName="churn", EndpointConfigName="one")
    client.delete_endpoint(EndpointName="churn")
    client.get_waiter("endpoint_deleted").wait(EndpointName="churn", WaiterConfig=FAST)


def test_the_vendors_waiter_takes_an_update_that_went_back_for_a_success(client: Client) -> None:
    created(client)
    model(client, "c", FAKE_FAILS="no weights in the cellar")
    config(client, "three", c=1.0)
    client.update_endpoint(EndpointName="churn", EndpointConfigName="three")
    client.get_waiter("endpoint_in_service").wait(EndpointName="churn", WaiterConfig=FAST)
    there = client.describe_endpoint(EndpointName="churn")
    assert (there["EndpointConfigName"], there["FailureReason"]) == ("one", "no weights in the cellar")


def test_refusals_are_in_the_vendors_words(client: Client) -> None:
    created(client)
    client.update_endpoint(EndpointName="churn", EndpointConfigName="one")
    refused = {
        'Cannot create already existing model "': lambda: model(client, "a"),
        'Cannot create already existing endpoint configuration "': lambda: config(client, "one", a=1.0),
        'Cannot create already existing endpoint "': lambda: client.create_endpoint(
            EndpointName="CHURN", EndpointConfigName="one"
        ),
        'Cannot update in-progress endpoint "': lambda: client.delete_endpoint(EndpointName="churn"),
        'Could not find endpoint "': lambda: client.describe_endpoint(EndpointName="nobody"),
        'Could not find endpoint configuration "': lambda: client.create_endpoint(
            EndpointName="other", EndpointConfigName="none"
        ),
        'Could not find model "': lambda: config(client, "four", nobody=1.0),
        "regular expression": lambda: client.create_endpoint(EndpointName="under_score", EndpointConfigName="one"),
        "enum": lambda: client.create_endpoint_config(
            EndpointConfigName="five",
            ProductionVariants=[
                {"VariantName": "a", "ModelName": "a", "InstanceType": "ml.large", "InitialInstanceCount": 1}
            ],
        ),
    }
    for words, call in refused.items():
        with pytest.raises(ClientError) as error:
            call()
        assert refusal(error)[0] == "ValidationException"
        assert words in refusal(error)[1]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("throttled", "ThrottlingException"),
        ("quota", "ResourceLimitExceeded"),
        ("denied", "AccessDeniedException"),
        ("unavailable", "ServiceUnavailable"),
        ("conflict", "ValidationException"),
    ],
)
def test_faults_are_answers_of_the_vendor(fake: SageMaker, client: Client, kind: str, code: str) -> None:
    created(client)
    fake.faults({"kind": kind, "action": "DeleteEndpoint"})
    with pytest.raises(ClientError) as error:
        client.delete_endpoint(EndpointName="churn")
    assert refusal(error)[0] == code
    assert client.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "InService"
    assert fake.pending() == []


@pytest.mark.parametrize(("kind", "status"), [("drop_before", "InService"), ("drop_after", "Deleting")])
def test_connections_break_before_and_after(fake: SageMaker, client: Client, kind: str, status: str) -> None:
    created(client)
    fake.faults({"kind": kind, "action": "DeleteEndpoint"})
    with pytest.raises(Exception, match="onnection"):
        client.delete_endpoint(EndpointName="churn")
    assert client.describe_endpoint(EndpointName="churn")["EndpointStatus"] == status


def test_reads_that_lag_and_flap(fake: SageMaker, client: Client) -> None:
    created(client)
    client.delete_endpoint(EndpointName="churn")
    fake.faults({"kind": "stale", "action": "DescribeEndpoint"}, {"kind": "not_found", "action": "ListEndpoints"})
    assert client.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "InService"
    assert client.list_endpoints()["Endpoints"] == []
    assert client.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "Deleting"


def test_lists_come_in_pages(client: Client) -> None:
    created(client)
    for number in range(5):
        model(client, f"page-{number}")
    pages = client.get_paginator("list_models").paginate(NameContains="page", PaginationConfig={"PageSize": 2})
    assert [len(page["Models"]) for page in pages] == [2, 2, 1]


def test_tags(fake: SageMaker, client: Client, session: boto3.Session) -> None:
    created(client)
    arn = client.describe_endpoint(EndpointName="churn")["EndpointArn"]
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "owner", "Value": "me"}])
    assert {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=arn)["Tags"]} == {
        "team": "a",
        "owner": "me",
    }
    client.delete_tags(ResourceArn=arn, TagKeys=["team"])
    tagging = session.client("resourcegroupstaggingapi", endpoint_url=fake.url)
    found = tagging.get_resources(
        ResourceTypeFilters=["sagemaker:endpoint"], TagFilters=[{"Key": "owner", "Values": ["me"]}]
    )
    tagging.close()
    assert [each["ResourceARN"] for each in found["ResourceTagMappingList"]] == [arn]


def test_objects_also_in_parts(s3: Client, fake: SageMaker) -> None:
    config = TransferConfig(multipart_threshold=5 * 1024 * 1024, multipart_chunksize=5 * 1024 * 1024)
    for size in (10, 11 * 1024 * 1024):
        s3.upload_fileobj(io.BytesIO(b"x" * size), "models", "some/key", Config=config)
        assert s3.head_object(Bucket="models", Key="some/key")["ContentLength"] == size
        assert s3.get_object(Bucket="models", Key="some/key")["Body"].read() == b"x" * size
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="models", Prefix="some/")["Contents"]] == ["some/key"]
    s3.delete_object(Bucket="models", Key="some/key")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket="models", Key="some/key")


def test_signatures_and_roles_are_checked(fake: SageMaker, sts: Client) -> None:
    made = sts.assume_role(RoleArn=ROLE, RoleSessionName="tests")["Credentials"]
    keys = {"aws_access_key_id": made["AccessKeyId"], "aws_session_token": made["SessionToken"]}
    for secret, code in ((made["SecretAccessKey"], None), ("wrong", "InvalidSignatureException")):
        client = boto3.client("sagemaker", "us-east-1", endpoint_url=fake.url, aws_secret_access_key=secret, **keys)
        if code is None:
            assert client.list_models()["Models"] == []
        else:
            with pytest.raises(ClientError, match=code):
                client.list_models()
        client.close()
    assert "assumed-role" not in sts.get_caller_identity()["Arn"]


def test_a_models_error_and_an_asynchronous_endpoint(fake: SageMaker, client: Client, runtime: Client) -> None:
    created(client)
    fake.conduct(model_status=418)
    with pytest.raises(runtime.exceptions.ModelError) as error:
        runtime.invoke_endpoint(EndpointName="churn", Body=b"{}")
    assert error.value.response["OriginalStatusCode"] == 418
    with pytest.raises(ClientError, match="not asynchronous"):
        runtime.invoke_endpoint_async(EndpointName="churn", InputLocation="s3://models/in.json")


def test_maintenance_by_the_vendor(fake: SageMaker, client: Client) -> None:
    created(client)
    fake.maintain("churn", seconds=0)
    fake.maintain("churn", seconds=3600)
    assert client.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "SystemUpdating"
    with pytest.raises(ClientError, match="in-progress"):
        client.update_endpoint(EndpointName="churn", EndpointConfigName="one")
