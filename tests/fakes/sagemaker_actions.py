"""The JSON actions of a fake SageMaker; what they accept is checked against the vendor's own model of its service."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import botocore.session
from botocore.validate import ParamValidator
from starlette.datastructures import Headers
from starlette.responses import Response

from tests.fakes.sagemaker_beside import Objects
from tests.fakes.sagemaker_endpoints import JSON, Fate, Hosting, Refusal

MODEL = botocore.session.Session().get_service_model("sagemaker")
SMALLEST_TAGS_PAGE = 50


@dataclass
class Conduct:
    """What can be set under ``/_fake/conduct``; all times in seconds.

    With ``looks`` a change takes that many reads that show it, whatever the clock says: for tests of each point.
    """

    create_seconds: float = 20.0
    update_seconds: float = 20.0
    weights_seconds: float = 5.0
    delete_seconds: float = 5.0
    looks: int | None = None
    latency: float = 0.0
    page_size: int = 100
    account: str = "123456789012"
    region: str = "us-east-1"
    keys: dict[str, str] = field(default_factory=dict)
    role_seconds: float = 3600.0
    buckets: list[str] = field(default_factory=lambda: ["models"])
    check_model_data: bool = False
    model_status: int = 200
    model_message: str = '{"error": "the model raised ValueError"}'
    model_latency: float = 0.0
    not_ready: bool = False
    tagging_lags: bool = False
    log_lines: list[str] = field(default_factory=lambda: ["loading the model", "listening on port 8080"])


class Actions:
    """Performs one action after the other on one account's things."""

    def __init__(
        self,
        hosting: Hosting,
        objects: Objects,
        conduct: Conduct,
        fate: Callable[[str, str], Fate],
        take: Callable[[str, str, str], Any],
    ) -> None:
        self._hosting, self._objects, self._conduct = hosting, objects, conduct
        self._fate, self._take = fate, take
        self._table: dict[str, Callable[[JSON], JSON | None]] = {
            "CreateModel": self._create_model,
            "DescribeModel": lambda given: hosting.describe_model(given["ModelName"]),
            "DeleteModel": lambda given: hosting.delete_model(given["ModelName"]),
            "ListModels": self._list_models,
            "CreateEndpointConfig": hosting.create_config,
            "DescribeEndpointConfig": lambda given: hosting.describe_config(given["EndpointConfigName"]),
            "DeleteEndpointConfig": lambda given: hosting.delete_config(given["EndpointConfigName"]),
            "ListEndpointConfigs": self._list_configs,
            "CreateEndpoint": lambda given: hosting.create_endpoint(given, self._ending("CreateEndpoint", given)),
            "UpdateEndpoint": lambda given: hosting.update_endpoint(given, self._ending("UpdateEndpoint", given)),
            "UpdateEndpointWeightsAndCapacities": lambda given: hosting.update_weights(
                given, self._ending("UpdateEndpointWeightsAndCapacities", given)
            ),
            "DeleteEndpoint": lambda given: hosting.delete_endpoint(
                given["EndpointName"], self._ending("DeleteEndpoint", given)
            ),
            "DescribeEndpoint": self._describe_endpoint,
            "ListEndpoints": self._list_endpoints,
            "AddTags": self._add_tags,
            "DeleteTags": self._delete_tags,
            "ListTags": self._list_tags,
            "GetResources": self._get_resources,
            "DescribeLogStreams": self._describe_log_streams,
            "GetLogEvents": self._get_log_events,
        }

    def perform(self, action: str, given: JSON) -> JSON:
        """The answer. Raises Refusal in the vendor's words."""
        if action not in self._table:
            raise Refusal("UnknownOperationException", f"The fake has no {action}.")
        if action in MODEL.operation_names:
            _check(given, MODEL.operation_model(action).input_shape)
        return self._table[action](given) or {}

    def invoke_async(self, name: str, headers: Headers, body: bytes) -> Response:
        """Take a request of an asynchronous endpoint; the answer would be written to its output path."""
        there = self._hosting.describe(name)
        if "AsyncInferenceConfig" not in there:
            raise Refusal("ValidationError", f"Endpoint {name} is not asynchronous.")
        if bool(body) == ("x-amzn-sagemaker-inputlocation" in headers):
            raise Refusal("ValidationError", "Provide exactly one of Body and InputLocation.")
        path = there["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"]
        located = {"X-Amzn-SageMaker-OutputLocation": f"{path}/1.out", "X-Amzn-SageMaker-FailureLocation": f"{path}/1"}
        return Response(b'{"InferenceId": "1"}', 202, located, "application/json")

    def _ending(self, action: str, given: JSON) -> Fate:
        return self._fate(action, given["EndpointName"])

    def _create_model(self, given: JSON) -> JSON:
        url = given.get("PrimaryContainer", {}).get("ModelDataUrl", "")
        if self._conduct.check_model_data and url and not self._objects.there(url):
            raise Refusal("ValidationException", f"Could not find model data at {url}.")
        return self._hosting.create_model(given)

    def _describe_endpoint(self, given: JSON) -> JSON:
        name = given["EndpointName"]
        if self._take("not_found", "DescribeEndpoint", name):
            raise Refusal("ValidationException", f'Could not find endpoint "{self._hosting.prefix}:endpoint/{name}".')
        if name in self._hosting.before and self._take("stale", "DescribeEndpoint", name):
            before = self._hosting.before[name]
            if before is None:
                arn = f"{self._hosting.prefix}:endpoint/{name}"
                raise Refusal("ValidationException", f'Could not find endpoint "{arn}".')
            return before
        return self._hosting.describe(name, shown=True)

    def _list_endpoints(self, given: JSON) -> JSON:
        hosting = self._hosting
        shown = []
        missing, stale = self._take("not_found", "ListEndpoints", "*"), self._take("stale", "ListEndpoints", "*")
        page, token = self._page(hosting.names(), given, lambda name: name)
        for name in page:
            if missing and fnmatch(name, missing.name):
                continue
            document = hosting.describe(name, shown=True)
            if stale and fnmatch(name, stale.name) and name in hosting.before:
                before = hosting.before[name]
                if before is None:
                    continue
                document = before
            keys = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
            shown.append({key: document[key] for key in keys})
        return {"Endpoints": shown, **token}

    def _list_configs(self, given: JSON) -> JSON:
        page, token = self._page(list(self._hosting.configs.values()), given, lambda c: c["EndpointConfigName"])
        keys = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return {"EndpointConfigs": [{key: config[key] for key in keys} for config in page], **token}

    def _list_models(self, given: JSON) -> JSON:
        page, token = self._page(list(self._hosting.models.values()), given, lambda m: m["ModelName"])
        keys = ("ModelName", "ModelArn", "CreationTime")
        return {"Models": [{key: model[key] for key in keys} for model in page], **token}

    def _page(self, things: list[Any], given: JSON, name: Callable[[Any], str]) -> tuple[list[Any], JSON]:
        things = [thing for thing in things if given.get("NameContains", "").lower() in name(thing).lower()]
        if given.get("SortOrder", "Descending") == "Descending":
            things.reverse()
        start = int(base64.b64decode(given["NextToken"])) if given.get("NextToken") else 0
        end = start + min(given.get("MaxResults", 10), self._conduct.page_size)
        token = {"NextToken": base64.b64encode(str(end).encode()).decode()} if end < len(things) else {}
        return things[start:end], token

    def _tagged(self, arn: str) -> dict[str, str]:
        if arn not in self._hosting.arns():
            raise Refusal("ValidationException", f'Could not find "{arn}".')
        return self._hosting.tags.setdefault(arn, {})

    def _add_tags(self, given: JSON) -> JSON:
        there = self._tagged(given["ResourceArn"])
        there.update({tag["Key"]: tag["Value"] for tag in given["Tags"]})
        return {"Tags": _pairs(there)}

    def _delete_tags(self, given: JSON) -> None:
        there = self._tagged(given["ResourceArn"])
        for key in given["TagKeys"]:
            there.pop(key, None)

    def _list_tags(self, given: JSON) -> JSON:
        return {"Tags": _pairs(self._tagged(given["ResourceArn"]))}

    def _get_resources(self, given: JSON) -> JSON:
        """The tagging service: endpoints only, filtered by tags, in pages."""
        if given.get("ResourceTypeFilters") != ["sagemaker:endpoint"]:
            raise Refusal("InvalidParameterException", "the fake knows endpoints only")
        found = []
        for name in self._hosting.names() if not self._conduct.tagging_lags else ():
            arn = self._hosting.describe(name)["EndpointArn"]
            tags = self._hosting.tags.get(arn, {})
            filters = given.get("TagFilters", [])
            if all(tags.get(f["Key"]) in (f.get("Values") or [tags.get(f["Key"], "")]) for f in filters):
                found.append({"ResourceARN": arn, "Tags": _pairs(tags)})
        start = int(given.get("PaginationToken") or 0)
        end = start + min(given.get("ResourcesPerPage", 50), self._conduct.page_size)
        return {"ResourceTagMappingList": found[start:end], "PaginationToken": str(end) if end < len(found) else ""}

    def _describe_log_streams(self, given: JSON) -> JSON:
        name = given["logGroupName"].rpartition("/")[2]
        if name not in self._hosting.names():
            raise Refusal("ResourceNotFoundException", "The specified log group does not exist.")
        variants = self._hosting.describe(name).get("ProductionVariants", [])
        return {"logStreams": [{"logStreamName": f"{v['VariantName']}/i-0123456789"} for v in variants]}

    def _get_log_events(self, given: JSON) -> JSON:
        variant = given["logStreamName"].partition("/")[0]
        lines = [f"{variant}: {line}" for line in self._conduct.log_lines][-given.get("limit", 10_000) :]
        return {"events": [{"timestamp": at, "message": line} for at, line in enumerate(lines)]}


