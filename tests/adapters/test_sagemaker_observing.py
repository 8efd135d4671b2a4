"""What the ``sagemaker`` target sees of an account, and how it takes over what somebody else made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.contract import Conflict, Observed, Spec
from tests.adapters.harness import change, new_name
from tests.adapters.sagemaker_target import ACCESS_KEY, SECRET, Life, SageMakerHarness, variant
from tests.fakes.sagemaker import SageMaker


@pytest.fixture(scope="module")
def running() -> Iterator[SageMaker]:
    with SageMaker(create_seconds=0, update_seconds=0, weights_seconds=0, delete_seconds=0) as fake:
        yield fake


@pytest.fixture
def fake(running: SageMaker, monkeypatch: pytest.MonkeyPatch) -> SageMaker:
    running.reset()
    monkeypatch.setenv("SAGEMAKER_TEST_KEYS", f"{ACCESS_KEY}:{SECRET}")
    return running


@pytest.fixture
def target(fake: SageMaker) -> Iterator[SageMakerHarness]:
    harness = SageMakerHarness(fake)
    yield harness
    harness.close()


def spent(fake: SageMaker, before: dict[str, int]) -> dict[str, int]:
    calls = Counter(fake.counts()["calls"])
    calls.subtract(before)
    return {name: number for name, number in calls.items() if number}


def observed(life: Life) -> Observed:
    return next(each for each in life.adapter.observe_all() if each.name == life.name)


def found(life: Life) -> Spec:
    """What is there and nobody owns, as the core finds it when it is asked to adopt it."""
    seen = observed(life)
    assert seen.uid is None
    assert seen.spec is not None
    return seen.spec


def test_thousands_are_observed_in_listings_and_what_changed(fake: SageMaker, target: SageMakerHarness) -> None:
    many = 1200
    fake.populate(many, "conformance", ending="-0123456789-0123456789ab-012345")
    life = Life(target)
    life.settle(target.spec("a"))
    adapter = target.open()
    before = fake.counts()["calls"]
    assert sum(each.uid is not None for each in adapter.observe_all()) == many + 1
    assert spent(fake, before) == {"ListEndpoints": 13, "GetResources": 13, "DescribeEndpoint": many + 1}
    before = fake.counts()["calls"]
    assert len(list(adapter.observe_all())) == many + 1
    assert spent(fake, before) == {"ListEndpoints": 13, "GetResources": 13}
    life.settle(target.spec("b"))
    before = fake.counts()["calls"]
    list(adapter.observe_all())
    assert spent(fake, before) == {"ListEndpoints": 13, "GetResources": 13, "DescribeEndpoint": 1}


def test_what_serves_is_told_by_its_content_and_traffic(target: SageMakerHarness) -> None:
    life = Life(target)
    placed = life.settle(target.split(80, 20)).handle
    assert observed(life).content == placed["content"]
    assert observed(life).detail["traffic"] == {"a": 80, "b": 20}
    weights = [{"VariantName": "b", "DesiredWeight": 80}]
    given = {"EndpointName": life.name, "DesiredWeightsAndCapacities": weights}
    target.as_anybody("UpdateEndpointWeightsAndCapacities", given)
    drifted = observed(life)
    assert drifted.content != placed["content"]
    assert drifted.detail["traffic"] == {"a": 50, "b": 50}


def test_what_failed_serves_nothing_and_says_why(fake: SageMaker, target: SageMakerHarness) -> None:
    life = Life(target)
    life.bring(life.plan(target.broken()))
    seen = observed(life)
    assert (seen.status, seen.content, seen.route) == ("Failed", None, None)
    assert seen.detail["failure"] == target.failure_words


def test_tags_that_the_listing_does_not_show_yet_are_asked_for(fake: SageMaker, target: SageMakerHarness) -> None:
    life = Life(target)
    life.settle(target.spec("a"))
    fake.conduct(tagging_lags=True)
    assert observed(life).uid == f"uid-{life.name}"


def test_what_another_installation_made_is_theirs(fake: SageMaker, target: SageMakerHarness) -> None:
    life = Life(target)
    life.settle(target.spec("a"))
    other = SageMakerHarness(fake, installation="another").open()
    for _ in range(2):
        before = fake.counts()["calls"]
        (seen,) = other.observe_all()
        assert (seen.uid, seen.spec) == (None, None)
        asked = spent(fake, before).get("ListTags", 0)
    assert asked == 0
    other.close()


@pytest.mark.parametrize("kind", ["update", "delete", "nothing"])
def test_what_somebody_made_is_adopted_as_it_is_and_then_managed(
    fake: SageMaker, target: SageMakerHarness, kind: str
) -> None:
    life = Life(target, new_name())
    target.plant(life.name, team="risk")
    spec = found(life)
    assert spec.to_json() == {
        "variants": [
            {
                "name": "theirs",
                "model_uri": "s3://models/theirs.tar.gz",
                "flavor": None,
                "config": {
                    "image_url": "image:1",
                    "execution_role_arn": "arn:aws:iam::123456789012:role/execution",
                    "env": {"A": "b"},
                    "instance_type": "ml.m5.large",
                    "instance_count": 2,
                },
            }
        ],
        "traffic": {"theirs": 100},
    }
    before, there = fake.counts()["effects"], life.served()
    adopted = life.bring(life.plan(spec, adopt=True))
    assert (adopted.outcome, adopted.route) == ("done", {"name": life.name})
    assert life.served() == there
    assert {n: v for n, v in Counter(fake.counts()["effects"]).items() if v != before.get(n, 0)} == {"AddTags": 1}
    life.current, life.placed = spec, adopted.handle
    assert (observed(life).uid, observed(life).content) == (f"uid-{life.name}", adopted.handle["content"])
    if kind == "nothing":
        writes = target.count().writes
        assert life.settle(spec).outcome == "done"
        assert target.count().writes == writes
    elif kind == "update":
        life.settle(target.spec("b"))
        assert [call["given"]["ModelName"] for call in fake.log("DeleteModel")] == []
        life.settle(None)
    else:
        life.settle(None)
    theirs = fake.things()
    assert theirs["models"] == [f"{life.name}-m"]
    assert theirs["configs"] == [f"{life.name}-c"]


def test_an_update_of_what_was_adopted_goes_back_to_it(fake: SageMaker, target: SageMakerHarness) -> None:
    life = Life(target, new_name())
    target.plant(life.name)
    spec = found(life)
    life.current, life.placed = spec, life.bring(life.plan(spec, adopt=True)).handle
    failed = life.bring(life.plan(target.broken()))
    assert failed.outcome == "failed"
    assert life.bring(failed.handle, "back").outcome == "done"
    there = life.served()
    assert there is not None
    assert there["EndpointConfigName"] == f"{life.name}-c"
    assert life.things() == {f"endpoints/{life.name}"}


def test_adopting_twice_and_taking_it_back(fake: SageMaker, target: SageMakerHarness) -> None:
    life = Life(target, new_name())
    target.plant(life.name)
    handle = life.plan(found(life), adopt=True)
    assert life.bring(handle, "back").outcome == "done"
    assert observed(life).uid is None
    assert life.bring(handle).outcome == "done"
    assert life.bring(handle).outcome == "done"
    assert fake.counts()["effects"]["AddTags"] == 1


def test_what_has_another_owner_or_is_gone_is_not_adopted(fake: SageMaker, target: SageMakerHarness) -> None:
    life = Life(target, new_name())
    target.plant(life.name, **{"modelport:installation": "another", "modelport:uid": "x"})
    spec = target.spec("a")
    with pytest.raises(Conflict, match="another owner"):
        life.bring(life.plan(spec, adopt=True))
    gone = Life(target, new_name())
    assert gone.bring(gone.plan(spec, adopt=True)).outcome == "failed"


FULL: dict[str, Any] = {
    "env": {"A": "1"},
    "instance_count": 3,
    "vpc_config": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
    "data_capture_config": {
        "InitialSamplingPercentage": 10,
        "DestinationS3Uri": "s3://captured/here",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    },
    "kms_key": "alias/endpoint",
    "volume_size": 100,
    "model_data_download_timeout": 1200,
    "enable_network_isolation": True,
}


@pytest.mark.parametrize(
    "config",
    [
        {},
        FULL,
        {"async_inference_config": {"OutputConfig": {"S3OutputPath": "s3://models/answers"}}},
        {"container_mode": "MultiModel"},
    ],
)
def test_what_is_read_back_comes_to_the_same_requests(target: SageMakerHarness, config: dict[str, Any]) -> None:
    """Also of what modelport made, once its marks are gone: reading is the reverse of asking."""
    life = Life(target)
    handle = life.settle(Spec((variant("main", "a", **config),), {"main": 100})).handle
    there = life.served()
    assert there is not None
    keys = ["modelport:installation", "modelport:uid"]
    target.as_anybody("DeleteTags", {"ResourceArn": there["EndpointArn"], "TagKeys": keys})
    again = life.adapter.plan(change(life.name, None, found(life)))
    assert again["desired"]["request"] == handle["desired"]["request"]
    assert again["desired"]["models"] == handle["desired"]["models"]


def test_what_is_more_than_the_config_can_say_is_not_adopted(target: SageMakerHarness) -> None:
    life = Life(target, new_name())
    containers = [{"Image": f"image:{n}", "ContainerHostname": f"c{n}"} for n in (1, 2)]
    role = "arn:aws:iam::123456789012:role/execution"
    target.as_anybody("CreateModel", {"ModelName": "many", "Containers": containers, "ExecutionRoleArn": role})
    described = {"VariantName": "v", "ModelName": "many", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    target.as_anybody("CreateEndpointConfig", {"EndpointConfigName": "many", "ProductionVariants": [described]})
    target.as_anybody("CreateEndpoint", {"EndpointName": life.name, "EndpointConfigName": "many"})
    seen = observed(life)
    assert (seen.uid, seen.spec) == (None, None)
