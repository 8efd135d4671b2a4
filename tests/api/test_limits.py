"""What one principal, or a slow client, can take from the others: a bounded part."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api.quotas import Quotas
from operations.database import Database
from operations.problems import TooManyRequests
from operations.settings import Settings
from tests.api.identities import client, key
from tests.api.serving import serving, start

LIMITS = {
    "SUBMISSIONS_PER_MINUTE": "5",
    "QUEUED_PER_PRINCIPAL": "3",
    "WAITS_PER_PRINCIPAL": "1",
    "BODY_SECONDS": "0.2",
    "HEADER_SECONDS": "0.2",
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def limits(closed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LIMITS.items():
        monkeypatch.setenv(f"MODELPORT_{name}", value)


@pytest.fixture
def ada(limits: None, db: Database, hints: object, announced: object) -> Iterator[httpx.Client]:
    with serving() as url, client(url, key(db, "deployer", "ada")) as http:
        yield http


def deploy(http: httpx.Client, name: str, **headers: str) -> httpx.Response:
    return http.post(
        "/v1/deployments", json={"target": "here", "name": name, "model_uri": "models:/m/1"}, headers=headers
    )


def test_so_many_changes_a_minute_and_others_are_not_concerned(ada: httpx.Client, db: Database) -> None:
    for _ in range(5):
        assert ada.delete("/v1/deployments/here/none").status_code == 404
    refused = ada.delete("/v1/deployments/here/none")
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert ada.get("/v1/deployments").status_code == 200
    with client(str(ada.base_url), key(db, "deployer", "bob")) as bob:
        assert deploy(bob, "x").status_code == 202


def test_so_many_operations_wait(ada: httpx.Client) -> None:
    assert [deploy(ada, name).status_code for name in "abcd"] == [202, 202, 202, 429]
    assert ada.get("/v1/deployments/here/d").status_code == 404


def test_so_many_wait_for_answers(ada: httpx.Client, db: Database) -> None:
    operation = deploy(ada, "a").json()["id"]
    one, events = f"/v1/operations/{operation}", {"Accept": "text/event-stream"}
    with (
        client(str(ada.base_url), None, dict(ada.headers)) as other,
        other.stream("GET", f"{one}/events", headers=events) as held,
    ):
        assert held.status_code == 200
        assert ada.get(one, headers={"Prefer": "wait=30"}).status_code == 429
        assert ada.get(one).status_code == 200
        # what is recorded is answered all the same, at once
        assert deploy(ada, "b", Prefer="wait=30").status_code == 202
    start(db, operation)
    assert ada.get(f"/v1/operations/{operation}", headers={"Prefer": "wait=1"}).status_code in (200, 429)


def raw(http: httpx.Client, sent: bytes) -> bytes:
    """What comes back until the server closes the connection; whoever waits for ever fails the test."""
    place = urlsplit(str(http.base_url))
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def test_a_slow_body_is_given_up_and_holds_nobody(ada: httpx.Client) -> None:
    head = (
        "POST /v1/deployments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
        f"Authorization: {ada.headers['Authorization']}\r\n\r\n"
    )
    answer = raw(ada, head.encode() + b'{"target"')
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems/too-slow" in answer


@pytest.mark.parametrize("sent", [b"", b"GET /v1/dep", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HT"])
def test_headers_that_do_not_come_are_given_up(ada: httpx.Client, sent: bytes) -> None:
    answer = raw(ada, sent)
    assert answer.count(b"HTTP/1.1 200") == sent.count(b"\r\n\r\n")


def test_hundreds_of_slow_clients_hold_no_worker(ada: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(str(ada.base_url))
    slow = [socket.create_connection((place.hostname, place.port)) for _ in range(200)]
    for connection in slow:
        connection.sendall(b"POST /v1/deployments HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
    assert ada.get("/v1/deployments").status_code == 200
    for connection in slow:
        connection.close()


def test_places_are_given_back() -> None:
    quotas = Quotas(Settings(waits=2, waits_per_principal=1))
    with quotas.waiting("a"), quotas.waiting("b"):
        for name in ("a", "b", "c"):
            with pytest.raises(TooManyRequests):
                quotas.begin_waiting(name)
    with quotas.waiting("a"), quotas.waiting("c"):
        pass
    chosen: Any = quotas
    assert chosen._waiting == {}
