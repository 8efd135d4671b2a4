"""Predictions that stream: each chunk is passed on as it comes, and nothing is left open behind them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.contract import Answer, Unreachable
from operations.database import Database
from tests.api.serving import land
from tests.fakes.memory import invoke

PREDICT = "/v1/deployments/here/iris/predict"
EVENTS = "text/event-stream"
WAIT_SECONDS = 30.0


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


class Chunks:
    """Gives each chunk only once it was asked for through ``more``; ends with the exception where one is given."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self._chunks = list(chunks)
        self.more = threading.Semaphore(0)
        self.closed = threading.Event()

    def __next__(self) -> bytes:
        if not self._chunks:
            raise StopIteration
        assert self.more.acquire(timeout=WAIT_SECONDS)
        chunk = self._chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def streaming(http: httpx.Client, db: Database, iris: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes the model answer with these chunks."""
    land(db, iris["id"])
    made: list[Chunks] = []

    def answer(chunks: Chunks, content_type: str = EVENTS, status: int = 200) -> Chunks:
        made.append(chunks)
        monkeypatch.setattr(invoke, "invoke", lambda *_: Answer(status, b"", content_type, "main", chunks))
        return chunks

    yield answer
    for chunks in made:
        chunks.more.release(10)


def test_each_chunk_is_passed_on_as_it_comes(http: httpx.Client, streaming: Any) -> None:
    chunks = streaming(Chunks(b"data: 1\n\n", b"data: 2\n\n"))
    with http.stream("POST", PREDICT, json={"inputs": [1], "stream": True}) as response:
        assert (response.status_code, response.headers["Content-Type"]) == (200, EVENTS)
        assert response.headers["Modelport-Origin"] == "model"
        assert response.headers["Modelport-Variant"] == "main"
        received = response.iter_raw()
        chunks.more.release()
        # the model has not said the second yet
        assert next(received) == b"data: 1\n\n"
        chunks.more.release()
        assert list(received) == [b"data: 2\n\n"]
    assert chunks.closed.wait(WAIT_SECONDS)


def test_a_caller_who_goes_closes_the_stream(http: httpx.Client, streaming: Any) -> None:
    chunks = streaming(Chunks(*(b"data: %d\n\n" % n for n in range(1000))))
    with http.stream("POST", PREDICT, json={"inputs": [1], "stream": True}) as response:
        chunks.more.release()
        assert next(response.iter_raw()) == b"data: 0\n\n"
    chunks.more.release(1000)
    assert chunks.closed.wait(WAIT_SECONDS)


@pytest.mark.parametrize(("times_out", "slug"), [(False, "model-unreachable"), (True, "model-timeout")])
def test_a_stream_of_events_that_breaks_says_so(http: httpx.Client, streaming: Any, times_out: bool, slug: str) -> None:
    chunks = streaming(Chunks(b"data: 1\n\n", Unreachable("it hung up", timed_out=times_out)))
    chunks.more.release(2)
    response = http.post(PREDICT, json={"inputs": [1], "stream": True})
    first, event, _ = response.text.split("\n\n")
    kind, data = event.split("\n")
    assert (first, kind) == ("data: 1", "event: error")
    problem = json.loads(data.removeprefix("data: "))
    assert (problem["type"], problem["detail"]) == (f"/problems/{slug}", "it hung up")
    assert chunks.closed.wait(WAIT_SECONDS)


def test_what_has_an_error_of_its_own_streams_too(http: httpx.Client, streaming: Any) -> None:
    chunks = streaming(Chunks(b"data: no\n\n"), status=429)
    chunks.more.release()
    response = http.post(PREDICT, json={"inputs": [1], "stream": True})
    assert (response.status_code, response.text) == (429, "data: no\n\n")


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [1], "stream": True, "params": {}},
        {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5, "stream": True},
        {"prompt": "hello", "max_tokens": 5},
        {"input": "hello"},
    ],
)
def test_models_that_talk_are_asked_in_their_own_shapes(http: httpx.Client, streaming: Any, body: Any) -> None:
    chunks = streaming(Chunks(b"data: 1\n\n"))
    chunks.more.release()
    assert http.post(PREDICT, json=body).status_code == 200


@pytest.mark.parametrize(
    "body", [{"messages": [], "prompt": "x"}, {"inputs": [1], "messages": []}, {"inputs": [1], "stream": "yes"}]
)
def test_shapes_that_cannot_be_are_refused(http: httpx.Client, streaming: Any, body: Any) -> None:
    streaming(Chunks())
    response = http.post(PREDICT, json=body)
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-prediction-input")
