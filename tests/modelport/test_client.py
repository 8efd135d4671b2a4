from __future__ import annotations

from datetime import UTC, datetime

import pytest

import modelport
from modelport import errors
from modelport.blocking.handles import Deployment, Operation
from modelport.client import Client
from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane_records import FAILURE


def test_create_sends_one_model_and_gives_the_operation(plane: ControlPlane, client: Client) -> None:
    operation = client.create(
        "local", "iris", model_uri="models:/iris/1", config={"workers": 2}, labels={"team": "a"}, on_conflict="refuse"
    )
    sent = plane.requests[-1]
    assert (sent.method, sent.path, sent.query) == ("POST", "/v1/deployments", {"on_conflict": ["refuse"]})
    assert sent.document == {
        "target": "local",
        "name": "iris",
        "model_uri": "models:/iris/1",
        "config": {"workers": 2},
        "labels": {"team": "a"},
    }
    assert isinstance(operation, Operation)
    assert (operation.kind, operation.state, operation.final) == ("create", "queued", False)
    assert operation.created_at == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert operation.document["created_at"] == "2026-01-02T03:04:05.000006Z"


def test_variants_may_be_given_as_names_and_uris(plane: ControlPlane, client: Client) -> None:
    client.apply("local", "iris", variants={"a": "models:/iris/1", "b": "models:/iris/2"}, traffic={"a": 80, "b": 20})
    assert plane.requests[-1].document == {
        "variants": [{"name": "a", "model_uri": "models:/iris/1"}, {"name": "b", "model_uri": "models:/iris/2"}],
        "traffic": {"a": 80, "b": 20},
    }


def test_a_misspelt_keyword_is_refused_before_anything_is_sent(plane: ControlPlane, client: Client) -> None:
    with pytest.raises(TypeError, match="'model'"):
        client.apply("local", "iris", model="models:/iris/1")  # type: ignore[call-arg]
    assert plane.requests == []


def test_apply_of_what_is_so_already_gives_the_deployment(client: Client) -> None:
    client.apply("local", "iris", model_uri="models:/iris/1").wait(timeout=60)
    again = client.apply("local", "iris", model_uri="models:/iris/1")
    assert isinstance(again, Deployment)
    assert again.wait(timeout=60).status == "serving"


def test_apply_of_what_is_under_way_gives_that_operation(plane: ControlPlane, client: Client) -> None:
    plane.by_hand = True
    first = client.apply("local", "iris", model_uri="models:/iris/1")
    again = client.apply("local", "iris", model_uri="models:/iris/1")
    assert again.id == first.id


def test_update_changes_labels_alone_without_an_operation(plane: ControlPlane, client: Client) -> None:
    client.apply("local", "iris", model_uri="models:/iris/1").wait(timeout=60)
    changed = client.update("local", "iris", labels={"team": "b"})
    assert isinstance(changed, Deployment)
    assert changed.labels == {"team": "b"}


def test_if_match_takes_a_deployment_and_a_stale_one_is_refused(plane: ControlPlane, client: Client) -> None:
    client.apply("local", "iris", model_uri="models:/iris/1").wait(timeout=60)
    seen = client.get("local", "iris")
    client.apply("local", "iris", model_uri="models:/iris/2", if_match=seen).wait(timeout=60)
    assert plane.effects == 2
    with pytest.raises(modelport.Stale) as refused:
        client.apply("local", "iris", model_uri="models:/iris/3", if_match=seen.generation)
    assert refused.value.status == 412
    assert plane.effects == 2


def test_traffic_rollback_and_delete_are_operations(client: Client) -> None:
    client.apply("local", "iris", variants={"a": "m:/1", "b": "m:/2"}, traffic={"a": 50, "b": 50}).wait(timeout=60)
    kinds = [
        client.traffic("local", "iris", {"a": 80, "b": 20}).wait(timeout=60),
        client.rollback("local", "iris", revision=1).wait(timeout=60),
        client.delete("local", "iris", cancel_pending=True).wait(timeout=60),
    ]
    assert [ended.kind for ended in kinds if isinstance(ended, Operation)] == ["traffic", "rollback", "delete"]
    with pytest.raises(modelport.NotFound):
        client.get("local", "iris")


