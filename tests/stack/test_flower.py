"""What people see in Flower: one row for each operation, true times, no secret, no worker that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.platform import Platform
from tests.stack.parts import FLOWER_AUTH, Parts
from tests.stack.waiting import until

pytestmark = pytest.mark.stack

SECONDS = 2.0
SECRET = "planted-secret-do-not-show"


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform(seconds=SECONDS, token=SECRET) as platform:
        yield platform


@pytest.fixture(scope="module")
def stack(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("flower")
    # rows come back within this time, and not only by what Flower itself has stored
    env = {"MODELPORT_ANNOUNCE_SECONDS": "2", "PLATFORM_TOKEN": SECRET}
    with Parts(folder, env=env, flower=True) as stack:
        body = {"uri": platform.url, "credentials": "env:PLATFORM_TOKEN"}
        httpx.put(f"{stack.api_url}/v1/targets/platform", json=body).raise_for_status()
        yield stack


@pytest.fixture
def flower(stack: Parts) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.flower_url, auth=FLOWER_AUTH) as client:
        yield client


@pytest.fixture
def api(stack: Parts) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.api_url, timeout=60.0) as client:
        yield client


def submit(api: httpx.Client, name: str, **changes: Any) -> dict[str, Any]:
    body = {"target": "platform", "name": name, "model_uri": "models:/iris/1", **changes}
    answer = api.post("/v1/deployments", json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def ended(api: httpx.Client, operation: dict[str, Any]) -> dict[str, Any]:
    document = api.get(f"/v1/operations/{operation['id']}", headers={"Prefer": "wait=60"}).json()
    assert document["final"], document
    return dict(document)


def row(flower: httpx.Client, identity: str) -> dict[str, Any] | None:
    try:
        answer = flower.get(f"/api/task/info/{identity}")
    except httpx.TransportError:  # it is being started again
        return None
    return dict(answer.json()) if answer.status_code == 200 else None


def rows(flower: httpx.Client) -> dict[str, Any]:
    return dict(flower.get("/api/tasks", params={"limit": 1000}).json())


def test_a_row_moves_with_its_operation_and_keeps_the_true_time(flower: httpx.Client, api: httpx.Client) -> None:
    operation = submit(api, "moves")
    until(lambda: (row(flower, operation["id"]) or {}).get("state") == "STARTED")
    assert ended(api, operation)["state"] == "succeeded"
    until(lambda: (row(flower, operation["id"]) or {}).get("state") == "SUCCESS")
    shown = row(flower, operation["id"])
    assert shown is not None
    assert shown["name"] == "deployments.create"
    assert shown["runtime"] >= SECONDS
    assert "platform" in shown["args"]
    assert "moves" in shown["args"]
    assert "models:/iris/1" in shown["args"]


def test_a_failure_shows_the_targets_words(flower: httpx.Client, api: httpx.Client, platform: Platform) -> None:
    platform.faults({"kind": "fails", "verb": "PUT", "name": "breaks", "message": "no room left"})
    operation = submit(api, "breaks")
    document = ended(api, operation)
    assert document["state"] == "failed"
    until(lambda: (row(flower, operation["id"]) or {}).get("state") == "FAILURE")
    shown = row(flower, operation["id"])
    assert shown is not None
    assert "no room left" in shown["exception"]


def test_rows_and_operations_are_the_same_and_no_worker_is_a_phantom(flower: httpx.Client, api: httpx.Client) -> None:
    for number in range(5):
        ended(api, submit(api, f"many-{number}"))
    known = {item["id"] for item in api.get("/v1/operations", params={"page_size": 1000}).json()["items"]}
    until(lambda: rows(flower).keys() == known)
    until(lambda: all(shown["state"] in {"SUCCESS", "FAILURE", "REVOKED"} for shown in rows(flower).values()))
    assert rows(flower).keys() == known
    workers = set(flower.get("/api/workers", params={"refresh": "1"}).json())
    assert {worker.partition("@")[0] for worker in workers} == {"write", "look"}
    assert {shown["worker"] for shown in rows(flower).values()} <= workers


def test_the_revoke_button_cancels_the_operation(flower: httpx.Client, api: httpx.Client, platform: Platform) -> None:
    platform.conduct(seconds=60.0)
    try:
        operation = submit(api, "revoked")
        until(lambda: api.get(f"/v1/operations/{operation['id']}").json()["state"] == "waiting")
        answer = flower.post(f"/api/task/revoke/{operation['id']}", params={"terminate": "true"})
        assert answer.status_code == 200, answer.text
        document = ended(api, operation)
    finally:
        platform.conduct(seconds=SECONDS)
    assert document["state"] == "cancelled"
    assert document["cancelled_by"] == "flower"
    until(lambda: (row(flower, operation["id"]) or {}).get("state") == "REVOKED")


def test_no_secret_is_shown_or_written(flower: httpx.Client, api: httpx.Client, stack: Parts) -> None:
    ended(api, submit(api, "secretive"))
    shown = flower.get("/api/tasks", params={"limit": 1000}).text + flower.get("/tasks").text
    assert SECRET not in shown
    for path in stack.folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_rows_come_back_after_flower_is_killed(flower: httpx.Client, api: httpx.Client, stack: Parts) -> None:
    operation = submit(api, "survives")
    ended(api, operation)
    until(lambda: (row(flower, operation["id"]) or {}).get("state") == "SUCCESS")
    stack.kill("flower")
    stack.start("flower")
    until(lambda: (row(flower, operation["id"]) or {}).get("state") == "SUCCESS", seconds=60)
    shown = row(flower, operation["id"])
    assert shown is not None
    assert shown["runtime"] >= SECONDS
