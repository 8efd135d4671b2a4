"""A second opinion: what moto has of SageMaker, driven by the same adapter. It has no updates and no transitions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.contract import Change, Place, Spec, Variant
from adapters.sagemaker.adapter import SageMakerAdapter, open_adapter
from adapters.sagemaker.calls import Calls
from adapters.sagemaker.naming import Owner
from tests.adapters.harness import Count, Habit, drive

ROLE = "arn:aws:iam::123456789012:role/execution"
SERVER = """
import json, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(json.dumps(server.get_host_and_port()), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        host, port = json.loads(server.stdout.readline())
        yield f"http://{host}:{port}"
        server.communicate(timeout=30)


@pytest.fixture
def place(url: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("SAGEMAKER_TEST_KEYS", "a:b")
    settings = {"endpoint_url": url, "execution_role_arn": ROLE, "image_url": "image:1", "look_seconds": 0.02}
    return Place("aws", "sagemaker:/us-east-1", "here", "", settings, "env:SAGEMAKER_TEST_KEYS")


@pytest.fixture
def adapter(place: Place) -> Iterator[SageMakerAdapter]:
    adapter = open_adapter(place)
    yield adapter
    adapter.close()


@pytest.fixture
def calls(place: Place) -> Iterator[Calls]:
    calls = Calls(place)
    yield calls
    calls.close()


class Counting:
    """What the loop of the conformance suite needs of a target that counts nothing."""

    deadline_seconds = 60.0

    def __init__(self, adapter: SageMakerAdapter) -> None:
        self.adapter = adapter

    def open(self) -> SageMakerAdapter:
        return self.adapter

    def count(self) -> Count:
        return Count(0, 0, 0)


def bring(adapter: SageMakerAdapter, name: str, desired: Spec | None, habit: Habit = "once") -> Any:
    change = Change("here", f"uid-{name}", name, None, desired, {})
    end = drive(Counting(adapter), adapter.plan(change), habit=habit)  # type: ignore[arg-type]  # all that it uses
    assert end.progress is not None
    assert end.progress.outcome == "done", end.progress
    return end.progress


def spec(**config: Any) -> Spec:
    return Spec((Variant("main", "s3://models/a.tar.gz", None, config),), {"main": 100})


def test_create_describe_list_tag_and_delete(adapter: SageMakerAdapter, calls: Calls) -> None:
    made = bring(adapter, "churn", spec(tags={"team": "risk"}, instance_type="ml.m5.xlarge"))
    assert made.route == {"name": "churn"}
    owner = Owner("here", "uid-churn", "churn")
    described = calls.endpoint("churn")
    assert described is not None
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", made.handle["live"])
    assert calls.configs(owner.mark) == [made.handle["live"]]
    assert calls.models(owner.mark) == list(made.handle["desired"]["models"])
    assert calls.tags(described["EndpointArn"]) == {**owner.tags, "team": "risk"}
    calls.tag(described["EndpointArn"], {"more": "x"})
    calls.untag(described["EndpointArn"], ["team"])
    assert calls.tags(described["EndpointArn"]) == {**owner.tags, "more": "x"}
    (seen,) = adapter.observe_all()
    assert (seen.uid, seen.content) == ("uid-churn", made.handle["content"])
    bring(adapter, "churn", None)
    assert calls.endpoint("churn") is None
    assert calls.configs(owner.mark) == calls.models(owner.mark) == []


@pytest.mark.parametrize("habit", ["twice", "forgetful", "elsewhere"])
def test_a_life_however_the_engine_fares(adapter: SageMakerAdapter, calls: Calls, habit: Habit) -> None:
    bring(adapter, "habits", spec(), habit)
    assert calls.endpoint("habits") is not None
    bring(adapter, "habits", None, habit)
    mark = Owner("here", "uid-habits", "habits").mark
    assert calls.endpoint("habits") is None
    assert calls.configs(mark) == calls.models(mark) == []


def test_lists_come_in_pages(adapter: SageMakerAdapter, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.sagemaker.calls.PAGE", 2)
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        bring(adapter, name, spec())
    assert [each["EndpointName"] for each in calls.endpoints()] == names
    for name in names:
        bring(adapter, name, None)
    assert list(calls.endpoints()) == []


def test_what_is_absent_is_absent_there_too(calls: Calls) -> None:
    assert calls.endpoint("nobody") is None
    assert calls.config("nobody") is None
    assert calls.model("nobody") is None
    calls.delete_config("nobody")
    calls.delete_model("nobody")
    assert not calls.has_object("s3://nobody/nothing")