def test_names_are_escaped_in_the_path(plane: ControlPlane, client: Client) -> None:
    with pytest.raises(modelport.NotFound):
        client.get("local", "../operations?x")
    assert plane.requests[-1].path == "/v1/deployments/local/..%2Foperations%3Fx"


def test_lists_go_over_all_pages(plane: ControlPlane, client: Client) -> None:
    plane.page_size = 2
    for number in range(5):
        client.apply("local", f"iris-{number}", model_uri="m:/1", labels={"odd": str(number % 2)}).wait(timeout=60)
    assert [found.name for found in client.list()] == [f"iris-{number}" for number in range(5)]
    assert [found.name for found in client.list(labels={"odd": "1"})] == ["iris-1", "iris-3"]
    assert len(list(client.operations(state="succeeded"))) == 5
    assert [found.number for found in client.revisions("local", "iris-0")] == [1]


def test_wait_gives_the_operation_that_succeeded(plane: ControlPlane, client: Client) -> None:
    ended = client.create("local", "iris", model_uri="m:/1").wait(timeout=60)
    assert (ended.state, ended.message) == ("succeeded", "serves")


def test_wait_is_one_long_poll_not_many_looks(plane: ControlPlane, client: Client) -> None:
    plane.by_hand = True
    operation = client.create("local", "iris", model_uri="m:/1")
    plane.requests.clear()
    polled = plane.when_requested(2, lambda: plane.end(plane.operations[operation.id], "succeeded", "serves"))
    operation.wait(timeout=600)
    polled.join()
    assert [sent.headers.get("Prefer") for sent in plane.requests] == [None, "wait=25"]


def test_wait_raises_when_the_operation_failed(plane: ControlPlane, client: Client) -> None:
    plane.script = FAILURE
    operation = client.create("local", "iris", model_uri="m:/1")
    with pytest.raises(modelport.OperationFailed, match="create of local/iris failed: the target ran out") as failed:
        operation.wait(timeout=60)
    assert failed.value.operation.error is not None
    assert failed.value.operation.error.type == "/problems/target-failed"


def test_wait_raises_when_the_operation_was_cancelled(plane: ControlPlane, client: Client) -> None:
    plane.by_hand = True
    operation = client.create("local", "iris", model_uri="m:/1")
    assert operation.cancel().state == "cancelled"
    with pytest.raises(modelport.OperationCancelled):
        operation.wait(timeout=60)


def test_wait_ends_in_time_with_our_timeout_error(plane: ControlPlane, client: Client) -> None:
    plane.by_hand = True
    operation = client.create("local", "iris", model_uri="m:/1")
    with pytest.raises(TimeoutError) as late:
        operation.wait(timeout=0.2)
    assert isinstance(late.value, modelport.WaitTimeout)
    assert late.value.operation.id == operation.id


def test_wait_outlives_a_restart_of_the_server(plane: ControlPlane, client: Client) -> None:
    operation = client.create("local", "iris", model_uri="m:/1")
    plane.fail_next(drop="before")
    plane.fail_next(status=503)
    assert operation.wait(timeout=30).state == "succeeded"


def test_wait_gives_up_on_a_server_that_stays_away(plane: ControlPlane) -> None:
    with Client(plane.url, outage_seconds=0.0) as client:
        operation = client.create("local", "iris", model_uri="m:/1")
        plane.fail_next(drop="before")
        with pytest.raises(modelport.Unreachable):
            operation.wait(timeout=30)


def test_a_deployment_is_waited_for_until_nothing_is_under_way(plane: ControlPlane, client: Client) -> None:
    plane.by_hand = True
    client.apply("local", "iris", model_uri="m:/1")
    found = client.get("local", "iris")
    assert (found.status, found.unfinished) == ("creating", 1)
    plane.by_hand = False
    settled = found.wait(timeout=60)
    assert (settled.status, settled.operation) == ("serving", None)
    assert settled.current is not None
    assert settled.current.variants[0].model_uri == "m:/1"


def test_follow_shows_every_look_and_does_not_raise_for_a_failure(plane: ControlPlane, client: Client) -> None:
    plane.script, plane.stepwise = FAILURE, True
    operation = client.create("local", "iris", model_uri="m:/1")
    assert [seen.state for seen in operation.follow(every=1.0)] == ["starting", "failed"]


