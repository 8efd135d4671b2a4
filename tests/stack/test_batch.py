"""A bulk redeploy through real processes: under the target's limit of writes, and across the death of its workers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.platform import Platform
from tests.stack.parts import FLOWER_AUTH, Parts
from tests.stack.waiting import until

pytestmark = pytest.mark.stack

COUNT = 50
WRITES, PER_SECONDS = 40, 8.0


@pytest.mark.timeout(280)
def test_fifty_are_redeployed_under_the_limit_while_workers_die(tmp_path: Path) -> None:
    env = {"MODELPORT_LEASE_SECONDS": "6", "MODELPORT_ADVANCE_BUDGET_SECONDS": "5"}
    with Platform(seconds=1.0, latency=0.02) as platform, Parts(tmp_path, env=env, flower=True) as parts:
        with httpx.Client(base_url=parts.api_url, timeout=60.0, trust_env=False) as api:
            body = {
                "uri": platform.url,
                "settings": {"look_seconds": 0.5},
                "limits": {"writes": WRITES, "per_seconds": PER_SECONDS},
            }
            api.put("/v1/targets/platform", json=body).raise_for_status()
            created = submit(
                api,
                operations=[
                    {"target": "platform", "name": f"model-{n}", "action": "apply", "model_uri": "models:/m/1"}
                    for n in range(COUNT)
                ],
                strategy={"max_failures": COUNT},
            )
            assert ended(api, created)["state"] == "succeeded"

            change = {"model_uri": "models:/m/2"}
            strategy = {"max_failures": "100%", "waves": [{"size": 1}]}
            batch = submit(api, selection={"model": "models:/m", "below_version": 2}, change=change, strategy=strategy)
            for node in ("write", "look", "write"):
                done = read(api, batch)["counters"]["succeeded"]
                until(lambda done=done: read(api, batch)["counters"]["succeeded"] > done, seconds=60)
                parts.kill(node)
                parts.start(node)
            detail = ended(api, batch)
            assert detail["state"] == "succeeded"
            assert detail["counters"]["succeeded"] == COUNT
            row = flower_row(parts, batch, "SUCCESS")
            operations = api.get("/v1/operations", params={"page_size": 1}).json()["items"]
            child = flower_row(parts, operations[0]["id"], "SUCCESS")
        writes = sorted(call["at"] for call in platform.log("PUT", "DELETE"))
        counts = platform.counts()
        served = {there["name"]: there["variants"][0]["model_uri"] for there in platform.deployments()}
    assert row["name"] == "batches.update"
    assert (child["parent_id"], child["root_id"]) == (batch, batch)
    assert served == {f"model-{n}": "models:/m/2" for n in range(COUNT)}
    assert all(times == 1 for contents in counts["effects"].values() for times in contents.values())
    assert most_in_a_window(writes, PER_SECONDS) <= WRITES
    assert len(writes) > WRITES, "the limit had nothing to limit"


def submit(api: httpx.Client, **body: Any) -> str:
    return str(api.post("/v1/batches", json=body).raise_for_status().json()["id"])


def read(api: httpx.Client, batch: str) -> dict[str, Any]:
    return dict(api.get(f"/v1/batches/{batch}").raise_for_status().json())


def ended(api: httpx.Client, batch: str) -> dict[str, Any]:
    until(lambda: read(api, batch)["final"], seconds=120)
    return read(api, batch)


def flower_row(parts: Parts, uuid: str, state: str) -> dict[str, Any]:
    url = f"{parts.flower_url}/api/task/info/{uuid}"
    found: dict[str, Any] = {}

    def shown() -> bool:
        answer = httpx.get(url, auth=FLOWER_AUTH, timeout=10.0, trust_env=False)
        found.update(answer.json() if answer.status_code == 200 else {})
        return found.get("state") == state

    until(shown, seconds=60)
    return found


def most_in_a_window(instants: list[float], seconds: float) -> int:
    """The most of these within any ``seconds``."""
    assert all(a <= b for a, b in pairwise(instants))
    most = first = 0
    for last, at in enumerate(instants):
        while instants[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
