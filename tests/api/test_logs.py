"""Logs: what a worker read comes back as text, and why there is none as a problem; over both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from operations import presence, questions
from operations.database import Database
from operations.models import Deployment, Operation
from operations.questions import Taken
from operations.settings import settings
from operations.states import Lane
from tests.api.serving import land, start
from tests.fakes.memory import describe

LOGS = "/v1/deployments/here/iris/logs"
HANDLE = {"name": "iris", "content": "1"}


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, has_logs=True)


@pytest.fixture
def served(db: Database, iris: dict[str, Any]) -> None:
    """The deployment serves, and a worker is there that can reach it."""
    land(db, iris["id"])
    with db.write() as session:
        session.execute(update(Deployment).values(placed=HANDLE))
    announce(db)


def become(monkeypatch: pytest.MonkeyPatch, **capabilities: Any) -> None:
    able = replace(describe.DESCRIPTION.capabilities, **capabilities)
    monkeypatch.setattr(describe, "DESCRIPTION", replace(describe.DESCRIPTION, capabilities=able))


def announce(db: Database) -> None:
    with db.write() as session:
        presence.announce(session, "look@host", "poll", {"memory": None})


@contextmanager
def worker(db: Database, say: Callable[[Taken], tuple[bool, str]]) -> Iterator[list[Taken]]:
    """One that answers what is asked until the end; all that it was asked."""
    asked: list[Taken] = []
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.01):
            with db.write() as session:
                for taken in questions.take(session, ["memory"], limit=10, turn_seconds=60.0):
                    asked.append(taken)
                    ok, text = say(taken)
                    questions.answered(session, taken.id, ok=ok, text=text)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield asked
        finally:
            stopping.set()
    working.result()


def told(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("/problems/")


@pytest.mark.usefixtures("served")
def test_what_the_servers_wrote_comes_back_as_it_is(http: httpx.Client, db: Database, hints: list[Lane]) -> None:
    hints.clear()
    with worker(db, lambda taken: (True, "loading <b>é</b>\nready\n")) as asked:
        response = http.get(LOGS)
    assert (response.status_code, response.text) == (200, "loading <b>é</b>\nready\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (response.headers["Cache-Control"], response.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert [(taken.kind, taken.target.name, taken.ask, taken.handle) for taken in asked] == [
        ("logs", "here", {"variant": None, "lines": 200}, HANDLE)
    ]
    assert hints == [Lane.LOOK]


@pytest.mark.usefixtures("served")
def test_one_variant_and_so_many_lines(http: httpx.Client, db: Database) -> None:
    with worker(db, lambda taken: (True, "")) as asked:
        response = http.get(LOGS, params={"variant": "main", "lines": 10_000})
    assert (response.status_code, response.text) == (200, "")
    assert [taken.ask for taken in asked] == [{"variant": "main", "lines": 10_000}]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("query", "field"),
    [("lines=0", "lines"), ("lines=10001", "lines"), ("lines=all", "lines"), ("variant=b", "variant")],
)
def test_what_cannot_be_asked(http: httpx.Client, query: str, field: str) -> None:
    response = http.get(f"{LOGS}?{query}")
    assert told(response) == (422, "invalid-field")
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.usefixtures("served")
def test_what_the_target_said_instead(http: httpx.Client, db: Database) -> None:
    with worker(db, lambda taken: (False, "CAN MANAGE is needed for logs")):
        response = http.get(LOGS)
    assert told(response) == (502, "logs-unavailable")
    assert response.json()["detail"] == "CAN MANAGE is needed for logs"


@pytest.mark.usefixtures("served")
def test_a_target_without_logs_says_so(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, has_logs=False)
    assert told(http.get(LOGS)) == (422, "not-supported-by-target")


@pytest.mark.usefixtures("iris")
def test_what_has_not_begun_has_no_logs(http: httpx.Client, db: Database) -> None:
    announce(db)
    assert told(http.get(LOGS)) == (409, "deployment-not-serving")


def test_what_is_being_made_has(http: httpx.Client, db: Database, iris: dict[str, Any]) -> None:
    announce(db)
    start(db, iris["id"])
    with db.write() as session:
        session.execute(update(Operation).values(handle={"name": "iris", "content": "new"}))
    with worker(db, lambda taken: (True, "Traceback")) as asked:
        response = http.get(LOGS, params={"variant": "main"})
    assert response.text == "Traceback"
    assert [taken.handle for taken in asked] == [{"name": "iris", "content": "new"}]


@pytest.mark.parametrize(
    ("path", "slug"),
    [("/v1/deployments/here/none/logs", "deployment-not-found"), ("/v1/deployments/no/iris/logs", "unknown-target")],
)
def test_what_is_not_there(http: httpx.Client, path: str, slug: str) -> None:
    assert told(http.get(path)) == (404, slug)


@pytest.mark.usefixtures("served")
def test_without_a_worker_that_can_it_ends_at_once(http: httpx.Client, db: Database) -> None:
    with db.write() as session:
        presence.retire(session, "look@host")
    response = http.get(LOGS)
    assert told(response) == (503, "target-not-served")
    assert response.json()["detail"] == "no live worker offers memory"


@pytest.mark.usefixtures("served")
def test_an_answer_that_does_not_come_is_waited_for_so_long(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPORT_CHECK_SECONDS", "0.3")
    settings.cache_clear()
    assert told(http.get(LOGS)) == (504, "check-unanswered")


@pytest.mark.usefixtures("served")
def test_many_who_ask_the_same_hold_no_thread_and_one_answer_serves_them(http: httpx.Client, db: Database) -> None:
    callers = 60  # more than the server has threads
    with ThreadPoolExecutor(callers) as pool:
        waiting = [pool.submit(http.get, LOGS, headers={"Prefer": "wait=60"}) for _ in range(callers)]
        assert http.get("/v1/deployments/here/iris").status_code == 200  # and everything else is answered meanwhile
        with worker(db, lambda taken: (True, "once")) as asked:
            answers = [each.result() for each in waiting]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, "once")}
    assert 0 < len(asked) < callers