def test_a_late_cancel_says_so(client: Client) -> None:
    ended = client.create("local", "iris", model_uri="m:/1").wait(timeout=60)
    with pytest.raises(modelport.TooLate):
        ended.cancel()


def test_retry_is_a_new_operation_that_names_the_old(plane: ControlPlane, client: Client) -> None:
    plane.script = FAILURE
    operation = client.create("local", "iris", model_uri="m:/1")
    with pytest.raises(modelport.OperationFailed):
        operation.wait(timeout=60)
    assert operation.retry().retry_of == operation.id


def test_predict_passes_bytes_on_and_gives_the_models_bytes(plane: ControlPlane, client: Client) -> None:
    client.create("local", "iris", model_uri="m:/1").wait(timeout=60)
    answer = client.predict("local", "iris", b"a,b\n1,2\n", content_type="text/csv", variant="main")
    sent = plane.requests[-1]
    assert (sent.body, sent.headers["Content-Type"], sent.query) == (b"a,b\n1,2\n", "text/csv", {"variant": ["main"]})
    assert (answer.body, answer.json()) == (b'{"predictions": [1]}', {"predictions": [1]})
    assert (answer.status, answer.variant, answer.revision, answer.origin) == (200, "main", 1, "model")


def test_predict_sends_an_object_as_json(plane: ControlPlane, client: Client) -> None:
    client.create("local", "iris", model_uri="m:/1").wait(timeout=60)
    client.get("local", "iris").predict({"inputs": [[1.5]]})
    assert plane.requests[-1].document == {"inputs": [[1.5]]}


def test_an_error_of_the_model_is_an_answer_and_one_of_ours_is_raised(plane: ControlPlane, client: Client) -> None:
    client.create("local", "iris", model_uri="m:/1").wait(timeout=60)
    plane.model = (404, b"no such column")
    answer = client.predict("local", "iris", {"inputs": [1]})
    assert (answer.ok, answer.status, answer.text) == (False, 404, "no such column")
    with pytest.raises(modelport.NotFound):
        client.predict("local", "rose", {"inputs": [1]})


def test_targets(plane: ControlPlane, client: Client) -> None:
    made = client.put_target("prod", "http://models.internal", settings={"verify": True}, credentials="env:TOKEN")
    assert (made.name, made.uri) == ("prod", "http://models.internal")
    assert plane.requests[-1].document["credentials"] == "env:TOKEN"
    assert [found.name for found in client.targets()] == ["local", "prod"]
    assert [(kind.scheme, kind.workers) for kind in client.target_kinds()] == [("local", 1)]
    assert client.target("local").capabilities == {"max_variants": 8}
    assert "workers: int" in client.target_help("local")
    assert client.check_target("local").message == "3 models served"
    client.delete_target("prod")
    assert [found.name for found in client.targets()] == ["local"]


def test_the_key_and_the_url_come_from_the_environment(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPORT_URL", f"{plane.url}/")
    monkeypatch.setenv("MODELPORT_API_KEY", "s3cret")
    with Client() as client:
        list(client.targets())
    assert plane.requests[-1].headers["Authorization"] == "Bearer s3cret"
    assert plane.requests[-1].path == "/v1/targets"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no server's URL"):
        Client(url)


def test_fields_of_a_newer_server_are_kept(plane: ControlPlane, client: Client) -> None:
    plane.targets["local"]["region"] = "eu"
    assert client.target("local").document["region"] == "eu"


def test_what_is_no_modelport_server_is_told_apart(plane: ControlPlane, client: Client) -> None:
    plane.fail_next(status=200, headers={"Content-Type": "text/html"}, body=b"<html>welcome</html>")
    with pytest.raises(errors.UnexpectedAnswer, match="welcome"):
        client.get("local", "iris")
    plane.fail_next(status=308, headers={"Location": "https://elsewhere/"})
    with pytest.raises(errors.UnexpectedAnswer, match="https://elsewhere/"):
        client.get("local", "iris")
    plane.fail_next(status=200, body=b'{"target": "local"}')
    with pytest.raises(errors.UnexpectedAnswer, match="deployment cannot be read: name"):
        client.get("local", "iris")
