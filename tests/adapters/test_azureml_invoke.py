"""Predictions through the fake workspace: pinned and split, in every mode, and what happens when no model answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.azureml import scoring
from adapters.azureml.invoke import invoke
from adapters.contract import Answer, Denied, Request, Unreachable
from tests.adapters.azureml_target import TOKEN, VARIABLE, AzureMlHarness, Life
from tests.fakes.azureml import AzureMl

INPUTS = b'{"inputs":  [1]}'
STREAM = b'{"inputs": [1], "stream": true}'


@pytest.fixture(scope="module")
def running() -> Iterator[AzureMl]:
    with AzureMl(seconds=0) as workspace:
        yield workspace


@pytest.fixture
def target(running: AzureMl, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureMlHarness]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    monkeypatch.setattr(scoring, "_kept", {})
    running.reset()
    harness = AzureMlHarness(running)
    yield harness
    harness.close()


def serving(target: AzureMlHarness, **config: Any) -> dict[str, Any]:
    """The route of a deployment with two variants."""
    life = Life(target)
    life.given(target.split(30, 70, **config))
    found = next(each for each in target.open().observe_all() if each.name == life.name).route
    assert found is not None
    return found


@pytest.fixture
def route(target: AzureMlHarness) -> dict[str, Any]:
    return serving(target)


def predict(
    target: AzureMlHarness, route: dict[str, Any], body: bytes = INPUTS, timeout: float = 10.0, **request: Any
) -> Answer:
    return invoke(target.place, route, Request(body, "application/json", **request), timeout)


def test_a_prediction_tells_which_variant_answered(target: AzureMlHarness, route: dict[str, Any]) -> None:
    answered = Counter(predict(target, route).variant for _ in range(40))
    assert set(answered) == {"a", "b"}
    assert {predict(target, route, variant="a").variant for _ in range(10)} == {"a"}


def test_bytes_are_passed_on_untouched_and_the_callers_secrets_are_not(
    target: AzureMlHarness, route: dict[str, Any]
) -> None:
    headers = {
        "authorization": "Bearer the-callers-own",
        "traceparent": "00-1-2-03",
        "cookie": "x",
        "Azureml-Model-Deployment": "a",
    }
    assert predict(target, route, headers=headers).status == 200
    sent = target.workspace.log("SCORE")[-1]
    assert sent["body"].encode() == INPUTS
    assert sent["headers"]["traceparent"] == "00-1-2-03"
    assert not {"cookie", "azureml-model-deployment"} & set(sent["headers"])
    assert "the-callers-own" not in json.dumps(sent)
    assert TOKEN not in json.dumps(sent)


@pytest.mark.parametrize(("mode", "asked"), [("key", "KEYS"), ("aml_token", "TOKEN"), ("aad_token", "")])
def test_each_mode_has_its_own_secret_and_asks_for_it_once(target: AzureMlHarness, mode: str, asked: str) -> None:
    route = serving(target, auth_mode=mode)
    assert route["auth"] == mode
    target.workspace.conduct(scoring_token=TOKEN)
    for _ in range(3):
        assert predict(target, route).status == 200
    calls = target.workspace.counts()["calls"]
    assert {verb: calls.get(verb) for verb in ("KEYS", "TOKEN") if verb in calls} == ({asked: 1} if asked else {})


def test_a_token_is_asked_for_again_before_it_expires(target: AzureMlHarness) -> None:
    route = serving(target, auth_mode="aml_token")
    target.workspace.conduct(refresh_seconds=-1)
    assert predict(target, route).status == 200
    target.workspace.conduct(refresh_seconds=2700)
    for _ in range(2):
        assert predict(target, route).status == 200
    assert target.workspace.counts()["calls"]["TOKEN"] == 2


def test_a_key_that_was_regenerated_is_asked_for_anew(target: AzureMlHarness, route: dict[str, Any]) -> None:
    assert predict(target, route).status == 200
    path = f"onlineEndpoints/{route['name']}/regenerateKeys"
    target.workspace.request("POST", path, {"keyType": "Primary"}).raise_for_status()
    assert predict(target, route).status == 200
    assert [call["status"] for call in target.workspace.log("SCORE")] == [200, 401, 200]


def test_a_key_that_is_refused_again_is_not_asked_for_for_ever(target: AzureMlHarness) -> None:
    route = serving(target, auth_mode="aad_token")
    with pytest.raises(Unreachable, match=r"answered 401 .*no model was asked"):
        predict(target, route)
    assert len(target.workspace.log("SCORE")) == 1


def test_a_variant_that_is_not_there(target: AzureMlHarness, route: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="there are: a, b"):
        predict(target, route, variant="c")


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_models_error_is_its_own_answer(target: AzureMlHarness, route: dict[str, Any], status: int) -> None:
    target.workspace.conduct(model_status=status)
    answer = predict(target, route)
    assert (answer.status, json.loads(answer.body)["message"]) == (status, "the model raised ValueError")
    assert answer.variant in ("a", "b")


@pytest.mark.parametrize(("kind", "status"), [("throttled", 429), ("unavailable", 503), ("denied", 403)])
def test_the_endpoints_own_refusal_is_no_answer_of_a_model(
    target: AzureMlHarness, route: dict[str, Any], kind: str, status: int
) -> None:
    target.workspace.faults({"kind": kind, "verb": "SCORE"})
    with pytest.raises(Unreachable, match=rf"answered {status} .*no model answered"):
        predict(target, route)


def test_an_endpoint_that_is_not_there(target: AzureMlHarness, route: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="gone"):
        predict(target, {**route, "name": "gone"})


def test_a_prediction_whose_connection_breaks_is_not_repeated(target: AzureMlHarness, route: dict[str, Any]) -> None:
    target.workspace.faults({"kind": "drop_after", "verb": "SCORE"})
    with pytest.raises(Unreachable, match="could not be reached"):
        predict(target, route)
    assert len(target.workspace.log("SCORE")) == 1


def test_a_prediction_that_takes_too_long(target: AzureMlHarness, route: dict[str, Any]) -> None:
    predict(target, route)
    target.workspace.conduct(model_latency=30)
    with pytest.raises(Unreachable, match=r"within 0\.2 s") as raised:
        predict(target, route, timeout=0.2)
    assert raised.value.timed_out


def test_credentials_that_are_not_there(target: AzureMlHarness, route: dict[str, Any]) -> None:
    place = AzureMlHarness(target.workspace, credentials="env:NOT_SET_ANYWHERE").place
    with pytest.raises(Denied, match="NOT_SET_ANYWHERE"):
        invoke(place, route, Request(INPUTS, "application/json"), 10)


def read(answer: Answer) -> list[bytes]:
    assert answer.chunks is not None
    received = []
    try:
        while chunk := next(answer.chunks, b""):
            received.append(chunk)
    finally:
        answer.chunks.close()
    return received


def test_a_stream_comes_in_chunks(target: AzureMlHarness, route: dict[str, Any]) -> None:
    answer = predict(target, route, STREAM, variant="b")
    assert (answer.status, answer.body, answer.variant) == (200, b"", "b")
    assert answer.content_type.startswith("text/event-stream")
    received = read(answer)
    assert len(received) > 1
    assert b"".join(received).count(b"data: ") == 4


def test_a_stream_that_falls_silent_or_breaks_says_so(target: AzureMlHarness, route: dict[str, Any]) -> None:
    target.workspace.conduct(chunks=2, chunk_seconds=30)
    with pytest.raises(Unreachable, match=r"within 0\.3 s") as raised:
        read(predict(target, route, STREAM, timeout=0.3))
    assert raised.value.timed_out
    target.workspace.conduct(breaks_after=1, chunk_seconds=0)
    with pytest.raises(Unreachable, match="could not be reached"):
        read(predict(target, route, STREAM))
