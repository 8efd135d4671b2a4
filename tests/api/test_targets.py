"""Targets: what is said of them, their registration, and checks that a worker answers; over both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from operations import presence, questions, views
from operations.database import Database
from operations.models import Target
from operations.settings import settings
from operations.states import Lane
from tests.fakes.memory import describe

LACKS = "the memory target needs a package which is not installed here; pip install 'modelport[memory]'"


def announce(db: Database, why_not: str | None = None) -> None:
    with db.write() as session:
        presence.announce(session, "look@host", "poll", {"memory": why_not})


@pytest.fixture
def checker(db: Database) -> Iterator[None]:
    """A worker that answers what is asked."""
    announce(db)
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.01):
            with db.write() as session:
                for asked in questions.take(session, ["memory"], limit=10, turn_seconds=60.0):
                    questions.answered(session, asked.id, ok=True, text="memory answers")

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopping.set()
    thread.join()


def test_a_target_tells_what_it_can_do(http: httpx.Client, db: Database) -> None:
    announce(db)
    target = http.get("/v1/targets/here").json()
    assert (target["uri"], target["scheme"], target["title"], target["workers"]) == (
        "memory:/one",
        "memory",
        "Memory",
        1,
    )
    assert target["capabilities"]["can_split"] is True
    assert "credentials" not in target


def test_what_is_installed_is_listed_with_what_the_workers_lack_for_it(http: httpx.Client, db: Database) -> None:
    with db.write() as session:
        presence.announce(session, "look@elsewhere", "look", {"local@elsewhere": None, "kserve": "pip install it"})
    kinds = {kind["scheme"]: kind for kind in http.get("/v1/targets").json()["kinds"]}
    assert {"sagemaker", "databricks", "azureml", "kserve", "local", "http", "mlflow+sagemaker"} <= set(kinds)
    assert (kinds["local"]["workers"], kinds["local"]["lacks"]) == (1, None)
    assert (kinds["kserve"]["workers"], kinds["kserve"]["lacks"]) == (0, "pip install it")
    assert kinds["mlflow+databricks"]["title"].startswith("MLflow's plugin databricks")


def test_targets_are_paged(http: httpx.Client) -> None:
    first = http.get("/v1/targets", params={"page_size": 1}).json()
    second = http.get("/v1/targets", params={"page_size": 1, "page_token": first["next_page_token"]}).json()
    assert [page["items"][0]["name"] for page in (first, second)] == ["here", "there"]
    assert second["next_page_token"] is None


def test_help_is_from_the_models(http: httpx.Client) -> None:
    response = http.get("/v1/targets/here/help")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert "size: int (default 1)" in response.text


def test_a_target_is_registered_changed_and_removed(http: httpx.Client, db: Database) -> None:
    body = {"uri": "memory:/three", "limits": {"writes": 5, "per_seconds": 2}, "credentials": "env:SECRET"}
    created = http.put("/v1/targets/new", json=body)
    assert (created.status_code, created.json()["limits"]) == (201, {"writes": 5, "per_seconds": 2})
    with db.read() as session:
        row = session.query(Target).filter_by(name="new").one()
        assert (row.requires, row.credentials) == ("memory", "env:SECRET")
    changed = http.put("/v1/targets/new", json={"uri": "memory:/four"})
    assert (changed.status_code, changed.json()["uri"], changed.json()["limits"]) == (200, "memory:/four", {})
    assert http.delete("/v1/targets/new").status_code == 204
    assert http.get("/v1/targets/new").status_code == 404


@pytest.mark.usefixtures("iris")
def test_a_target_in_use_keeps_its_uri(http: httpx.Client) -> None:
    response = http.put("/v1/targets/here", json={"uri": "memory:/elsewhere"})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-field")
    assert [error["field"] for error in response.json()["errors"]] == ["uri"]
    assert http.put("/v1/targets/here", json={"uri": "memory:/one", "limits": {"parallel": 2}}).status_code == 200


@pytest.mark.usefixtures("checker")
def test_a_check_is_answered_by_a_worker(http: httpx.Client, db: Database, hints: list[Lane]) -> None:
    response = http.post("/v1/targets/here/check")
    assert (response.status_code, response.json()["ok"], response.json()["message"]) == (200, True, "memory answers")
    assert hints == [Lane.LOOK]
    with db.read() as session:
        row = session.query(Target).filter_by(name="here").one()
        assert (row.checked, views.time_of(row.checked_at)) == (
            {"ok": True, "message": "memory answers"},
            response.json()["checked_at"],
        )
    assert http.delete("/v1/targets/here").status_code == 204


def test_a_check_without_a_worker_says_what_to_install(http: httpx.Client, db: Database) -> None:
    announce(db, why_not=LACKS)
    response = http.post("/v1/targets/here/check")
    assert (response.status_code, response.json()["type"]) == (503, "/problems/target-not-served")
    assert "pip install 'modelport[memory]'" in response.json()["detail"]


def test_a_check_that_nobody_answers_ends(http: httpx.Client, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPORT_CHECK_SECONDS", "0.3")
    settings.cache_clear()
    announce(db)
    response = http.post("/v1/targets/here/check")
    assert (response.status_code, response.json()["type"]) == (504, "/problems/check-unanswered")


def test_adopting_is_refused_where_there_is_nothing_to_adopt(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = replace(describe.DESCRIPTION.capabilities, can_adopt=False)
    monkeypatch.setattr(describe, "DESCRIPTION", replace(describe.DESCRIPTION, capabilities=able))
    response = http.post("/v1/targets/here/adopt", json={"name": "iris"})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/not-supported-by-target")


def test_adopting_is_submitted_and_twice_is_refused(http: httpx.Client) -> None:
    response = http.post("/v1/targets/here/adopt", json={"name": "iris"})
    assert (response.status_code, response.json()["kind"]) == (202, "adopt")
    response = http.post("/v1/targets/here/adopt", json={"name": "iris"})
    assert (response.status_code, response.json()["type"]) == (409, "/problems/deployment-exists")


def test_a_target_whose_kind_is_gone_is_still_shown(http: httpx.Client, db: Database) -> None:
    with db.write() as session:
        session.add(Target(name="old", uri="gone:/x", requires="gone"))
    shown: Any = {item["name"]: item for item in http.get("/v1/targets").json()["items"]}
    assert (shown["old"]["scheme"], shown["old"]["capabilities"]) == ("gone", {})
    response = http.put("/v1/deployments/old/iris", json={"model_uri": "models:/iris/1"})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/unknown-target-kind")
