"""The ``databricks`` target's verbs against the fake workspace, past what the conformance suite asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.contract import Conflict, Denied, Handle, Observed, Permanent, Progress, Seen, Spec, Temporary, Variant
from tests.adapters.databricks_target import TOKEN, VARIABLE, DatabricksHarness, Life, theirs
from tests.adapters.harness import change, drive, look, through_json
from tests.fakes.databricks import Databricks


@pytest.fixture(scope="module")
def running() -> Iterator[Databricks]:
    with Databricks(seconds=1, looks=1) as workspace:
        yield workspace


@pytest.fixture
def workspace(running: Databricks, monkeypatch: pytest.MonkeyPatch) -> Databricks:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    return running


Another = Callable[..., DatabricksHarness]


@pytest.fixture
def another(workspace: Databricks) -> Iterator[Another]:
    """Makes targets of the same workspace, registered otherwise."""
    made: list[DatabricksHarness] = []

    def make(settings: dict[str, Any] | None = None, **place: Any) -> DatabricksHarness:
        made.append(DatabricksHarness(workspace, settings, **place))
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def target(another: Another) -> DatabricksHarness:
    return another()


@pytest.fixture
def life(target: DatabricksHarness) -> Life:
    return Life(target)


def observed(life: Life) -> Observed:
    return next(each for each in life.target.open().observe_all() if each.name == life.name)


# what is written


def test_a_change_of_models_or_traffic_is_one_write(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.split(80, 20))
    for desired in (target.split(30, 70), target.spec("a"), target.spec("b")):
        before = target.count().writes
        life.settle(desired)
        assert target.count().writes == before + 1


def test_a_change_of_traffic_keeps_the_entities(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.split(80, 20))
    before = [entity["name"] for entity in life.serves()["served_entities"]]
    life.settle(target.split(30, 70))
    assert [entity["name"] for entity in life.serves()["served_entities"]] == before
    assert [route["traffic_percentage"] for route in life.serves()["traffic_config"]["routes"]] == [30, 70]


GATEWAY = {"usage_tracking_config": {"enabled": True}, "rate_limits": [{"calls": 5, "renewal_period": "minute"}]}
WIDE: dict[str, Any] = {
    "tags": {"team": "a"},
    "ai_gateway": GATEWAY,
    "rate_limits": [{"calls": 7, "renewal_period": "minute"}],
    "email_notifications": {"on_update_failure": ["a@example.com"]},
    "auto_capture_config": {"catalog_name": "main", "schema_name": "logs", "enabled": True},
}


def wide_of(life: Life) -> dict[str, Any]:
    there = life.target.workspace.endpoint(life.name)
    assert there is not None
    tags = {tag["key"]: tag["value"] for tag in there["tags"] if not tag["key"].startswith("modelport")}
    return {
        "tags": tags,
        "ai_gateway": there.get("ai_gateway"),
        "rate_limits": there["rate_limits"],
        "email_notifications": there.get("email_notifications"),
        "auto_capture_config": there["config"].get("auto_capture_config"),
    }


def test_all_of_the_endpoints_settings_come_with_the_create(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a", route_optimized=True, description="d", budget_policy_id="b", **WIDE))
    there = target.workspace.endpoint(life.name)
    assert there is not None
    assert wide_of(life) == WIDE
    assert (there["route_optimized"], there["description"], there["budget_policy_id"]) == (True, "d", "b")
    assert target.count().writes == 1


def test_settings_that_change_are_written_one_by_one_and_remembered_last(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a"))
    workspace = target.workspace
    before = len(workspace.log())

    life.settle(target.spec("a", **WIDE))

    assert wide_of(life) == WIDE
    written = [call["verb"] for call in workspace.log()[before:] if call["verb"] not in ("GET", "LIST")]
    assert written == ["CONFIG", "GATEWAY", "NOTIFICATIONS", "LIMITS", "TAGS"]
    assert observed(life).content == life.placed["content"]


def test_settings_that_are_not_asked_for_any_more_are_dropped(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a", **WIDE))
    life.settle(target.spec("a"))
    left = wide_of(life)
    assert (left["tags"], left["ai_gateway"], left["rate_limits"]) == ({}, None, [])


def test_settings_that_others_made_are_left_alone(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a"))
    path = f"/api/2.0/serving-endpoints/{life.name}"
    target.workspace.request("PUT", f"{path}/ai-gateway", GATEWAY).raise_for_status()
    target.workspace.request("PATCH", f"{path}/tags", {"add_tags": [{"key": "cost", "value": "x"}]}).raise_for_status()
    life.settle(target.spec("b"))
    assert wide_of(life)["ai_gateway"] == GATEWAY
    assert wide_of(life)["tags"] == {"cost": "x"}


def refused_at(life: Life, handle: Handle) -> tuple[Handle, Permanent]:
    """The handle with which the step was taken that the workspace refused."""
    while True:
        try:
            handle = through_json(life.step(handle).handle)
        except Permanent as refusal:
            return handle, refusal


@pytest.mark.parametrize("refused", ["GATEWAY", "NOTIFICATIONS", "LIMITS", "TAGS"])
def test_settings_that_are_refused_are_taken_back_with_the_rest(
    life: Life, target: DatabricksHarness, refused: str
) -> None:
    life.settle(target.spec("a", **{**WIDE, "tags": {"team": "b"}, "rate_limits": []}))
    before, served = wide_of(life), life.serves()["served_entities"]
    target.workspace.faults({"kind": "refused", "verb": refused, "message": "not in this region"})
    changed = {**WIDE, "ai_gateway": {"usage_tracking_config": {"enabled": False}}, "email_notifications": {}}
    handle = life.plan(target.spec("b", **{**changed, "email_notifications": {"on_update_success": ["b@example.com"]}}))
    reached, refusal = refused_at(life, handle)
    assert "not in this region" in refusal.message

    assert life.bring(reached, "back").outcome == "done"

    assert wide_of(life) == before
    assert [e["name"] for e in life.serves()["served_entities"]] == [e["name"] for e in served]


@pytest.mark.parametrize(
    ("key", "first", "then"),
    [
        ("route_optimized", None, True),
        ("route_optimized", True, False),
        ("description", "a", "b"),
        ("budget_policy_id", None, "policy"),
    ],
)
def test_what_cannot_change_later_is_refused_before_anything_is_written(
    life: Life, target: DatabricksHarness, key: str, first: Any, then: Any
) -> None:
    life.settle(target.spec("a", **({key: first} if first is not None else {})))
    writes = target.count().writes
    with pytest.raises(Permanent, match=rf"{key} of an endpoint cannot be changed.*create it anew"):
        life.step(life.plan(target.spec("b", **{key: then})))
    assert target.count().writes == writes


def test_what_cannot_change_may_be_left_out_or_said_again(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a", route_optimized=True, description="d"))
    life.settle(target.spec("b", route_optimized=True, description="d"))
    life.settle(target.spec("a"))


# how it ends


def test_a_failure_quotes_the_entity_and_the_end_of_its_build_log(life: Life, target: DatabricksHarness) -> None:
    ended = life.bring(life.plan(target.broken()))
    assert ended.outcome == "failed"
    assert ended.message.startswith("UPDATE_FAILED: main-")
    assert "DEPLOYMENT_FAILED Container creation failed: no weights in the cellar" in ended.message
    assert ended.message.endswith("ERROR: Container creation failed: no weights in the cellar")


def test_the_build_log_can_be_left_out(another: Another) -> None:
    life = Life(another({"failure_log_lines": 0}))
    assert "build log" not in life.bring(life.plan(life.target.broken())).message
    assert life.target.workspace.log("LOGS") == []


def test_a_build_log_that_cannot_be_read_hides_no_failure(life: Life, target: DatabricksHarness) -> None:
    target.workspace.faults({"kind": "denied", "verb": "LOGS", "count": None})
    ended = life.bring(life.plan(target.broken()))
    assert (ended.outcome, "no weights in the cellar" in ended.message) == ("failed", True)


def test_ready_is_not_landed(life: Life, target: DatabricksHarness) -> None:
    """An endpoint that went back to its old config is ready and not updating too."""
    life.settle(target.spec("a"))
    target.workspace.faults({"kind": "stuck", "verb": "CONFIG"})
    handle = life.step(life.plan(target.spec("b"))).handle
    there = target.workspace.endpoint(life.name)
    assert there is not None
    assert there["state"] == {"ready": "READY", "config_update": "IN_PROGRESS"}
    waits = life.step(handle)
    assert (waits.outcome, waits.again_in) == ("again", 0.02)
    target.workspace.cancel(life.name)
    ended = life.bring(waits.handle)
    assert (ended.outcome, ended.message.split(":")[0]) == ("failed", "UPDATE_CANCELED")


def test_an_update_that_somebody_else_began_is_waited_for(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a"))
    target.workspace.conduct(looks=3)
    path = f"/api/2.0/serving-endpoints/{life.name}/config"
    target.workspace.request("PUT", path, theirs("x")["config"]).raise_for_status()
    writes = target.count().writes
    handle = life.plan(target.spec("b"))
    waits = life.step(handle)
    assert (waits.outcome, target.count().writes) == ("again", writes)
    assert life.bring(waits.handle).outcome == "done"


def test_a_change_by_somebody_else_meanwhile_is_told(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a"))
    target.workspace.faults({"kind": "stuck", "verb": "CONFIG"})
    handle = life.step(life.plan(target.spec("b"))).handle
    target.workspace.cancel(life.name)
    path = f"/api/2.0/serving-endpoints/{life.name}/config"
    target.workspace.request("PUT", path, theirs("x")["config"]).raise_for_status()
    ended = life.bring(handle)
    assert (ended.outcome, ended.message) == ("failed", "the endpoint was changed by somebody else meanwhile")


def test_a_cancelled_update_is_waited_for_and_put_back(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a"))
    target.workspace.conduct(looks=4)
    handle = life.step(life.plan(target.spec("b"))).handle
    ended = life.bring(handle, "back")
    assert (ended.outcome, ended.message) == ("done", "what was before serves")
    assert life.effects() == {"create": 1, "config": 2}


def test_retry_after_of_a_refusal_is_kept_up_to_the_cap(another: Another, workspace: Databricks) -> None:
    life = Life(another({"retry_after_cap_seconds": 9}))
    for told, kept in ((7, 7), (86400, 9)):
        workspace.faults({"kind": "throttled", "verb": "CREATE", "retry_after": told})
        with pytest.raises(Temporary, match="429 REQUEST_LIMIT_EXCEEDED") as raised:
            life.step(life.plan(life.target.spec("a")))
        assert raised.value.retry_in == kept


def test_a_quota_is_waited_for_long(life: Life, target: DatabricksHarness) -> None:
    target.workspace.faults({"kind": "quota", "verb": "CREATE", "message": "1000 endpoints are there"})
    with pytest.raises(Temporary, match="1000 endpoints are there") as raised:
        life.step(life.plan(target.spec("a")))
    assert raised.value.retry_in == 600


def test_the_workspaces_limit_of_writes(another: Another, workspace: Databricks) -> None:
    workspace.conduct(writes_limit=2, writes_window=0.2, looks=0)
    target = another({"look_seconds": 0.01})
    lives = [Life(target) for _ in range(5)]
    for life in lives:
        life.settle(target.spec("a"))
    assert sum(call["status"] == 429 for call in workspace.log("CREATE")) > 0
    assert all(life.effects() == {"create": 1} for life in lives)


def test_a_model_that_went_away_fails_the_update(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a"))
    handle = life.plan(target.spec("b"))
    target.workspace.conduct(missing=["main.ml.b"])
    with pytest.raises(Permanent, match=r"main\.ml\.b.* does not exist"):
        life.step(handle)


def test_an_endpoint_that_went_away_between_look_and_write_is_looked_at_again(
    life: Life, target: DatabricksHarness
) -> None:
    life.settle(target.spec("a"))
    handle = life.plan(target.spec("b"))
    seen = look(target, life.adapter, handle)
    target.workspace.request("DELETE", f"/api/2.0/serving-endpoints/{life.name}").raise_for_status()
    progress = life.step(handle, seen=seen)
    assert (progress.outcome, "does not exist" in progress.message) == ("again", True)
    assert life.bring(progress.handle).outcome == "done"


# looking at many


def under_way(target: DatabricksHarness, how_many: int) -> dict[str, Handle]:
    target.workspace.conduct(seconds=1000, looks=None)
    lives = [Life(target) for _ in range(how_many)]
    return {life.name: through_json(life.step(life.plan(target.spec("a"))).handle) for life in lives}


def test_many_under_way_are_seen_in_one_list(workspace: Databricks, target: DatabricksHarness) -> None:
    handles = under_way(target, 6)
    before = workspace.counts()["calls"]
    seen = target.open().look_many(handles)
    after = workspace.counts()["calls"]
    assert all(isinstance(each, Seen) and not each.needs_write for each in seen.values())
    assert (after["LIST"] - before.get("LIST", 0), after.get("GET", 0)) == (1, before.get("GET", 0))


def test_of_many_those_that_settled_are_asked_for_singly(workspace: Databricks, target: DatabricksHarness) -> None:
    handles = under_way(target, 5)
    settled = Life(target)
    workspace.conduct(seconds=0)
    progress = settled.step(settled.plan(target.spec("a")))
    assert progress.outcome == "done"
    handles[settled.name] = settled.plan(target.spec("a"))
    before = workspace.counts()["calls"].get("GET", 0)
    seen = target.open().look_many(handles)
    assert workspace.counts()["calls"]["GET"] == before + 1
    found = seen[settled.name]
    assert isinstance(found, Seen)
    assert found.message == "serving main 100 %"


@pytest.mark.parametrize("kind", ["stale", "not_found"])
def test_a_list_that_lags_is_not_believed(workspace: Databricks, target: DatabricksHarness, kind: str) -> None:
    handles = under_way(target, 5)
    workspace.faults({"kind": kind, "verb": "LIST"})
    seen = target.open().look_many(handles)
    assert all(isinstance(each, Seen) and not each.needs_write for each in seen.values())


def test_one_that_cannot_be_read_does_not_hide_the_others(workspace: Databricks, target: DatabricksHarness) -> None:
    lives = [Life(target) for _ in range(2)]
    workspace.faults({"kind": "unavailable", "verb": "GET", "name": lives[0].name, "count": None})
    seen = target.open().look_many({life.name: life.plan(target.spec("a")) for life in lives})
    assert isinstance(seen[lives[0].name], Temporary)
    assert isinstance(seen[lives[1].name], Seen)


# observing and adopting


def test_a_thousand_are_observed_in_one_list(workspace: Databricks, target: DatabricksHarness) -> None:
    tags = {"modelport_installation": "conformance", "modelport_content": "0"}
    workspace.plant(*(theirs(f"model-{n:04}", {**tags, "modelport_uid": str(n)}) for n in range(1000)))
    adapter = target.open()
    found = list(adapter.observe_all())
    assert len(found) == 1000
    assert {each.uid for each in found} == {str(n) for n in range(1000)}
    assert workspace.counts()["calls"] == {"LIST": 1}


def test_of_others_and_of_splits_the_documents_are_read_once(workspace: Databricks, target: DatabricksHarness) -> None:
    life = Life(target)
    life.settle(target.split(80, 20))
    workspace.plant(theirs("theirs", one=50, two=50))
    adapter = target.open()
    before = workspace.counts()["calls"].get("GET", 0)
    first, second = list(adapter.observe_all()), list(adapter.observe_all())
    assert first == second
    assert workspace.counts()["calls"]["GET"] == before + 2
    life.settle(target.split(30, 70))
    before = workspace.counts()["calls"]["GET"]
    assert next(each for each in adapter.observe_all() if each.uid).content == life.placed["content"]
    assert workspace.counts()["calls"]["GET"] == before + 1


@pytest.mark.parametrize("how", ["traffic", "model", "settings"])
def test_drift_is_seen(life: Life, target: DatabricksHarness, how: str) -> None:
    life.settle(target.split(80, 20))
    assert observed(life).content == life.placed["content"]
    path = f"/api/2.0/serving-endpoints/{life.name}"
    config = life.serves()
    entities = [{k: v for k, v in entity.items() if k != "state"} for entity in config["served_entities"]]
    routes = config["traffic_config"]["routes"]
    if how == "traffic":
        routes = [{**route, "traffic_percentage": 50} for route in routes]
    if how == "model":
        entities[0]["entity_version"] = "9"
    if how == "settings":
        body = {"add_tags": [{"key": "modelport_content", "value": "x"}]}
        target.workspace.request("PATCH", f"{path}/tags", body).raise_for_status()
    else:
        body = {"served_entities": entities, "traffic_config": {"routes": routes}}
        target.workspace.request("PUT", f"{path}/config", body).raise_for_status()
        target.workspace.conduct(looks=0)
    there = observed(life)
    while there.status == "updating":
        there = observed(life)
    assert there.content != life.placed["content"]


def adopting(life: Life, spec: Spec) -> Handle:
    return through_json(life.adapter.plan(replace(change(life.name, None, spec), adopt=True)))


def planted(life: Life, **traffic: int) -> Spec:
    """Something that is there without an owner, as it can be adopted."""
    life.target.workspace.plant(theirs(life.name, {"cost": "x"}, **traffic))
    found = observed(life)
    assert found.uid is None
    assert found.spec is not None
    return found.spec


def test_what_is_adopted_keeps_serving_untouched(life: Life, target: DatabricksHarness) -> None:
    spec = planted(life, champion_1=90, challenger=10)
    assert spec.traffic == {"champion-1": 90, "challenger": 10}
    before = life.serves()
    handle = adopting(life, spec)

    ended = life.bring(handle)

    assert ended.outcome == "done"
    assert ended.route is not None
    assert ended.route["entities"] == {"champion-1": "champion_1", "challenger": "challenger"}
    assert life.serves() == before
    assert life.effects() == {"tags": 1}
    there = observed(life)
    assert (there.uid, there.content) == (life.uid, handle["content"])
    assert target.answering(ended.route, "challenger") == "models:/main.ml.theirs/2"


def test_an_adopted_one_is_updated_and_taken_back_like_any_other(life: Life, target: DatabricksHarness) -> None:
    spec = planted(life)
    life.placed, life.current = life.bring(adopting(life, spec)).handle, spec
    failed = life.bring(life.plan(target.broken()))
    assert life.bring(failed.handle, "back").outcome == "done"
    assert [e["name"] for e in life.serves()["served_entities"]] == ["theirs_1"]
    life.settle(spec)
    assert life.effects() == {"tags": 1, "config": 1}
    life.settle(target.spec("a"))
    assert wide_of(life)["tags"] == {"cost": "x"}


def test_adopting_can_be_taken_back_without_touching_it(life: Life) -> None:
    handle = adopting(life, planted(life))
    assert life.bring(handle, "back").outcome == "done"
    assert life.effects() == {}


def test_what_has_another_owner_is_not_adopted(life: Life, target: DatabricksHarness) -> None:
    target.occupy(life.name)
    with pytest.raises(Conflict, match="another owner"):
        life.step(adopting(life, target.spec("a")))


def test_what_went_away_is_not_adopted(life: Life, target: DatabricksHarness) -> None:
    ended = life.bring(adopting(life, target.spec("a")))
    assert (ended.outcome, ended.message) == ("failed", "it is not there any more")


def test_what_nobody_can_ask_for_cannot_be_adopted(life: Life, target: DatabricksHarness) -> None:
    external = {"provider": "openai", "name": "gpt-4o", "task": "llm/v1/chat"}
    entity = {"name": "gpt", "external_model": {**external, "openai_config": {"openai_api_key_plaintext": "hush"}}}
    target.workspace.plant({"name": life.name, "config": {"served_entities": [entity]}})
    assert observed(life).spec is None


def test_an_external_model_with_a_reference_can_be_adopted(life: Life, target: DatabricksHarness) -> None:
    external = {"provider": "openai", "name": "gpt-4o", "task": "llm/v1/chat"}
    key = {"openai_config": {"openai_api_key": "{{secrets/llm/openai}}"}}
    entity = {"name": "gpt", "external_model": {**external, **key}}
    target.workspace.plant({"name": life.name, "config": {"served_entities": [entity]}})
    spec = observed(life).spec
    assert spec is not None
    assert spec.variants[0].model_uri == "external:/openai/gpt-4o"
    assert life.bring(adopting(life, spec)).outcome == "done"


# models, logs, check


@pytest.mark.parametrize("model", ["main.ml.iris", "iris"])
def test_aliases_become_versions(life: Life, target: DatabricksHarness, model: str) -> None:
    target.workspace.conduct(aliases={model: {"champion": "7"}})
    asked = Spec((Variant("main", f"models:/{model}@champion", None, {}),), {"main": 100})
    resolved = life.adapter.resolve(asked)
    assert resolved.variants[0].model_uri == f"models:/{model}/7"
    assert life.adapter.resolve(resolved) == resolved
    life.settle(resolved)
    assert life.serves()["served_entities"][0]["entity_version"] == "7"


@pytest.mark.parametrize(
    ("uri", "config", "told"),
    [
        ("models:/main.ml.iris@nobody", {}, "names nothing: .*nobody"),
        ("models:/iris@nobody", {}, "names nothing: .*nobody"),
        ("models:/main.ml.gone/1", {}, "names nothing: .*main.ml.gone"),
        ("models:/gone/1", {}, "names nothing: .*gone"),
        ("models:/main.ml.iris", {}, "add /VERSION or @ALIAS"),
        ("s3://bucket/model", {}, "register it"),
        ("models:/main.ml.iris@x", {"entity_version": "3"}, "not that of its URI"),
    ],
)
def test_what_names_no_version_is_told_with_its_variant(
    life: Life, target: DatabricksHarness, uri: str, config: dict[str, Any], told: str
) -> None:
    target.workspace.conduct(missing=["main.ml.gone", "gone"])
    with pytest.raises(Permanent, match=rf"variant main: .*{told}"):
        life.adapter.resolve(Spec((Variant("main", uri, None, config),), {"main": 100}))


def test_a_version_that_may_not_be_read_may_be_served(life: Life, target: DatabricksHarness) -> None:
    target.workspace.faults({"kind": "denied", "verb": "MODEL"})
    assert life.adapter.resolve(target.spec("a")) == target.spec("a")
    target.workspace.faults({"kind": "denied", "verb": "MODEL"})
    with pytest.raises(Denied):
        life.adapter.resolve(Spec((Variant("main", "models:/m@a", None, {}),), {"main": 100}))


def test_logs_of_one_variant_and_of_all(life: Life, target: DatabricksHarness) -> None:
    handle = life.settle(target.split(50, 50)).handle
    names = handle["desired"]["names"]
    assert life.adapter.logs(handle, "b", 10) == f"serving {names['b']}"
    assert life.adapter.logs(handle, None, 10) == (f"==> a <==\nserving {names['a']}\n==> b <==\nserving {names['b']}")


def test_logs_of_what_was_adopted(life: Life) -> None:
    handle = life.bring(adopting(life, planted(life))).handle
    assert life.adapter.logs(handle, None, 10) == "serving theirs_1"


def test_logs_of_what_is_not_there(life: Life, target: DatabricksHarness) -> None:
    assert life.adapter.logs(life.plan(target.spec("a")), None, 10) == ""


def test_check_tells_how_many_there_are(life: Life, target: DatabricksHarness) -> None:
    life.settle(target.spec("a"))
    target.workspace.plant(theirs("another"))
    assert life.adapter.check() == "the workspace answers; it has 2 serving endpoints, 1 of this installation"


def test_a_call_takes_no_longer_than_its_limit(another: Another, workspace: Databricks) -> None:
    workspace.conduct(latency=30)
    with pytest.raises(Temporary, match=r"no answer within 0\.2 s"):
        another(call_timeout_seconds=0.2).open().check()


def test_no_secret_is_in_anything_that_is_kept_or_told(life: Life, target: DatabricksHarness) -> None:
    kept: list[str] = []

    def keep(progress: Progress) -> Progress:
        kept.append(repr(progress))
        return progress

    target.workspace.faults({"kind": "denied", "verb": "CREATE"})
    with pytest.raises(Denied, match=r"not allowed to Bearer \*\*\*") as raised:
        life.step(life.plan(target.spec("a")))
    kept.append(str(raised.value))
    target.workspace.conduct(failure=f"cannot use {TOKEN}")
    keep(life.bring(life.plan(target.broken())))
    handle = keep(life.bring(life.plan(target.spec("a")))).handle
    kept.append(life.adapter.logs(handle, None, 100))
    kept.extend(repr(each) for each in life.adapter.observe_all())
    assert len(kept) == 5
    assert not [text for text in kept if TOKEN in text]


def test_a_drive_through_json_changes_nothing(life: Life, target: DatabricksHarness) -> None:
    """Handles survive a crash in the database at every step of the longest change there is."""
    life.settle(target.spec("a"))
    assert drive(target, life.plan(target.spec("b", **WIDE)), habit="forgetful").progress is not None
    assert wide_of(life) == WIDE
