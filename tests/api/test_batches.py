"""Batches over HTTP: what is accepted, what is refused and why, what is shown; over both databases."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from operations.database import Database
from operations.states import Lane
from tests.api.serving import land, stored

CHANGE = {"model_uri": "models:/iris/2"}


@pytest.fixture
def served(http: httpx.Client, db: Database) -> list[str]:
    """Three deployments that serve: two of iris in team vision, one of wine."""
    names = []
    for name, model, team in (("a", "iris", "vision"), ("b", "iris", "vision"), ("c", "wine", "tables")):
        body = {"target": "here", "name": name, "model_uri": f"models:/{model}/1", "labels": {"team": team}}
        land(db, http.post("/v1/deployments", json=body).raise_for_status().json()["id"])
        names.append(name)
    return names


def create(http: httpx.Client, path: str = "/v1/batches", **body: Any) -> httpx.Response:
    return http.post(path, json={"change": CHANGE, **body})


def names_of(http: httpx.Client, batch: dict[str, Any]) -> list[str]:
    return [item["name"] for item in http.get(f"/v1/batches/{batch['id']}/items").json()["items"]]


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        ({"labels": {"team": "vision"}}, ["a", "b"]),
        ({"target": "here"}, ["a", "b", "c"]),
        ({"names": ["c", "a"]}, ["a", "c"]),
        ({"model": "models:/iris"}, ["a", "b"]),
        ({"model": "models:/iris", "below_version": 2}, ["a", "b"]),
        ({"model_uri": "models:/wine/1"}, ["c"]),
        ({"target": "here", "labels": {"team": "vision"}, "names": ["b", "c"]}, ["b"]),
    ],
)
def test_a_selection_finds_what_matches_all_of_it(
    http: httpx.Client, served: list[str], selection: dict[str, Any], found: list[str]
) -> None:
    response = create(http, selection=selection)
    assert response.status_code == 202, response.text
    batch = response.json()
    assert response.headers["Location"] == f"/v1/batches/{batch['id']}"
    assert names_of(http, batch) == found
    assert batch["total"] == len(found)
    assert batch["counters"]["pending"] == len(found)


def test_what_is_accepted_is_hinted_and_listed(http: httpx.Client, served: list[str], hints: list[Lane]) -> None:
    first = create(http, selection={"target": "here"}).json()
    second = create(http, selection={"names": ["a"]}).json()
    assert hints[-1] == Lane.BULK
    page = http.get("/v1/batches", params={"page_size": 1}).json()
    assert [batch["id"] for batch in page["items"]] == [second["id"]]
    rest = http.get("/v1/batches", params={"page_size": 1, "page_token": page["next_page_token"]}).json()
    assert [batch["id"] for batch in rest["items"]] == [first["id"]]
    detail = http.get(f"/v1/batches/{first['id']}").json()
    assert detail["targets"] == [{"target": "here", "pending": 3}]
    assert detail["failures"] == []


def test_the_same_key_is_the_same_batch(http: httpx.Client, served: list[str], db: Database) -> None:
    body = {"selection": {"target": "here"}, "change": CHANGE}
    answers = [http.post("/v1/batches", json=body, headers={"Idempotency-Key": "night"}) for _ in range(2)]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert len(http.get("/v1/batches").json()["items"]) == 1


def test_a_plan_says_what_would_happen_and_changes_nothing(http: httpx.Client, served: list[str], db: Database) -> None:
    before = stored(db)
    response = create(http, "/v1/batches/plan", selection={"target": "here"}, change={"model_uri": "models:/iris/1"})
    assert response.status_code == 200, response.text
    plan = response.json()
    assert plan["state"] == "planned"
    assert plan["summary"] == {"no_change": 2, "update": 1}
    assert [item["action"] for item in plan["items"]] == ["no_change", "no_change", "update"]
    assert plan["items"][2]["difference"]["to"]["variants"][0]["model_uri"] == "models:/iris/1"
    assert plan["estimate"]["seconds"] > 0
    assert stored(db) == before
    assert http.post(f"/v1/batches/{plan['id']}/start").json()["state"] == "running"
    assert http.post(f"/v1/batches/{plan['id']}/start").json()["state"] == "running"


def test_a_plan_that_no_longer_holds_is_refused_with_the_names(
    http: httpx.Client, served: list[str], db: Database
) -> None:
    plan = create(http, "/v1/batches/plan", selection={"target": "here"}).json()
    land(db, http.patch("/v1/deployments/here/b", json={"config": {"size": 4}}).json()["id"])
    refused = http.post(f"/v1/batches/{plan['id']}/start")
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/plan-stale"
    assert refused.json()["detail"].endswith(": b")


def test_a_plan_tells_what_is_under_way_and_who_is_first(http: httpx.Client, served: list[str]) -> None:
    operation = http.patch("/v1/deployments/here/a", json={"config": {"size": 4}}).json()
    first = create(http, selection={"names": ["b"]}).json()
    plan = create(http, "/v1/batches/plan", selection={"target": "here"}).json()
    assert [item["under_way"] for item in plan["items"]] == [operation["id"], None, None]
    assert [item["behind_batch"] for item in plan["items"]] == [None, first["id"], None]
    refused = create(http, selection={"names": ["b"]}, strategy={"on_conflict": "refuse"})
    assert refused.status_code == 409
    assert first["id"] in refused.json()["detail"]


def test_explicit_operations_are_taken_with_their_own_changes(http: httpx.Client, served: list[str]) -> None:
    operations = [
        {"target": "here", "name": "a", "action": "delete"},
        {"target": "here", "name": "b", "model_uri": "models:/iris/3"},
        {"target": "there", "name": "new", "action": "apply", "model_uri": "models:/iris/1", "labels": {"x": "y"}},
    ]
    response = http.post("/v1/batches", json={"operations": operations})
    assert response.status_code == 202, response.text
    items = http.get(f"/v1/batches/{response.json()['id']}/items", params={"page_size": 2}).json()
    assert [item["change"]["action"] for item in items["items"]] == ["delete", "update"]
    assert items["next_page_token"]


def operations(**fields: Any) -> dict[str, Any]:
    return {
        "operations": [{"target": "here", "name": "a", "action": "delete"}, {"target": "here", "name": "b", **fields}]
    }


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"change": CHANGE}, 422, "invalid-field", "selection"),
    ({"selection": {"target": "here"}}, 422, "invalid-field", "selection"),
    ({**operations(action="delete"), "selection": {}}, 422, "invalid-field", "selection"),
    (
        {**operations(action="delete"), "selection": {"target": "here"}, "change": CHANGE},
        422,
        "invalid-field",
        "operations",
    ),
    ({"selection": {}, "change": CHANGE}, 422, "invalid-field", "selection"),
    ({"selection": {"target": "nowhere"}, "change": CHANGE}, 404, "unknown-target", "target"),
    ({"selection": {"labels": {"team": "none"}}, "change": CHANGE}, 422, "empty-batch", ""),
    ({"selection": {"names": ["a", "zz"]}, "change": CHANGE}, 422, "invalid-field", "selection.names"),
    ({"selection": {"target": "here"}, "change": {}}, 422, "invalid-field", "change.action"),
    ({"selection": {"target": "here"}, "change": {"model_uri": " "}}, 422, "invalid-model-uri", "change.model_uri"),
    ({"selection": {"target": "here"}, "change": {"modeluri": "x"}}, 422, "unknown-field", "change.modeluri"),
    ({"selection": {"below_version": 2}, "change": CHANGE}, 422, "invalid-field", "selection"),
    (
        {"selection": {"target": "here"}, "change": CHANGE, "strategy": {"max_failures": 0}},
        422,
        "invalid-field",
        "strategy.max_failures",
    ),
    (
        {"selection": {"target": "here"}, "change": CHANGE, "strategy": {"max_concurrent": "101%"}},
        422,
        "invalid-field",
        "strategy.max_concurrent",
    ),
    (
        {"selection": {"target": "here"}, "change": CHANGE, "strategy": {"start": "tonight"}},
        422,
        "invalid-field",
        "strategy.start",
    ),
    (
        {"selection": {"target": "here"}, "change": {"action": "delete", **CHANGE}},
        422,
        "invalid-field",
        "change.model_uri",
    ),
    (operations(target="nowhere", action="delete"), 404, "unknown-target", "target"),
    (operations(name="a", action="delete"), 422, "invalid-field", "operations[1].name"),
    (operations(action="apply"), 422, "invalid-field", "operations[1].action"),
    (operations(action="explode"), 422, "invalid-field", "operations[1].action"),
]


@pytest.mark.parametrize(("body", "status", "slug", "field"), REFUSED)
def test_what_is_refused_names_the_field_and_stores_nothing(
    http: httpx.Client, served: list[str], db: Database, body: dict[str, Any], status: int, slug: str, field: str
) -> None:
    before = stored(db)
    response = http.post("/v1/batches", json=body)
    problem = response.json()
    assert (response.status_code, problem["type"]) == (status, f"/problems/{slug}"), problem
    if field:
        assert any(fault["field"].startswith(field) for fault in problem["errors"]), problem
    assert stored(db) == before
    assert http.get("/v1/batches").json()["items"] == []


def test_steering_is_idempotent_and_says_what_cannot_be(http: httpx.Client, served: list[str]) -> None:
    batch = create(http, selection={"target": "here"}).json()
    path = f"/v1/batches/{batch['id']}"
    for verb, state in (("pause", "paused"), ("resume", "running"), ("pause", "paused"), ("abort", "stopping")):
        for _ in range(2):
            answer = http.post(f"{path}/{verb}")
            assert (answer.status_code, answer.json()["state"]) == (200, state), answer.text
    assert http.get(path).json()["counters"]["not_started"] == 3
    for verb, body in (("resume", None), ("approve", {"wave": 0}), ("retry", None), ("rollback", None)):
        refused = http.post(f"{path}/{verb}", json=body) if body else http.post(f"{path}/{verb}")
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/batch-state"), verb


def test_what_may_change_while_it_runs(http: httpx.Client, served: list[str]) -> None:
    batch = create(http, selection={"target": "here"}).json()
    path = f"/v1/batches/{batch['id']}"
    changed = http.patch(path, json={"max_concurrent": 2, "end": "2030-01-01T06:00:00+02:00"}).json()
    assert changed["strategy"]["max_concurrent"] == 2
    assert changed["strategy"]["end"] == 1893470400.0
    assert http.patch(path, json={"max_failures": 3}).status_code == 422


def test_the_stream_tells_each_move_and_can_be_resumed(http: httpx.Client, served: list[str]) -> None:
    batch = create(http, selection={"target": "here"}).json()
    path = f"/v1/batches/{batch['id']}"
    http.post(f"{path}/pause")
    with http.stream("GET", f"{path}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        first = [next(lines) for _ in range(3)]
        document = json.loads(first[2].removeprefix("data: "))
        assert (first[1], document["state"]) == ("event: batch", "paused")
        http.post(f"{path}/resume")
        later = next(line for line in lines if line.startswith("data: "))
        assert json.loads(later.removeprefix("data: "))["state"] == "running"
    known = json.loads(later.removeprefix("data: "))["version"]
    with http.stream("GET", f"{path}/events", headers={"Last-Event-ID": str(known)}) as response:
        assert next(response.iter_lines()) == ": still there"


def test_no_such_batch(http: httpx.Client) -> None:
    for response in (http.get("/v1/batches/zz"), http.post("/v1/batches/zz/pause"), http.get("/v1/batches/zz/events")):
        assert (response.status_code, response.json()["type"]) == (404, "/problems/batch-not-found")


LINE = b'{"target": "here", "name": "%s", "action": "apply", "model_uri": "models:/iris/3"}\n'
NDJSON = {"Content-Type": "application/x-ndjson"}


def test_a_list_may_be_one_operation_a_line(http: httpx.Client, served: list[str]) -> None:
    body = b'{"strategy": {"max_concurrent": 2}}\n\n' + LINE % b"a" + (LINE % b"new").rstrip()
    response = http.post("/v1/batches", content=body, headers=NDJSON | {"Idempotency-Key": "lines"})
    assert response.status_code == 202, response.text
    batch = response.json()
    assert names_of(http, batch) == ["a", "new"]
    assert batch["strategy"]["max_concurrent"] == 2
    again = http.post("/v1/batches", content=body, headers=NDJSON | {"Idempotency-Key": "lines"})
    assert again.json()["id"] == batch["id"]
    planned = http.post("/v1/batches/plan", content=LINE % b"c", headers=NDJSON).raise_for_status().json()
    assert planned["summary"] == {"apply": 1}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (LINE % b"a" + b"{", 400, "line 2: "),
        (LINE % b"a" + b'{"target": "here", "name": "b", "modle_uri": 1}', 422, "operations[1].modle_uri"),
        (b"\n", 422, "operations"),
        (LINE % b"a" + b"17", 422, "operations[1]"),
        (LINE % b"a" + b'{"strategy": {}}', 422, "operations[1]"),
    ],
)
def test_a_line_that_is_wrong_is_named(
    http: httpx.Client, served: list[str], body: bytes, status: int, words: str
) -> None:
    response = http.post("/v1/batches", content=body, headers=NDJSON)
    assert (response.status_code, words in response.text) == (status, True), response.text
    assert http.get("/v1/batches").json()["items"] == []


def test_lines_are_read_for_lists_only(http: httpx.Client, served: list[str]) -> None:
    assert http.post("/v1/deployments", content=LINE % b"a", headers=NDJSON).status_code == 415
