"""Many InferenceServices redeployed at once through the service: what it costs in calls, and what it leaves.

``python -m tests.adapters.test_kserve_many 500`` does it for so many on the real stack, 20 seconds each, and prints the
numbers; with ``Knative`` behind it in that mode.
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

from operations.database import Database
from stack.up import Stack
from tests.adapters.many import BY_HAND, deploy
from tests.fakes.kubernetes import NAMESPACE, TOKEN, Kubernetes
from tests.modelport.real_server import serving


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_many_are_redeployed_with_one_write_each_and_none_is_leaked(
    db: Database, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    count = 8
    monkeypatch.setenv("CLUSTER_TOKEN", TOKEN)
    with (
        Kubernetes(seconds=0.3, mode=mode) as fake,
        serving(db, monkeypatch, ["kserve"]) as url,
        httpx.Client(base_url=url, timeout=30.0, trust_env=False) as api,
    ):
        told = redeploy(api, fake, count, mode, wait=60)
    assert told["landed"] == count
    assert told["leaked"] == 0
    # one apply each, and once more where the controller wrote between the look and it
    assert told["writes"] == {"APPLY inferenceservices": count + told["repeated"]}
    children = {"Standard": "deployments", "Knative": "revisions"}[mode]
    assert {each.split()[1] for each in told["reads"]} == {"inferenceservices", children}


def redeploy(api: httpx.Client, fake: Kubernetes, count: int, mode: str, wait: float) -> dict[str, Any]:
    """Create so many, redeploy all of them at once, and tell what the redeploying took."""
    target = {
        "uri": f"kserve:/{NAMESPACE}",
        "credentials": "env:CLUSTER_TOKEN",
        "settings": {"api_url": fake.url, "gateway_url": fake.url},
    }
    api.put("/v1/targets/prod", json=target).raise_for_status()
    deploy(api, "prod", count, lambda number: asked("v1", number), wait)
    before, began = fake.counts(), time.monotonic()
    deploy(api, "prod", count, lambda number: asked("v2", number), wait)
    after, took = fake.counts(), time.monotonic() - began
    spent = Counter(after["kinds"])
    spent.subtract(before["kinds"])
    there = fake.objects("inferenceservices")
    wanted = {f"model-{number}": {asked("v2", number)["model_uri"]: 100} for number in range(count)}
    children = len(fake.objects("deployments")) + len(fake.objects("services"))
    return {
        "services": count,
        "mode": mode,
        "seconds": round(took, 1),
        "landed": sum(fake.serving(name) == shares for name, shares in wanted.items()),
        "leaked": len(there) - count + (children - 2 * count if mode == "Standard" else children),
        "repeated": len([call for call in fake.log("APPLY") if call["status"] == 409]),
        "writes": {kind: n for kind, n in spent.items() if n and not kind.startswith(("GET", "LIST"))},
        "reads": {kind: n for kind, n in spent.items() if n and kind.startswith(("GET", "LIST"))},
        "calls_per_operation": round(sum(spent.values()) / count, 2),
    }


def asked(version: str, number: int) -> dict[str, Any]:
    return {"model_uri": f"s3://models/{version}/{number}", "config": {"min_replicas": 2}}


def main(count: int, modes: list[str]) -> None:
    for mode in modes or ["Standard"]:
        with (
            tempfile.TemporaryDirectory() as scratch,
            Kubernetes(seconds=20.0, mode=mode) as fake,
            Stack(Path(scratch), env={"CLUSTER_TOKEN": TOKEN, **BY_HAND}) as stack,
            httpx.Client(base_url=stack.api_url, timeout=30.0, trust_env=False) as api,
        ):
            print(json.dumps(redeploy(api, fake, count, mode, wait=1800), indent=1), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
