"""Many Azure ML endpoints redeployed at once through the service: what it costs in calls, and what it leaves.

``python -m tests.adapters.test_azureml_many 500`` does it for so many through the whole system, 20 seconds each write,
and prints the numbers; the suite does it for a few, with the engine in a thread of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.azureml import scoring
from operations.database import Database
from stack.up import Stack
from tests.adapters.azureml_target import WRITES
from tests.adapters.many import BY_HAND, deploy
from tests.fakes.azureml import TOKEN, URI, AzureMl
from tests.modelport.real_server import serving


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def url(db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AZURE", TOKEN)
    with serving(db, monkeypatch, ["azureml"]) as url:
        yield url
    # the connections of all checks and predictions of this process
    scoring.client().close()
    scoring.client.cache_clear()


def test_many_are_redeployed_with_few_calls_and_none_is_leaked(url: str) -> None:
    count = 12
    with AzureMl(seconds=1, looks=2) as fake:
        told = redeploy(url, fake, count, {"look_seconds": 0.05}, {"writes": 4000}, wait=120)
    assert told["landed"] == count
    assert told["leaked"] == 0
    assert told["writes"] == {"DEPLOYMENT": count, "ENDPOINT": count, "DROP": count}
    assert told["reads"]["SCORE"] == count
    # one look before each write and a few while it is under way, whatever the looks' rhythm
    assert sum(told["reads"].values()) <= 40 * count


def redeploy(
    url: str, fake: AzureMl, count: int, settings: dict[str, Any], limits: dict[str, Any], wait: float
) -> dict[str, Any]:
    """Create so many, redeploy all of them at once, and tell what the redeploying took."""
    with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as api:
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


def by_hand(count: int) -> dict[str, Any]:
    """The same through processes of their own, with the target's own limits and rhythm."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        AzureMl(seconds=20.0) as fake,
        Stack(Path(scratch), env={"AZURE": TOKEN, **BY_HAND}) as stack,
    ):
        return redeploy(stack.api_url, fake, count, {}, {}, wait=3000)


if __name__ == "__main__":
    print(json.dumps(by_hand(int(sys.argv[1])), indent=1))
