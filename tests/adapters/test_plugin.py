"""What every MLflow face sends for inputs, and what it makes of answers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.deployments import PredictionsResponse
    from mlflow.exceptions import MlflowException

from adapters import plugin, registry
from adapters.contract import Answer, Observed, Request, Unreachable


class Client(plugin.AdapterDeploymentClient):
    def _ours(self) -> list[Observed]:
        return [Observed("iris", "uid", "serving", None, route={"to": "iris"})]


class Stream:
    """Chunks that come one by one, and then break where ``breaks``."""

    def __init__(self, *chunks: bytes, breaks: bool = False) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._breaks = breaks
        self.closed = False

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            if self._breaks:
                raise Unreachable("the stream broke", timed_out=False) from None
            raise

    def close(self) -> None:
        self.closed = True


class Model:
    """What is asked of it, and the answer that it gives."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer = Answer(200, b'{"predictions": [1]}', "application/json")

    def invoke(self, place: Any, route: Any, request: Request, timeout: float) -> Answer:
        self.asked.append(json.loads(request.body))
        return self.answer


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    model = Model()
    monkeypatch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
    monkeypatch.setattr(registry, "invoker", lambda uri: model.invoke)
    return model


@pytest.fixture
def client(model: Model) -> Client:
    return Client("memory:/one")


@pytest.mark.parametrize(
    "inputs",
    [
        {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5},
        {"prompt": "hello", "max_tokens": 5},
        {"input": ["hello"]},
        {"inputs": [1], "params": {"k": 2}},
        {"instances": [[1]]},
        {"dataframe_split": {"columns": ["x"], "data": [[1]]}},
        {"dataframe_records": [{"x": 1}]},
    ],
)
def test_what_is_in_a_known_shape_goes_as_it_is(client: Client, model: Model, inputs: dict[str, Any]) -> None:
    client.predict("iris", inputs)
    assert model.asked == [inputs]


@pytest.mark.parametrize("inputs", [{"x": [1]}, [[1.0]], []])
def test_anything_else_is_inputs(client: Client, model: Model, inputs: Any) -> None:
    client.predict("iris", inputs)
    assert model.asked == [{"inputs": inputs}]


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (b'{"predictions": [1]}', {"predictions": [1]}),
        (b'{"choices": [{"text": "hi"}]}', {"choices": [{"text": "hi"}]}),
        (b"[1, 2]", {"predictions": [1, 2]}),
    ],
)
def test_answers_are_given_as_they_came(client: Client, model: Model, body: bytes, given: dict[str, Any]) -> None:
    model.answer = Answer(200, body, "application/json")
    answer = client.predict("iris", [1])
    assert isinstance(answer, PredictionsResponse)
    assert answer == given


def test_an_answer_in_chunks_is_put_together(client: Client, model: Model) -> None:
    stream = Stream(b'{"predic', b"", b'tions": [1]}')
    model.answer = Answer(200, b"", "application/json", chunks=stream)
    assert client.predict("iris", [1]) == {"predictions": [1]}
    assert stream.closed


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (
            Answer(200, b"", "text/event-stream", chunks=Stream(b"data: {}\n\n")),
            "INVALID_PARAMETER_VALUE",
            "leave stream out",
        ),
        (
            Answer(200, b"", "application/json", chunks=Stream(b"[1", breaks=True)),
            "TEMPORARILY_UNAVAILABLE",
            "the stream broke",
        ),
        (Answer(500, b"", "text/plain", chunks=Stream(b"out of ", b"memory")), "INTERNAL_ERROR", "500: out of memory"),
        (Answer(400, b"no such column", "text/plain"), "INTERNAL_ERROR", "400: no such column"),
        (Answer(200, b"<html>", "text/html"), "INTERNAL_ERROR", "no JSON: <html>"),
    ],
    ids=["events", "broken", "failed in chunks", "failed", "no JSON"],
)
def test_what_is_no_prediction_is_said(client: Client, model: Model, answer: Answer, code: str, told: str) -> None:
    model.answer = answer
    with pytest.raises(MlflowException, match=told) as raised:
        client.predict("iris", {"messages": [], "stream": True})
    assert raised.value.error_code == code
    if isinstance(answer.chunks, Stream):
        assert answer.chunks.closed
