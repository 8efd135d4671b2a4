"""``python -m bench.sagemaker``: many SageMaker endpoints created and then redeployed through the API, on the fake.

Two batches on the embedded topology: one creates N endpoints, one brings all of them to another model. Every change
takes the fake 20 s. Printed: API calls for each operation, by action; what was left over in the account; and the wall
time beside the least that it can take: the target's limit of writes, then one endpoint's time. ``--kills`` kills a
worker so many times while the endpoints are redeployed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from adapters.sagemaker.describe import DESCRIPTION
from operations.limits import bucket
from tests.fakes.sagemaker import SageMaker
from tests.stack.parts import Parts
from tests.stack.waiting import until

SECONDS = 20.0
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mlflow-pyfunc:3"


def main() -> int:
    """Create, redeploy, count."""
    parser = argparse.ArgumentParser(prog="python -m bench.sagemaker", description=main.__doc__)
    parser.add_argument("--endpoints", type=int, default=500)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--look-seconds", type=float, default=10.0)
    asked = parser.parse_args()
    env = {"AWS_ACCESS_KEY_ID": "AKIABENCH", "AWS_SECRET_ACCESS_KEY": "bench", "MODELPORT_LEASE_SECONDS": "15"}
    with (
        tempfile.TemporaryDirectory(prefix="mp-bench-") as folder,
        SageMaker(create_seconds=SECONDS, update_seconds=SECONDS, delete_seconds=1.0) as fake,
        Parts(Path(folder), env=env) as parts,
        httpx.Client(base_url=parts.api_url, timeout=120.0, trust_env=False) as api,
    ):
        settings = {
            "endpoint_url": fake.url,
            "execution_role_arn": "arn:aws:iam::123456789012:role/execution",
            "image_url": IMAGE,
            "look_seconds": asked.look_seconds,
            "keep_revisions": 0,
        }
        body = {"uri": "sagemaker:/us-east-1", "settings": settings}
        api.put("/v1/targets/aws", json=body).raise_for_status()
        operations = [
            {"target": "aws", "name": f"model-{n}", "action": "apply", "model_uri": "s3://models/v1/model.tar.gz"}
            for n in range(asked.endpoints)
        ]
        batch: dict[str, Any] = {"operations": operations, "strategy": {"max_failures": "100%"}}
        measure("create", api, fake, parts, batch, asked.endpoints, 0)
        batch = {
            "selection": {"target": "aws"},
            "change": {"model_uri": "s3://models/v2/model.tar.gz"},
            "strategy": {"max_failures": "100%"},
        }
        measure("redeploy", api, fake, parts, batch, asked.endpoints, asked.kills)
        things = fake.things()
        served = Counter(endpoint["EndpointStatus"] for endpoint in things["endpoints"].values())
        left = {kind: len(things[kind]) for kind in ("endpoints", "configs", "models") if kind in things}
        print(f"in the account: {left}; endpoints {dict(served)}")
        leaked = any(count != asked.endpoints for count in left.values())
    return int(leaked)


def measure(
    name: str, api: httpx.Client, fake: SageMaker, parts: Parts, batch: dict[str, Any], count: int, kills: int
) -> None:
    """Submit one batch, wait for its end, print what it took."""
    before = Counter(fake.counts()["calls"])
    began = time.monotonic()
    identity = api.post("/v1/batches", json=batch).raise_for_status().json()["id"]
    chance = random.Random(1)
    for number in range(kills):
        due = count * number // (kills + 1)
        until(lambda due=due: done(api, identity) >= due, seconds=1200)
        node = chance.choice(parts.nodes)
        parts.kill(node)
        parts.start(node)
    until(lambda: api.get(f"/v1/batches/{identity}").json()["final"], seconds=1800)
    took = time.monotonic() - began
    ended = api.get(f"/v1/batches/{identity}").json()
    calls = Counter(fake.counts()["calls"]) - before
    at_once, per_second = bucket(DESCRIPTION.limits.writes or 10**9, DESCRIPTION.limits.per_seconds)
    writes = sum(n for action, n in calls.items() if action.startswith(("Create", "Update", "Delete", "AddTags")))
    least = max(0.0, writes - at_once) / per_second + SECONDS
    print(f"{name}: {ended['state']}, {ended['counters']['succeeded']} of {count} in {took:.0f} s with {kills} kills")
    print(f"  least for {writes} writes and one change: {least:.0f} s; took/least = {took / least:.2f}")
    print(f"  calls for each operation: {sum(calls.values()) / count:.2f}")
    for action, n in calls.most_common():
        print(f"    {action:24} {n / count:.3f}")


def done(api: httpx.Client, identity: str) -> int:
    return int(api.get(f"/v1/batches/{identity}").json()["counters"]["succeeded"])


if __name__ == "__main__":
    sys.exit(main())
