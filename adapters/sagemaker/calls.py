"""Every call to AWS, each made once: what repeats is the engine's to decide, since no call has a client token.

Made with botocore, the part of boto3 that makes boto3's clients.

Blocks for at most the target's call timeout. Raises the errors of ``refusals``, without what the credentials hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from adapters.contract import JSON, Place
from adapters.sagemaker.account import Account
from adapters.sagemaker.naming import INSTALLATION_TAG
from adapters.sagemaker.refusals import EXPIRED, Absent, translated

PAGE = 100
CONNECTIONS = 32


class Calls:
    """One account's SageMaker and what belongs to it; safe from several threads."""

    def __init__(self, place: Place) -> None:
        self.account = Account(place)
        self._timeout = place.call_timeout_seconds

    def close(self) -> None:
        """Give back connections. Twice is the same as once."""
        self.account.forget()

    def create_model(self, request: JSON) -> None:
        """Raises Exists."""
        self._ask("sagemaker", "create_model", **request)

    def create_config(self, request: JSON) -> None:
        """Raises Exists, and PartMissing for one of its models."""
        self._ask("sagemaker", "create_endpoint_config", **request)

    def create_endpoint(self, name: str, config: str, tags: dict[str, str]) -> None:
        """Raises Exists, and PartMissing for its configuration."""
        self._ask("sagemaker", "create_endpoint", EndpointName=name, EndpointConfigName=config, Tags=_pairs(tags))

    def update_endpoint(self, name: str, config: str, how: JSON) -> None:
        """Raises Busy, Absent, and PartMissing for its configuration."""
        self._ask("sagemaker", "update_endpoint", EndpointName=name, EndpointConfigName=config, **how)

    def update_weights(self, name: str, traffic: dict[str, int]) -> None:
        """Raises Busy and Absent."""
        weights = [{"VariantName": variant, "DesiredWeight": float(share)} for variant, share in traffic.items()]
        self._ask(
            "sagemaker",
            "update_endpoint_weights_and_capacities",
            EndpointName=name,
            DesiredWeightsAndCapacities=weights,
        )

    def delete_endpoint(self, name: str) -> None:
        """Raises Busy and Absent."""
        self._ask("sagemaker", "delete_endpoint", EndpointName=name)

    def delete_config(self, name: str) -> None:
        """Absent counts as deleted."""
        with suppress(Absent):
            self._ask("sagemaker", "delete_endpoint_config", EndpointConfigName=name)

    def delete_model(self, name: str) -> None:
        """Absent counts as deleted."""
        with suppress(Absent):
            self._ask("sagemaker", "delete_model", ModelName=name)

    def delete_object(self, url: str) -> None:
        """S3 says the same whether it was there or not."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        with suppress(Absent):
            self._ask("s3", "delete_object", Bucket=bucket, Key=key)

    def has_object(self, url: str) -> bool:
        """Whether ``s3://bucket/key`` is there."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        try:
            self._ask("s3", "head_object", Bucket=bucket, Key=key)
        except Absent:
            return False
        return True

    def endpoint(self, name: str) -> JSON | None:
        """The endpoint as it is described; None where there is none."""
        return self._found("describe_endpoint", EndpointName=name)

    def config(self, name: str) -> JSON | None:
        """The endpoint configuration; None where there is none."""
        return self._found("describe_endpoint_config", EndpointConfigName=name)

    def model(self, name: str) -> JSON | None:
        """The model; None where there is none."""
        return self._found("describe_model", ModelName=name)

    def endpoints(self) -> Iterator[JSON]:
        """Name, status and times of every endpoint, a hundred a call."""
        return self._pages("sagemaker", "list_endpoints", "Endpoints", SortBy="Name", SortOrder="Ascending")

    def configs(self, containing: str) -> list[str]:
        """Names of the endpoint configurations that contain this."""
        found = self._pages("sagemaker", "list_endpoint_configs", "EndpointConfigs", NameContains=containing)
        return [each["EndpointConfigName"] for each in found]

    def models(self, containing: str) -> list[str]:
        """Names of the models that contain this."""
        found = self._pages("sagemaker", "list_models", "Models", NameContains=containing)
        return [each["ModelName"] for each in found]

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of one thing. Raises Absent."""
        return _read(self._pages("sagemaker", "list_tags", "Tags", ResourceArn=arn))

    def tag(self, arn: str, tags: dict[str, str]) -> None:
        """Set these tags; others stay. Twice is the same as once."""
        self._ask("sagemaker", "add_tags", ResourceArn=arn, Tags=_pairs(tags))

    def untag(self, arn: str, keys: list[str]) -> None:
        """Remove these tags. Twice is the same as once."""
        self._ask("sagemaker", "delete_tags", ResourceArn=arn, TagKeys=keys)

    def owned(self, installation: str) -> dict[str, dict[str, str]]:
        """The tags of every endpoint that bears this installation's mark, by ARN, a hundred a call."""
        found: dict[str, dict[str, str]] = {}
        more: JSON = {}
        while True:
            page = self._ask(
                "resourcegroupstaggingapi",
                "get_resources",
                ResourceTypeFilters=["sagemaker:endpoint"],
                TagFilters=[{"Key": INSTALLATION_TAG, "Values": [installation]}],
                ResourcesPerPage=PAGE,
                **more,
            )
            for each in page["ResourceTagMappingList"]:
                found[each["ResourceARN"]] = _read(each["Tags"])
            if not page.get("PaginationToken"):
                return found
            more = {"PaginationToken": page["PaginationToken"]}

    def log_streams(self, group: str) -> list[str]:
        """The streams of a log group, that which wrote last first; none where there is no such group."""
        try:
            page = self._ask(
                "logs", "describe_log_streams", logGroupName=group, orderBy="LastEventTime", descending=True
            )
        except Absent:
            return []
        return [each["logStreamName"] for each in page["logStreams"]]

    def log_tail(self, group: str, stream: str, lines: int) -> list[str]:
        """The last lines of a stream."""
        page = self._ask("logs", "get_log_events", logGroupName=group, logStreamName=stream, limit=min(lines, 10_000))
        return [event["message"].rstrip("\n") for event in page["events"]]

    def first_endpoint(self) -> JSON | None:
        """One endpoint, to see that the account answers."""
        found = self._ask("sagemaker", "list_endpoints", MaxResults=1)["Endpoints"]
        return dict(found[0]) if found else None

    def _found(self, method: str, **request: Any) -> JSON | None:
        try:
            return self._ask("sagemaker", method, **request)
        except Absent:
            return None

    def _pages(self, service: str, method: str, key: str, **request: Any) -> Iterator[JSON]:
        more: JSON = {}
        while True:
            page = self._ask(service, method, **request, MaxResults=PAGE, **more)
            yield from page[key]
            if not page.get("NextToken"):
                return
            more = {"NextToken": page["NextToken"]}

    def _ask(self, service: str, method: str, **request: Any) -> JSON:
        action = "".join(part.capitalize() for part in method.split("_"))
        try:
            client = self.account.client(service, self._make)
            call: Callable[..., JSON] = getattr(client, method)
            return call(**request)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in EXPIRED:
                self.account.forget()
            refusal = translated(error, action)
            refusal.message = self.account.redact(refusal.message)
            refusal.args = (refusal.message,)
            raise refusal from None

    def _make(self, session: Any, service: str) -> Any:
        connect = min(5.0, self._timeout / 2)
        config = Config(
            connect_timeout=connect,
            read_timeout=self._timeout - connect,
            retries={"total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            s3={"addressing_style": "path"} if self.account.address.endpoint_url else {},
        )
        address = self.account.address
        return session.create_client(
            service, region_name=address.region, endpoint_url=address.endpoint_url, config=config
        )


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _read(pairs: Any) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in pairs}
