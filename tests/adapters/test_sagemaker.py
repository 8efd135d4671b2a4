"""The ``sagemaker`` target against a fake SageMaker: what the conformance suite does not ask."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.blocking import bring_about
from adapters.contract import Conflict, Denied, Permanent, Seen, Spec, Temporary
from tests.adapters.harness import change, new_name
from tests.adapters.sagemaker_target import ACCESS_KEY, ROLE, SECRET, Life, SageMakerHarness, variant
from tests.fakes.sagemaker import SageMaker

CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 600,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30},
        }
    }
}


@pytest.fixture(scope="module")
def running() -> Iterator[SageMaker]:
    with SageMaker(looks=2) as fake:
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


@pytest.fixture
def life(target: SageMakerHarness) -> Life:
    return Life(target)


@pytest.fixture
def keeping(fake: SageMaker) -> Iterator[Life]:
    harness = SageMakerHarness(fake, settings={"keep_revisions": 2})
    yield Life(harness)
    harness.close()


def one(model: str, **config: Any) -> Spec:
    return Spec((variant("main", model, **config),), {"main": 100})


def kinds(things: set[str]) -> dict[str, int]:
    return dict(Counter(thing.partition("/")[0] for thing in things))


def calls(fake: SageMaker) -> Counter[str]:
    return Counter(fake.counts()["calls"])


def tags(life: Life) -> dict[str, str]:
    there = life.served()
    assert there is not None
    return dict(life.target.fake.things()["tags"][there["EndpointArn"]])


def test_old_revisions_are_kept_as_the_setting_says_and_then_removed(keeping: Life) -> None:
    for model, there in (("a", 1), ("b", 2), ("c", 3), ("d", 3), ("e", 3)):
        keeping.settle(one(model))
        assert kinds(keeping.things()) == {"endpoints": 1, "configs": there, "models": there}
    keeping.settle(one("d"))
    assert kinds(keeping.things()) == {"endpoints": 1, "configs": 3, "models": 3}
    keeping.settle(None)
    assert keeping.things() == set()


def test_going_back_to_a_revision_that_was_kept_makes_nothing_anew(fake: SageMaker, keeping: Life) -> None:
    keeping.settle(one("a"))
    keeping.settle(one("b"))
    before = fake.counts()["effects"]
    keeping.settle(one("a"))
    after = Counter(fake.counts()["effects"])
    after.subtract(before)
    assert +after == {"UpdateEndpoint": 1}


def test_archive_keeps_everything_until_the_deployment_goes(life: Life) -> None:
    for model in "abc":
        life.settle(one(model, archive=True))
    assert kinds(life.things()) == {"endpoints": 1, "configs": 3, "models": 3}
    life.settle(None)
    assert life.things() == set()


def test_a_model_that_two_revisions_share_is_made_once_and_kept(fake: SageMaker, life: Life) -> None:
    life.settle(one("a"))
    life.settle(one("a", instance_count=2))
    assert fake.counts()["effects"]["CreateModel"] == 1
    assert kinds(life.things()) == {"endpoints": 1, "configs": 1, "models": 1}


def test_the_calls_of_each_verb_are_few(fake: SageMaker, life: Life) -> None:
    """The looks at a change under way are shared listings where many are looked at; here they are single."""
    spent = {}
    for verb, desired in (("create", one("a")), ("update", one("b")), ("delete", None)):
        before = calls(fake)
        asked = change(life.name, life.current, desired, life.placed)
        life.placed = bring_about(life.adapter, asked, 60).handle
        life.current = desired
        spent[verb] = calls(fake)
        spent[verb].subtract(before)
    writes = {
        verb: {a: n for a, n in made.items() if n and not a.startswith(("Desc", "List"))}
        for verb, made in spent.items()
    }
    assert writes == {
        "create": {"CreateModel": 1, "CreateEndpointConfig": 1, "CreateEndpoint": 1},
        "update": {
            "CreateModel": 1,
            "CreateEndpointConfig": 1,
            "UpdateEndpoint": 1,
            "DeleteEndpointConfig": 1,
            "DeleteModel": 1,
        },
        "delete": {"DeleteEndpoint": 1, "DeleteEndpointConfig": 1, "DeleteModel": 1},
    }
    for made in spent.values():
        assert made["ListEndpointConfigs"] == made["ListModels"] == 1
        assert made["DescribeEndpoint"] <= 7
        assert made["ListTags"] == 0


def test_many_are_looked_at_in_listings(fake: SageMaker, target: SageMakerHarness) -> None:
    fake.conduct(looks=None, create_seconds=3600, page_size=4)
    adapter, handles = target.open(), {}
    for _ in range(10):
        life = Life(target)
        handle = life.plan(one("a"))
        while handle["asked"] is None:
            handle = life.step(handle).handle
        handles[life.name] = handle
    before = calls(fake)
    seen = adapter.look_many(handles)
    spent = calls(fake)
    spent.subtract(before)
    assert {name: n for name, n in spent.items() if n} == {"ListEndpoints": 3}
    assert not any(each.needs_write for each in seen.values() if isinstance(each, Seen))
    settled = list(handles)[:2]
    for name in settled:
        fake.release(name, "succeeds")
    before = calls(fake)
    adapter.look_many(handles)
    spent = calls(fake)
    spent.subtract(before)
    listed = {"ListEndpoints": 3, "ListEndpointConfigs": 2, "ListModels": 2}
    assert {name: n for name, n in spent.items() if n} == {**listed, "DescribeEndpoint": 2}


def test_an_update_says_how_it_is_rolled_out(fake: SageMaker, life: Life) -> None:
    life.settle(one("a"))
    life.settle(one("b", deployment_config=CANARY, retain_all_variant_properties=True))
    (sent,) = [call["given"] for call in fake.log("UpdateEndpoint")]
    assert sent["DeploymentConfig"] == CANARY
    assert sent["RetainAllVariantProperties"]
    assert sent["ExcludeRetainedVariantProperties"] == [{"VariantPropertyType": "DesiredWeight"}]


def test_instances_that_scaling_added_are_retained(fake: SageMaker, target: SageMakerHarness, life: Life) -> None:
    life.settle(one("a"))
    capacity = {"VariantName": "main", "DesiredInstanceCount": 7}
    target.as_anybody(
        "UpdateEndpointWeightsAndCapacities", {"EndpointName": life.name, "DesiredWeightsAndCapacities": [capacity]}
    )
    life.settle(one("b", retain_all_variant_properties=True))
    there = life.served()
    assert there is not None
    assert there["ProductionVariants"][0]["CurrentInstanceCount"] == 7


def test_tags_reach_model_configuration_and_endpoint_and_follow_updates(fake: SageMaker, life: Life) -> None:
    life.settle(one("a", tags={"team": "risk", "cost": "1"}))
    everywhere = fake.things()["tags"].values()
    assert [each["team"] for each in everywhere] == ["risk"] * 3
    assert all(each["modelport:uid"] == f"uid-{life.name}" for each in everywhere)
    life.settle(one("b", tags={"team": "fraud"}))
    assert {key: value for key, value in tags(life).items() if not key.startswith("modelport:")} == {"team": "fraud"}
    life.settle(one("c"))
    assert set(tags(life)) == {"modelport:installation", "modelport:uid"}


def test_an_asynchronous_deployment_says_so_in_its_route(life: Life) -> None:
    output = {"OutputConfig": {"S3OutputPath": "s3://models/answers"}}
    assert life.settle(one("a", async_inference_config=output)).route == {"name": life.name, "asynchronous": True}


def test_a_shadow_variant_is_served_beside(life: Life) -> None:
    variants = (variant("main", "a"), variant("shadow", "b", shadow_percent=50))
    life.settle(Spec(variants, {"main": 100, "shadow": 0}))
    there = life.served()
    assert there is not None
    assert [v["VariantName"] for v in there["ShadowProductionVariants"]] == ["shadow"]
    life.settle(one("a"))
    assert kinds(life.things()) == {"endpoints": 1, "configs": 1, "models": 1}


def test_maintenance_by_the_vendor_is_waited_for(fake: SageMaker, life: Life) -> None:
    life.settle(one("a"))
    fake.conduct(looks=None, update_seconds=0)
    fake.maintain(life.name, seconds=3600)
    progress = life.step(life.plan(one("b")))
    assert (progress.outcome, progress.message) == ("again", "the endpoint is SystemUpdating")
    fake.release(life.name, "succeeds")
    assert life.bring(progress.handle).outcome == "done"


def test_an_endpoint_that_failed_is_deleted_and_made_anew(fake: SageMaker, life: Life) -> None:
    fake.faults({"kind": "fails", "action": "CreateEndpoint"})
    assert life.bring(life.plan(one("a"))).outcome == "failed"
    assert life.settle(one("b")).outcome == "done"
    assert fake.counts()["effects"]["DeleteEndpoint"] == 1


def test_over_quota_waits_long_and_says_why(fake: SageMaker, life: Life) -> None:
    fake.faults({"kind": "quota", "action": "CreateModel"})
    with pytest.raises(Temporary, match="ResourceLimitExceeded") as raised:
        life.step(life.plan(one("a")))
    assert raised.value.retry_in == 600


def test_an_update_that_the_vendor_refuses_leaves_nothing(fake: SageMaker, life: Life) -> None:
    life.settle(one("a"))
    things = life.things()
    fake.faults({"kind": "refused", "action": "UpdateEndpoint", "message": "no serverless for you"})
    handle = life.plan(one("b"))
    with pytest.raises(Permanent, match="no serverless for you"):
        life.bring(handle)
    assert life.bring(handle, "back").outcome == "done"
    assert life.things() == things


def test_the_last_lines_of_each_variant(target: SageMakerHarness, life: Life) -> None:
    life.settle(target.split(50, 50))
    adapter, handle = life.adapter, life.placed
    assert adapter.logs(handle, "b", 1) == "b: listening on port 8080"
    assert adapter.logs(handle, None, 10).startswith("==> a <==\na: loading the model\na: listening")
    life.settle(None)
    assert adapter.logs(handle, None, 10) == ""


def test_what_other_clients_of_the_account_do_is_seen(target: SageMakerHarness, life: Life) -> None:
    life.settle(target.split(80, 20))
    weights = [{"VariantName": "a", "DesiredWeight": 1}, {"VariantName": "b", "DesiredWeight": 1}]
    given = {"EndpointName": life.name, "DesiredWeightsAndCapacities": weights}
    target.as_anybody("UpdateEndpointWeightsAndCapacities", given)
    assert life.settle(target.split(80, 20)).outcome == "done"
    there = life.served()
    assert there is not None
    assert {v["VariantName"]: v["CurrentWeight"] for v in there["ProductionVariants"]} == {"a": 80, "b": 20}


def test_a_name_that_differs_in_case_alone_is_the_same_endpoint(fake: SageMaker, target: SageMakerHarness) -> None:
    lower, upper = Life(target, "casing"), Life(target, "CASING")
    lower.settle(one("a"))
    handle = upper.plan(one("b"))
    with pytest.raises(Conflict, match="differs in case alone"):
        upper.bring(handle)
    assert upper.bring(handle, "back").outcome == "done"
    assert upper.things() == set()
    assert lower.served() is not None


def test_no_secret_is_in_handles_words_or_on_the_target(fake: SageMaker, life: Life) -> None:
    fake.conduct(keys={ACCESS_KEY: SECRET})
    progress = life.settle(one("a"))
    fake.faults({"kind": "denied", "action": "UpdateEndpoint"})
    handle = life.plan(one("b"))
    with pytest.raises(Denied) as raised:
        life.bring(handle)
    told = json.dumps([progress.handle, handle, fake.things(), fake.log()]) + str(raised.value)
    assert SECRET not in told
    assert ACCESS_KEY not in json.dumps([progress.handle, handle]) + str(raised.value)
    assert "***" in str(raised.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"region_name": "eu-west-1"}, "region_name is eu-west-1, and target aws has us-east-1"),
        ({"assume_role_arn": ROLE}, "assume_role_arn"),
        ({"variant_name": "other"}, "variant_name"),
    ],
)
def test_what_another_target_has_is_refused_when_the_operation_starts(
    target: SageMakerHarness, config: dict[str, str], told: str
) -> None:
    with pytest.raises(Permanent, match=told):
        target.open().resolve(one("a", **config))


def test_what_a_revision_does_not_name_is_fixed_when_it_starts(target: SageMakerHarness) -> None:
    resolved = target.open().resolve(one("a"))
    assert resolved.variants[0].config["execution_role_arn"] == ROLE
    assert resolved.variants[0].config["image_url"].endswith("mlflow-pyfunc:3")


def test_a_target_that_is_not_there_is_temporary(fake: SageMaker) -> None:
    harness = SageMakerHarness(fake, settings={"endpoint_url": "http://127.0.0.1:1"})
    adapter = harness.open()
    with pytest.raises(Temporary, match="ListEndpoints"):
        adapter.check()
    handle = Life(harness, new_name()).plan(one("a"))
    with pytest.raises(Temporary):
        adapter.look_many({"a": handle})
    harness.close()
