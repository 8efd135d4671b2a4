"""Many SageMaker endpoints redeployed at once through the whole system: what it costs in calls, and what it leaves.

``python -m tests.adapters.test_sagemaker_many 500`` does it for so many, 20 seconds each, and prints the numbers.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.up import Stack
from tests.adapters.many import BY_HAND, deploy
from tests.adapters.sagemaker_target import ACCESS_KEY, ROLE, SECRET
from tests.fakes.sagemaker import SageMaker

pytestmark = pytest.mark.stack


@pytest.mark.timeout(290)
def test_many_are_redeployed_with_few_calls_and_none_is_leaked(tmp_path: Path) -> None:
    count = 30
    told = redeploy(tmp_path, count, seconds=3.0, settings={"look_seconds": 2.0}, limits={"writes": 200})
    assert told["landed"] == count
    assert told["leaked"] == 0
    assert told["writes"] == {"CreateModel": count, "CreateEndpointConfig": count, "UpdateEndpoint": count}
    # whatever the looks' rhythm: a description before each write, where workers hand it to each other, and one after
    assert told["reads"]["DescribeEndpoint"] <= 6 * count
    assert told["reads"].get("ListEndpoints", 0) <= 2 * count
    assert set(told["reads"]) <= {"DescribeEndpoint", "ListEndpoints", "ListModels", "ListEndpointConfigs"}


def redeploy(
    folder: Path, count: int, seconds: float, settings: dict[str, Any], limits: dict[str, Any], wait: float = 240
) -> dict[str, Any]:
    """Create so many, redeploy all of them at once, and tell what the redeploying took."""
    times = dict.fromkeys(("create_seconds", "update_seconds"), seconds)
    keys = {ACCESS_KEY: SECRET}
    environment = {"PROD_AWS": f"{ACCESS_KEY}:{SECRET}", **BY_HAND}
    with SageMaker(**times, keys=keys) as fake, Stack(folder, env=environment) as stack:
        with httpx.Client(base_url=stack.api_url, timeout=30.0, trust_env=False) as api:
            target = {
                "uri": "sagemaker:/us-east-1",
                "credentials": "env:PROD_AWS",
                "settings": {"endpoint_url": fake.url, "execution_role_arn": ROLE, "image_url": "image:1", **settings},
                "limits": limits,
            }
            api.put("/v1/targets/prod", json=target).raise_for_status()
            deploy(api, "prod", count, model("v1"), wait)
            before, began = Counter(fake.counts()["calls"]), time.monotonic()
            deploy(api, "prod", count, model("v2"), wait)
            spent, took = Counter(fake.counts()["calls"]), time.monotonic() - began
            spent.subtract(before)
        there = fake.things()
    serving = [each for each in there["endpoints"].values() if each["EndpointStatus"] == "InService"]
    newest = {name.rsplit("-", 3)[0]: name for name in there["configs"]}  # in the order in which they were made
    landed = [each for each in serving if newest[each["EndpointName"]] == each["EndpointConfigName"]]
    return {
        "endpoints": count,
        "seconds": round(took, 1),
        "landed": len(landed),
        # the setting keeps one earlier revision
        "leaked": len(there["models"]) + len(there["configs"]) - 4 * count,
        "writes": {n: v for n, v in spent.items() if v and not n.startswith(("Describe", "List"))},
        "reads": {n: v for n, v in spent.items() if v and n.startswith(("Describe", "List"))},
    }


def model(version: str) -> Callable[[int], dict[str, Any]]:
    def body(number: int) -> dict[str, Any]:
        uri = f"s3://models/{version}/{number}.tar.gz"
        return {"model_uri": uri, "config": {"instance_type": "ml.m5.xlarge"}}

    return body


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        many = int(sys.argv[1])
        print(json.dumps(redeploy(Path(scratch), many, 20.0, {}, {}, wait=1800), indent=1))