def resource_of(given: JSON) -> str:
    """The name of what an action is about."""
    for key in ("EndpointName", "EndpointConfigName", "ModelName"):
        if key in given:
            return str(given[key])
    return str(given.get("ResourceArn", given.get("logGroupName", ""))).rpartition("/")[2]


def _pairs(tags: dict[str, str]) -> list[JSON]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _check(given: JSON, shape: Any) -> None:
    report = ParamValidator().validate(given, shape)
    if report.has_errors():
        raise Refusal("ValidationException", f"1 validation error detected: {report.generate_report()}")
    _within(given, shape, shape.name)


def _within(value: Any, shape: Any, where: str) -> None:
    """The limits that the vendor's client leaves to the service: longest, largest, patterns and enumerations."""
    about = shape.metadata
    if shape.type_name == "structure":
        for name, inner in value.items():
            _within(inner, shape.members[name], name)
    elif shape.type_name == "list":
        _refuse(len(value) > about.get("max", 1_000_000), where, "Member must have length less than or equal to")
        for inner in value:
            _within(inner, shape.member, where)
    elif shape.type_name == "map":
        for key, inner in value.items():
            _within(key, shape.key, where)
            _within(inner, shape.value, where)
    elif shape.type_name == "string":
        _refuse(len(value) > about.get("max", 1_000_000), where, "Member must have length less than or equal to")
        _refuse("enum" in about and value not in about["enum"], where, "Member must satisfy enum value set")
        pattern = about.get("pattern", "")
        matters = pattern and "\\p" not in pattern and not re.fullmatch(pattern, value)
        _refuse(bool(matters), where, f"Member must satisfy regular expression pattern: {pattern}")
    elif shape.type_name in ("integer", "long", "float", "double"):
        _refuse(value > about.get("max", float("inf")), where, "Member must have value less than or equal to")


def _refuse(wrong: bool, where: str, why: str) -> None:
    if wrong:
        raise Refusal("ValidationException", f"1 validation error detected: Value at '{where}' failed: {why}")
