"""A thousand operations at once on the embedded stack: each is created once, and none holds a worker while it waits."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from stack.up import Stack
from tests.fakes.platform import Platform
from tests.stack.waiting import until

pytestmark = pytest.mark.stack

COUNT = 1000
SECONDS = 20.0


@pytest.mark.timeout(240)
def test_a_thousand_operations_succeed_each_created_once(tmp_path: Path, record_property) -> None:
    with Platform(seconds=SECONDS, latency=0.1) as platform, Stack(tmp_path) as stack:
        with httpx.Client(base_url=stack.api_url, timeout=30.0) as api:
            api.put("/v1/targets/platform", json={"uri": platform.url}).raise_for_status()

            def submit(number: int) -> int:
                body = {"target": "platform", "name": f"model-{number}", "model_uri": f"models:/m/{number}"}
                return api.post("/v1/deployments", json=body).status_code

            began = time.monotonic()
            with ThreadPoolExecutor(8) as pool:
                statuses = list(pool.map(submit, range(COUNT)))
            accepted = time.monotonic()
            assert statuses == [202] * COUNT

            def unfinished() -> int:
                left = 0
                for state in ("queued", "starting", "waiting", "undoing"):
                    page = api.get("/v1/operations", params={"state": state, "page_size": 1}).json()
                    left += len(page["items"])
                return left

            until(lambda: unfinished() == 0, seconds=180)
            ended = time.monotonic()
            failed = api.get("/v1/operations", params={"state": "failed"}).json()["items"]
            assert failed == []
            assert count(api, "succeeded") == COUNT
        counts = platform.counts()
    record_property("accept_seconds", round(accepted - began, 1))
    record_property("wall_seconds", round(ended - began, 1))
    print(f"accepted in {accepted - began:.1f} s, all succeeded after {ended - began:.1f} s; {counts['calls']}")
    effects, creations = counts["effects"], counts["creations"]
    assert len(creations) == COUNT
    assert set(creations.values()) == {1}
    assert all(sum(contents.values()) == 1 for contents in effects.values())


def count(api: httpx.Client, state: str) -> int:
    found, token = 0, None
    while True:
        parameters = {"state": state, "page_size": 1000, **({"page_token": token} if token else {})}
        page = api.get("/v1/operations", params=parameters).json()
        found += len(page["items"])
        token = page["next_page_token"]
        if token is None:
            return found
