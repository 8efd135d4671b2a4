"""MLflow's documented calls in Python: the values, types and exceptions that ``BaseDeploymentClient`` promises."""

from __future__ import annotations

import socket
from typing import Any

from modelport.client import Client
from tests.fakes.platform import Platform
from tests.modelport.mlflow_process import FRAME, Called, calls
from tests.modelport.on_platform import *  # noqa: F403 - fixtures

MODEL = "models:/iris/1"


def names(called: Called) -> list[str]:
    assert called.type == "list", called
    return [each["name"] for each in called.value]


def refused(called: Called, code: str) -> str:
    assert (called.type, called.error_code) == ("MlflowException", code), called
    return called.message or ""


def test_a_deployment_from_its_creation_to_its_end(target: str) -> None:
    config = {"replicas": 2, "labels": {"team": "a"}}
    created, twice, got, listed, updated, flavor, *_, anew, gone, again, absent, empty = calls(
        target,
        ("create_deployment", ["iris", MODEL], {"config": config}),
        ("create_deployment", ["iris", MODEL]),
        ("get_deployment", ["iris"]),
        ("list_deployments",),
        ("update_deployment", ["iris"], {"config": {"platform": {"gpu": "T4"}}}),
        ("update_deployment", ["iris"], {"flavor": "onnx"}),
        ("update_deployment", ["iris", "models:/iris/2", "onnx"]),
        ("get_deployment", ["iris"]),
        ("delete_deployment", ["iris"]),
        ("delete_deployment", ["iris"]),
        ("get_deployment", ["iris"]),
        ("list_deployments",),
    )
    assert created.value == got.value
    assert created.type == updated.type == "dict"
    assert created.value["name"] == "iris"
    assert (got.value["config"], got.value["labels"]) == ({"replicas": 2}, {"team": "a"})
    refused(twice, "RESOURCE_ALREADY_EXISTS")
    assert names(listed) == ["iris"]
    assert updated.value["config"] == {"replicas": 2, "platform": {"gpu": "T4"}}
    refused(flavor, "INVALID_PARAMETER_VALUE")
    assert (anew.value["flavor"], anew.value["model_uri"]) == ("onnx", "models:/iris/2")
    assert (gone.type, again.type) == ("NoneType", "NoneType")
    refused(absent, "RESOURCE_DOES_NOT_EXIST")
    assert empty.value == []


def test_endpoints_from_announced_to_deleted(target: str) -> None:
    shop = {"endpoint": "shop"}
    (
        announced,
        twice,
        none_inside,
        there,
        first,
        second,
        again,
        listed,
        split,
        full,
        known,
        part,
        whole,
        gone,
        no_more,
        other,
    ) = calls(
        target,
        ("create_endpoint", ["shop"], {"config": {"labels": {"team": "shop"}}}),
        ("create_endpoint", ["shop"]),
        ("list_deployments", ["shop"]),
        ("list_endpoints",),
        ("create_deployment", ["a", MODEL], shop),
        ("create_deployment", ["b", "models:/iris/2"], {**shop, "config": {"replicas": 2}}),
        ("create_deployment", ["b", "models:/iris/2"], shop),
        ("list_deployments", ["shop"]),
        ("update_endpoint", ["shop"], {"config": {"traffic": {"a": 40, "b": 60}}}),
        ("delete_deployment", ["b"], shop),
        ("get_endpoint", ["shop"]),
        ("delete_deployment", ["b"], {**shop, "config": {"traffic": {"a": 100}}}),
        ("get_endpoint", ["shop"]),
        ("delete_endpoint", ["shop"]),
        ("delete_endpoint", ["shop"]),
        ("get_endpoint", ["shop"]),
    )
    assert (announced.value["name"], announced.value["deployments"]) == ("shop", [])
    refused(twice, "RESOURCE_ALREADY_EXISTS")
    assert none_inside.value == []
    assert names(there) == ["shop"]
    assert (first.value["name"], first.value["endpoint"], first.value["traffic"]) == ("a", "shop", 100)
    assert (second.value["name"], second.value["traffic"], second.value["config"]) == ("b", 0, {"replicas": 2})
    refused(again, "RESOURCE_ALREADY_EXISTS")
    assert names(listed) == ["a", "b"]
    assert split.value["traffic"] == known.value["traffic"] == {"a": 40, "b": 60}
    assert "60 %" in refused(full, "INVALID_PARAMETER_VALUE")
    assert known.value["labels"] == {"team": "shop"}
    assert part.value is None
    assert whole.value["deployments"] == ["a"]
    assert (gone.value, no_more.value) == (None, None)
    refused(other, "RESOURCE_DOES_NOT_EXIST")


