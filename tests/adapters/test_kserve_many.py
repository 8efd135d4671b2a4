"""Many InferenceServices redeployed at once through the whole system: what it costs in calls, and what it leaves.

``python -m tests.adapters.test_kserve_many 500`` does it for so many, 20 seconds each, and prints the numbers; with
``Knative`` behind it in that mode.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.up import Stack
from tests.fakes.kubernetes import NAMESPACE, TOKEN, Kubernetes
from tests.stack.waiting import until

pytestmark = pytest.mark.stack


@pytest.mark.timeout(290)
def test_many_are_redeployed_with_few_calls_and_none_is_leaked(tmp_path: Path) -> None:
    count = 20
    told = redeploy(tmp_path, count, seconds=1.5, settings={"look_seconds": 1.0})
    assert told["landed"] == count
    assert told["leaked"] == 0
    # one apply each, and once more where the controller wrote between the look and it
    assert count <= told["writes"]["APPLY inferenceservices"] <= count + told["repeated"]
    assert set(told["writes"]) == {"APPLY inferenceservices"}
    # whatever the looks' rhythm: one of its own before each write, and lists for the rest
    assert told["reads"].get("GET inferenceservices", 0) <= 4 * count
    assert told["reads"].get("LIST inferenceservices", 0) <= 2 * count
    assert {each.split()[1] for each in told["reads"]} <= {"inferenceservices", "deployments"}


def redeploy(
    folder: Path, count: int, seconds: float, settings: dict[str, Any], mode: str = "Standard", wait: float = 240
) -> dict[str, Any]:
    """Create so many, redeploy all of them at once, and tell what the redeploying took."""
    # nobody looks for drift meanwhile, and who runs this by hand needs no key
    quiet = {"MODELPORT_OBSERVE_SECONDS": "0", "MODELPORT_ANONYMOUS_ROLE": "admin"}
    environment = {"CLUSTER_TOKEN": TOKEN, **quiet}
    with Kubernetes(seconds=seconds, mode=mode) as fake, Stack(folder, env=environment) as stack:
        with httpx.Client(base_url=stack.api_url, timeout=30.0, trust_env=False) as api:
            target = {
                "uri": f"kserve:/{NAMESPACE}",
                "credentials": "env:CLUSTER_TOKEN",
                "settings": {"api_url": fake.url, "gateway_url": fake.url, **settings},
            }
            api.put("/v1/targets/prod", json=target).raise_for_status()
            deploy(api, count, "v1", wait)
            before, began = fake.counts(), time.monotonic()
            deploy(api, count, "v2", wait)
            after, took = fake.counts(), time.monotonic() - began
        spent = Counter(after["kinds"])
        spent.subtract(before["kinds"])
        there = fake.objects("inferenceservices")
        landed = [name for name in there if fake.serving(name) == {uri("v2", name.rpartition("-")[2]): 100}]
        children = len(fake.objects("deployments")) + len(fake.objects("services"))
        refused = [call for call in fake.log("APPLY") if call["status"] == 409]
    calls = sum(spent.values())
    return {
        "services": count,
        "mode": mode,
        "seconds": round(took, 1),
        "landed": len(landed),
        "leaked": len(there) - count + (children - 2 * count if mode == "Standard" else children),
        "repeated": len(refused),
        "writes": {kind: n for kind, n in spent.items() if n and not kind.startswith(("GET", "LIST"))},
        "reads": {kind: n for kind, n in spent.items() if n and kind.startswith(("GET", "LIST"))},
        "calls per operation": round(calls / count, 2),
    }


def uri(version: str, number: str) -> str:
    return f"s3://models/{version}/{number}"


def deploy(api: httpx.Client, count: int, version: str, wait: float) -> None:
    def submit(number: int) -> None:
        body = {"model_uri": uri(version, str(number)), "config": {"min_replicas": 2}}
        api.put(f"/v1/deployments/prod/model-{number}", json=body).raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(submit, range(count)))

    def unfinished() -> int:
        pages = (
            api.get("/v1/operations", params={"state": state, "page_size": 1}).json()["items"]
            for state in ("queued", "starting", "waiting", "undoing")
        )
        return sum(map(len, pages))

    until(lambda: unfinished() == 0, seconds=wait)
    failed = api.get("/v1/operations", params={"state": "failed"}).json()["items"]
    assert failed == [], failed[0]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        many, *modes = sys.argv[1:]
        for each in modes or ["Standard"]:
            print(json.dumps(redeploy(Path(scratch) / each, int(many), 20.0, {}, each, wait=1800), indent=1))
