"""What the MLflow plugin decides without a server: addresses, config, variants, inputs, error codes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from modelport import errors
from modelport.errors import problem
from modelport.mlflow_target.address import Address, address
from modelport.mlflow_target.codes import code_of
from modelport.mlflow_target.config import (
    CHANGE,
    DELETION,
    ENDPOINT,
    Given,
    Unfit,
    coerced,
    nothing_else,
    nothing_new,
    read,
)
from modelport.mlflow_target.inputs import document
from modelport.mlflow_target.variants import added, changed, removed, scaled
from modelport.types import Operation, Revision

SCHEMA: dict[str, Any] = {
    "additionalProperties": False,
    "$defs": {
        "Size": {"enum": ["small", "large"]},
        "Limits": {"type": "object", "properties": {"cpu": {"type": "number"}}},
    },
    "properties": {
        "version": {"type": "string"},
        "count": {"type": "integer"},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "size": {"$ref": "#/$defs/Size"},
        "limits": {"$ref": "#/$defs/Limits"},
        "kind": {"const": "1"},
    },
}


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("modelport://models:8000/prod", Address("http://models:8000", "prod")),
        ("modelport+https://models/prod", Address("https://models", "prod")),
        ("modelport+https://models/a/b%20c/prod", Address("https://models/a/b c", "prod")),
        ("modelport:/prod", Address(None, "prod")),
        ("modelport:prod", Address(None, "prod")),
        ("modelport:/prod?profile=live", Address(None, "prod", profile="live")),
        ("modelport:/prod?wait=no&timeout_seconds=900", Address(None, "prod", wait=False, timeout_seconds=900.0)),
    ],
)
def test_addresses(uri: str, found: Address) -> None:
    assert address(uri) == found


@pytest.mark.parametrize(
    "uri",
    [
        "modelport",
        "modelport:",
        "modelport://models:8000",
        "modelport:/a/b",
        "http://models/prod",
        "modelport:/prod#now",
        "modelport:/prod?retries=3",
        "modelport://models/prod?profile=prod",
        "modelport:/prod?wait=perhaps",
        "modelport:/prod?timeout_seconds=-1",
        "modelport://key@models/prod",
    ],
)
def test_what_is_no_address(uri: str) -> None:
    with pytest.raises(Unfit):
        address(uri)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("version", "1.10", "1.10"),
        ("version", "{}", "{}"),
        ("count", "2", 2),
        ("count", "many", "many"),
        ("either", "null", "null"),
        ("maybe", "null", None),
        ("size", "large", "large"),
        ("limits", '{"cpu": 2}', {"cpu": 2}),
        ("kind", "1", "1"),
        ("unknown", "[1]", "[1]"),
    ],
)
def test_text_is_read_by_the_targets_schema(key: str, text: str, value: Any) -> None:
    assert coerced(key, text, SCHEMA) == value


def test_keys_that_the_schema_leaves_open_are_json() -> None:
    assert coerced("anything", "[1]", {"properties": {}}) == [1]


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", "2"), ("true", "true"), ("null", None), ("[1]", [1]), ('{"a": "b"}', {"a": "b"}), ("{x", "{x")],
)
def test_without_a_schema_only_what_pydantic_cannot_read_is_json(text: str, value: Any) -> None:
    assert coerced("key", text, None) == value


def test_config_is_parted() -> None:
    config = {
        "synchronous": "false",
        "timeout_seconds": "900",
        "deadline_seconds": 60,
        "labels": '{"team": "a", "stage": null}',
        "traffic": "a=80%, b=20",
        "if_match": 7,
        "replicas": 2,
        "platform": '{"gpu": "T4"}',
    }
    assert read(config, CHANGE) == Given(
        wait=False,
        timeout_seconds=900.0,
        deadline_seconds=60.0,
        labels={"team": "a", "stage": None},
        traffic={"a": 80, "b": 20},
        if_match="7",
        target={"replicas": 2, "platform": {"gpu": "T4"}},
    )
    assert read({"variants": '{"a": "m:/1"}'}, ENDPOINT).variants == [{"name": "a", "model_uri": "m:/1", "config": {}}]
    assert read({"traffic": "20%"}, CHANGE).share == read({"traffic": 20}, CHANGE).share == 20
    assert read({"cancel_pending": "yes"}, DELETION).cancel_pending is True
    assert read(None, CHANGE) == Given()


@pytest.mark.parametrize(
    "config",
    [
        {"wait": "later"},
        {"wait": True, "synchronous": False},
        {"timeout_seconds": "soon"},
        {"deadline_seconds": 0},
        {"traffic": "all"},
        {"traffic": {"a": 120}},
        {"traffic": True},
        {"traffic": 12.5},
        {"labels": "{x"},
        {"variants": "models:/iris/1"},
    ],
)
def test_what_no_config_can_mean(config: dict[str, Any]) -> None:
    with pytest.raises(Unfit, match="|".join(config)):
        read(config, ENDPOINT)


def test_what_is_left_over_is_named() -> None:
    with pytest.raises(Unfit, match="archive"):
        nothing_else(read({"archive": True}, DELETION), "delete_deployment")


def test_a_variant_is_added_without_traffic_unless_it_is_given_some() -> None:
    wanted = added(revision(a=70, b=30), "c", "m:/3", None, Given(target={"x": 1}))
    assert wanted.variants[-1] == {"name": "c", "model_uri": "m:/3", "flavor": None, "config": {"x": 1}}
    assert wanted.traffic == {"a": 70, "b": 30, "c": 0}
    assert added(revision(a=70, b=30), "c", "m:/3", None, Given(share=10)).traffic == {"a": 63, "b": 27, "c": 10}


def test_a_variant_is_changed_and_the_others_are_left_alone() -> None:
    wanted = changed(revision(a=50, b=50), "a", None, None, Given(target={"x": None, "y": 2}))
    assert wanted.variants == [
        {"name": "a", "model_uri": "m:/a", "flavor": "onnx", "config": {"y": 2}},
        {"name": "b", "model_uri": "m:/b", "flavor": "onnx", "config": {"x": 1}},
    ]
    assert wanted.traffic == {"a": 50, "b": 50}
    anew = changed(revision(a=100), "a", "m:/2", None, Given()).variants[0]
    assert (anew["model_uri"], anew["flavor"]) == ("m:/2", None)
    with pytest.raises(Unfit, match="model_uri"):
        changed(revision(a=100), "a", None, "onnx", Given())


def test_a_variant_with_traffic_is_not_removed_by_accident() -> None:
    with pytest.raises(Unfit, match="30 %"):
        removed(revision(a=70, b=30), "b", Given())
    assert removed(revision(a=70, b=30), "b", Given(traffic={"a": 100})).traffic == {"a": 100}
    assert removed(revision(a=100, b=0), "b", Given()).traffic == {"a": 100}


@pytest.mark.parametrize(
    ("traffic", "share", "result"),
    [
        ({"a": 100, "b": 0}, 20, {"a": 80, "b": 20}),
        ({"a": 1, "b": 1, "c": 98}, 0, {"a": 1, "b": 0, "c": 99}),
        ({"a": 33, "c": 33, "d": 34, "b": 0}, 1, {"a": 33, "c": 33, "d": 33, "b": 1}),
        ({"a": 0, "c": 0, "b": 100}, 1, {"a": 50, "c": 49, "b": 1}),
        ({"b": 100}, 100, {"b": 100}),
    ],
)
def test_the_others_share_what_is_left(traffic: dict[str, int], share: int, result: dict[str, int]) -> None:
    assert scaled(traffic, "b", share) == result
    assert sum(result.values()) == 100


def test_the_only_variant_has_all_traffic() -> None:
    with pytest.raises(Unfit, match="only"):
        scaled({"b": 100}, "b", 20)


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        ({"inputs": [1]}, {"inputs": [1]}),
        ({"dataframe_split": {"data": [[math.nan]]}}, {"dataframe_split": {"data": [[None]]}}),
        ({"x": [1.5]}, {"inputs": {"x": [1.5]}}),
        ([[1], (2,)], {"inputs": [[1], [2]]}),
    ],
)
def test_inputs_become_one_of_the_shapes(inputs: Any, body: Any) -> None:
    assert document(inputs) == body


def test_frames_and_arrays_lose_what_json_has_not() -> None:
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    assert document({"inputs": numpy.array([[1.0, math.nan]])}) == {"inputs": [[1.0, None]]}
    assert document(numpy.array([1])) == document([numpy.int64(1)]) == {"inputs": [1]}
    frame = pandas.DataFrame(
        {
            "x": [1.5, math.nan],
            "at": [pandas.Timestamp("2030-01-02"), pandas.NaT],
            "n": pandas.array([1, None], dtype="Int64"),
            "image": [b"ab", None],
        }
    )
    assert document(frame) == {
        "dataframe_split": {
            "index": [0, 1],
            "columns": ["x", "at", "n", "image"],
            "data": [[1.5, "2030-01-02T00:00:00", 1, "YWI="], [None, None, None, None]],
        }
    }


@pytest.mark.parametrize("inputs", [[math.inf], [object()], {"inputs": {1, 2}}])
def test_what_json_cannot_carry(inputs: Any) -> None:
    with pytest.raises(Unfit, match="cannot carry"):
        document(inputs)


@pytest.mark.parametrize(
    ("status", "slug", "code"),
    [
        (404, "deployment-not-found", "RESOURCE_DOES_NOT_EXIST"),
        (409, "deployment-exists", "RESOURCE_ALREADY_EXISTS"),
        (409, "busy", "RESOURCE_CONFLICT"),
        (409, "deployment-not-serving", "TEMPORARILY_UNAVAILABLE"),
        (412, "stale-generation", "RESOURCE_CONFLICT"),
        (422, "invalid-config", "INVALID_PARAMETER_VALUE"),
        (401, "", "UNAUTHENTICATED"),
        (403, "", "PERMISSION_DENIED"),
        (429, "", "REQUEST_LIMIT_EXCEEDED"),
        (503, "not-ready", "TEMPORARILY_UNAVAILABLE"),
        (504, "model-timeout", "DEADLINE_EXCEEDED"),
    ],
)
def test_problems_have_mlflows_codes(status: int, slug: str, code: str) -> None:
    assert code_of(problem(status, {"type": f"/problems/{slug}", "title": "t"})) == code


@pytest.mark.parametrize(
    ("state", "slug", "code"),
    [
        ("failed", "conflict-on-target", "RESOURCE_CONFLICT"),
        ("failed", "denied-by-target", "PERMISSION_DENIED"),
        ("failed", "deadline-exceeded", "DEADLINE_EXCEEDED"),
        ("failed", "target-failed", "INTERNAL_ERROR"),
        ("cancelled", "", "CANCELLED"),
    ],
)
def test_failed_operations_have_mlflows_codes(state: str, slug: str, code: str) -> None:
    moment = "2030-01-01T00:00:00Z"
    operation = Operation.model_validate(
        {
            "id": "1",
            "target": "t",
            "deployment": "d",
            "kind": "create",
            "state": state,
            "final": True,
            "created_at": moment,
            "updated_at": moment,
            "error": {"type": f"/problems/{slug}", "title": "t"},
        }
    )
    kind = errors.OperationCancelled if state == "cancelled" else errors.OperationFailed
    assert code_of(kind(operation)) == code


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "BAD_REQUEST"), (418, "BAD_REQUEST"), (500, "INTERNAL_ERROR"), (503, "TEMPORARILY_UNAVAILABLE")],
)
def test_the_models_errors_have_mlflows_codes(status: int, code: str) -> None:
    assert code_of(errors.ModelFailed(status, "")) == code


def revision(**traffic: int) -> Revision:
    variants = [
        {"name": name, "model_uri": f"m:/{name}", "flavor": "onnx", "config": {"x": 1}, "resolved_uri": None}
        for name in traffic
    ]
    return Revision.model_validate(
        {"number": 1, "variants": variants, "traffic": traffic, "created_at": "2030-01-01T00:00:00Z"}
    )


def test_deletion_takes_what_asks_for_nothing_or_is_so_anyway() -> None:
    given = read({"archive": "False", "vpc": None, "region": "us-east-1", "wait": True}, DELETION)
    nothing_new(given, lambda value: value == "us-east-1", "delete_deployment")
    for config in ({"archive": True}, {"region": "eu-west-1"}):
        with pytest.raises(Unfit, match=next(iter(config))):
            nothing_new(read(config, DELETION), lambda value: value == "us-east-1", "delete_deployment")
