"""What submissions answer: status, headers and documents; over both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api import submitting
from operations import presence
from operations.database import Database
from operations.models import Operation
from operations.states import Lane
from tests.api.serving import fail, land, start, stored

IRIS = "/v1/deployments/here/iris"
BODY = {"model_uri": "models:/iris/1"}


def test_a_create_is_answered_with_its_operation(http: httpx.Client, hints: list[Lane]) -> None:
    body = {
        "target": "here",
        "name": "iris",
        "model_uri": "models:/iris/1",
        "config": {"size": 2},
        "labels": {"a": "b"},
    }
    response = http.post("/v1/deployments", json={**body, "deadline_seconds": 90})
    operation = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/operations/{operation['id']}"
    assert response.headers["ETag"] == '"1"'
    assert int(response.headers["Retry-After"]) > 0
    assert (operation["kind"], operation["state"], operation["deadline_seconds"]) == ("create", "queued", 90)
    assert http.get(response.headers["Location"]).json() == operation
    deployment = http.get(IRIS).json()
    assert (deployment["status"], deployment["operation"], deployment["current"]) == ("creating", operation["id"], None)
    assert deployment["tip"]["variants"][0]["config"] == {"size": 2}
    assert deployment["labels"] == {"a": "b"}
    assert hints == [Lane.WRITE]


def test_an_operation_is_shown_in_flower_under_a_live_worker(
    http: httpx.Client, db: Database, announced: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "WORKER_KNOWN_SECONDS", 0.0)
    with db.write() as session:
        presence.announce(session, "write@host", "operations", {"memory": None})
    operation = http.put(IRIS, json=BODY).json()
    assert announced == [(operation["id"], "write@host")]


def test_a_put_equal_to_the_tip_is_the_operation_under_way_and_then_nothing(http: httpx.Client, db: Database) -> None:
    first = http.put(IRIS, json=BODY)
    again = http.put(IRIS, json={"variants": [{"name": "main", **BODY}], "traffic": {"main": 100}})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    land(db, first.json()["id"])
    nothing = http.put(IRIS, json=BODY)
    assert (nothing.status_code, nothing.json()["status"]) == (200, "serving")
    assert "Location" not in nothing.headers
    changed = http.put(IRIS, json={"model_uri": "models:/iris/2"})
    assert (changed.status_code, changed.json()["kind"]) == (202, "update")


def test_a_patch_merges_config_and_labels_and_null_removes(http: httpx.Client, db: Database) -> None:
    land(db, http.put(IRIS, json={**BODY, "config": {"size": 2}, "labels": {"a": "1", "b": "2"}}).json()["id"])
    relabelled = http.patch(IRIS, json={"labels": {"a": None, "c": "3"}})
    assert relabelled.status_code == 200
    assert relabelled.json()["labels"] == {"b": "2", "c": "3"}
    response = http.patch(IRIS, json={"config": {"size": None}, "model_uri": "models:/iris/2"})
    assert (response.status_code, response.json()["kind"]) == (202, "update")
    variant = http.get(IRIS).json()["tip"]["variants"][0]
    assert (variant["model_uri"], variant["config"]) == ("models:/iris/2", {})


def test_traffic_and_rollback(http: httpx.Client, db: Database) -> None:
    land(db, http.put(IRIS, json=BODY).json()["id"])
    two = [{"name": name, "model_uri": f"models:/iris/{name}"} for name in "ab"]
    land(db, http.put(IRIS, json={"variants": two, "traffic": {"a": 100, "b": 0}}).json()["id"])
    shifted = http.put(f"{IRIS}/traffic", json={"traffic": {"a": 80, "b": 20}})
    assert (shifted.status_code, shifted.json()["kind"]) == (202, "traffic")
    land(db, shifted.json()["id"])
    assert http.get(IRIS).json()["current"]["traffic"] == {"a": 80, "b": 20}
    back = http.post(f"{IRIS}/rollback")
    assert (back.status_code, back.json()["revision"]) == (202, 2)
    land(db, back.json()["id"])
    first = http.post(f"{IRIS}/rollback", json={"revision": 1})
    assert (first.status_code, first.json()["revision"]) == (202, 1)
    assert http.get(f"{IRIS}/revisions/1").json()["variants"][0]["name"] == "main"


def test_a_delete_may_cancel_what_waits(http: httpx.Client, iris: dict[str, Any]) -> None:
    update = http.put(IRIS, json={"model_uri": "models:/iris/2"}).json()
    deleted = http.delete(IRIS, params={"cancel_pending": "true"})
    assert (deleted.status_code, deleted.json()["kind"]) == (202, "delete")
    states = [http.get(f"/v1/operations/{one['id']}").json()["state"] for one in (iris, update)]
    assert states == ["cancelled", "cancelled"]
    assert http.delete(IRIS).json()["id"] == deleted.json()["id"]


def test_what_was_deleted_is_not_found(http: httpx.Client, db: Database, iris: dict[str, Any]) -> None:
    land(db, iris["id"])
    land(db, http.delete(IRIS).json()["id"])
    assert http.get(IRIS).status_code == 404
    assert http.delete(IRIS).status_code == 404


@pytest.mark.parametrize(
    ("on_conflict", "status", "first"),
    [("queue", 202, "queued"), ("refuse", 409, "queued"), ("supersede", 202, "cancelled")],
)
def test_on_conflict(http: httpx.Client, iris: dict[str, Any], on_conflict: str, status: int, first: str) -> None:
    response = http.put(IRIS, json={"model_uri": "models:/iris/2"}, params={"on_conflict": on_conflict})
    assert response.status_code == status
    assert http.get(f"/v1/operations/{iris['id']}").json()["state"] == first


def test_etag_preconditions(http: httpx.Client, iris: dict[str, Any]) -> None:
    tag = http.get(IRIS).headers["ETag"]
    unchanged = http.get(IRIS, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    assert http.get(IRIS, headers={"If-None-Match": f'W/{tag}, "x"'}).status_code == 304
    assert http.get(IRIS, headers={"If-None-Match": '"77"'}).status_code == 200
    changed = http.patch(IRIS, json={"config": {"size": 3}}, headers={"If-Match": tag})
    assert changed.status_code == 202
    assert changed.headers["ETag"] != tag
    stale = http.patch(IRIS, json={"config": {"size": 4}}, headers={"If-Match": tag})
    assert (stale.status_code, stale.json()["type"]) == (412, "/problems/stale-generation")


def test_cancel_and_retry(http: httpx.Client, db: Database, hints: list[Lane], iris: dict[str, Any]) -> None:
    path = f"/v1/operations/{iris['id']}"
    cancelled = http.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert http.post(f"{path}/cancel").json() == cancelled.json()
    again = http.post(f"{path}/retry")
    assert (again.status_code, again.json()["retry_of"]) == (202, iris["id"])
    start(db, again.json()["id"])
    hints.clear()
    under_way = http.post(f"/v1/operations/{again.json()['id']}/cancel")
    assert (under_way.status_code, under_way.json()["cancelled_by"]) == (202, "anonymous")
    assert hints == [Lane.WRITE]


def test_a_cancel_that_comes_too_late_says_so(http: httpx.Client, db: Database, iris: dict[str, Any]) -> None:
    land(db, iris["id"])
    late = http.post(f"/v1/operations/{iris['id']}/cancel")
    assert (late.status_code, late.json()["type"]) == (409, "/problems/too-late")


def test_a_failed_operation_shows_why(http: httpx.Client, db: Database, iris: dict[str, Any]) -> None:
    fail(db, iris["id"])
    shown = http.get(f"/v1/operations/{iris['id']}").json()
    assert (shown["state"], shown["final"], shown["error"]["detail"]) == ("failed", True, "out of memory")
    assert http.post(f"/v1/operations/{iris['id']}/retry").json()["kind"] == "create"


def test_the_same_key_brings_the_same_answer(http: httpx.Client, db: Database) -> None:
    key = {"Idempotency-Key": "one"}
    first = http.put(IRIS, json=BODY, headers=key)
    land(db, first.json()["id"])
    again = http.put(IRIS, json=BODY, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert {name: again.headers[name] for name in ("Location", "ETag", "Retry-After")} == {
        name: first.headers[name] for name in ("Location", "ETag", "Retry-After")
    }
    # a key belongs to method and path
    assert http.delete(IRIS, headers=key).json()["kind"] == "delete"


def test_a_key_under_another_body_or_query_is_refused(http: httpx.Client) -> None:
    key = {"Idempotency-Key": "one"}
    http.put(IRIS, json=BODY, headers=key)
    body = http.put(IRIS, json={"model_uri": "models:/iris/2"}, headers=key)
    assert (body.status_code, body.json()["type"]) == (422, "/problems/idempotency-key-reuse")
    query = http.put(IRIS, json=BODY, headers=key, params={"on_conflict": "supersede"})
    assert (query.status_code, query.json()["type"]) == (422, "/problems/idempotency-key-reuse")


def test_a_refusal_is_not_stored_under_its_key(http: httpx.Client, db: Database) -> None:
    key = {"Idempotency-Key": "one"}
    before = stored(db)
    assert http.put(IRIS, json={**BODY, "config": {"shape": 1}}, headers=key).status_code == 422
    assert stored(db) == before
    assert http.put(IRIS, json=BODY, headers=key).status_code == 202


def test_cancelling_under_a_key_is_replayed(http: httpx.Client, iris: dict[str, Any]) -> None:
    path, key = f"/v1/operations/{iris['id']}/cancel", {"Idempotency-Key": "one"}
    first = http.post(path, headers=key)
    again = http.post(path, headers=key)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"


def test_twenty_requests_with_one_key_are_one_operation(url: str, db: Database) -> None:
    together = threading.Barrier(20)

    def put(_: int) -> tuple[int, str]:
        with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:
            together.wait()
            response = client.put(IRIS, json=BODY, headers={"Idempotency-Key": "one"})
            return response.status_code, response.text

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(put, range(20)))
    assert set(answers) == {answers[0]}
    assert answers[0][0] == 202
    with db.read() as session:
        assert len(session.scalars(select(Operation.id)).all()) == 1


def test_twenty_creates_at_once_are_one_deployment(url: str, db: Database) -> None:
    together = threading.Barrier(20)

    def post(_: int) -> int:
        with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:
            together.wait()
            return client.post("/v1/deployments", json={"target": "here", "name": "iris", **BODY}).status_code

    with ThreadPoolExecutor(20) as threads:
        statuses = sorted(threads.map(post, range(20)))
    assert statuses == [202] + [409] * 19
    with db.read() as session:
        assert len(session.scalars(select(Operation.id)).all()) == 1
