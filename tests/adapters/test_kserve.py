"""What is KServe's own about its target: both modes, canaries, what landed means, and whose fields are whose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.contract import Conflict, Denied, Handle, Permanent, Progress, Seen, Spec, Temporary
from adapters.kserve.goals import DIGEST, goal
from tests.adapters.harness import change, eventually, look, new_name, through_json
from tests.adapters.kserve_target import TOKEN, VARIABLE, KServeHarness, Life, theirs, variant
from tests.fakes.kubernetes import NAMESPACE, Kubernetes

PATH = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices"
A, B, C = (f"s3://models/{which}" for which in "abc")


@pytest.fixture(scope="module")
def running() -> Iterator[Kubernetes]:
    with Kubernetes(seconds=1, looks=2) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> Kubernetes:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    return running


@pytest.fixture
def target(cluster: Kubernetes) -> Iterator[KServeHarness]:
    harness = KServeHarness(cluster)
    yield harness
    harness.close()


@pytest.fixture
def life(target: KServeHarness) -> Life:
    return Life(target)


@pytest.fixture(params=["Standard", "Knative"])
def mode(cluster: Kubernetes, request: pytest.FixtureRequest) -> str:
    cluster.conduct(mode=request.param)
    return str(request.param)


def there(life: Life) -> dict[str, Any]:
    return dict(life.target.cluster.objects("inferenceservices")[life.name])


def kubectl(life: Life, spec: dict[str, Any]) -> None:
    """Somebody changes it, not by us."""
    answer = life.target.cluster.request(
        "PATCH", f"{PATH}/{life.name}", {"spec": spec}, **{"Content-Type": "application/merge-patch+json"}
    )
    answer.raise_for_status()


def begun(life: Life, desired: Spec | None) -> Progress:
    """A change whose first write was accepted."""
    progress = Progress(life.plan(desired), "again")
    written = life.effects()
    while life.effects() == written:
        progress = life.step(through_json(progress.handle))
    return progress


def content(life: Life) -> str | None:
    return next(each.content for each in life.adapter.observe_all() if each.name == life.name)


def test_ready_alone_is_not_landed(cluster: Kubernetes, life: Life, mode: str, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    cluster.faults({"kind": "stuck", "verb": "APPLY"})
    progress = begun(life, target.spec("b"))
    for _ in range(4):
        progress = life.step(through_json(progress.handle))
    conditions = {each["type"]: each["status"] for each in there(life)["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    assert progress.outcome == "again"
    assert cluster.serving(life.name) == {A: 100}


def test_what_was_asked_for_is_what_is_applied(life: Life, cluster: Kubernetes) -> None:
    config = {
        "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "nvidia.com/gpu": "1"}},
        "env": {"LOG_LEVEL": "debug", "HF_TOKEN": "{{secrets/hub/token}}"},
        "service_account": "models",
        "node_selector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule", "toleration_seconds": 60}],
        "labels": {"team": "fraud"},
        "annotations": {"autoscaling.knative.dev/target": "10"},
        "runtime": "kserve-mlserver",
        "min_replicas": 2,
        "max_replicas": 5,
        "scale_metric": "cpu",
        "scale_target": 70,
        "timeout_seconds": 30,
        "deployment_mode": "Standard",
    }
    life.settle(Spec((variant("main", "a", **config),), {"main": 100}))
    shown = there(life)
    predictor, model = shown["spec"]["predictor"], shown["spec"]["predictor"]["model"]
    assert model["resources"] == config["resources"]
    assert model["env"] == [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        {"name": "LOG_LEVEL", "value": "debug"},
    ]
    assert (model["modelFormat"], model["protocolVersion"], model["storageUri"]) == ({"name": "mlflow"}, "v2", A)
    assert predictor["tolerations"] == [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 60}
    ]
    numbers = {key: predictor[key] for key in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout")}
    assert numbers == {"minReplicas": 2, "maxReplicas": 5, "scaleMetric": "cpu", "scaleTarget": 70, "timeout": 30}
    assert (predictor["serviceAccountName"], predictor["nodeSelector"]) == ("models", {"pool": "gpu"})
    assert shown["metadata"]["labels"] == {"team": "fraud"}
    assert shown["metadata"]["annotations"]["autoscaling.knative.dev/target"] == "10"
    (deployment,) = cluster.objects("deployments").values()
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "fraud"
    managers = {(each["manager"], each["operation"]) for each in shown["metadata"]["managedFields"]}
    assert managers == {("modelport", "Apply")}


def test_what_is_asked_for_no_more_is_taken_away(life: Life) -> None:
    before = variant("main", "a", node_selector={"pool": "gpu"}, labels={"team": "fraud"}, max_replicas=4)
    life.settle(Spec((before,), {"main": 100}))
    life.settle(Spec((variant("main", "a"),), {"main": 100}))
    predictor = there(life)["spec"]["predictor"]
    assert {"nodeSelector", "maxReplicas"} & predictor.keys() == set()
    assert there(life)["metadata"].get("labels") in (None, {})


@pytest.mark.parametrize("asked", ["Standard", "Knative", "RawDeployment", "Serverless"])
def test_the_deployment_mode_is_that_of_the_create_and_never_rewritten(
    life: Life, target: KServeHarness, asked: str
) -> None:
    life.settle(target.spec("a", deployment_mode=asked))
    note = there(life)["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
    life.settle(target.spec("b"))
    assert there(life)["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == note
    assert there(life)["status"]["deploymentMode"] == {"RawDeployment": "Standard", "Serverless": "Knative"}.get(
        asked, asked
    )


def test_another_mode_is_refused_before_anything_is_written(life: Life, target: KServeHarness) -> None:
    life.settle(target.spec("a", deployment_mode="Knative"))
    written = target.count().writes
    with pytest.raises(Permanent, match="is in Knative mode, which cannot be changed"):
        life.step(life.plan(target.spec("b", deployment_mode="Standard")))
    assert target.count().writes == written


# canaries


def test_a_split_is_in_force_when_it_is_said_to_be(life: Life, mode: str, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    life.settle(target.split(80, 20))
    assert target.models(life.name) == {A: 80, B: 20}
    life.settle(target.split(30, 70))
    assert target.models(life.name) == {A: 30, B: 70}


def test_a_change_of_traffic_alone_restarts_nothing(life: Life, target: KServeHarness, cluster: Kubernetes) -> None:
    cluster.conduct(mode="Knative")
    life.settle(target.split(80, 20))
    revisions = set(cluster.objects("revisions"))
    life.settle(target.split(30, 70))
    assert set(cluster.objects("revisions")) == revisions


Ways = list[tuple[str, Callable[[KServeHarness], Spec]]]
WAYS: Ways = [
    ("to the canary", lambda t: Spec((variant("b", "b"),), {"b": 100})),
    ("back to the base", lambda t: Spec((variant("a", "a"),), {"a": 100})),
    ("to another model", lambda t: Spec((variant("c", "c"),), {"c": 100})),
    ("to another canary", lambda t: Spec((variant("a", "a"), variant("c", "c")), {"a": 60, "c": 40})),
    ("to two others", lambda t: Spec((variant("c", "c"), variant("d", "d")), {"c": 60, "d": 40})),
    ("to a share of all", lambda t: t.split(0, 100)),
    ("to a share of none", lambda t: t.split(100, 0)),
]


@pytest.mark.parametrize(("way", "asked"), WAYS, ids=[way for way, _ in WAYS])
def test_from_a_split_without_a_moment_in_which_nothing_serves(
    life: Life, mode: str, target: KServeHarness, way: str, asked: Callable[[KServeHarness], Spec]
) -> None:
    life.settle(target.split(80, 20))
    desired, handle = asked(target), None
    seen: list[dict[str, int]] = []
    progress = Progress(life.plan(desired), "again")
    while progress.outcome == "again":
        progress = life.step(through_json(progress.handle))
        seen.append(target.models(life.name))
        handle = progress.handle
    assert (progress.outcome, handle is not None) == ("done", True), progress.message
    assert all(sum(shares.values()) == 100 for shares in seen), seen
    wanted = {each.model_uri: desired.traffic[each.name] for each in desired.variants if desired.traffic[each.name]}
    assert {model: share for model, share in target.models(life.name).items() if share} == wanted
    assert content(life) == life.plan(desired)["content"]
    left = set(target.cluster.objects("deployments", f"serving.kserve.io/inferenceservice={life.name}"))
    assert len(left) == (len(desired.variants) if mode == "Standard" else 0)


def test_a_canary_does_not_get_traffic_while_it_starts(life: Life, target: KServeHarness) -> None:
    """Back to the base in Knative mode, whose latest target is the latest ready revision: the canary's."""
    target.cluster.conduct(mode="Knative")
    life.settle(target.split(80, 20))
    target.cluster.faults({"kind": "stuck", "verb": "APPLY"})
    progress = begun(life, Spec((variant("a", "a"),), {"a": 100}))
    for _ in range(3):
        progress = life.step(through_json(progress.handle))
    assert {model: share for model, share in target.models(life.name).items() if share} == {A: 100}


