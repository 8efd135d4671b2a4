"""Predictions through SageMaker's runtime, and who signs: every request here is checked as the vendor checks it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Answer, Denied, Request, Spec, Unreachable
from adapters.sagemaker.invoke import invoke
from tests.adapters.sagemaker_target import ACCESS_KEY, ROLE, SECRET, Life, SageMakerHarness, variant
from tests.fakes.sagemaker import SageMaker

KEYS = {ACCESS_KEY: SECRET, "AKIAOTHER": "0ther/s+cret"}


@pytest.fixture(scope="module")
def running() -> Iterator[SageMaker]:
    with SageMaker(looks=1, keys=KEYS) as fake:
        yield fake


@pytest.fixture
def fake(running: SageMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SageMaker:
    running.reset()
    monkeypatch.setenv("SAGEMAKER_TEST_KEYS", f"{ACCESS_KEY}:{SECRET}")
    # nothing of this machine's
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return running


@pytest.fixture
def target(fake: SageMaker) -> Iterator[SageMakerHarness]:
    harness = SageMakerHarness(fake)
    yield harness
    harness.close()


def predict(target: SageMakerHarness, route: dict[str, Any], timeout: float = 10.0, **request: Any) -> Answer:
    return invoke(target.place, route, Request(b'{"inputs": [1]}', "application/json", **request), timeout)


def deployed(target: SageMakerHarness, spec: Spec | None = None) -> dict[str, Any]:
    route = Life(target).settle(spec or target.spec("a")).route
    assert route is not None
    return route


def test_a_prediction_tells_its_variant_and_is_passed_on_as_it_is(target: SageMakerHarness) -> None:
    route = deployed(target, target.split(0, 100))
    assert predict(target, route).variant == "b"
    pinned = predict(target, route, variant="a")
    told = json.loads(pinned.body)
    assert (pinned.status, pinned.variant, told["variant"]) == (200, "a", "a")
    assert told["received"] == '{"inputs": [1]}'
    assert told["headers"]["content-type"] == "application/json"


def test_only_what_concerns_the_vendor_is_passed_on(target: SageMakerHarness) -> None:
    headers = {
        "X-Amzn-SageMaker-Target-Model": "churn/v2.tar.gz",
        "Accept": "text/csv",
        "Authorization": "Bearer the-callers-own",
        "Cookie": "x=y",
    }
    told = json.loads(predict(target, deployed(target), headers=headers).body)["headers"]
    assert told["x-amzn-sagemaker-target-model"] == "churn/v2.tar.gz"
    assert told["accept"] == "text/csv"
    assert told["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAPLANTED/")
    assert "cookie" not in told


def test_a_models_error_keeps_its_own_status_and_words(fake: SageMaker, target: SageMakerHarness) -> None:
    route = deployed(target)
    fake.conduct(model_status=418)
    answer = predict(target, route)
    assert (answer.status, answer.content_type) == (418, "application/json")
    assert json.loads(answer.body) == {"error": "the model raised ValueError"}
    fake.conduct(model_message="a teapot")
    assert predict(target, route).content_type.startswith("text/plain")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"kind": "throttled"}, "ThrottlingException"),
        ({"kind": "unavailable"}, "answered 503"),
        ({"kind": "denied"}, "AccessDenied"),
        ({"kind": "drop_before"}, "could not be reached"),
    ],
)
def test_where_no_model_was_asked_nobody_answered(
    fake: SageMaker, target: SageMakerHarness, fault: dict[str, str], told: str
) -> None:
    route = deployed(target)
    fake.faults({**fault, "action": "InvokeEndpoint"})
    with pytest.raises(Unreachable, match=told) as raised:
        predict(target, route)
    assert SECRET not in str(raised.value)
    assert ACCESS_KEY not in str(raised.value)


def test_a_model_that_is_still_loading(fake: SageMaker, target: SageMakerHarness) -> None:
    route = deployed(target)
    fake.conduct(not_ready=True)
    with pytest.raises(Unreachable, match="ModelNotReadyException"):
        predict(target, route)


def test_an_endpoint_or_a_variant_that_is_not_there(target: SageMakerHarness) -> None:
    with pytest.raises(Unreachable, match="nobody of account"):
        predict(target, {"name": "nobody"})
    with pytest.raises(Unreachable, match="Variant x not found"):
        predict(target, deployed(target), variant="x")


def test_a_prediction_that_takes_too_long(fake: SageMaker, target: SageMakerHarness) -> None:
    route = deployed(target)
    fake.conduct(model_latency=30)
    with pytest.raises(Unreachable, match=r"within 0\.3 s") as raised:
        predict(target, route, timeout=0.3)
    assert raised.value.timed_out


def test_an_asynchronous_endpoint_takes_the_request_and_tells_where_the_answer_will_be(
    fake: SageMaker, target: SageMakerHarness
) -> None:
    output = {"async_inference_config": {"OutputConfig": {"S3OutputPath": "s3://models/answers"}}}
    route = deployed(target, Spec((variant("main", "a", **output),), {"main": 100}))
    answer = predict(target, route)
    assert answer.status == 202
    assert json.loads(answer.body) == {
        "inference_id": "1",
        "output_location": "s3://models/answers/1.out",
        "failure_location": "s3://models/answers/1",
    }
    assert predict(target, route, headers={"X-Amzn-SageMaker-InputLocation": "s3://models/in.json"}).status == 202
    with pytest.raises(Unreachable, match="asynchronous"):
        predict(target, route, variant="main")


def test_serverless_is_asked_the_same_way(target: SageMakerHarness) -> None:
    config = {"serverless_config": {"MemorySizeInMB": 2048, "MaxConcurrency": 1}}
    made = variant("main", "a")
    made.config.pop("instance_type")
    made.config.update(config)
    assert predict(target, deployed(target, Spec((made,), {"main": 100}))).variant == "main"


@pytest.mark.parametrize("form", ["text", "json", "file"])
def test_credentials_by_reference_are_read_when_they_are_used(
    fake: SageMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "keys"
    reference = f"file:{file}" if form == "file" else "env:SAGEMAKER_TEST_KEYS"
    target = SageMakerHarness(fake, credentials=reference)
    adapter = target.open()
    for key, secret in KEYS.items():
        text = f"{key}:{secret}"
        if form == "json":
            text = json.dumps({"aws_access_key_id": key, "aws_secret_access_key": secret}, indent=2)
        monkeypatch.setenv("SAGEMAKER_TEST_KEYS", text)
        file.write_text(f"{text}\n")
        assert adapter.check() == "SageMaker in us-east-1 answers; it has no endpoints"
        with pytest.raises(Unreachable, match="not found"):
            predict(target, {"name": "nobody"})
    adapter.close()


@pytest.mark.parametrize(
    "secret",
    [
        "only-one-part",
        "a:b:c:d",
        '{"aws_access_key_id": "x"}',
        "{",
        "AKIAOTHER:wrong",
        "AKIAOTHER:secret:wrong\ntoken",
        '{"aws_access_key_id": "x", "aws_secret_access_key": "y", "aws_session_token": "wrong\\n"}',
    ],
)
def test_credentials_that_are_none(fake: SageMaker, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("SAGEMAKER_TEST_KEYS", secret)
    target = SageMakerHarness(fake)
    adapter = target.open()
    with pytest.raises(Denied) as raised:
        adapter.check()
    assert "wrong" not in str(raised.value)
    assert secret not in str(raised.value)
    adapter.close()


@pytest.mark.parametrize("place", ["environment", "file", "profile"])
def test_without_a_reference_they_are_where_every_aws_client_looks(
    fake: SageMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    settings = {}
    if place == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    else:
        name = "default" if place == "file" else "ml"
        keys = f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET}\n"
        (tmp_path / "credentials").write_text(f"[{name}]\n{keys}")
        settings = {} if place == "file" else {"profile": "ml"}
    target = SageMakerHarness(fake, credentials=None, settings=settings)
    assert target.open().check()
    with pytest.raises(Unreachable, match="not found"):
        predict(target, {"name": "nobody"})
    target.close()


def test_no_credentials_at_all(fake: SageMaker) -> None:
    target = SageMakerHarness(fake, credentials=None, name="without")
    with pytest.raises(Denied, match="credentials"):
        target.open().check()
    with pytest.raises(Denied, match="no AWS credentials"):
        predict(target, {"name": "nobody"})
    target.close()


@pytest.mark.parametrize("said", ["uri", "settings"])
def test_a_role_is_taken_and_taken_anew_before_it_expires(fake: SageMaker, said: str) -> None:
    place: dict[str, Any] = {"uri": f"sagemaker:/us-east-1/{ROLE}"}
    if said == "settings":
        place = {"settings": {"assume_role_arn": ROLE, "external_id": "given"}}
    target = SageMakerHarness(fake, **place)
    adapter = target.open()
    # botocore takes it anew when less than 10 minutes are left
    fake.conduct(role_seconds=300)
    for calls in range(1, 4):
        adapter.check()
        assert fake.counts()["assumed"] == calls
    fake.conduct(role_seconds=3600)
    for _ in range(3):
        adapter.check()
        with pytest.raises(Unreachable, match="not found"):
            predict(target, {"name": "nobody"})
    # once by the adapter, once by the predictions
    assert fake.counts()["assumed"] == 5
    adapter.close()


def test_a_role_that_may_not_be_taken(fake: SageMaker) -> None:
    target = SageMakerHarness(fake, uri=f"sagemaker:/us-east-1/{ROLE}-denied")
    with pytest.raises(Denied, match="AssumeRole"):
        target.open().check()
    with pytest.raises(Denied, match="AssumeRole"):
        predict(target, {"name": "nobody"})
    fake.faults({"kind": "unavailable", "action": "AssumeRole"})
    with pytest.raises(Unreachable, match="AssumeRole"):
        predict(target, {"name": "nobody"})
    target.close()


def test_predicting_imports_no_boto3() -> None:
    code = (
        "import sys; from adapters.contract import *; from adapters.sagemaker.invoke import invoke\n"
        "place = Place('a', 'sagemaker', 'i', '', {'endpoint_url': 'http://127.0.0.1:1'}, 'env:KEYS')\n"
        "try: invoke(place, {'name': 'x'}, Request(b'', 'text/plain'), 1.0)\n"
        "except Unreachable: print('boto3' in sys.modules, 'mlflow' in sys.modules)\n"
    )
    environment = {"KEYS": "a:b", "PATH": ""}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout == "False False\n"
