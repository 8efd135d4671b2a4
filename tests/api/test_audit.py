"""Who did what, as the interface records it: accepted and refused, before and after, and no read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from operations.database import Database
from tests.api.identities import client, key
from tests.api.serving import serving


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def admin(closed: None, db: Database, hints: object, announced: object) -> Iterator[httpx.Client]:
    with serving() as url, client(url, key(db, "admin", "root"), {"X-Request-Id": "asked-by-root"}) as http:
        yield http


def entries(admin: httpx.Client, **query: str | int) -> list[dict[str, Any]]:
    assert admin.post("/v1/audit/verify").json()["ok"]
    return list(admin.get("/v1/audit", params=query).json()["items"])


BODY = {"target": "here", "name": "iris", "model_uri": "models:/iris/1", "labels": {"team": "a"}}


def test_a_change_is_on_record_with_who_where_before_and_after(admin: httpx.Client) -> None:
    created = admin.post("/v1/deployments", json=BODY).json()
    admin.patch("/v1/deployments/here/iris", json={"model_uri": "models:/iris/2", "labels": {"team": "b"}})
    admin.post(f"/v1/operations/{created['id']}/cancel")
    first, second, third = entries(admin)
    assert (first["principal"], first["address"], first["request_id"]) == ("key:root", "127.0.0.1", "asked-by-root")
    assert (first["action"], first["outcome"], first["status"]) == ("deployments.create", "accepted", 202)
    assert (first["target"], first["deployment"], first["subject"]) == ("here", "iris", created["id"])
    assert first["before"]["spec"] is None
    assert first["after"]["spec"]["variants"][0]["model_uri"] == "models:/iris/1"
    assert (second["before"]["labels"], second["after"]["labels"]) == ({"team": "a"}, {"team": "b"})
    assert second["before"]["spec"] == first["after"]["spec"]
    assert (third["action"], third["before"], third["after"]["state"]) == (
        "operations.cancel", {"state": "queued"}, "cancelled"
    )  # fmt: skip


def test_reads_predictions_and_replays_are_no_changes(admin: httpx.Client) -> None:
    for _ in range(3):
        admin.post("/v1/deployments", json=BODY, headers={"Idempotency-Key": "once"})
    admin.get("/v1/deployments")
    admin.post("/v1/deployments/here/iris/predict", json={"inputs": [1]})
    admin.post("/v1/targets/here/check", headers={"Prefer": "wait=0"})
    assert [entry["action"] for entry in entries(admin)] == ["deployments.create"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "action"),
    [
        ("POST", "/v1/deployments", BODY | {"model_uri": ""}, 422, "deployments.create"),
        ("POST", "/v1/deployments", BODY | {"target": "nowhere"}, 404, "deployments.create"),
        ("POST", "/v1/deployments", [], 400, "deployments.create"),
        ("PATCH", "/v1/deployments/here/none", {"labels": {}}, 404, "deployments.patch"),
        ("DELETE", "/v1/targets/nowhere", None, 404, "targets.remove"),
        ("POST", "/v1/batches/none/start", None, 404, "batches.start"),
        ("DELETE", "/v1/keys/none", None, 404, "keys.revoke"),
        ("POST", "/v1/deployments", "x" * 2_000_000, 413, "POST /v1/deployments"),
    ],
)
def test_what_is_refused_is_on_record(
    admin: httpx.Client, method: str, path: str, body: Any, status: int, action: str
) -> None:
    assert admin.request(method, path, json=body).status_code == status
    (entry,) = entries(admin)
    assert (entry["action"], entry["outcome"], entry["status"]) == (action, "refused", status)
    assert entry["principal"] == "key:root"
    assert entry["more"]["problem"]
    assert (entry["before"], entry["after"]) == (None, None)


def test_who_may_not_or_has_no_name_is_on_record(admin: httpx.Client, db: Database) -> None:
    with client(str(admin.base_url), key(db, "viewer", "eve")) as eve:
        assert eve.post("/v1/deployments", json=BODY).status_code == 403
        assert eve.get("/v1/audit").status_code == 403
    with client(str(admin.base_url), None) as nobody:
        for _ in range(80):
            assert nobody.delete("/v1/deployments/here/iris").status_code == 401
    found = entries(admin, page_size=1000)
    assert [(e["principal"], e["status"]) for e in found[:2]] == [("key:eve", 403), ("nobody", 401)]
    assert len(found) == 61, "who has no key cannot fill the database"


def test_keys_and_targets_are_on_record_without_secrets(admin: httpx.Client) -> None:
    made = admin.post("/v1/keys", json={"name": "ci", "grants": [{"role": "viewer"}]}).json()
    admin.post("/v1/keys/ci/rotate")
    admin.delete("/v1/keys/ci")
    admin.put("/v1/targets/third", json={"uri": "memory:/three"})
    admin.delete("/v1/targets/third")
    found = entries(admin)
    assert [entry["action"] for entry in found] == [
        "keys.create", "keys.rotate", "keys.revoke", "targets.put", "targets.remove"
    ]  # fmt: skip
    assert found[0]["after"]["prefix"] == made["prefix"]
    assert made["key"] not in admin.get("/v1/audit").text
    assert found[3]["after"]["uri"] == found[4]["before"]["uri"] == "memory:/three"


def test_a_batch_is_on_record_from_plan_to_end(admin: httpx.Client) -> None:
    admin.post("/v1/deployments", json=BODY)
    change = {"selection": {"target": "here"}, "change": {"model_uri": "models:/iris/9"}}
    batch = admin.post("/v1/batches/plan", json=change).json()["id"]
    admin.post(f"/v1/batches/{batch}/start")
    admin.post(f"/v1/batches/{batch}/abort")
    found = [entry for entry in entries(admin) if entry["subject"] == batch]
    assert [entry["action"] for entry in found] == ["batches.plan", "batches.start", "batches.abort"]
    assert [entry["after"]["state"] for entry in found] == ["planned", "running", "stopping"]
    assert found[0]["after"]["total"] == 1


def test_pages_and_filters(admin: httpx.Client) -> None:
    for name in ("a", "b", "c"):
        admin.post("/v1/deployments", json=BODY | {"name": name})
    assert [entry["deployment"] for entry in entries(admin, deployment="b")] == ["b"]
    page = admin.get("/v1/audit", params={"page_size": 2}).json()
    params = {"page_size": 2, "page_token": page["next_page_token"]}
    assert [e["number"] for e in admin.get("/v1/audit", params=params).json()["items"]] == [3]
    head = admin.post("/v1/audit/verify").json()["head"]
    assert admin.post("/v1/audit/verify", json={"head": head}).json()["ok"]
    assert not admin.post("/v1/audit/verify", json={"head": f"2:{head[2:]}"}).json()["ok"]
    assert admin.post("/v1/audit/verify", json={"head": "x"}).status_code == 422
