"""Bulk redeploys under a target's limit of writes, while workers are killed, beside the least time that it can take.

    python -m bench.batches sagemaker [--items 1000] [--kills 20]
    python -m bench.batches databricks [--items 120]
    python -m bench.batches accept [--items 10000]

*sagemaker*: endpoints that need 20 s each, under the default limit. The least is the writes at the limit's rate and one
endpoint's time. *databricks*: the workspace's 50 creates and updates in 5 minutes, switched on in the fake and scaled
down in time by ``--scale``; counted is what the fake refused (429), beside the time taken stands the plan's estimate.
*accept*: one request with so many operations, beside the multi-row insert of the same items; then how long reading the
batch, its items and all batches takes while it runs (p95), beside the same on an empty installation.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from adapters.sagemaker.describe import DESCRIPTION as SAGEMAKER
from operations.batches.models import BatchItem
from operations.batches.records import PORTION
from operations.models import Base
from tests.adapters.sagemaker_target import ACCESS_KEY, ROLE, SECRET
from tests.fakes.databricks import TOKEN, Databricks
from tests.fakes.platform import Platform
from tests.fakes.sagemaker import SageMaker
from tests.stack.parts import Parts
from tests.stack.waiting import until

ENV = {"MODELPORT_ANONYMOUS_ROLE": "admin", "MODELPORT_OBSERVE_SECONDS": "0", "MODELPORT_LEASE_SECONDS": "15"}
WORKSPACE_WRITES, WORKSPACE_SECONDS = 50, 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("sagemaker", "databricks", "accept"))
    parser.add_argument("--items", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--scale", type=float, default=10.0, help="databricks: so many times faster than it is")
    asked = parser.parse_args()
    if asked.kind == "sagemaker":
        sagemaker(asked.items or 1000, 20 if asked.kills is None else asked.kills)
    elif asked.kind == "accept":
        accept(asked.items or 10_000)
    else:
        databricks(asked.items or 120, asked.kills or 0, asked.scale)


def sagemaker(items: int, kills: int) -> None:
    """Models, configs and endpoints: three writes an item."""
    seconds, limits = 20.0, SAGEMAKER.limits
    env = {"AWS_KEYS": f"{ACCESS_KEY}:{SECRET}"}
    times = dict.fromkeys(("create_seconds", "update_seconds"), seconds)
    with SageMaker(**times, keys={ACCESS_KEY: SECRET}) as fake, system(env) as (parts, api):
        settings = {"endpoint_url": fake.url, "execution_role_arn": ROLE, "image_url": "image:1"}
        target = {"uri": "sagemaker:/us-east-1", "credentials": "env:AWS_KEYS", "settings": settings}
        # made without a limit, redeployed under the default one
        api.put("/v1/targets/prod", json={**target, "limits": {"writes": 100_000}}).raise_for_status()
        config = {"instance_type": "ml.m5.xlarge"}
        create(api, [{"model_uri": f"s3://models/1/{n}.tar.gz", "config": config} for n in range(items)])
        api.put("/v1/targets/prod", json=target).raise_for_status()
        before = Counter(fake.counts()["calls"])
        took, _, detail = redeploy(api, parts, {"model_uri": "s3://models/2/model.tar.gz"}, kills, items)
        spent = Counter(fake.counts()["calls"])
        spent.subtract(before)
        there = fake.things()
    writes = sum(count for call, count in spent.items() if not call.startswith(("Describe", "List")))
    least = writes / ((limits.writes or writes) / limits.per_seconds) + seconds
    newest = {name.rsplit("-", 3)[0]: name for name in there["configs"]}  # in the order in which they were made
    landed = sum(e["EndpointConfigName"] == newest[e["EndpointName"]] for e in there["endpoints"].values())
    print(f"{items} endpoints of {seconds:g} s, {limits.writes} writes in {limits.per_seconds:g} s, {kills} kills")
    print(f"ended as {detail['state']}: {detail['counters']}; landed {landed}")
    print(f"left on the target beyond this revision and the one before: {left(there, items)}")
    print(f"writes an item {writes / items:.2f}; reads an item {(sum(spent.values()) - writes) / items:.2f}")
    print(f"took {took:.0f} s; the least is {least:.0f} s; ratio {took / least:.2f}")


def databricks(items: int, kills: int, scale: float) -> None:
    """One write an item."""
    window = WORKSPACE_SECONDS / scale
    with (
        Databricks(seconds=60.0 / scale, token=TOKEN, writes_limit=WORKSPACE_WRITES, writes_window=window) as fake,
        system({"WORKSPACE": TOKEN}) as (parts, api),
    ):
        target = {
            "uri": "databricks",
            "credentials": "env:WORKSPACE",
            "settings": {"host": fake.url, "look_seconds": 10.0 / scale},
            "limits": {"writes": WORKSPACE_WRITES, "per_seconds": window},
        }
        api.put("/v1/targets/prod", json=target).raise_for_status()
        config = {"workload_size": "Small", "scale_to_zero_enabled": True}
        create(api, [{"model_uri": "models:/main.ml.iris/1", "config": config} for _ in range(items)])
        took, estimate, detail = redeploy(api, parts, {"model_uri": "models:/main.ml.iris/2"}, kills, items)
        refused = sum(call.get("status") == 429 for call in fake.log())
    print(f"{items} endpoints, {WORKSPACE_WRITES} writes in {window:g} s, {kills} kills")
    print(f"ended as {detail['state']}: {detail['counters']}")
    print(f"refused with 429: {refused}")
    print(f"took {took:.0f} s; the plan's estimate {estimate:.0f} s; ratio {took / estimate:.2f}")


def accept(items: int) -> None:
    """Against an in-house platform that answers in 20 ms and needs a second."""
    names = [f"model-{number:05}" for number in range(items)]
    with Platform(seconds=1.0, latency=0.02) as platform, system({}) as (parts, api):
        api.put("/v1/targets/prod", json={"uri": platform.url}).raise_for_status()
        one = api.post(
            "/v1/batches", json={"operations": [operation("first")], "strategy": {"max_concurrent": 1}}
        ).raise_for_status()
        ended(api, one.json()["id"])
        empty = reading(api, one.json()["id"])
        began = time.monotonic()
        body = {"operations": [operation(name) for name in names], "strategy": {"max_concurrent": 50}}
        batch = api.post("/v1/batches", json=body).raise_for_status().json()["id"]
        took = time.monotonic() - began
        until(lambda: done(api, batch) >= 200, seconds=300, pause=0.5)
        running = reading(api, batch)
        floor = insert_alone(parts.folder / "modelport.db", batch)
        api.post(f"/v1/batches/{batch}/abort").raise_for_status()
    print(
        f"{items} items accepted by one request in {took:.2f} s; the insert alone {floor:.2f} s;"
        f" ratio {floor / took:.2f}"
    )
    print(f"{'p95 in ms':24}{'one item, ended':>18}{f'{items} items, running':>24}")
    for path, before in empty.items():
        print(f"{path:24}{before:>18.1f}{running[path]:>24.1f}")


def operation(name: str) -> dict[str, Any]:
    return {"target": "prod", "name": name, "action": "apply", "model_uri": "models:/m/1"}


def reading(api: httpx.Client, batch: str, times: int = 100) -> dict[str, float]:
    """Milliseconds, of a hundred each, that nineteen in twenty stay below."""
    paths = {
        "the batch": f"/v1/batches/{batch}",
        "its items": f"/v1/batches/{batch}/items",
        "all batches": "/v1/batches",
    }
    found = {}
    for name, path in paths.items():
        took = []
        for _ in range(times):
            began = time.monotonic()
            api.get(path).raise_for_status()
            took.append((time.monotonic() - began) * 1000)
        found[name] = sorted(took)[int(times * 0.95)]
    return found


def insert_alone(path: Path, batch: str) -> float:
    """Seconds that the rows of this batch's items take in a table of their own, in as many statements."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with Session(engine) as session:
        kept = session.execute(select(BatchItem.__table__).where(BatchItem.batch_id == batch)).mappings().all()
    engine.dispose()
    rows = [{**row, "batch_id": "copy"} for row in kept]
    with tempfile.TemporaryDirectory() as folder:
        alone = sqlalchemy.create_engine(f"sqlite:///{folder}/alone.db")
        Base.metadata.create_all(alone)
        began = time.monotonic()
        with Session(alone) as session, session.begin():
            for start in range(0, len(rows), PORTION):
                session.execute(insert(BatchItem), rows[start : start + PORTION])
        took = time.monotonic() - began
        alone.dispose()
    return took


