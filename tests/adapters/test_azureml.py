"""The ``azureml`` target's verbs against the fake workspace, past what the conformance suite asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.contract import (
    Conflict,
    Denied,
    Handle,
    Leftover,
    Observed,
    Permanent,
    Progress,
    Seen,
    Spec,
    Temporary,
    Variant,
)
from tests.adapters.azureml_target import PATH, TOKEN, VARIABLE, AzureMlHarness, Life, theirs
from tests.adapters.harness import Habit, drive, look, through_json
from tests.fakes.azureml import AzureMl


@pytest.fixture(scope="module")
def running() -> Iterator[AzureMl]:
    with AzureMl(seconds=1, looks=1) as workspace:
        yield workspace


@pytest.fixture
def workspace(running: AzureMl, monkeypatch: pytest.MonkeyPatch) -> AzureMl:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    return running


Another = Callable[..., AzureMlHarness]


@pytest.fixture
def another(workspace: AzureMl) -> Iterator[Another]:
    """Makes targets of the same workspace, registered otherwise."""
    made: list[AzureMlHarness] = []

    def make(settings: dict[str, Any] | None = None, **place: Any) -> AzureMlHarness:
        made.append(AzureMlHarness(workspace, settings, **place))
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def target(another: Another) -> AzureMlHarness:
    return another()


@pytest.fixture
def life(target: AzureMlHarness) -> Life:
    return Life(target)


def written(workspace: AzureMl) -> list[str]:
    """The writes in their order, and the questions to deployments."""
    reads = ("GET", "LIST", "DEPLOYMENTS", "OPERATION", "KEYS", "LOGS", "READMODEL", "MODELS")
    return [call["verb"] for call in workspace.log() if call["verb"] not in reads]


def observed(life: Life) -> Observed:
    return next(each for each in life.target.open().observe_all() if each.name == life.name)


def endpoint(life: Life) -> dict[str, Any]:
    image = life.target.workspace.image(life.name)
    assert image is not None
    return dict(image["endpoint"])


def deployments(life: Life) -> dict[str, dict[str, Any]]:
    image = life.target.workspace.image(life.name)
    assert image is not None
    return {each["name"].rpartition("-")[0] or each["name"]: each for each in image["deployments"]}


# what is written, and in which order


def test_create_makes_it_without_traffic_and_asks_it_first(life: Life, workspace: AzureMl) -> None:
    life.settle(life.target.spec("a"))
    assert written(workspace) == ["ENDPOINT", "DEPLOYMENT", "SCORE", "ENDPOINT"]
    asked = workspace.log("SCORE")[0]["headers"]
    assert asked["azureml-model-deployment"].startswith("main-")


def test_update_makes_green_asks_it_switches_and_deletes_blue(life: Life, workspace: AzureMl) -> None:
    life.given(life.target.spec("a"))
    life.settle(life.target.spec("b"))
    assert written(workspace) == ["DEPLOYMENT", "SCORE", "ENDPOINT", "DROP"]
    assert len(deployments(life)) == 1


def test_a_change_of_traffic_or_tags_is_one_write(life: Life, target: AzureMlHarness) -> None:
    life.given(target.split(80, 20))
    for desired in (target.split(30, 70), target.split(30, 70, tags={"team": "a"}), target.split(30, 70)):
        before = target.count().writes
        life.settle(desired)
        assert target.count().writes == before + 1
    assert set(endpoint(life)["tags"]) == {"modelport_installation", "modelport_uid", "modelport_content"}


def test_a_variant_without_traffic_is_kept_and_can_be_pinned(life: Life, target: AzureMlHarness) -> None:
    life.given(target.split(80, 20))
    settled = life.settle(target.split(100, 0))
    assert settled.route is not None
    assert set(deployments(life)) == {"a", "b"}
    assert target.answering(settled.route, "b") == "azureml:b:1"


def test_every_key_reaches_azure(life: Life, workspace: AzureMl) -> None:
    environment = "azureml://registries/azureml/environments/sklearn/versions/3"
    life.settle(
        life.target.spec(
            "a",
            instance_type="Standard_DS3_v2",
            instance_count=3,
            environment="azureml:sklearn:7",
            environment_variables={"MODE": "fast", "API_KEY": "${{azureml://connections/llm/credentials/key}}"},
            code_configuration={"code": "azureml:score:2", "scoring_script": "score.py"},
            model_mount_path="/var/model",
            request_settings={"request_timeout_ms": 2500, "max_concurrent_requests_per_instance": 4},
            liveness_probe={"initial_delay": 90, "failure_threshold": 5},
            readiness_probe={"period": 5, "timeout": 0.5, "success_threshold": 2},
            startup_probe={"failure_threshold": 60},
            app_insights_enabled=True,
            egress_public_network_access="disabled",
            auth_mode="aml_token",
            tags={"team": "fraud"},
            description="tells flowers apart",
            identity={"type": "user_assigned", "user_assigned_identities": ["/subscriptions/sub/x"]},
            public_network_access="disabled",
            secret_stores_access=True,
        )
    )
    made = deployments(life)["main"]
    properties = {k: v for k, v in made["properties"].items() if k not in ("properties", "provisioningState")}
    assert made["sku"] == {"name": "Default", "capacity": 3}
    assert properties == {
        "endpointComputeType": "Managed",
        "model": f"{PATH}/models/a/versions/1",
        "environmentId": f"{PATH}/environments/sklearn/versions/7",
        "environmentVariables": {"MODE": "fast", "API_KEY": "${{azureml://connections/llm/credentials/key}}"},
        "codeConfiguration": {"codeId": f"{PATH}/codes/score/versions/2", "scoringScript": "score.py"},
        "instanceType": "Standard_DS3_v2",
        "modelMountPath": "/var/model",
        "requestSettings": {"requestTimeout": "PT2.5S", "maxConcurrentRequestsPerInstance": 4},
        "livenessProbe": {"initialDelay": "PT90S", "failureThreshold": 5},
        "readinessProbe": {"period": "PT5S", "timeout": "PT0.5S", "successThreshold": 2},
        "startupProbe": {"failureThreshold": 60},
        "appInsightsEnabled": True,
        "egressPublicNetworkAccess": "Disabled",
        "scaleSettings": {"scaleType": "Default"},
    }
    there = endpoint(life)
    assert (there["location"], there["tags"]["team"]) == ("westeurope", "fraud")
    assert there["identity"]["userAssignedIdentities"].keys() == {"/subscriptions/sub/x"}
    shown = there["properties"]
    assert (shown["authMode"], shown["description"]) == ("AMLToken", "tells flowers apart")
    assert shown["publicNetworkAccess"] == "Disabled"
    assert shown["properties"]["enforce_access_to_default_secret_stores"] == "enabled"
    life.settle(life.target.spec("a", environment=environment))
    assert deployments(life)["main"]["properties"]["environmentId"] == environment


def test_what_is_not_asked_for_any_more_goes_and_what_others_made_stays(life: Life, workspace: AzureMl) -> None:
    life.given(life.target.spec("a", tags={"team": "a"}, description="d"))
    shown = endpoint(life)
    body = {key: shown[key] for key in ("location", "identity", "tags")} | {"properties": shown["properties"]}
    asked = ("authMode", "traffic", "description")
    body["properties"] = {k: v for k, v in body["properties"].items() if k in asked} | {"properties": {"own": "x"}}
    body["tags"] = {**body["tags"], "cost": "x"}
    workspace.conduct(looks=0)
    workspace.request("PUT", f"onlineEndpoints/{life.name}", body).raise_for_status()
    life.settle(life.target.spec("b"))
    there = endpoint(life)
    assert {"cost": "x"}.items() <= there["tags"].items()
    assert "team" not in there["tags"]
    assert there["properties"]["description"] == ""
    assert there["properties"]["properties"]["own"] == "x"


def test_traffic_is_mirrored(life: Life, target: AzureMlHarness) -> None:
    life.given(target.split(100, 0))
    life.settle(target.split(100, 0, mirror_traffic={"b": 10}))
    assert list(endpoint(life)["properties"]["mirrorTraffic"].values()) == [10]
    assert observed(life).content == life.placed["content"]
    life.settle(target.split(100, 0))
    assert endpoint(life)["properties"]["mirrorTraffic"] == {}


@pytest.mark.parametrize(
    ("shares", "config", "told"),
    [
        ((50, 50), {"mirror_traffic": {"b": 10}}, "cannot get copies of the requests beside traffic of its own"),
        ((100, 0), {"mirror_traffic": {"c": 10}}, "names no variant: c"),
    ],
)
def test_mirroring_that_cannot_be_is_refused_at_the_start(
    life: Life, target: AzureMlHarness, shares: tuple[int, int], config: dict[str, Any], told: str
) -> None:
    with pytest.raises(Permanent, match=told):
        life.adapter.resolve(target.split(*shares, **config))


def test_kubernetes_compute(life: Life, target: AzureMlHarness) -> None:
    config = {
        "compute": "cluster",
        "instance_type": "small",
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"nvidia_gpu": "1"}},
        "scale_settings": {"min_instances": 1, "max_instances": 4},
    }
    life.settle(target.spec("a", **config))
    assert endpoint(life)["properties"]["compute"] == f"{PATH}/computes/cluster"
    properties = deployments(life)["main"]["properties"]
    assert properties["endpointComputeType"] == "Kubernetes"
    assert properties["containerResourceRequirements"] == {
        "containerResourceRequests": {"cpu": "500m", "memory": "1Gi"},
        "containerResourceLimits": {"gpu": "1"},
    }
    assert properties["scaleSettings"]["maxInstances"] == 4
    writes = target.count().writes
    with pytest.raises(Permanent, match="compute cannot be changed"):
        life.step(life.plan(target.spec("b")))
    assert target.count().writes == writes


# models that are registered first


@pytest.fixture
def unregistered(another: Another) -> Life:
    return Life(another(files=True))


def test_models_are_registered_and_removed_with_what_serves_them(unregistered: Life, workspace: AzureMl) -> None:
    life = unregistered
    life.settle(life.target.spec("a"))
    first = workspace.models()
    assert len(first) == 1
    assert workspace.log("MODEL")[0]["body"].count("azureml://jobs/train-a/outputs/artifacts/paths/model") == 1
    life.settle(life.target.spec("b"))
    assert len(workspace.models()) == 1
    assert workspace.models() != first
    assert written(workspace)[5:] == ["MODEL", "DEPLOYMENT", "SCORE", "ENDPOINT", "DROP", "UNREGISTER"]
    life.settle(None)
    assert workspace.models() == []


@pytest.mark.parametrize("habit", ["forgetful", "lossy", "twice", "elsewhere"])
def test_registering_survives_every_kind_of_engine(unregistered: Life, workspace: AzureMl, habit: Habit) -> None:
    life = unregistered
    life.settle(life.target.spec("a"))
    ended = drive(life.target, life.plan(life.target.spec("b")), habit=habit)
    assert ended.progress is not None
    assert ended.progress.outcome == "done"
    assert life.effects() == {"endpoint": 1, "model": 2, "deployment": 2, "traffic": 2, "drop": 1, "unregister": 1}


def test_a_model_that_was_registered_for_nothing_is_removed(unregistered: Life, workspace: AzureMl) -> None:
    life = unregistered
    life.settle(life.target.spec("a"))
    models = workspace.models()
    failed = life.bring(life.plan(life.target.broken()))
    assert failed.outcome == "failed"
    assert len(workspace.models()) == 2
    assert life.bring(failed.handle, "back").outcome == "done"
    assert workspace.models() == models


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        (
            "azureml://datastores/store/paths/models/iris",
            "azureml://subscriptions/sub/resourcegroups/group/workspaces/main/datastores/store/paths/models/iris",
        ),
        ("runs:/abc123/model", "azureml://jobs/abc123/outputs/artifacts/paths/model"),
    ],
)
def test_where_models_are_registered_from(unregistered: Life, workspace: AzureMl, uri: str, source: str) -> None:
    life = unregistered
    spec = Spec((Variant("main", uri, "custom", {}),), {"main": 100})
    handle = life.plan(life.adapter.resolve(spec))
    (body,) = handle["desired"]["register"].values()
    assert (body["properties"]["modelUri"], body["properties"]["modelType"]) == (source, "custom_model")
    assert life.bring(handle).outcome == "done"


# how it ends


def test_a_failure_quotes_azure_and_the_end_of_the_containers_log(life: Life, target: AzureMlHarness) -> None:
    ended = life.bring(life.plan(target.broken()))
    assert ended.outcome == "failed"
    assert ended.message.startswith("deployment main-")
    assert "User container has crashed: no weights in the cellar\nThe end of the container's log:\n" in ended.message
    assert ended.message.endswith("ERROR: ResourceNotReady: User container has crashed: no weights in the cellar")


def test_the_containers_log_can_be_left_out(another: Another, workspace: AzureMl) -> None:
    life = Life(another({"failure_log_lines": 0}))
    assert "log" not in life.bring(life.plan(life.target.broken())).message
    assert workspace.log("LOGS") == []


def test_a_log_that_cannot_be_read_hides_no_failure(life: Life, workspace: AzureMl) -> None:
    workspace.faults({"kind": "denied", "verb": "LOGS", "count": None})
    ended = life.bring(life.plan(life.target.broken()))
    assert (ended.outcome, "no weights in the cellar" in ended.message) == ("failed", True)


@pytest.mark.parametrize(
    "conduct",
    [{"location": True}, {"running": "Updating", "codeless": True}, {"follows": False}, {"follows": False, "looks": 3}],
)
def test_azure_may_tell_it_in_all_its_ways(life: Life, workspace: AzureMl, conduct: dict[str, Any]) -> None:
    workspace.conduct(**conduct)
    life.settle(life.target.spec("a"))
    life.settle(life.target.spec("b"))
    failed = life.bring(life.plan(life.target.broken()))
    assert (failed.outcome, "no weights in the cellar" in failed.message) == ("failed", True)
    assert life.bring(failed.handle, "back").outcome == "done"
    assert life.effects() == {"endpoint": 1, "deployment": 3, "traffic": 2, "drop": 2}


def test_retry_after_of_what_is_under_way_is_kept_up_to_the_cap(another: Another, workspace: AzureMl) -> None:
    life = Life(another({"retry_after_cap_seconds": 9}))
    for told, kept in ((7, 7), (86400, 9)):
        workspace.conduct(retry_after=told, looks=5)
        progress = life.step(life.plan(life.target.spec("a")))
        assert progress.again_in == kept
        assert life.step(through_json(progress.handle)).again_in == kept
        life.target.reset()


def test_retry_after_of_a_refusal_is_kept_up_to_the_cap(another: Another, workspace: AzureMl) -> None:
    life = Life(another({"retry_after_cap_seconds": 9}))
    for told, kept in ((7, 7), (86400, 9)):
        workspace.faults({"kind": "throttled", "verb": "ENDPOINT", "retry_after": told})
        with pytest.raises(Temporary, match="429 TooManyRequests") as raised:
            life.step(life.plan(life.target.spec("a")))
        assert raised.value.retry_in == kept


def test_a_quota_is_waited_for_long(life: Life, workspace: AzureMl) -> None:
    workspace.faults({"kind": "quota", "verb": "ENDPOINT", "message": "Not enough quota available for Standard_F4s_v2"})
    with pytest.raises(Temporary, match="Not enough quota") as raised:
        life.step(life.plan(life.target.spec("a")))
    assert raised.value.retry_in == 600


def test_a_name_that_is_taken_in_the_region_is_a_conflict(life: Life, workspace: AzureMl) -> None:
    workspace.conduct(taken=[life.name])
    with pytest.raises(Conflict, match="unique within a region"):
        life.step(life.plan(life.target.spec("a")))


def test_an_operations_address_on_another_server_is_not_asked(life: Life, workspace: AzureMl) -> None:
    handle = life.step(life.plan(life.target.spec("a"))).handle
    handle["sent"]["operation"] = "http://127.0.0.1:1/operations/odidp:00000001"
    assert life.bring(handle).outcome == "done"
    assert life.adapter._workspace.operation("http://127.0.0.1:1/x") == {
        "status": None,
        "message": "",
        "retry_in": None,
    }


def test_a_smoke_request_has_to_be_answered_well(life: Life, workspace: AzureMl) -> None:
    smoke = {"smoke_request": {"input_data": [[1]]}}
    life.settle(life.target.spec("a", **smoke))
    assert workspace.log("SCORE")[0]["body"] == '{"input_data": [[1]]}'
    ended = life.bring(life.plan(life.target.spec("mute", **smoke)))
    assert ended.outcome == "failed"
    assert "answered 424: " in ended.message
    assert "ValueError" in ended.message
    assert "(the model's own status: 500)" in ended.message
    assert life.bring(ended.handle, "back").outcome == "done"
    assert life.effects() == {"endpoint": 1, "deployment": 2, "traffic": 1, "drop": 1}


def test_without_one_a_models_error_is_an_answer(life: Life) -> None:
    life.settle(life.target.spec("mute"))


def test_the_question_can_be_left_out(another: Another, workspace: AzureMl) -> None:
    Life(life_target := another({"check_pinned": False})).settle(life_target.spec("a"))
    assert workspace.log("SCORE") == []


def test_a_question_that_is_not_allowed_says_how_to_leave_it_out(life: Life, workspace: AzureMl) -> None:
    handle = life.until(life.plan(life.target.spec("a")), "DEPLOYMENT")
    workspace.faults({"kind": "denied", "verb": "SCORE"})
    with pytest.raises(Denied, match="check_pinned: false") as raised:
        life.bring(handle)
    assert "key-" not in str(raised.value)


def test_an_old_deployment_that_cannot_be_deleted_is_a_leftover_of_the_next_change(
    life: Life, workspace: AzureMl
) -> None:
    life.given(life.target.spec("a"))
    workspace.faults({"kind": "refused", "verb": "DROP", "message": "a lock is on it"})
    settled = life.bring(life.plan(life.target.spec("b")))
    assert settled.outcome == "done"
    (leftover,) = settled.leftovers
    assert isinstance(leftover, Leftover)
    assert (leftover.kind, "a lock is on it" in leftover.why) == ("deployment", True)
    life.current, life.placed = life.target.spec("b"), settled.handle
    assert life.settle(life.target.spec("b")).leftovers == ()
    assert len(deployments(life)) == 1


def test_a_cancel_after_the_switch_is_too_late_and_still_tidies_up(life: Life, workspace: AzureMl) -> None:
    life.given(life.target.spec("a"))
    handle = life.plan(life.target.spec("b"))
    while life.effects().get("traffic", 0) == 0 or endpoint(life)["properties"]["provisioningState"] != "Succeeded":
        handle = through_json(life.step(handle).handle)
    ended = life.bring(handle, "back")
    assert ended.outcome == "landed"
    assert ended.route is not None
    assert list(ended.route["deployments"].values()) == list(endpoint(life)["properties"]["traffic"])
    assert len(deployments(life)) == 1


def test_a_switch_that_is_under_way_when_it_is_cancelled_is_taken_back(life: Life, workspace: AzureMl) -> None:
    life.given(life.target.spec("a"))
    handle = life.plan(life.target.spec("b"))
    while life.effects().get("traffic", 0) == 0:
        handle = through_json(life.step(handle).handle)
    workspace.conduct(looks=4)
    before = life.serves()
    assert before is not None
    ended = life.bring(handle, "back")
    assert (ended.outcome, ended.message) == ("done", "what was before serves")
    assert life.effects() == {"deployment": 1, "traffic": 2, "drop": 1}


@pytest.mark.parametrize("interruptible", [True, False])
def test_what_is_being_made_is_interrupted_where_azure_lets_it_be(
    life: Life, workspace: AzureMl, interruptible: bool
) -> None:
    life.given(life.target.spec("a"))
    workspace.conduct(looks=6, interruptible=interruptible)
    handle = life.step(life.plan(life.target.spec("b"))).handle
    assert life.bring(handle, "back").outcome == "done"
    assert life.effects() == {"deployment": 1, "drop": 1}
    assert len(workspace.log("DROP")) == (1 if interruptible else 2)


def test_a_delete_waits_for_what_is_under_way(life: Life, workspace: AzureMl) -> None:
    life.given(life.target.spec("a"))
    workspace.conduct(looks=3)
    body = {"location": "westeurope", "properties": deployments(life)["main"]["properties"] | {"properties": {}}}
    body["properties"] = {k: v for k, v in body["properties"].items() if k != "provisioningState"}
    workspace.request("PUT", f"onlineEndpoints/{life.name}/deployments/other", body).raise_for_status()
    life.settle(None)
    assert life.effects() == {"deployment": 1, "delete": 1}


def test_a_deployment_that_others_made_on_our_endpoint_stays(life: Life, workspace: AzureMl) -> None:
    life.given(life.target.spec("a"))
    workspace.conduct(looks=0)
    properties = {"endpointComputeType": "Managed", "model": f"{PATH}/models/iris/versions/1"}
    body = {"location": "westeurope", "properties": properties}
    workspace.request("PUT", f"onlineEndpoints/{life.name}/deployments/other", body).raise_for_status()
    life.settle(life.target.spec("b"))
    assert set(deployments(life)) == {"main", "other"}


def test_an_endpoint_that_changed_since_the_look_is_looked_at_again(life: Life, workspace: AzureMl) -> None:
    life.given(life.target.split(80, 20))
    handle = life.plan(life.target.split(30, 70))
    seen = look(life.target, life.adapter, handle)
    workspace.conduct(looks=None, seconds=1000)
    workspace.request("PATCH", f"onlineEndpoints/{life.name}", {"tags": endpoint(life)["tags"]}).raise_for_status()
    progress = life.step(handle, seen=seen)
    assert (progress.outcome, progress.message) == ("again", "it changed since it was looked at")
    assert life.effects().get("traffic") is None


def test_a_target_whose_group_is_not_there_says_so(another: Another) -> None:
    lost = another(uri="azureml:/sub/nowhere/main").open()
    with pytest.raises(Permanent, match="404 ResourceGroupNotFound"):
        lost.check()


def test_the_location_is_asked_of_the_workspace_once(another: Another, workspace: AzureMl) -> None:
    life = Life(another({"location": None}))
    life.settle(life.target.spec("a"))
    assert endpoint(life)["location"] == "westeurope"
    assert len(workspace.log("WORKSPACE")) == 1


def test_an_endpoint_that_failed_before_is_written_anew_first(life: Life, workspace: AzureMl) -> None:
    workspace.faults({"kind": "fails", "verb": "ENDPOINT", "message": "no capacity"})
    failed = life.bring(life.plan(life.target.spec("a", tags={"team": "a"})))
    assert (failed.outcome, "no capacity" in failed.message) == ("failed", True)
    life.settle(life.target.spec("b"))
    assert written(workspace) == ["ENDPOINT", "ENDPOINT", "DEPLOYMENT", "SCORE", "ENDPOINT"]
    assert endpoint(life)["properties"]["provisioningState"] == "Succeeded"


def test_after_a_way_back_that_failed_nothing_that_serves_is_taken_away(life: Life, target: AzureMlHarness) -> None:
    life.given(target.spec("a"))
    handle = life.until(life.plan(target.spec("b")), "DEPLOYMENT")
    life.placed, life.current = {**handle, "toward": "back"}, None  # it is not known what serves
    again = life.until(life.plan(target.spec("broken")), "DEPLOYMENT")
    assert life.bring(again, "back").outcome == "done"
    assert set(life.serves() or {}) == {"models", "traffic", "mirror"}
    assert [model.endswith("/a/versions/1") for model in (life.serves() or {})["models"].values()] == [True]


@pytest.mark.parametrize("kind", ["stale", "not_found"])
def test_a_way_back_does_not_believe_a_read_that_hides_what_was_made(life: Life, workspace: AzureMl, kind: str) -> None:
    life.given(life.target.spec("a"))
    workspace.conduct(looks=0)
    handle = life.until(life.plan(life.target.spec("b")), "DEPLOYMENT")
    workspace.faults(*({"kind": kind, "verb": verb, "count": 3} for verb in ("GET", "DEPLOYMENTS")))
    assert life.bring(handle, "back").outcome == "done"
    assert len(deployments(life)) == 1


def test_tags_that_others_set_since_the_look_survive_an_adoption(life: Life, workspace: AzureMl) -> None:
    handle = adopting(life, planted(life))
    seen = look(life.target, life.adapter, handle)
    workspace.conduct(looks=0)
    path = f"onlineEndpoints/{life.name}"
    workspace.request("PATCH", path, {"tags": {"cost": "x", "since": "then"}}).raise_for_status()
    handle = through_json(life.step(handle, seen=seen).handle)
    assert life.bring(handle).outcome == "done"
    assert {"cost": "x", "since": "then"}.items() <= endpoint(life)["tags"].items()


def test_a_deployment_that_may_not_be_interrupted_is_deleted_once_it_is_made(life: Life, workspace: AzureMl) -> None:
    life.given(life.target.spec("a"))
    workspace.conduct(looks=4)
    handle = life.step(life.plan(life.target.spec("b"))).handle
    workspace.faults({"kind": "refused", "verb": "DROP", "message": "not while it is being made"})
    ended = life.bring(handle, "back")
    assert (ended.outcome, ended.leftovers) == ("done", ())
    assert len(deployments(life)) == 1


# looking at many


def under_way(target: AzureMlHarness, how_many: int) -> dict[str, Handle]:
    target.workspace.conduct(seconds=1000, looks=None)
    lives = [Life(target) for _ in range(how_many)]
    return {life.name: through_json(life.step(life.plan(target.spec("a"))).handle) for life in lives}


@pytest.mark.parametrize("how_many", [1, 6])
def test_what_is_under_way_is_seen_in_one_call(workspace: AzureMl, target: AzureMlHarness, how_many: int) -> None:
    handles = under_way(target, how_many)
    before = sum(workspace.counts()["calls"].values())
    seen = target.open().look_many(handles)
    assert all(isinstance(each, Seen) and not each.needs_write for each in seen.values())
    assert sum(workspace.counts()["calls"].values()) == before + 1


@pytest.mark.parametrize("kind", ["stale", "not_found"])
def test_a_list_that_lags_is_not_believed(workspace: AzureMl, target: AzureMlHarness, kind: str) -> None:
    handles = under_way(target, 5)
    workspace.faults({"kind": kind, "verb": "LIST"})
    seen = target.open().look_many(handles)
    assert all(isinstance(each, Seen) and not each.needs_write for each in seen.values())


def test_one_that_cannot_be_read_does_not_hide_the_others(workspace: AzureMl, target: AzureMlHarness) -> None:
    lives = [Life(target) for _ in range(2)]
    workspace.faults({"kind": "unavailable", "verb": "GET", "name": lives[0].name, "count": None})
    seen = target.open().look_many({life.name: life.plan(target.spec("a")) for life in lives})
    assert isinstance(seen[lives[0].name], Temporary)
    assert isinstance(seen[lives[1].name], Seen)


@pytest.mark.parametrize("kind", ["stale", "not_found", "throttled"])
@pytest.mark.parametrize("desired", ["a", "b", None])
def test_changes_land_in_company_too_however_the_list_lags(
    life: Life, workspace: AzureMl, kind: str, desired: str | None
) -> None:
    target = life.target
    if desired != "a":
        life.given(target.spec("a"))
    others = {f"other-{n}": Life(target).plan(target.spec("a")) for n in range(4)}
    handle, progress = life.plan(target.spec(desired) if desired else None), None
    for count in range(40):
        if count % 3 == 0:
            workspace.faults({"kind": kind, "verb": "LIST", "count": 2, "retry_after": 0})
        try:
            seen = life.adapter.look_many({"one": handle, **others})["one"]
        except Temporary:
            continue
        assert isinstance(seen, Seen)
        progress = life.step(handle, seen=seen)
        handle = through_json(progress.handle)
        if progress.outcome != "again":
            break
    assert progress is not None
    assert progress.outcome == "done"
    ends = {
        "a": {"endpoint": 1, "deployment": 1, "traffic": 1},
        "b": {"deployment": 1, "traffic": 1, "drop": 1},
        None: {"delete": 1},
    }
    assert life.effects() == ends[desired]


# observing and adopting


def test_hundreds_are_observed_in_a_few_pages(workspace: AzureMl, target: AzureMlHarness) -> None:
    tags = {"modelport_installation": "conformance", "modelport_content": "0"}
    workspace.plant(*(theirs(f"model-{n:04}", {**tags, "modelport_uid": str(n)}) for n in range(500)))
    found = list(target.open().observe_all())
    assert {each.uid for each in found} == {str(n) for n in range(500)}
    assert workspace.counts()["calls"] == {"LIST": 5}


def test_of_endpoints_without_an_owner_the_deployments_are_read_once(
    workspace: AzureMl, target: AzureMlHarness
) -> None:
    workspace.plant(theirs("wild", blue=50, green=50), theirs("others", {"modelport_uid": "x"}))
    adapter = target.open()
    first, second = list(adapter.observe_all()), list(adapter.observe_all())
    assert first == second
    assert workspace.counts()["calls"] == {"LIST": 2, "DEPLOYMENTS": 1}


@pytest.mark.parametrize("how", ["traffic", "settings"])
def test_drift_is_seen(life: Life, target: AzureMlHarness, how: str) -> None:
    life.settle(target.split(80, 20))
    assert observed(life).content == life.placed["content"]
    target.workspace.conduct(looks=0)
    shown = endpoint(life)
    if how == "settings":
        tags = {**shown["tags"], "modelport_content": "x"}
        target.workspace.request("PATCH", f"onlineEndpoints/{life.name}", {"tags": tags}).raise_for_status()
    else:
        traffic = dict.fromkeys(shown["properties"]["traffic"], 50)
        body = {key: shown[key] for key in ("location", "identity", "tags")}
        body["properties"] = {"authMode": "Key", "traffic": traffic}
        target.workspace.request("PUT", f"onlineEndpoints/{life.name}", body).raise_for_status()
    assert observed(life).content != life.placed["content"]


def adopting(life: Life, spec: Spec) -> Handle:
    return through_json(life.adapter.plan(replace(life.change(spec), adopt=True)))


def planted(life: Life, **traffic: int) -> Spec:
    """Something that is there without an owner, as it can be adopted."""
    life.target.workspace.plant(theirs(life.name, {"cost": "x"}, **traffic))
    found = observed(life)
    assert found.uid is None
    assert found.spec is not None
    return found.spec


def test_what_is_adopted_keeps_serving_untouched(life: Life, target: AzureMlHarness) -> None:
    spec = planted(life, champion=90, challenger=10)
    assert spec.traffic == {"champion": 90, "challenger": 10}
    assert spec.variants[1].model_uri == "models:/theirs/1"
    assert {"instance_count": 2, "instance_type": "Standard_DS3_v2", "tags": {"cost": "x"}}.items() <= spec.variants[
        1
    ].config.items()
    before, handle = life.serves(), adopting(life, spec)

    ended = life.bring(handle)

    assert ended.outcome == "done"
    assert ended.route is not None
    assert ended.route["deployments"] == {"champion": "champion", "challenger": "challenger"}
    assert life.serves() == before
    assert life.effects() == {"tags": 1}
    there = observed(life)
    assert (there.uid, there.content) == (life.uid, handle["content"])
    assert target.answering(ended.route, "challenger") == "azureml:theirs:2"


def test_an_adopted_one_is_changed_and_taken_back_like_any_other(life: Life, target: AzureMlHarness) -> None:
    spec = planted(life, blue=90, green=10)
    life.placed, life.current = life.bring(adopting(life, spec)).handle, spec
    # what is asked for as it is keeps its own deployments
    life.settle(Spec(spec.variants, {"blue": 50, "green": 50}))
    assert life.effects() == {"tags": 1, "traffic": 1}
    failed = life.bring(life.plan(target.broken()))
    assert life.bring(failed.handle, "back").outcome == "done"
    assert set(deployments(life)) == {"blue", "green"}
    life.settle(target.spec("a"))
    assert set(deployments(life)) == {"main"}
    assert life.effects() == {"tags": 1, "traffic": 2, "deployment": 2, "drop": 3}


def test_adopting_can_be_taken_back_without_touching_it(life: Life) -> None:
    handle = adopting(life, planted(life))
    assert life.bring(handle, "back").outcome == "done"
    assert life.effects() == {}


def test_what_has_another_owner_is_not_adopted(life: Life, target: AzureMlHarness) -> None:
    target.occupy(life.name)
    with pytest.raises(Conflict, match="another owner"):
        life.step(adopting(life, target.spec("a")))


def test_what_went_away_or_changed_is_not_adopted(life: Life, target: AzureMlHarness) -> None:
    ended = life.bring(adopting(life, target.spec("a")))
    assert (ended.outcome, ended.message) == ("failed", "it is not there any more")
    planted(life)
    ended = life.bring(adopting(life, target.spec("a")))
    assert (ended.outcome, ended.message) == ("failed", "it serves something else by now")


def test_what_nobody_can_ask_for_cannot_be_adopted(life: Life, target: AzureMlHarness) -> None:
    wild = theirs(life.name)
    wild["deployments"]["blue"]["properties"]["environmentVariables"] = {"API_KEY": "hush"}
    target.workspace.plant(wild)
    assert observed(life).spec is None


# models, logs, check


def test_the_newest_version_is_fixed_when_it_starts(life: Life, workspace: AzureMl) -> None:
    workspace.conduct(versions={"iris": "7"})
    for uri in ("azureml:iris@latest", "models:/iris/latest", "models:/iris@latest"):
        resolved = life.adapter.resolve(Spec((Variant("main", uri, None, {}),), {"main": 100}))
        assert resolved.variants[0].model_uri == "models:/iris/7"
        assert life.adapter.resolve(resolved) == resolved
    assert "%24orderBy=createdtime+desc&%24top=1" in workspace.log("MODELS")[0]["query"]


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("azureml:gone:1", "names nothing in the workspace"),
        ("azureml:gone@latest", "names nothing: .*gone"),
        ("models:/iris@champion", "label latest only"),
        ("s3://bucket/model", "is no model that Azure ML can serve; use models:/NAME/VERSION"),
        ("azureml://registries/azureml/models/iris/labels/latest", "is no model"),
    ],
)
def test_what_names_no_version_is_told_with_its_variant(life: Life, uri: str, told: str) -> None:
    with pytest.raises(Permanent, match=rf"variant main: .*{told}"):
        life.adapter.resolve(Spec((Variant("main", uri, None, {}),), {"main": 100}))


@pytest.mark.parametrize(
    "uri",
    ["azureml://registries/azureml/models/iris/versions/3", f"azureml:{PATH}/models/iris/versions/3"],
)
def test_a_model_is_served_by_its_id(life: Life, uri: str) -> None:
    life.settle(life.adapter.resolve(Spec((Variant("main", uri, None, {}),), {"main": 100})))
    assert deployments(life)["main"]["properties"]["model"] in (uri, uri.removeprefix("azureml:"))


def test_a_model_that_may_not_be_read_may_be_served(life: Life, workspace: AzureMl) -> None:
    workspace.faults({"kind": "denied", "verb": "READMODEL"})
    assert life.adapter.resolve(life.target.spec("a")) == life.target.spec("a")


def test_logs_of_one_variant_and_of_all(life: Life, target: AzureMlHarness) -> None:
    handle = life.settle(target.split(50, 50)).handle
    names = handle["desired"]["names"]
    assert life.adapter.logs(handle, "b", 10) == f"serving {names['b']}"
    assert life.adapter.logs(handle, None, 10) == (f"==> a <==\nserving {names['a']}\n==> b <==\nserving {names['b']}")
    assert life.adapter.logs(Life(target).plan(target.spec("a")), None, 10) == ""


def test_check_tells_how_many_there_are(life: Life, target: AzureMlHarness) -> None:
    life.given(target.spec("a"))
    target.workspace.plant(theirs("another"))
    assert life.adapter.check() == "the workspace answers; it has 2 online endpoints, 1 of this installation"


def test_a_call_takes_no_longer_than_its_limit(another: Another, workspace: AzureMl) -> None:
    workspace.conduct(latency=30)
    with pytest.raises(Temporary, match=r"no answer within 0\.2 s"):
        another(call_timeout_seconds=0.2).open().check()


def test_no_secret_is_in_anything_that_is_kept_or_told(life: Life, target: AzureMlHarness) -> None:
    kept: list[str] = []

    def keep(progress: Progress) -> Progress:
        kept.append(repr(progress))
        return progress

    target.workspace.faults({"kind": "denied", "verb": "ENDPOINT"})
    with pytest.raises(Denied, match=r"not allowed to Bearer \*\*\*") as raised:
        life.step(life.plan(target.spec("a")))
    kept.append(str(raised.value))
    target.workspace.conduct(failure=f"cannot use {TOKEN}")
    keep(life.bring(life.plan(target.broken())))
    life.bring(keep(Progress(life.plan(target.broken()), "again")).handle, "back")
    handle = keep(life.bring(life.plan(target.spec("a")))).handle
    kept.append(life.adapter.logs(handle, None, 100))
    kept.extend(repr(each) for each in life.adapter.observe_all())
    assert len(kept) == 6
    key = target.workspace.request("POST", f"onlineEndpoints/{life.name}/listKeys").json()["primaryKey"]
    assert not [text for text in kept if TOKEN in text or key in text]
