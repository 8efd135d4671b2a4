"""Predictions through the fake workspace: pinned and split, streamed, and what happens when no model answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.contract import Answer, Denied, Request, Unreachable
from adapters.databricks.invoke import invoke
from tests.adapters.databricks_target import TOKEN, VARIABLE, DatabricksHarness, Life
from tests.fakes.databricks import Databricks

INPUTS = b'{"inputs":  [1]}'


@pytest.fixture(scope="module")
def running() -> Iterator[Databricks]:
    with Databricks(seconds=0) as workspace:
        yield workspace


@pytest.fixture
def target(running: Databricks, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabricksHarness]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    harness = DatabricksHarness(running)
    yield harness
    harness.close()


@pytest.fixture
def route(target: DatabricksHarness) -> dict[str, Any]:
    found = Life(target).settle(target.split(30, 70)).route
    assert found is not None
    return found


def predict(
    target: DatabricksHarness, route: dict[str, Any], body: bytes = INPUTS, timeout: float = 10.0, **request: Any
) -> Answer:
    return invoke(target.place, route, Request(body, "application/json", **request), timeout)


def test_a_prediction_tells_which_variant_answered(target: DatabricksHarness, route: dict[str, Any]) -> None:
    answered = Counter(predict(target, route).variant for _ in range(40))
    assert set(answered) == {"a", "b"}
    assert {predict(target, route, variant="a").variant for _ in range(10)} == {"a"}


def test_bytes_are_passed_on_untouched(target: DatabricksHarness, route: dict[str, Any]) -> None:
    headers = {"authorization": "Bearer the-callers-own", "traceparent": "00-1-2-03", "cookie": "x"}
    assert predict(target, route, headers=headers).status == 200
    sent = target.workspace.log("INVOKE")[-1]
    assert sent["body"].encode() == INPUTS
    assert sent["headers"]["authorization"] == f"Bearer {TOKEN}"
    assert sent["headers"]["traceparent"] == "00-1-2-03"
    assert sent["headers"]["content-type"] == "application/json"
    assert "cookie" not in sent["headers"]


def test_a_variant_that_is_not_there(target: DatabricksHarness, route: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="there are: a, b"):
        predict(target, route, variant="c")


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_models_error_is_its_own_answer(target: DatabricksHarness, route: dict[str, Any], status: int) -> None:
    target.workspace.conduct(model_status=status)
    answer = predict(target, route)
    assert (answer.status, json.loads(answer.body)["message"]) == (status, "the model raised ValueError")


@pytest.mark.parametrize(("kind", "status"), [("throttled", 429), ("unavailable", 503), ("denied", 403)])
def test_the_workspaces_own_refusal_is_no_answer_of_a_model(
    target: DatabricksHarness, route: dict[str, Any], kind: str, status: int
) -> None:
    target.workspace.faults({"kind": kind, "verb": "INVOKE"})
    with pytest.raises(Unreachable, match=rf"answered {status} .*no model was asked") as raised:
        predict(target, route)
    assert TOKEN not in str(raised.value)


def test_an_endpoint_that_is_not_there(target: DatabricksHarness) -> None:
    with pytest.raises(Unreachable, match="answered 404 for endpoint gone"):
        predict(target, {"name": "gone", "entities": {}})


def test_a_prediction_whose_connection_breaks_is_not_repeated(target: DatabricksHarness, route: dict[str, Any]) -> None:
    target.workspace.faults({"kind": "drop_after", "verb": "INVOKE"})
    with pytest.raises(Unreachable, match="could not be reached"):
        predict(target, route)
    assert len(target.workspace.log("INVOKE")) == 1


def test_a_prediction_that_takes_too_long(target: DatabricksHarness, route: dict[str, Any]) -> None:
    target.workspace.conduct(model_latency=30)
    with pytest.raises(Unreachable, match=r"within 0\.2 s") as raised:
        predict(target, route, timeout=0.2)
    assert raised.value.timed_out


def test_credentials_that_are_not_there(target: DatabricksHarness, route: dict[str, Any]) -> None:
    place = DatabricksHarness(target.workspace, credentials="env:NOT_SET_ANYWHERE").place
    with pytest.raises(Denied, match="NOT_SET_ANYWHERE"):
        invoke(place, route, Request(INPUTS, "application/json"), 10)


STREAM = b'{"inputs": [1], "stream": true}'


def read(answer: Answer) -> list[bytes]:
    assert answer.chunks is not None
    received = []
    try:
        while chunk := next(answer.chunks, b""):
            received.append(chunk)
    finally:
        answer.chunks.close()
    return received


def test_a_stream_comes_in_chunks(target: DatabricksHarness, route: dict[str, Any]) -> None:
    answer = predict(target, route, STREAM, variant="b")
    assert (answer.status, answer.body, answer.variant) == (200, b"", "b")
    assert answer.content_type.startswith("text/event-stream")
    received = read(answer)
    assert len(received) > 1
    events = [line.removeprefix("data: ") for line in b"".join(received).decode().split("\n\n") if line]
    assert [json.loads(event)["delta"] for event in events[:-1]] == [f"main.ml.b/1 {n}" for n in range(3)]
    assert events[-1] == "[DONE]"


def test_a_stream_may_last_longer_than_its_first_chunk_may(target: DatabricksHarness, route: dict[str, Any]) -> None:
    target.workspace.conduct(chunks=8, chunk_seconds=0.3)
    assert len(b"".join(read(predict(target, route, STREAM, timeout=2.0))).split(b"\n\n")) == 10


def test_a_stream_that_falls_silent_is_broken_off(target: DatabricksHarness, route: dict[str, Any]) -> None:
    target.workspace.conduct(chunks=2, chunk_seconds=30)
    answer = predict(target, route, STREAM, timeout=0.3)
    with pytest.raises(Unreachable, match=r"within 0\.3 s") as raised:
        read(answer)
    assert raised.value.timed_out


def test_a_stream_that_breaks_says_so(target: DatabricksHarness, route: dict[str, Any]) -> None:
    target.workspace.conduct(breaks_after=1)
    with pytest.raises(Unreachable, match="could not be reached"):
        read(predict(target, route, STREAM))


def test_streams_that_are_not_read_hold_no_connection(target: DatabricksHarness, route: dict[str, Any]) -> None:
    target.workspace.conduct(chunks=2, chunk_seconds=30)
    for _ in range(70):  # more than the connections that there are
        answer = predict(target, route, STREAM, timeout=5)
        assert answer.chunks is not None
        answer.chunks.close()
        answer.chunks.close()
