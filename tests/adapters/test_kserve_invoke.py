"""Predictions through the fake cluster's gateway and Services: split, pinned, and what happens when none answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.contract import Answer, Denied, Request, Unreachable
from adapters.kserve.invoke import invoke
from tests.adapters.kserve_target import TOKEN, VARIABLE, KServeHarness, Life, variant
from tests.fakes.kubernetes import Kubernetes

INPUTS = b'{"inputs":  [1]}'
TENSORS = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}'


@pytest.fixture(scope="module")
def running() -> Iterator[Kubernetes]:
    with Kubernetes(seconds=0) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> Kubernetes:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    return running


@pytest.fixture
def target(cluster: Kubernetes) -> KServeHarness:
    return KServeHarness(cluster)


@pytest.fixture(params=["Standard", "Knative"])
def route(cluster: Kubernetes, target: KServeHarness, request: pytest.FixtureRequest) -> dict[str, Any]:
    cluster.conduct(mode=request.param)
    found = Life(target).settle(target.split(30, 70)).route
    assert found is not None
    return found


@pytest.fixture
def single(target: KServeHarness) -> dict[str, Any]:
    found = Life(target).settle(target.spec("a")).route
    assert found is not None
    return found


def predict(
    target: KServeHarness, route: dict[str, Any], body: bytes = INPUTS, timeout: float = 10.0, **request: Any
) -> Answer:
    return invoke(target.place, route, Request(body, "application/json", **request), timeout)


def model(answer: Answer) -> str:
    return str(json.loads(answer.body)["predictions"][0])


def test_predictions_go_through_the_split_and_past_it(target: KServeHarness, route: dict[str, Any]) -> None:
    answered = Counter(model(predict(target, route)) for _ in range(40))
    assert set(answered) == {"s3://models/a", "s3://models/b"}
    pinned = [predict(target, route, variant="a") for _ in range(5)]
    assert {(model(each), each.variant) for each in pinned} == {("s3://models/a", "a")}


def test_one_variant_alone_is_told_and_can_be_asked_for(target: KServeHarness, single: dict[str, Any]) -> None:
    assert predict(target, single).variant == "main"
    assert predict(target, single, variant="main").variant == "main"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (INPUTS, "/invocations"),
        (b'{"dataframe_split": {"columns": ["datatype"], "data": [[1]]}}', "/invocations"),
        (b'{"inputs": {"datatype": [1]}}', "/invocations"),
        (b'not json "datatype"', "/invocations"),
        (TENSORS, "/v2/models/{name}/infer"),
    ],
)
def test_the_body_tells_the_protocol(target: KServeHarness, single: dict[str, Any], body: bytes, path: str) -> None:
    shown = json.loads(predict(target, single, body).body)
    assert (shown["path"], shown["body"].encode()) == (path.format(name=single["name"]), body)


def test_the_older_protocol(target: KServeHarness) -> None:
    from adapters.contract import Spec

    asked = variant("main", "a", protocol="v1", model_format="sklearn")
    route = Life(target).settle(Spec((asked,), {"main": 100})).route
    assert route is not None
    shown = json.loads(predict(target, route, b'{"instances": [1]}').body)
    assert shown["path"] == f"/v1/models/{route['name']}:predict"


def test_bytes_are_passed_on_and_what_proves_the_caller_is_not(target: KServeHarness, single: dict[str, Any]) -> None:
    headers = {"authorization": "Bearer the-callers-own", "traceparent": "00-1-2-03", "cookie": "x"}
    assert predict(target, single, headers=headers).status == 200
    sent = target.cluster.log("INVOKE")[-1]
    assert sent["body"].encode() == INPUTS
    assert {"authorization", "cookie"} & sent["headers"].keys() == set()
    assert sent["headers"]["traceparent"] == "00-1-2-03"
    assert sent["headers"]["host"] == f"{single['name']}-ml.example.com"


def test_the_clusters_token_is_not_for_models(target: KServeHarness, single: dict[str, Any]) -> None:
    predict(target, single)
    assert TOKEN not in json.dumps(target.cluster.log("INVOKE"))


def test_a_gateway_that_wants_a_token_gets_one_by_reference(
    cluster: Kubernetes, single: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.conduct(predict_token="for-the-gateway")
    target = KServeHarness(cluster, {"predict_credentials": "env:GATEWAY_TOKEN"})
    with pytest.raises(Denied, match="GATEWAY_TOKEN"):
        predict(target, single)
    monkeypatch.setenv("GATEWAY_TOKEN", "for-the-gateway")
    assert predict(target, single).status == 200


def test_a_variant_that_is_not_there(target: KServeHarness, route: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="there are: a, b"):
        predict(target, route, variant="c")


def test_a_models_error_is_its_own_answer(target: KServeHarness, single: dict[str, Any]) -> None:
    for status in (400, 422, 500):
        target.cluster.conduct(model_status=status)
        answer = predict(target, single)
        assert (answer.status, json.loads(answer.body)) == (status, {"error": "the model raised ValueError"})


def test_the_gateways_own_words_are_no_answer_of_a_model(target: KServeHarness, single: dict[str, Any]) -> None:
    target.cluster.faults({"kind": "unavailable", "verb": "INVOKE"})
    with pytest.raises(Unreachable, match=r"answered 503 .*: no model was asked"):
        predict(target, single)
    with pytest.raises(Unreachable, match="answered 404"):
        predict(target, {**single, "url": "http://gone-ml.example.com"})
    with pytest.raises(Unreachable, match="has no address yet"):
        predict(target, {**single, "url": None})


def test_a_redirect_is_not_followed(target: KServeHarness, single: dict[str, Any]) -> None:
    target.cluster.faults({"kind": "redirect", "verb": "INVOKE", "message": "http://127.0.0.1:1/"})
    with pytest.raises(Unreachable, match="redirects predictions, which is not followed"):
        predict(target, single)


def test_a_prediction_whose_connection_breaks_is_not_repeated(target: KServeHarness, single: dict[str, Any]) -> None:
    target.cluster.faults({"kind": "drop_before", "verb": "INVOKE"})
    with pytest.raises(Unreachable, match="could not be reached"):
        predict(target, single)
    assert len(target.cluster.log("INVOKE")) == 1


def test_a_prediction_that_takes_too_long(target: KServeHarness, single: dict[str, Any]) -> None:
    target.cluster.conduct(model_latency=30)
    with pytest.raises(Unreachable, match=r"within 0\.2 s") as raised:
        predict(target, single, timeout=0.2)
    assert raised.value.timed_out


def test_predicting_imports_no_client_of_kubernetes() -> None:
    import subprocess
    import sys

    code = "import adapters.kserve.invoke, adapters.kserve.describe, adapters.kubernetes.invoke, sys; "
    code += "sys.exit('kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
