"""Predictions: the body goes through untouched, the model's answers come back as they are, ours are problems."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from adapters.description import Capabilities
from api.predict import SHAPES, TALKS
from operations.database import Database
from operations.problems import InvalidPredictionInput
from tests.api.serving import land
from tests.fakes.memory import describe

IRIS = "/v1/deployments/here/iris"
PREDICT = f"{IRIS}/predict"
INSTANCES = {"instances": [[1.0]]}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def serving(db: Database, iris: dict[str, Any]) -> None:
    land(db, iris["id"])


def become(monkeypatch: pytest.MonkeyPatch, **capabilities: Any) -> None:
    able = Capabilities(**{**vars(describe.DESCRIPTION.capabilities), **capabilities})
    monkeypatch.setattr(describe, "DESCRIPTION", _replaced(capabilities=able))


def _replaced(**values: Any) -> Any:
    return type(describe.DESCRIPTION)(**{**vars(describe.DESCRIPTION), **values})


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"instances":  [[1.0, NaN]]}\n', "application/json"),
        ('{"inputs": {"é": [1]}, "params": {"k": 2}}'.encode(), "application/json; charset=utf-8"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}', "application/json"),
        (b'{"dataframe_records": [{"a": 1}]}', "application/json"),
        (b"a,b\n1,\xff\n", "text/csv"),
    ],
)
def test_bytes_are_passed_on_untouched(http: httpx.Client, content: bytes, content_type: str) -> None:
    response = http.post(PREDICT, content=content, headers={"Content-Type": content_type})
    assert response.status_code == 200, response.text
    shown = response.json()
    assert base64.b64decode(shown["body"]) == content
    assert (shown["content_type"], shown["to"], shown["uri"]) == (content_type, "iris", "memory:/one")
    assert response.headers["Modelport-Origin"] == "model"
    assert response.headers["Modelport-Revision"] == "1"


@pytest.mark.parametrize("status", [201, 400, 404, 422, 500, 503])
def test_the_models_own_answer_is_kept_as_it_is(
    http: httpx.Client, db: Database, iris: dict[str, Any], status: int
) -> None:
    land(db, iris["id"], status=status, body="its own words", content_type="text/x-own")
    response = http.post(PREDICT, json=INSTANCES)
    assert (response.status_code, response.text) == (status, "its own words")
    assert response.headers["Content-Type"] == "text/x-own"
    assert response.headers["Modelport-Origin"] == "model"


@pytest.mark.parametrize(
    ("times_out", "status", "slug"), [(False, 502, "model-unreachable"), (True, 504, "model-timeout")]
)
def test_no_answer_from_the_model_is_a_problem_of_ours(
    http: httpx.Client, db: Database, iris: dict[str, Any], times_out: bool, status: int, slug: str
) -> None:
    land(db, iris["id"], **{"raise": "it is gone", "times_out": times_out})
    response = http.post(PREDICT, json=INSTANCES)
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{slug}")
    assert "it is gone" in response.json()["detail"]
    assert response.headers["Modelport-Origin"] == "modelport"


@pytest.mark.usefixtures("iris")
def test_what_does_not_serve_yet_says_so(http: httpx.Client) -> None:
    response = http.post(PREDICT, json=INSTANCES)
    assert (response.status_code, response.json()["type"]) == (409, "/problems/deployment-not-serving")


def test_a_deployment_that_is_not_there(http: httpx.Client) -> None:
    response = http.post("/v1/deployments/here/none/predict", json=INSTANCES)
    assert (response.status_code, response.json()["type"]) == (404, "/problems/deployment-not-found")


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"", 400, "invalid-body"),
        (b"{", 400, "invalid-body"),
        (b"\xff\xfe", 400, "invalid-body"),
        (b"[" * 100_000, 400, "invalid-body"),
        (b"[1]", 422, "invalid-prediction-input"),
        (b"{}", 422, "invalid-prediction-input"),
        (b'{"inputs": [1], "instances": [1]}', 422, "invalid-prediction-input"),
        (b'{"inputs": [1], "extra": 1}', 422, "invalid-prediction-input"),
        (b'{"params": {}}', 422, "invalid-prediction-input"),
    ],
)
def test_input_in_no_known_shape_is_refused(http: httpx.Client, content: bytes, status: int, slug: str) -> None:
    response = http.post(PREDICT, content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{slug}")
    assert response.headers["Modelport-Origin"] == "modelport"


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(http: httpx.Client, content_type: str) -> None:
    response = http.post(PREDICT, content=json.dumps(INSTANCES), headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["type"]) == (415, "/problems/unsupported-media-type")


@pytest.mark.usefixtures("serving")
def test_a_variant_is_pinned(http: httpx.Client) -> None:
    response = http.post(PREDICT, json=INSTANCES, params={"variant": "main"})
    assert (response.status_code, response.headers["Modelport-Variant"]) == (200, "main")


@pytest.mark.usefixtures("serving")
def test_a_variant_that_is_not_there_is_refused(http: httpx.Client) -> None:
    response = http.post(PREDICT, json=INSTANCES, params={"variant": "other"})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-field")
    assert [error["field"] for error in response.json()["errors"]] == ["variant"]


@pytest.mark.usefixtures("serving")
def test_a_target_that_cannot_pin_says_so(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, can_pin=False)
    response = http.post(PREDICT, json=INSTANCES, params={"variant": "main"})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/not-supported-by-target")


@pytest.mark.usefixtures("serving")
def test_a_body_over_the_targets_limit_is_refused(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, max_body_bytes=100_000)
    content = json.dumps({"instances": ["x" * 100_000]}).encode()
    for body in (content, iter([content[:50_000], content[50_000:]])):
        response = http.post(PREDICT, content=body, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["type"]) == (413, "/problems/body-too-large")


@pytest.mark.usefixtures("serving")
def test_a_body_may_be_larger_than_other_requests(http: httpx.Client) -> None:
    content = b"a\n" * 2_000_000
    response = http.post(PREDICT, content=content, headers={"Content-Type": "text/csv"})
    assert response.status_code == 200
    assert base64.b64decode(response.json()["body"]) == content


def test_no_transaction_is_open_while_the_model_works(
    http: httpx.Client, db: Database, iris: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fakes.memory import invoke

    land(db, iris["id"])
    open_then: list[int] = []
    real = invoke.invoke

    def watched(*arguments: Any) -> Any:
        open_then.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]
        return real(*arguments)

    monkeypatch.setattr(invoke, "invoke", watched)
    assert http.post(PREDICT, json=INSTANCES).status_code == 200
    assert open_then == [0]


def test_the_remedy_names_every_shape_that_is_taken() -> None:
    named = set(InvalidPredictionInput.remedy.replace(",", " ").replace(".", " ").replace(";", " ").split())
    assert named >= SHAPES | TALKS
