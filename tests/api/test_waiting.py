"""``Prefer: wait`` and the event stream; over both databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from operations.database import Database
from tests.api.serving import fail, land, start

IRIS = "/v1/deployments/here/iris"
BODY = {"model_uri": "models:/iris/1"}


@pytest.fixture
def queued(http: httpx.Client) -> Iterator[Any]:
    """Runs something as soon as an operation is queued, in a thread."""
    threads = []

    def when_queued(then: Any) -> None:
        def watch() -> None:
            while not (items := http.get("/v1/operations", params={"state": "queued"}).json()["items"]):
                pass
            then(items[0]["id"])

        thread = threading.Thread(target=watch)
        thread.start()
        threads.append(thread)

    yield when_queued
    for thread in threads:
        thread.join()


def test_a_submission_that_ends_in_time_is_answered_with_its_end(http: httpx.Client, db: Database, queued: Any) -> None:
    queued(lambda identity: land(db, identity))
    response = http.put(IRIS, json=BODY, headers={"Prefer": "respond-async, wait=30"})
    assert (response.status_code, response.json()["state"]) == (200, "succeeded")
    assert response.headers["Preference-Applied"] == "wait=30"
    assert "Retry-After" not in response.headers


def test_a_submission_that_fails_in_time_is_answered_with_its_end(
    http: httpx.Client, db: Database, queued: Any
) -> None:
    queued(lambda identity: fail(db, identity))
    response = http.put(IRIS, json=BODY, headers={"Prefer": "wait=30"})
    assert (response.status_code, response.json()["state"]) == (200, "failed")


def test_a_submission_that_does_not_end_in_time_is_answered_with_202(http: httpx.Client) -> None:
    response = http.put(IRIS, json=BODY, headers={"Prefer": "wait=1"})
    assert (response.status_code, response.json()["final"]) == (202, False)
    assert response.headers["Preference-Applied"] == "wait=1"


def test_a_repeated_submission_waits_too(http: httpx.Client, db: Database) -> None:
    headers = {"Idempotency-Key": "one"}
    first = http.put(IRIS, json=BODY, headers=headers)
    land(db, first.json()["id"])
    again = http.put(IRIS, json=BODY, headers={**headers, "Prefer": "wait=30"})
    assert (again.status_code, again.json()["state"]) == (200, "succeeded")
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_look_waits_for_the_end(http: httpx.Client, db: Database, queued: Any) -> None:
    identity = http.put(IRIS, json=BODY).json()["id"]
    queued(lambda identity: land(db, identity))
    response = http.get(f"/v1/operations/{identity}", headers={"Prefer": "wait=30"})
    assert (response.status_code, response.json()["state"]) == (200, "succeeded")
    assert response.headers["Preference-Applied"] == "wait=30"


def test_many_waits_hold_no_threads(url: str, http: httpx.Client, db: Database, iris: dict[str, Any]) -> None:
    # more than the server has threads: everything else is still answered meanwhile
    def look(_: int) -> str:
        with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:
            response = client.get(f"/v1/operations/{iris['id']}", headers={"Prefer": "wait=60"})
            return str(response.json()["state"])

    with ThreadPoolExecutor(60) as threads:
        waiting = [threads.submit(look, number) for number in range(60)]
        assert http.get(IRIS).status_code == 200
        land(db, iris["id"])
        assert {one.result() for one in waiting} == {"succeeded"}


@pytest.mark.parametrize("prefer", ["", "wait", "wait=soon", "wait=-1", "respond-async"])
def test_a_preference_that_is_not_understood_is_ignored(http: httpx.Client, iris: dict[str, Any], prefer: str) -> None:
    response = http.get(f"/v1/operations/{iris['id']}", headers={"Prefer": prefer})
    assert response.status_code == 200
    assert "Preference-Applied" not in response.headers


def test_the_event_list(http: httpx.Client, db: Database, iris: dict[str, Any]) -> None:
    land(db, iris["id"])
    events = http.get(f"/v1/operations/{iris['id']}/events").json()
    assert [event["state"] for event in events["items"]] == ["queued", "starting", "succeeded"]
    assert [event["number"] for event in events["items"]] == [1, 2, 3]
    assert events["next_page_token"] is None


def test_the_stream_tells_of_events_as_they_happen_and_ends(
    http: httpx.Client, db: Database, iris: dict[str, Any]
) -> None:
    with http.stream("GET", f"/v1/operations/{iris['id']}/events", headers={"Accept": "text/event-stream"}) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-store"
        events = _events(stream)
        assert next(events)[1]["state"] == "queued"
        start(db, iris["id"], "asked the target")
        identity, event = next(events)
        assert identity == f"{iris['id']}:2"
        assert (event["number"], event["state"], event["message"]) == (2, "starting", "asked the target")
        http.post(f"/v1/operations/{iris['id']}/cancel")
        assert next(events)[1]["message"] == "cancelling was asked for"


def test_the_stream_resumes_behind_the_last_event(http: httpx.Client, db: Database, iris: dict[str, Any]) -> None:
    land(db, iris["id"])
    headers = {"Accept": "text/event-stream", "Last-Event-ID": f"{iris['id']}:1"}
    with http.stream("GET", f"/v1/operations/{iris['id']}/events", headers=headers) as stream:
        assert [(identity, event["state"]) for identity, event in _events(stream)] == [
            (f"{iris['id']}:2", "starting"),
            (f"{iris['id']}:3", "succeeded"),
        ]


@pytest.mark.parametrize("last", ["nonsense", "other:1", "{id}:x", "{id}:99999999999"])
def test_a_last_event_id_of_another_stream_is_refused(http: httpx.Client, iris: dict[str, Any], last: str) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last.format(id=iris["id"])}
    response = http.get(f"/v1/operations/{iris['id']}/events", headers=headers)
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-field")
    assert [error["field"] for error in response.json()["errors"]] == ["Last-Event-ID"]


def test_the_stream_of_an_unknown_operation_is_a_problem(http: httpx.Client) -> None:
    response = http.get("/v1/operations/none/events", headers={"Accept": "text/event-stream"})
    assert (response.status_code, response.json()["type"]) == (404, "/problems/operation-not-found")


def _events(stream: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    identity = ""
    for line in stream.iter_lines():
        if line.startswith("id: "):
            identity = line.removeprefix("id: ")
        elif line.startswith("data: "):
            yield identity, json.loads(line.removeprefix("data: "))
