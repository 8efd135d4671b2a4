"""Many Azure ML endpoints redeployed at once through the whole system: what it costs in calls, and what it leaves.

``python -m tests.adapters.test_azureml_many 500`` does it for so many, 20 seconds each write, and prints the numbers.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.up import Stack
from tests.adapters.azureml_target import WRITES
from tests.adapters.many import BY_HAND, deploy
from tests.fakes.azureml import TOKEN, URI, AzureMl

pytestmark = pytest.mark.stack


@pytest.mark.timeout(290)
def test_many_are_redeployed_with_few_calls_and_none_is_leaked(tmp_path: Path) -> None:
    count = 8
    told = redeploy(tmp_path, count, seconds=1.0, settings={"look_seconds": 0.5}, limits={"writes": 400})
    assert told["landed"] == count
    assert told["leaked"] == 0
    assert told["writes"] == {"DEPLOYMENT": count, "ENDPOINT": count, "DROP": count}
    assert told["reads"]["SCORE"] == count
    # one look before each write and a few while it is under way, whatever the looks' rhythm
    assert sum(told["reads"].values()) <= 45 * count


def redeploy(
    folder: Path, count: int, seconds: float, settings: dict[str, Any], limits: dict[str, Any], wait: float = 240
) -> dict[str, Any]:
    """Create so many, redeploy all of them at once, and tell what the redeploying took."""
    environment = {"AZURE": TOKEN, **BY_HAND}
    with AzureMl(seconds=seconds) as fake, Stack(folder, env=environment) as stack:
        with httpx.Client(base_url=stack.api_url, timeout=30.0, trust_env=False) as api:
            settings = {"resource_manager": fake.url, "location": "westeurope", **settings}
            target = {"uri": URI, "credentials": "env:AZURE", "settings": settings, "limits": limits}
            api.put("/v1/targets/ml", json=target).raise_for_status()
            deploy(api, "ml", count, lambda _: {"model_uri": "models:/iris/1"}, wait)
            before, began = Counter(fake.counts()["calls"]), time.monotonic()
            deploy(api, "ml", count, lambda _: {"model_uri": "models:/iris/2"}, wait)
            spent, took = Counter(fake.counts()["calls"]), time.monotonic() - began
            spent.subtract(before)
        there = [fake.image(f"model-{number}") or {"deployments": []} for number in range(count)]
    landed = [
        image
        for image in there
        if [each["properties"]["model"].endswith("/iris/versions/2") for each in image["deployments"]] == [True]
    ]
    return {
        "endpoints": count,
        "seconds": round(took, 1),
        "landed": len(landed),
        "leaked": sum(len(image["deployments"]) for image in there) - count,
        "writes": {verb: spent[verb] for verb in WRITES if spent[verb]},
        "reads": {verb: each for verb, each in sorted(spent.items()) if each and verb not in WRITES},
        "calls_per_operation": round(sum(spent.values()) / count, 1),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        many = int(sys.argv[1])
        print(json.dumps(redeploy(Path(scratch), many, 20.0, {}, {}, wait=3000), indent=1))
