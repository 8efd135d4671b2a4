"""Answers that a model gives piece by piece."""

from __future__ import annotations

from typing import Any

import pytest

import modelport
from modelport.client import Client
from modelport.pieces import Pieces
from tests.fakes.control_plane import ControlPlane

EVENTS = b': hello\n\ndata: {"n": 1}\n\nevent: delta\ndata: {"n":\ndata: 2}\n\ndata: [DONE]\n\n'


def read(body: bytes, size: int) -> list[Any]:
    pieces = Pieces()
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return [*(piece for chunk in chunks for piece in pieces.feed(chunk)), *pieces.end()]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("body", "found"),
    [
        (EVENTS, [{"n": 1}, {"n": 2}]),
        (b'data: {"n": 1}', [{"n": 1}]),
        (b' {"n":\n 1}\n', [{"n": 1}]),
        (b'{"n": 1}\n{"n": 2}\n', [{"n": 1}, {"n": 2}]),
        (b"[1, 2]", [[1, 2]]),
        (b"", []),
        (b" \n", []),
    ],
)
def test_pieces_of_answers_cut_anywhere(body: bytes, found: list[Any], size: int) -> None:
    assert read(body, size) == found


@pytest.mark.parametrize("body", [b"data: {\n\n", b"{\n[1]", b"plain words"])
def test_what_is_no_json_is_told(body: bytes) -> None:
    with pytest.raises(modelport.UnexpectedAnswer):
        read(body, 1000)


def test_the_servers_own_error_in_a_stream_is_raised_and_the_models_is_given() -> None:
    broken = b'data: 1\n\nevent: error\ndata: {"type": "/problems/model-timeout", "title": "too slow"}\n\n'
    pieces = Pieces()
    with pytest.raises(modelport.ModelTimeout, match="too slow"):
        pieces.feed(broken)
    assert read(b'event: error\ndata: {"type": "overloaded"}\n\n', 1000) == [{"type": "overloaded"}]


def test_a_stream_is_given_as_it_comes(plane: ControlPlane, client: Client) -> None:
    plane.fail_next(status=200, headers={"Content-Type": "text/event-stream", "Modelport-Origin": "model"}, body=EVENTS)
    assert list(client.predict_stream("local", "iris", {"messages": [], "stream": True})) == [{"n": 1}, {"n": 2}]
    assert plane.requests[-1].headers["Accept"].startswith("text/event-stream")
    assert plane.requests[-1].document == {"messages": [], "stream": True}


def test_the_models_error_is_raised_with_its_words_and_nothing_is_sent_twice(
    plane: ControlPlane, client: Client
) -> None:
    plane.fail_next(status=429, headers={"Modelport-Origin": "model"}, body=b"no more tokens")
    with pytest.raises(modelport.ModelFailed, match="no more tokens") as failed:
        list(client.predict_stream("local", "iris", {"prompt": "x"}))
    assert failed.value.status == 429
    plane.fail_next(drop="before")
    with pytest.raises(modelport.Unreachable):
        list(client.predict_stream("local", "iris", {"prompt": "x"}))
    assert len(plane.requests) == 2


def test_who_stops_reading_gives_the_connection_back(plane: ControlPlane, client: Client) -> None:
    plane.fail_next(status=200, headers={"Content-Type": "text/event-stream", "Modelport-Origin": "model"}, body=EVENTS)
    pieces = client.predict_stream("local", "iris", {"prompt": "x"})
    assert next(iter(pieces)) == {"n": 1}
    pieces.close()  # type: ignore[attr-defined]  # a generator, as all that gives several things
    assert all(connection.is_idle() for connection in client._http._transport._pool.connections)
