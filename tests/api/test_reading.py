"""Lists, pages and filters, and that every answer is what its schema says; over both databases."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from api import schemas
from operations.database import Database
from tests.api.serving import fail, land

MODEL = {"model_uri": "models:/iris/1"}


def create(http: httpx.Client, name: str, target: str = "here", **labels: str) -> str:
    response = http.put(f"/v1/deployments/{target}/{name}", json={**MODEL, "labels": labels})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def names(http: httpx.Client, **query: Any) -> list[str]:
    response = http.get("/v1/deployments", params=query)
    assert response.status_code == 200, response.text
    return [item["name"] for item in response.json()["items"]]


def test_deployments_are_filtered(http: httpx.Client, db: Database) -> None:
    land(db, create(http, "a", team="red", stage="test"))
    create(http, "b", team="red")
    create(http, "c", target="there", team="blue")
    land(db, create(http, "d"))
    http.delete("/v1/deployments/here/d")
    assert names(http) == ["a", "b", "c", "d"]
    assert names(http, target="there") == ["c"]
    assert names(http, target="nowhere") == []
    assert names(http, label="team=red") == ["a", "b"]
    assert names(http, label=["team=red", "stage=test"]) == ["a"]
    assert names(http, label="o.d/d-key=1") == []
    assert names(http, status="serving") == ["a"]
    assert names(http, status="creating") == ["b", "c"]
    assert names(http, status="deleting") == ["d"]


def test_pages_are_followed_and_belong_to_their_filters(http: httpx.Client) -> None:
    for name in "abcde":
        create(http, name)
    query: dict[str, Any] = {"target": "here", "page_size": 2}
    found: list[str] = []
    token = None
    for _ in range(3):
        page = http.get("/v1/deployments", params={**query, **({"page_token": token} if token else {})}).json()
        found += [item["name"] for item in page["items"]]
        token = page["next_page_token"] or token
    assert (found, page["next_page_token"]) == (list("abcde"), None)
    other = http.get("/v1/deployments", params={"page_size": 2, "page_token": token})
    assert (other.status_code, other.json()["type"]) == (400, "/problems/invalid-page-token")


def test_operations_are_filtered(http: httpx.Client, db: Database) -> None:
    first, second = create(http, "a"), create(http, "b", target="there")
    land(db, first)
    third = http.delete("/v1/deployments/here/a").json()["id"]

    def found(**query: str) -> list[str]:
        return [item["id"] for item in http.get("/v1/operations", params=query).json()["items"]]

    assert found() == [third, second, first]
    assert found(state="succeeded") == [first]
    assert found(kind="delete") == [third]
    assert found(target="there") == [second]
    assert found(deployment="a") == [third, first]


def test_revisions_are_listed_newest_first(http: httpx.Client, db: Database) -> None:
    land(db, create(http, "a"))
    http.put("/v1/deployments/here/a", json={"model_uri": "models:/iris/2"})
    page = http.get("/v1/deployments/here/a/revisions", params={"page_size": 1}).json()
    assert [revision["number"] for revision in page["items"]] == [2]
    rest = http.get("/v1/deployments/here/a/revisions", params={"page_token": page["next_page_token"]}).json()
    assert [(revision["number"], bool(revision["landed_at"])) for revision in rest["items"]] == [(1, True)]


ANSWERS: dict[str, type[BaseModel]] = {
    "/v1/deployments/here/a": schemas.DeploymentAnswer,
    "/v1/deployments": schemas.DeploymentPage,
    "/v1/deployments/here/a/revisions": schemas.RevisionPage,
    "/v1/deployments/here/a/revisions/1": schemas.RevisionAnswer,
    "/v1/operations": schemas.OperationPage,
    "/v1/operations/{id}": schemas.OperationAnswer,
    "/v1/operations/{id}/events": schemas.EventPage,
    "/v1/targets": schemas.TargetPage,
    "/v1/targets/here": schemas.TargetAnswer,
}


@pytest.mark.parametrize("path", ANSWERS)
def test_an_answer_is_what_its_schema_says(http: httpx.Client, db: Database, path: str) -> None:
    identity = create(http, "a")
    land(db, identity)
    fail(db, http.put("/v1/deployments/here/a", json={"model_uri": "models:/iris/2"}).json()["id"])
    document = http.get(path.format(id=identity)).json()
    model = ANSWERS[path]
    # no field is missing, none is more than the schema tells
    assert model.model_validate(document).model_dump(mode="json") == document


def test_a_request_keeps_a_sane_id(http: httpx.Client) -> None:
    assert http.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    made = http.get("/healthz", headers={"X-Request-Id": "a b\u00e9".encode()}).headers["X-Request-Id"]
    assert made != http.get("/healthz").headers["X-Request-Id"]
    assert len(made) == 36
