"""What plugins return and raise, told apart."""

from __future__ import annotations

import datetime
import json
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.bridge.failures import failure, kind_of
from adapters.bridge.shapes import is_same, items, name_of, plain, show, state


class MlflowError(Exception):
    def __init__(self, message: str, code: str = "INTERNAL_ERROR") -> None:
        super().__init__(message)
        self.error_code = code


class HTTPError(Exception):
    """As requests and httpx have it."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(words)
        self.response = SimpleNamespace(status_code=status)


class ClientError(Exception):
    """As botocore has it."""

    def __init__(self, status: int) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class ConnectTimeout(Exception):
    """As requests and httpx call it."""


def wrapped(outer: Exception, inner: Exception) -> Exception:
    try:
        try:
            raise inner
        except Exception:
            raise outer  # noqa: B904  # as plugins do it
    except Exception as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotImplementedError(), "unsupported"),
        (Exception("Updating deployments is not supported"), "unsupported"),
        (MlflowError("Method is unimplemented in base client."), "unsupported"),
        (MlflowError("x", "RESOURCE_DOES_NOT_EXIST"), "absent"),
        (MlflowError("x", "RESOURCE_ALREADY_EXISTS"), "exists"),
        (Exception("an application with the same name already exists"), "exists"),
        (HTTPError(400, "RESOURCE_ALREADY_EXISTS: endpoint"), "exists"),
        (HTTPError(409, "endpoint already exists"), "exists"),
        (HTTPError(409, "it is being updated"), "temporary"),
        (HTTPError(404), "absent"),
        (HTTPError(403), "denied"),
        (HTTPError(429), "temporary"),
        (HTTPError(503), "temporary"),
        (HTTPError(500), "unknown"),
        (HTTPError(400), "permanent"),
        (ClientError(403), "denied"),
        (wrapped(MlflowError("it went wrong"), HTTPError(404)), "absent"),
        (wrapped(MlflowError("There was an error: Could not find endpoint"), ClientError(400)), "absent"),
        (ConnectionRefusedError(111, "refused"), "temporary"),
        (wrapped(MlflowError("API request failed"), ConnectTimeout()), "temporary"),
        (ConnectionResetError(104, "reset by peer"), "unknown"),
        (TimeoutError("read timed out"), "unknown"),
        (Exception("no weights in the cellar"), "permanent"),
        (KeyError("image"), "permanent"),
    ],
)
def test_kinds_of_failure(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_a_failure_always_has_words() -> None:
    assert failure(Exception("it is locked")) == {"kind": "permanent", "message": "it is locked"}
    assert failure(KeyError("image"))["message"] == "KeyError: 'image'"
    assert failure(NotImplementedError())["message"] == "NotImplementedError"


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ({"name": "iris", "id": 3}, "iris"),
        ({"EndpointName": "iris", "ModelName": "m"}, "iris"),
        ({"deployment_name": "iris"}, "iris"),
        ({"id": 3}, "3"),
        ({"status": "ready"}, None),
    ],
)
def test_names(shown: dict[str, Any], name: str | None) -> None:
    assert name_of(shown) == name


def test_a_name_may_have_a_version_behind_it() -> None:
    assert all(is_same(told, "iris") for told in ("iris", "iris/1", "iris:2", "iris@3"))
    assert not any(is_same(told, "iris") for told in (None, "iris2", "iris-1", "ir", "my/iris"))


def test_lists_come_in_several_shapes() -> None:
    named = [{"name": "a"}, {"name": "b"}]
    for returned in (
        named,
        ["a", "b"],
        {"deployments": named},
        {"deployments": named, "next_page_token": None},
        ("a", "b"),
    ):
        assert items(returned) == named
    assert items(None) == items({}) == []


class Frame:
    def to_dict(self, orient: str) -> Any:
        return [{"x": 1, "orient": orient}]


class Array:
    def tolist(self) -> Any:
        return [1.0, float("inf")]


def test_whatever_is_returned_becomes_json() -> None:
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = plain(
        {"frame": Frame(), "array": Array(), "at": at, "bytes": b"x", "set": {1}, 3: float("nan"), "x": object}
    )
    assert made["frame"] == [{"x": 1, "orient": "records"}]
    assert made["array"] == [1.0, None]
    assert (made["at"], made["bytes"], made["set"], made["3"]) == ("2026-01-01 00:00:00+00:00", "x", [1], None)
    json.dumps(made, allow_nan=False)


def test_states_by_settings() -> None:
    ready, failed = {"state.ready": ["READY"], "state.update": ["NONE"]}, {"state.update": ["FAILED"]}
    for shown, found in (
        ({"ready": "READY", "update": "NONE"}, "ready"),
        ({"ready": "READY", "update": "GOING"}, "busy"),
        ({"ready": "READY"}, "busy"),
        ({"ready": "READY", "update": "FAILED"}, "failed"),
    ):
        assert state({"state": shown}, ready, failed)[0] == found
    assert state({"name": "iris"}, ready, failed) == ("incomplete", "")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("ready", "ready"),
        ("IN_PROGRESS", "busy"),
        ("Not Ready", "busy"),
        ("FAILED", "failed"),
        (3, "ready"),
        ("v2", "ready"),
    ],
)
def test_without_settings_plain_words_are_believed(word: object, found: str) -> None:
    assert state({"status": word}, None, {})[0] == found
    assert state({"status": word}, {}, {}) == ("ready", "")


def test_what_is_shown_holds_no_secret_and_is_not_long() -> None:
    shown = show(
        {"name": "iris", "API_KEY": "hush", "env": {"MY_TOKEN": "hush", "SIZE": 1}, "list": [{"password": "hush"}]}
    )
    assert shown["env"] == {"MY_TOKEN": "***", "SIZE": 1}
    assert "hush" not in json.dumps(shown)
    assert len(json.dumps(show({"words": "x" * 10_000}))) < 5_000
