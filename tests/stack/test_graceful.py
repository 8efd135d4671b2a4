"""SIGTERM: a worker finishes the call that it is in and hands the rest back; nothing waits for a lease to run out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pytest

from tests.fakes.platform import Platform
from tests.stack.parts import Parts
from tests.stack.waiting import until

pytestmark = pytest.mark.stack


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "modelport.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_terminated_worker_leaves_no_lease_and_another_goes_on_at_once(tmp_path: Path) -> None:
    # a lease longer than the test: whoever waited for one would not come to an end
    env = {"MODELPORT_LEASE_SECONDS": "3600", "MODELPORT_THREADS": "4"}
    with Platform(seconds=0.5, latency=1.0) as platform, Parts(tmp_path, env=env) as parts:
        with httpx.Client(base_url=parts.api_url, timeout=30.0) as api:
            body = {"uri": platform.url, "settings": {"look_seconds": 0.5}}
            api.put("/v1/targets/platform", json=body).raise_for_status()
            for number in range(40):
                document = {"target": "platform", "name": f"model-{number}", "model_uri": f"models:/m/{number}"}
                api.post("/v1/deployments", json=document).raise_for_status()
            until(lambda: platform.counts()["calls"].get("PUT", 0) > 0)
            parts.terminate("write")
            until(lambda: not parts.running("write"), seconds=60)
            assert rows(tmp_path, "SELECT id FROM operations WHERE leased_by LIKE 'write@%'") == []
            left = "SELECT id FROM operations WHERE finished_at IS NULL"
            assert rows(tmp_path, left), "everything was done before the worker was terminated"
            parts.kill("write")
            parts.start("write")
            until(lambda: not rows(tmp_path, left), seconds=90)
        assert set(platform.counts()["creations"].values()) == {1}