@pytest.mark.parametrize("conduct", [{"splits": False}, {"gateway_api": False}], ids=["old KServe", "no Gateway API"])
def test_a_cluster_that_does_not_split_is_found_out_and_the_change_taken_back(
    cluster: Kubernetes, conduct: dict[str, Any]
) -> None:
    cluster.conduct(**conduct)
    target = KServeHarness(cluster, {"stalled_looks": 3})
    life = Life(target)
    life.settle(target.spec("a"))
    failed = life.bring(life.plan(target.split(80, 20)))
    assert failed.outcome == "failed"
    assert "the cluster does not split traffic: 20 % were asked for and the routes give 0 %" in failed.message
    assert life.bring(failed.handle, "back").outcome == "done"
    assert "canary" not in there(life)["spec"]
    assert content(life) == life.plan(target.spec("a"))["content"]


def test_a_canary_gets_no_autoscaling_and_no_more_replicas_than_the_other(life: Life) -> None:
    config = {"min_replicas": 3, "max_replicas": 6, "scale_metric": "cpu", "scale_target": 50}
    pair = (variant("a", "a"), variant("b", "b", **config))
    life.settle(Spec(pair, {"a": 90, "b": 10}))
    (canary,) = there(life)["spec"]["canary"]
    assert {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"} & canary["predictor"].keys() == set()
    assert content(life) == life.plan(Spec(pair, {"a": 90, "b": 10}))["content"]
    life.settle(Spec((pair[1],), {"b": 100}))
    assert there(life)["spec"]["predictor"]["maxReplicas"] == 6


def test_several_variants_are_checked_as_a_dry_run_before_one_comes_up(
    life: Life, target: KServeHarness, cluster: Kubernetes
) -> None:
    wrong = Spec((variant("a", "a"), variant("b", "b", annotations={"bad": "x"})), {"a": 50, "b": 50})
    assert life.adapter.resolve(wrong) == wrong
    assert cluster.counts()["calls"] == {"DRY_APPLY": 2}
    assert cluster.objects("inferenceservices") == {}


# failures


def test_a_failure_quotes_kserves_own_words(life: Life, mode: str, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    failed = life.bring(life.plan(target.broken()))
    assert failed.message == "ModelLoadFailed: RuntimeError: no weights in the cellar"
    assert target.models(life.name) == {A: 100}


def test_a_failure_of_before_is_not_taken_for_one_of_now(life: Life, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    failed = life.bring(life.plan(target.broken()))
    assert failed.outcome == "failed"
    # nobody takes it back; the status still tells of it when the next change begins
    assert life.bring(life.plan(target.spec("b"))).outcome == "done"


def test_a_canary_that_does_not_start_is_told_by_its_deployment(life: Life, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    asked = Spec((variant("main", "a"), variant("b", "broken")), {"main": 90, "b": 10})
    failed = life.bring(life.plan(asked))
    assert failed.outcome == "failed"
    assert "ProgressDeadlineExceeded" in failed.message
    assert "no weights in the cellar" in failed.message
    assert life.bring(failed.handle, "back").outcome == "done"
    assert target.models(life.name) == {A: 100}


# whose fields are whose


def test_what_changed_since_the_look_is_not_overwritten(life: Life, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    handle = life.plan(target.spec("b"))
    old = look(target, life.adapter, handle)
    kubectl(life, {"predictor": {"minReplicas": 3}})
    refused = life.step(handle, seen=old)
    assert (refused.outcome, "the object has been modified" in refused.message) == ("again", True)
    assert there(life)["spec"]["predictor"]["model"]["storageUri"] == A
    assert life.bring(refused.handle).outcome == "done"


def test_a_late_delete_hits_nothing_that_was_made_since(life: Life, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    lost = life.plan(None)
    old = look(target, life.adapter, lost)
    life.settle(None)
    life.settle(target.spec("b"))
    assert life.step(lost, seen=old).outcome == "again"
    assert target.models(life.name) == {B: 100}


def test_something_made_in_between_is_not_taken_over(life: Life, target: KServeHarness) -> None:
    handle = life.plan(target.spec("a"))
    old = look(target, life.adapter, handle)
    target.cluster.plant("inferenceservices", life.name, theirs())
    life.step(handle, seen=old)
    assert there(life)["spec"]["predictor"]["model"]["storageUri"] == "s3://models/theirs"
    with pytest.raises(Conflict, match="is not ours"):
        life.step(handle)


def test_drift_is_seen_and_put_right(life: Life, mode: str, target: KServeHarness) -> None:
    a = target.spec("a", resources={"requests": {"cpu": "1000m"}})
    life.settle(a)
    planned = life.plan(a)["content"]
    assert content(life) == planned
    kubectl(life, {"predictor": {"minReplicas": 2, "model": {"storageUri": "s3://models/wild"}}})
    assert content(life) != planned
    life.settle(a)
    assert content(life) == planned
    assert there(life)["spec"]["predictor"]["model"]["storageUri"] == A


def test_a_quantity_that_is_written_otherwise_is_no_drift(life: Life, target: KServeHarness) -> None:
    a = target.spec("a", resources={"requests": {"cpu": "1000m", "memory": "1024Mi"}})
    life.settle(a)
    kubectl(life, {"predictor": {"model": {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}}})
    assert content(life) == life.plan(a)["content"]


def test_more_by_others_is_left_alone(life: Life, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    kubectl(life, {"predictor": {"scaleMetric": "memory"}})
    assert content(life) == life.plan(target.spec("a"))["content"]
    life.settle(target.spec("b"))
    assert there(life)["spec"]["predictor"]["scaleMetric"] == "memory"


def test_deleting_is_done_when_it_is_gone(life: Life, cluster: Kubernetes, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    cluster.faults({"kind": "stuck", "verb": "DELETE"})
    progress = begun(life, None)
    for _ in range(8):
        progress = life.step(through_json(progress.handle))
        assert (progress.outcome, progress.message) == ("again", "is being deleted")
    assert life.name in cluster.objects("inferenceservices")


def test_a_create_waits_for_the_end_of_the_one_before(life: Life, cluster: Kubernetes, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    cluster.faults({"kind": "stuck", "verb": "DELETE"})
    begun(life, None)
    life.current, life.placed = None, {}
    progress = life.step(life.plan(target.spec("b")))
    assert progress.message == "waits until the one before is gone"


def test_an_unknown_past_takes_nothing_away(life: Life, target: KServeHarness) -> None:
    life.settle(target.spec("a"))
    life.current = None
    assert life.bring(life.plan(target.spec("b")), "back").outcome == "done"
    assert target.models(life.name) == {A: 100}


# adopting


def adopted(life: Life, spec: Spec) -> Handle:
    return through_json(life.adapter.plan(replace(change(life.name, None, spec), adopt=True)))


def test_adopting_marks_what_is_there_and_it_goes_on_serving(life: Life, mode: str, target: KServeHarness) -> None:
    target.cluster.plant("inferenceservices", life.name, theirs())
    wild = "s3://models/theirs"
    eventually(lambda: target.models(life.name), lambda shares: shares == {wild: 100})
    found = next(each for each in life.adapter.observe_all() if each.name == life.name)
    assert (found.uid, found.spec is not None) == (None, True)
    assert found.spec is not None
    handle = adopted(life, found.spec)
    seen, progress = [], Progress(handle, "again")
    while progress.outcome == "again":
        progress = life.step(through_json(progress.handle))
        seen.append(target.models(life.name))
    assert (progress.outcome, progress.message) == ("done", "adopted")
    assert all(shares == {wild: 100} for shares in seen)
    assert there(life)["spec"]["predictor"]["minReplicas"] == 2
    ours = next(each for each in life.adapter.observe_all() if each.name == life.name)
    assert (ours.uid, ours.content) == (life.uid, handle["content"])
    kubectl(life, {"predictor": {"minReplicas": 5}})
    assert content(life) != handle["content"]
    life.current, life.placed = found.spec, progress.handle
    life.settle(target.spec("b"))
    assert target.models(life.name) == {B: 100}


def test_an_adoption_can_be_taken_back_without_touching_it(life: Life, target: KServeHarness) -> None:
    target.cluster.plant("inferenceservices", life.name, theirs())
    spec = next(each.spec for each in life.adapter.observe_all() if each.name == life.name)
    assert spec is not None
    before = there(life)
    assert life.bring(adopted(life, spec), "back").outcome == "done"
    assert there(life) == before


def test_what_has_another_owner_is_not_adopted(life: Life, target: KServeHarness) -> None:
    target.occupy(life.name)
    with pytest.raises(Conflict, match="another owner"):
        life.step(adopted(life, target.spec("a")))


def test_what_nobody_could_ask_for_is_shown_without_a_specification(life: Life, target: KServeHarness) -> None:
    target.cluster.plant("inferenceservices", life.name, {"predictor": {"model": {"modelFormat": {"name": "x"}}}})
    found = next(each for each in life.adapter.observe_all() if each.name == life.name)
    assert found.spec is None


# reading


def test_many_are_looked_at_with_one_list_of_each_kind(cluster: Kubernetes, mode: str) -> None:
    target = KServeHarness(cluster, {"list_page_size": 2})
    adapter = target.open()
    handles = {}
    for _ in range(5):
        life = Life(target)
        life.settle(target.spec("a"))
        handles[life.name] = life.plan(target.spec("a"))
    before = cluster.counts()["kinds"]
    seen = adapter.look_many(handles)
    assert not any(each.needs_write for each in seen.values() if isinstance(each, Seen))
    asked = {kind: count - before.get(kind, 0) for kind, count in cluster.counts()["kinds"].items()}
    children = "deployments" if mode == "Standard" else "revisions"
    assert {kind: count for kind, count in asked.items() if count} == {
        "LIST inferenceservices": 3,
        f"LIST {children}": 3,
    }


def test_one_unreadable_does_not_hide_the_others(cluster: Kubernetes, target: KServeHarness) -> None:
    names = [new_name() for _ in range(2)]
    cluster.faults({"kind": "unavailable", "verb": "GET", "name": names[0], "count": None})
    adapter = target.open()
    seen = adapter.look_many({name: adapter.plan(change(name, None, target.spec("a"))) for name in names})
    assert isinstance(seen[names[0]], Temporary)
    assert isinstance(seen[names[1]], Seen)


def test_logs_are_those_of_the_variants_pods(life: Life, target: KServeHarness) -> None:
    handle = life.settle(target.split(80, 20)).handle
    told = life.adapter.logs(handle, None, 1)
    assert told == f"==> a <==\n{life.name}-predictor line 3\n==> b <==\n{life.name}-second-predictor line 3"
    assert life.adapter.logs(handle, "b", 1) == f"{life.name}-second-predictor line 3"


def test_a_check_tells_who_may_not_make_anything(cluster: Kubernetes, target: KServeHarness) -> None:
    assert target.open().check() == "the cluster answers; InferenceServices can be made in namespace ml"
    assert cluster.objects("inferenceservices") == {}
    cluster.faults({"kind": "denied", "verb": "LIST"})
    with pytest.raises(Denied, match=r"User Bearer \*\*\* cannot") as raised:
        target.open().check()
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("uri", ["models:/iris/1", "runs:/1/model", "/tmp/model"])
def test_a_model_that_kserve_cannot_read_is_refused_at_once(life: Life, uri: str) -> None:
    asked = replace(variant("main", "a"), model_uri=uri)
    with pytest.raises(Permanent, match=r"variant main: .* is no storage URI that KServe can read"):
        life.adapter.resolve(Spec((asked,), {"main": 100}))


def test_digests_are_of_all_that_was_asked() -> None:
    digests = set()
    for config in ({}, {"env": {"A": "1"}}, {"min_replicas": 2}, {"runtime": "x"}):
        planned = goal(Spec((variant("main", "a", **config),), {"main": 100}))
        assert planned is not None
        digests.add(planned["predictors"]["main"]["annotations"][DIGEST])
    assert len(digests) == 4