def test_an_endpoint_with_its_variants_at_once(target: str) -> None:
    config: dict[str, Any] = {"variants": {"a": MODEL, "b": "models:/iris/2"}, "traffic": {"a": 50, "b": 50}}
    created, changed, alone, several, moved = calls(
        target,
        ("create_endpoint", ["shop"], {"config": config}),
        ("update_endpoint", ["shop"], {"config": {"variants": {"c": MODEL}, "traffic": {"c": 100}}}),
        ("create_endpoint", ["one"], {"config": {"model_uri": MODEL, "replicas": 2}}),
        ("update_deployment", ["shop"], {"config": {"replicas": 2}}),
        ("update_deployment", ["c", "models:/iris/3"], {"endpoint": "shop"}),
    )
    assert created.value["traffic"] == {"a": 50, "b": 50}
    assert changed.value["deployments"] == ["c"]
    assert alone.value["variants"][0]["config"] == {"replicas": 2}
    assert several.value["config"] == {"replicas": 2}
    assert moved.value["model_uri"] == "models:/iris/3"


def test_predictions(platform: Platform, target: str) -> None:
    frame = {FRAME: {"x": [1.0, None]}}
    inside = {"endpoint": "shop", "inputs": [[1.0]]}
    _, _, framed, listed, shaped, pinned, split, nobody, absent, streamed = calls(
        target,
        ("create_deployment", ["a", MODEL], {"endpoint": "shop"}),
        ("create_deployment", ["b", "models:/iris/2"], {"endpoint": "shop"}),
        ("predict", ["shop", frame]),
        ("predict", ["shop", [[1.0]]]),
        ("predict", ["shop", {"instances": [1]}]),
        ("predict", ["b"], inside),
        ("predict", [], inside),
        ("predict", [None, [1.0]]),
        ("predict", ["other", [1.0]]),
        ("predict_stream", ["shop", [1.0]]),
    )
    for answer in (framed, listed, shaped, split):
        assert (answer.type, answer.value["predictions"]) == ("PredictionsResponse", [MODEL])
    assert pinned.value["predictions"] == ["models:/iris/2"]
    refused(nobody, "INVALID_PARAMETER_VALUE")
    refused(absent, "RESOURCE_DOES_NOT_EXIST")
    assert [piece["predictions"] for piece in streamed.value] == [[MODEL]]

    platform.conduct(model_status=400)
    failed, broken = calls(target, ("predict", ["shop", [1.0]]), ("predict_stream", ["shop", [1.0]]))
    assert "the model raised ValueError" in refused(failed, "BAD_REQUEST")
    assert "the model raised ValueError" in refused(broken, "BAD_REQUEST")


def test_operations_that_are_not_waited_for(platform: Platform, client: Client, target: str) -> None:
    platform.conduct(seconds=3600.0)
    begun, late, unread, gone = calls(
        target,
        ("create_deployment", ["iris", MODEL], {"config": {"wait": False}}),
        ("update_deployment", ["iris", "models:/iris/2"], {"config": {"timeout_seconds": 0.2}}),
        ("predict", ["iris", [1.0]]),
        ("delete_deployment", ["iris"], {"config": {"synchronous": False, "cancel_pending": True}}),
    )
    operations = {each.kind: each.id for each in client.operations()}
    assert begun.value == {
        "name": "iris",
        "flavor": "python_function",
        "operation": operations["create"],
        "status": "queued",
    }
    assert operations["update"] in refused(late, "DEADLINE_EXCEEDED")
    refused(unread, "TEMPORARILY_UNAVAILABLE")
    assert gone.value["operation"] == operations["delete"]


def test_a_failed_operation_is_raised_with_the_targets_words(target: str) -> None:
    failing = {"config": {"platform": {"fails": "no weights in the cellar"}}}
    failed, cancelled = calls(target, ("create_deployment", ["iris", MODEL], failing), ("get_deployment", ["iris"]))
    assert "no weights in the cellar" in refused(failed, "INTERNAL_ERROR")
    refused(cancelled, "RESOURCE_DOES_NOT_EXIST")


def test_a_config_that_the_target_does_not_know_is_named(client: Client, target: str) -> None:
    unknown, archived = calls(
        target,
        ("create_deployment", ["iris", MODEL], {"config": {"replica": 2}}),
        ("delete_deployment", ["iris"], {"config": {"archive": True}}),
    )
    assert "config.replica" in refused(unknown, "INVALID_PARAMETER_VALUE")
    assert "archive" in refused(archived, "INVALID_PARAMETER_VALUE")
    assert list(client.operations()) == []


def test_a_target_or_a_server_that_is_not_there(target: str) -> None:
    [unknown] = calls(target.replace("/prod", "/moon"), ("delete_deployment", ["iris"]))
    assert "moon" in refused(unknown, "RESOURCE_DOES_NOT_EXIST")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nowhere = f"modelport://127.0.0.1:{bound.getsockname()[1]}/prod"
        [unreachable] = calls(nowhere, ("list_deployments",))
    assert nowhere.split("/")[2] in refused(unreachable, "TEMPORARILY_UNAVAILABLE")
