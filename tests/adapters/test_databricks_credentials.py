"""Signing in to the fake workspace, in every way that needs no cloud, and what is told when it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Denied, Permanent, Place, Request, Temporary, Unreachable
from adapters.databricks import connection
from adapters.databricks.adapter import open_adapter
from adapters.databricks.invoke import invoke
from tests.fakes.databricks import TOKEN, Databricks

SECRET = "s3cr3t-of-the-robot"


@pytest.fixture(scope="module")
def running() -> Iterator[Databricks]:
    with Databricks(seconds=0) as workspace:
        yield workspace


@pytest.fixture
def workspace(running: Databricks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Databricks:
    running.reset()
    running.conduct(clients={"robot": SECRET})
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
    monkeypatch.setattr(connection, "_configs", {})
    return running


def check(workspace: Databricks, credentials: Any = None, uri: str = "databricks", **place: Any) -> str:
    settings = {"host": workspace.url, **place.pop("settings", {})}
    settings = {key: value for key, value in settings.items() if value is not None}
    adapter = open_adapter(
        Place("lakehouse", uri, "test", "", settings, credentials, **{"call_timeout_seconds": 5.0, **place})
    )
    try:
        return adapter.check()
    finally:
        adapter.close()


def sent(workspace: Databricks) -> str:
    return str(workspace.log("LIST")[-1]["headers"]["authorization"])


def test_a_token_needs_nothing_of_the_sdk(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_sdk", lambda: pytest.fail("the SDK was asked"))
    monkeypatch.setenv("A_TOKEN", TOKEN)
    assert check(workspace, "env:A_TOKEN").startswith("the workspace answers")
    monkeypatch.setenv("A_TOKEN", json.dumps({"host": workspace.url + "/", "token": TOKEN}, indent=2))
    assert check(workspace, "env:A_TOKEN", settings={"host": None}).startswith("the workspace answers")


def test_a_token_is_read_when_it_is_used(workspace: Databricks, tmp_path: Path) -> None:
    file = tmp_path / "token"
    for token in (TOKEN, "dapi-rotated"):
        workspace.conduct(token=token)
        file.write_text(f"{token}\n")
        check(workspace, f"file:{file}")
        assert sent(workspace) == f"Bearer {token}"


def test_a_machines_oauth_signs_in_once(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT", json.dumps({"client_id": "robot", "client_secret": SECRET}))
    # a worker's own environment adds nothing to what is given
    monkeypatch.setenv("DATABRICKS_TOKEN", "another")
    for _ in range(3):
        check(workspace, "env:ROBOT")
    assert sent(workspace) == "Bearer oauth-1"
    assert workspace.counts()["tokens"] == 1
    assert workspace.log("LIST")[-1]["headers"]["x-databricks-workspace-id"] == "7"


def test_a_machines_secret_that_was_rotated_signs_in_anew(workspace: Databricks, tmp_path: Path) -> None:
    file = tmp_path / "robot.json"
    for secret in (SECRET, "its-next-secret"):
        workspace.conduct(clients={"robot": secret})
        file.write_text(json.dumps({"client_id": "robot", "client_secret": secret}))
        check(workspace, f"file:{file}")
    assert workspace.counts()["tokens"] == 2


def test_a_token_that_expires_is_renewed(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT", json.dumps({"client_id": "robot", "client_secret": SECRET}))
    workspace.conduct(token_seconds=20)  # the SDK renews what has less than 40 s left
    check(workspace, "env:ROBOT")
    workspace.conduct(token_seconds=3600)
    check(workspace, "env:ROBOT")
    assert workspace.counts()["tokens"] == 2


@pytest.mark.parametrize("uri", ["databricks://work", "databricks"])
def test_a_profile(workspace: Databricks, tmp_path: Path, uri: str) -> None:
    (tmp_path / "databrickscfg").write_text(f"[work]\nhost = {workspace.url}\ntoken = {TOKEN}\n")
    settings = {"host": None} | ({"profile": "work"} if uri == "databricks" else {})
    assert check(workspace, uri=uri, settings=settings).startswith("the workspace answers")


def test_the_sdks_own_chain(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", workspace.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    assert check(workspace, settings={"host": None}).startswith("the workspace answers")


def test_predictions_sign_in_the_same_way(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT", json.dumps({"client_id": "robot", "client_secret": SECRET}))
    entity = {"entity_name": "m", "entity_version": "1", "workload_size": "Small", "scale_to_zero_enabled": False}
    workspace.plant({"name": "iris", "config": {"served_entities": [entity]}})
    place = Place("lakehouse", "databricks", "test", "", {"host": workspace.url}, "env:ROBOT")
    answer = invoke(place, {"name": "iris", "entities": {}}, Request(b'{"inputs": [1]}', "application/json"), 10)
    assert answer.status == 200
    assert workspace.log("INVOKE")[-1]["headers"]["authorization"] == "Bearer oauth-1"


def route_optimised(workspace: Databricks) -> dict[str, Any]:
    """The route of an endpoint that was made so."""
    entity = {"entity_name": "m", "entity_version": "1", "workload_size": "Small", "scale_to_zero_enabled": False}
    workspace.plant({"name": "iris", "config": {"served_entities": [entity]}, "route_optimized": True})
    place = Place("lakehouse", "databricks", "test", "", {"host": workspace.url}, "env:ROBOT")
    adapter = open_adapter(place)
    (found,) = adapter.observe_all()
    adapter.close()
    assert found.route is not None
    return found.route


@pytest.mark.parametrize("variant", [None, "m-1"])
def test_a_route_optimised_endpoint_is_asked_at_its_own_address_with_its_own_token(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch, variant: str | None
) -> None:
    monkeypatch.setenv("ROBOT", json.dumps({"client_id": "robot", "client_secret": SECRET}))
    route = route_optimised(workspace)
    place = Place("lakehouse", "databricks", "test", "", {"host": workspace.url}, "env:ROBOT")
    for _ in range(2):
        answer = invoke(place, route, Request(b'{"inputs": [1]}', "application/json", variant), 10)
        assert (answer.status, answer.variant) == (200, "m-1")
    assert workspace.log("INVOKE")[-1]["headers"]["authorization"] == "Bearer oauth-2-data-plane"
    assert workspace.counts()["tokens"] == 2


def test_a_route_optimised_endpoint_takes_no_plain_token(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", TOKEN)
    route = route_optimised(workspace)
    place = Place("lakehouse", "databricks", "test", "", {"host": workspace.url}, "env:ROBOT")
    with pytest.raises(Denied, match="takes OAuth tokens only; give the target a client_id"):
        invoke(place, route, Request(b'{"inputs": [1]}', "application/json"), 10)


@pytest.mark.parametrize(
    ("secret", "settings", "told"),
    [
        (
            json.dumps({"client_id": "robot", "client_secret": SECRET + "-wrong"}),
            {},
            "signing in failed: .*invalid_client",
        ),
        ("{" + SECRET, {}, "neither a token nor JSON"),
        (f'["{SECRET}"]', {"host": None}, "no host"),
        (SECRET, {"host": None}, "has a token, but no host: set settings.host"),
        (json.dumps({"client_secret": SECRET, "unknown_field": 1}), {}, "signing in failed"),
        (SECRET, {}, r"answered 401 UNAUTHENTICATED: Invalid access token: Bearer \*\*\*"),
        (f"{SECRET}\nof two lines", {}, "env:WRONG: it holds characters that cannot stand in a header"),
        (json.dumps({"token": f"{SECRET}\n"}), {}, "it holds characters that cannot stand in a header"),
    ],
)
def test_what_does_not_sign_in_says_why_without_the_secret(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch, secret: str, settings: dict[str, Any], told: str
) -> None:
    monkeypatch.setenv("WRONG", secret)
    with pytest.raises(Denied, match=told) as raised:
        check(workspace, "env:WRONG", settings=settings)
    assert SECRET not in str(raised.value)


def test_a_profile_that_is_not_there(workspace: Databricks) -> None:
    with pytest.raises(Denied, match="signing in failed"):
        check(workspace, uri="databricks://nowhere")


def test_an_unreachable_workspace_is_temporary(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", TOKEN)
    with pytest.raises(Temporary, match="could not be reached"):
        check(workspace, "env:A_TOKEN", settings={"host": "http://127.0.0.1:1"})


def test_signing_in_takes_no_longer_than_a_call(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT", json.dumps({"client_id": "robot", "client_secret": SECRET}))
    workspace.conduct(latency=30)
    with pytest.raises(Temporary, match=r"signing in took longer than 0\.3 s"):
        check(workspace, "env:ROBOT", call_timeout_seconds=0.3)
    place = Place("lakehouse", "databricks", "test", "", {"host": workspace.url}, "env:ROBOT")
    with pytest.raises(Unreachable) as raised:
        invoke(place, {"name": "iris", "entities": {}}, Request(b"{}", "application/json"), 0.3)
    assert raised.value.timed_out


@pytest.mark.parametrize("uri", ["databricks:/x", "databricks://me:pw@host", "databricks://a/b", "databricks://a?b=c"])
def test_a_uri_that_is_none(workspace: Databricks, uri: str) -> None:
    with pytest.raises(Permanent, match="not of the form databricks or databricks://PROFILE"):
        check(workspace, uri=uri)


def test_without_the_sdk_the_remedy_is_told(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("databricks.sdk"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **more)

    connection._sdk.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setenv("ROBOT", json.dumps({"client_id": "robot", "client_secret": SECRET}))
    with pytest.raises(Denied, match=r"pip install 'modelport\[databricks\]', or give a token"):
        check(workspace, "env:ROBOT")
