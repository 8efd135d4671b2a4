"""What is plain Kubernetes' own about its target: Deployments that take turns behind one Service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.contract import Conflict, Denied, Permanent, Progress, Seen, Spec, Variant
from tests.adapters.harness import look, through_json
from tests.adapters.kserve_target import Life
from tests.adapters.kubernetes_target import TOKEN, VARIABLE, KubernetesHarness
from tests.fakes.kubernetes import NAMESPACE, Kubernetes

A, B = "s3://models/a", "s3://models/b"


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
def target(cluster: Kubernetes) -> Iterator[KubernetesHarness]:
    harness = KubernetesHarness(cluster)
    yield harness
    harness.close()


@pytest.fixture
def life(target: KubernetesHarness) -> Life:
    return Life(target)


def deployments(life: Life) -> dict[str, Any]:
    return dict(life.target.cluster.objects("deployments", f"modelport/name={life.name}"))


def pod(life: Life) -> dict[str, Any]:
    (deployment,) = deployments(life).values()
    return dict(deployment["spec"]["template"]["spec"])


def content(life: Life) -> str | None:
    return next(each.content for each in life.adapter.observe_all() if each.name == life.name)


def test_the_service_is_switched_once_the_new_pods_are_ready_and_then_the_old_ones_end(
    life: Life, target: KubernetesHarness
) -> None:
    life.settle(target.spec("a"))
    (old,) = deployments(life)
    told, progress = [], Progress(life.plan(target.spec("b")), "again")
    while progress.outcome == "again":
        progress = life.step(through_json(progress.handle))
        told.append((progress.phase, old in deployments(life), target.models(life.name)))
    phases = [phase for phase, _, _ in told]
    assert sorted(set(phases), key=phases.index) == ["prepare", "switch", "clean"]
    assert all(shares in ({A: 100}, {B: 100}) for _, _, shares in told)
    # the old pods are there until after the switch, and one step longer for what they are at
    assert [there for phase, there, _ in told if phase != "clean"] == [True] * (len(told) - phases.count("clean"))
    assert (progress.outcome, list(deployments(life)) != [old]) == ("done", True)


def test_the_old_pods_get_time_for_what_they_are_at(cluster: Kubernetes) -> None:
    target = KubernetesHarness(cluster, {"drain_seconds": 7.5})
    life = Life(target)
    life.settle(target.spec("a"))
    progress = Progress(life.plan(target.spec("b")), "again")
    while progress.again_in != 7.5:
        progress = life.step(through_json(progress.handle))
    assert (progress.phase, progress.message) == ("clean", "the pods before finish what they are at")
    assert target.models(life.name) == {B: 100}
    assert life.step(through_json(progress.handle)).outcome == "again"
    assert len(deployments(life)) == 1


def test_mlflows_server_is_run_with_what_was_asked_for(life: Life) -> None:
    config = {
        "image": "registry.example.com/mlflow:3",
        "port": 9000,
        "env": {"AWS_SECRET_ACCESS_KEY": "{{secrets/storage/key}}"},
        "resources": {"limits": {"memory": "2Gi"}},
        "service_account": "models",
        "node_selector": {"pool": "cpu"},
        "tolerations": [{"operator": "Exists"}],
        "stop_seconds": 60,
        "labels": {"team": "fraud"},
    }
    life.settle(Spec((Variant("main", "models:/iris/3", None, config),), {"main": 100}))
    spec = pod(life)
    (container,) = spec["containers"]
    assert container["command"] == ["mlflow"]
    serve = ["models", "serve", "--model-uri", "models:/iris/3", "--host", "0.0.0.0", "--port", "9000"]  # noqa: S104
    assert container["args"] == [*serve, "--env-manager", "local"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/ping", "port": 9000}
    assert container["env"][0]["valueFrom"] == {"secretKeyRef": {"name": "storage", "key": "key"}}
    assert (spec["serviceAccountName"], spec["terminationGracePeriodSeconds"]) == ("models", 60)
    service = life.target.cluster.objects("services")[life.name]
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": 9000}]
    assert service["metadata"]["labels"]["team"] == "fraud"


@pytest.mark.parametrize(
    ("config", "command", "arguments"),
    [
        ({"holds_model": True}, None, None),
        ({"command": ["serve", "{model_uri}"]}, ["serve", A], None),
        ({"command": ["serve"], "args": ["--model={model_uri}"]}, ["serve"], [f"--model={A}"]),
    ],
)
def test_what_is_run_can_be_chosen(
    life: Life, target: KubernetesHarness, config: dict[str, Any], command: Any, arguments: Any
) -> None:
    life.adapter.resolve(target.spec("a", **config))
    planned = life.plan(target.spec("a", **config))["desired"]["deployment"]["spec"]["template"]["spec"]
    (container,) = planned["containers"]
    assert (container.get("command"), container.get("args")) == (command, arguments)


def test_more_replicas_are_more_pods_of_the_same_deployment(life: Life, target: KubernetesHarness) -> None:
    life.settle(target.spec("a"))
    before = list(deployments(life))
    life.settle(target.spec("a", replicas=5))
    (name,) = deployments(life)
    assert ([name], deployments(life)[name]["spec"]["replicas"]) == (before, 5)


def test_a_failure_quotes_the_pods_last_words(life: Life, target: KubernetesHarness) -> None:
    failed = life.bring(life.plan(target.broken()))
    assert failed.outcome == "failed"
    assert "ProgressDeadlineExceeded" in failed.message
    assert "The end of the pod's log:" in failed.message


def test_what_cannot_be_removed_is_left_over_and_tried_again(life: Life, target: KubernetesHarness) -> None:
    life.settle(target.spec("a"))
    target.cluster.faults({"kind": "denied", "verb": "DELETE"})
    ended = life.bring(life.plan(target.spec("b")))
    (leftover,) = ended.leftovers
    assert (ended.outcome, leftover.kind, "403" in leftover.why) == ("done", "Deployment", True)
    assert TOKEN not in leftover.why
    life.current, life.placed = target.spec("b"), ended.handle
    life.settle(target.spec("b"))
    assert len(deployments(life)) == 1


def test_drift_is_seen_and_put_right(life: Life, target: KubernetesHarness) -> None:
    life.settle(target.spec("a"))
    planned = life.plan(target.spec("a"))["content"]
    assert content(life) == planned
    (name,) = deployments(life)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}"
    merge = {"Content-Type": "application/merge-patch+json"}
    target.cluster.request("PATCH", path, {"spec": {"replicas": 9}}, **merge).raise_for_status()
    assert content(life) != planned
    life.settle(target.spec("a"))
    assert (content(life), deployments(life)[name]["spec"]["replicas"]) == (planned, 2)


def test_a_service_that_selects_something_else_is_put_right(life: Life, target: KubernetesHarness) -> None:
    life.settle(target.spec("a"))
    path = f"/api/v1/namespaces/{NAMESPACE}/services/{life.name}"
    merge = {"Content-Type": "application/merge-patch+json"}
    body = {"spec": {"selector": {"modelport/digest": "other"}}}
    target.cluster.request("PATCH", path, body, **merge).raise_for_status()
    assert target.models(life.name) == {}
    life.settle(target.spec("a"))
    assert target.models(life.name) == {A: 100}


def test_what_changed_since_the_look_is_not_overwritten(life: Life, target: KubernetesHarness) -> None:
    life.settle(target.spec("a"))
    handle = life.plan(target.spec("a", replicas=3))
    old = look(target, life.adapter, handle)
    (name,) = deployments(life)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}"
    merge = {"Content-Type": "application/merge-patch+json"}
    target.cluster.request("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, **merge).raise_for_status()
    assert "the object has been modified" in life.step(handle, seen=old).message


def test_an_unknown_past_takes_nothing_away(life: Life, target: KubernetesHarness) -> None:
    life.settle(target.spec("a"))
    life.current = None
    assert life.bring(life.plan(target.spec("b")), "back").outcome == "done"
    assert target.models(life.name) == {A: 100}


def test_somebody_elses_deployment_of_the_name_is_a_conflict(life: Life, target: KubernetesHarness) -> None:
    planned = life.plan(target.spec("a"))["desired"]["deployment"]
    labels = {"modelport/name": life.name}
    target.cluster.plant("deployments", planned["metadata"]["name"], planned["spec"], labels=labels)
    with pytest.raises(Conflict, match=r"a Deployment for .* is not ours"):
        life.step(life.plan(target.spec("a")))


def test_many_are_looked_at_with_one_list_of_each_kind(cluster: Kubernetes, target: KubernetesHarness) -> None:
    adapter, handles = target.open(), {}
    for _ in range(5):
        life = Life(target)
        life.settle(target.spec("a"))
        handles[life.name] = life.plan(target.spec("a"))
    before = cluster.counts()["kinds"]
    seen = adapter.look_many(handles)
    assert all(isinstance(each, Seen) for each in seen.values())
    asked = {kind: count - before.get(kind, 0) for kind, count in cluster.counts()["kinds"].items()}
    assert {kind: n for kind, n in asked.items() if n} == {"LIST services": 1, "LIST deployments": 1}


def test_logs_are_those_of_the_version_that_serves(life: Life, target: KubernetesHarness) -> None:
    handle = life.settle(target.spec("a")).handle
    (name,) = deployments(life)
    assert life.adapter.logs(handle, None, 2) == f"{name} line 2\n{name} line 3"


def test_a_check_tells_who_may_not_make_anything(cluster: Kubernetes, target: KubernetesHarness) -> None:
    assert target.open().check() == "the cluster answers; Services can be made in namespace ml"
    cluster.faults({"kind": "denied", "verb": "LIST"})
    with pytest.raises(Denied):
        target.open().check()


def test_without_an_image_nothing_can_run(cluster: Kubernetes) -> None:
    target = KubernetesHarness(cluster, {"image": None})
    with pytest.raises(Permanent, match="no image: set image in its config, or in the target's settings"):
        target.open().resolve(target.spec("a"))