@contextlib.contextmanager
def system(env: dict[str, str]) -> Iterator[tuple[Parts, httpx.Client]]:
    with (
        tempfile.TemporaryDirectory(prefix="modelport-bench-") as folder,
        Parts(Path(folder), env={**ENV, **env}) as parts,
        httpx.Client(base_url=parts.api_url, timeout=120.0, trust_env=False) as api,
    ):
        yield parts, api


def create(api: httpx.Client, bodies: list[dict[str, Any]]) -> None:
    operations = [
        {"target": "prod", "name": f"model-{number}", "action": "apply", **body} for number, body in enumerate(bodies)
    ]
    batch = api.post("/v1/batches", json={"operations": operations, "strategy": {"max_concurrent": "100%"}})
    detail = ended(api, batch.raise_for_status().json()["id"])
    if detail["state"] != "succeeded":
        raise SystemExit(f"they could not be created: {detail['counters']}")


def redeploy(
    api: httpx.Client, parts: Parts, change: dict[str, Any], kills: int, items: int
) -> tuple[float, float, dict[str, Any]]:
    """All of them by one call; the seconds that it took, those that the plan foresaw, and how it stands."""
    strategy = {"max_failures": "100%", "max_concurrent": "100%"}
    body = {"selection": {"target": "prod"}, "change": change, "strategy": strategy}
    plan = api.post("/v1/batches/plan", json=body).raise_for_status().json()
    began, chance = time.monotonic(), random.Random(1)  # whom to kill
    batch = plan["id"]
    api.post(f"/v1/batches/{batch}/start").raise_for_status()
    for kill in range(kills):
        reached = (kill + 1) * items // (kills + 2)
        until(lambda reached=reached: done(api, batch) >= reached, seconds=1800, pause=0.5)
        node = chance.choice(["write", "look"])
        parts.kill(node)
        parts.start(node)
    detail = ended(api, batch)
    return time.monotonic() - began, plan["estimate"]["seconds"], detail


def done(api: httpx.Client, batch: str) -> int:
    counters = api.get(f"/v1/batches/{batch}").raise_for_status().json()["counters"]
    return sum(count for state, count in counters.items() if state not in ("pending", "released"))


def ended(api: httpx.Client, batch: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def over() -> bool:
        found.update(api.get(f"/v1/batches/{batch}").raise_for_status().json())
        return bool(found["final"])

    until(over, seconds=3600, pause=0.5)
    return found


def left(there: dict[str, Any], items: int) -> int:
    return len(there["models"]) + len(there["configs"]) - 4 * items


if __name__ == "__main__":
    main()
