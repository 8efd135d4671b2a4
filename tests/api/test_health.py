"""Whether the process is alive, whether all is ready, and what happens when a part is not there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kombu import Connection
from sqlalchemy.exc import OperationalError

from operations import presence, queries, queue
from operations.database import Database
from operations.migrate import migrate
from operations.states import Lane

ROOT = Path(__file__).resolve().parents[2]
MODEL = {"model_uri": "models:/iris/1"}


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody else takes and nobody answers on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.contextmanager
def process(tmp_path: Path, database_url: str, broker_url: str) -> Iterator[tuple[httpx.Client, Any]]:
    """``python -m api`` as it is deployed, on a port that the system gives; its log's lines are JSON."""
    environment = {
        **os.environ,
        "MODELPORT_FOLDER": str(tmp_path),
        "MODELPORT_DATABASE_URL": database_url,
        "MODELPORT_BROKER_URL": broker_url,
        "MODELPORT_TARGETS": json.dumps({"local": {"uri": "local"}}),
        "MODELPORT_API_PORT": "0",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "api"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    with server:
        try:
            assert server.stderr is not None
            address = ""
            for line in server.stderr:
                entry = json.loads(line)
                if entry["event"] == "listening":
                    address = entry["address"]
                    break
            with httpx.Client(base_url=f"http://{address}", timeout=30.0, trust_env=False) as client:
                yield client, server
        finally:
            server.kill()


def parts(response: httpx.Response) -> dict[str, bool]:
    return {name: part["ok"] for name, part in response.json()["parts"].items()}


def test_alive(http: httpx.Client) -> None:
    assert http.get("/healthz").status_code == 200


def test_ready_when_database_broker_and_workers_are_there(
    http: httpx.Client, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "ping", lambda timeout_seconds=1.0: True)
    with db.write() as session:
        presence.announce(session, "write@host", "bulk+operations", {"memory": None})
        presence.announce(session, "look@host", "poll", {"memory": None})
    response = http.get("/readyz")
    assert (response.status_code, response.json()["ready"]) == (200, True)


def test_not_ready_without_workers(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ping", lambda timeout_seconds=1.0: True)
    response = http.get("/readyz")
    assert response.status_code == 503
    found = parts(response)
    assert (found.pop("database"), found.pop("broker")) == (True, True)
    assert found
    assert not any(found.values())


def test_not_ready_without_the_database(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Any:
        raise OperationalError("SELECT 1", {}, Exception("secret-host is gone"))

    monkeypatch.setattr(presence, "live_workers", gone)
    response = http.get("/readyz")
    assert response.status_code == 503
    assert parts(response)["database"] is False
    assert "secret-host" not in response.text


def test_a_database_that_is_away_is_a_problem_that_passes(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Any:
        raise OperationalError("SELECT secret", {}, Exception("secret-host is gone"))

    monkeypatch.setattr(queries, "get_operation", gone)
    response = http.get("/v1/operations/one")
    assert (response.status_code, response.json()["type"]) == (503, "/problems/database-unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert "secret" not in response.text


def test_a_defect_shows_no_trace(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: Any) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(queries, "get_operation", defect)
    response = http.get("/v1/operations/one", headers={"X-Request-Id": "find-me"})
    assert (response.status_code, response.json()["type"]) == (500, "/problems/internal-error")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (response.json()["instance"], response.headers["X-Request-Id"]) == ("find-me", "find-me")
    assert "secret" not in response.text
    assert "Traceback" not in response.text


def test_an_announcement_that_fails_refuses_nothing(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Any:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr("api.submitting.WORKER_KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(presence, "live_workers", gone)
    assert http.put("/v1/deployments/here/iris", json=MODEL).status_code == 202


def test_a_broker_that_is_down_refuses_no_submission(tmp_path: Path, db: Database, database_url: str) -> None:
    with db.write() as session:
        presence.announce(session, "write@host", "operations", {"local": None})
    with closed_port() as port, process(tmp_path, database_url, f"redis://127.0.0.1:{port}/0") as (client, _):
        for number in range(20):
            assert client.put(f"/v1/deployments/local/iris{number}", json=MODEL).status_code == 202
        response = client.get("/readyz")
        assert response.status_code == 503
        assert parts(response)["broker"] is False
        assert parts(response)["database"] is True


def test_the_process_hints_logs_and_stops(tmp_path: Path, sqlite_url: str, broker_url: str) -> None:
    database = Database(sqlite_url)
    migrate(database)
    with database.write() as session:
        presence.announce(session, "write@host", "operations", {"local": None})
    database.close()
    with process(tmp_path, sqlite_url, broker_url) as (client, server):
        operation = client.put("/v1/deployments/local/iris", json={**MODEL, "labels": {"a": "hush"}}).json()
        assert parts(client.get("/readyz"))["broker"] is True
        with Connection(broker_url) as connection:  # a message waits for a worker
            hint = connection.SimpleQueue(Lane.WRITE.value).get(timeout=30)
            hint.ack()
        headers = {"Accept": "text/event-stream"}
        with client.stream("GET", f"/v1/operations/{operation['id']}/events", headers=headers) as stream:
            lines = stream.iter_lines()
            assert any(line.startswith("data: ") for line in lines)
            server.send_signal(signal.SIGTERM)
            for _ in lines:
                pass  # a stream ends with the server instead of holding it up
        logged = [json.loads(line) for line in server.stderr]
        assert server.wait(30) == -signal.SIGTERM  # after it has ended in order
    requests = [entry for entry in logged if entry["event"] == "request"]
    assert [entry["status"] for entry in requests][:2] == [202, 503]
    assert all(entry["request_id"] for entry in requests)
    assert "hush" not in json.dumps(logged)
