"""Signing in to the fake workspace, in every way that needs no cloud, and what is told when it fails."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.azureml import connection
from adapters.azureml.adapter import open_adapter
from adapters.azureml.invoke import invoke
from adapters.contract import Denied, Permanent, Place, Request, Temporary, Unreachable
from tests.adapters.azureml_target import theirs
from tests.fakes.azureml import TOKEN, URI, AzureMl
from tests.fakes.azureml_signin import TENANT, SignIn

SECRET = "s3cr3t-of-the-robot"
ROBOT = {"tenant_id": TENANT, "client_id": "robot", "client_secret": SECRET}


@pytest.fixture(scope="module")
def running() -> Iterator[AzureMl]:
    with AzureMl(seconds=0, prefix="directory-token-") as workspace:
        yield workspace


@pytest.fixture
def workspace(running: AzureMl, monkeypatch: pytest.MonkeyPatch) -> AzureMl:
    running.reset()
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(connection, "_credentials", {})
    return running


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SignIn]:
    with SignIn({"robot": SECRET}, tmp_path) as directory:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(directory.bundle))
        yield directory


def place(workspace: AzureMl, credentials: Any = None, directory: SignIn | None = None, **more: Any) -> Place:
    settings = {"resource_manager": workspace.url, **more.pop("settings", {})}
    if directory is not None:
        settings |= {"authority": directory.authority, "instance_discovery": False}
    return Place("ml", more.pop("uri", URI), "test", "", settings, credentials, **{"call_timeout_seconds": 5.0, **more})


def check(workspace: AzureMl, credentials: Any = None, directory: SignIn | None = None, **more: Any) -> str:
    adapter = open_adapter(place(workspace, credentials, directory, **more))
    try:
        return adapter.check()
    finally:
        adapter.close()


def sent(workspace: AzureMl, verb: str = "LIST") -> str:
    return str(workspace.log(verb)[-1]["headers"]["authorization"])


def test_a_token_needs_nothing_of_the_sdk(workspace: AzureMl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_opened", lambda *_: pytest.fail("azure-identity was asked"))
    monkeypatch.setenv("A_TOKEN", TOKEN)
    assert check(workspace, "env:A_TOKEN").startswith("the workspace answers")
    monkeypatch.setenv("A_TOKEN", json.dumps({"token": TOKEN}))
    assert check(workspace, "env:A_TOKEN").startswith("the workspace answers")


def test_a_token_is_read_when_it_is_used(workspace: AzureMl, tmp_path: Path) -> None:
    file = tmp_path / "token"
    for token in (TOKEN, "rotated"):
        workspace.conduct(token=token)
        file.write_text(f"{token}\n")
        check(workspace, f"file:{file}")
        assert sent(workspace) == f"Bearer {token}"


def test_a_service_principal_signs_in_once(
    workspace: AzureMl, directory: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", json.dumps(ROBOT))
    # a worker's own environment adds nothing to what is given
    monkeypatch.setenv("AZURE_CLIENT_ID", "another")
    for _ in range(3):
        check(workspace, "env:ROBOT", directory)
    assert sent(workspace) == "Bearer directory-token-1"
    (asked,) = directory.asked
    assert asked["scope"] == [f"{workspace.url}/.default"]


def test_a_secret_that_was_rotated_signs_in_anew(workspace: AzureMl, directory: SignIn, tmp_path: Path) -> None:
    file = tmp_path / "robot.json"
    for secret in (SECRET, "its-next-secret"):
        directory.clients = {"robot": secret}
        file.write_text(json.dumps({**ROBOT, "client_secret": secret}))
        check(workspace, f"file:{file}", directory)
    assert len(directory.asked) == 2


def test_a_token_that_expires_is_renewed(
    workspace: AzureMl, directory: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", json.dumps(ROBOT))
    directory.token_seconds = 1  # azure-identity renews what has less than five minutes left
    check(workspace, "env:ROBOT", directory)
    directory.token_seconds = 3600
    for _ in range(2):
        check(workspace, "env:ROBOT", directory)
    assert len(directory.asked) == 2
    assert sent(workspace) == "Bearer directory-token-2"


def test_predictions_of_the_directorys_token_sign_in_for_their_own_scope(
    workspace: AzureMl, directory: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", json.dumps(ROBOT))
    workspace.plant(theirs("iris"))
    workspace.conduct(scoring_token="directory-token-1")
    shown = workspace.image("iris")
    assert shown is not None
    body = {"authMode": "AADToken", "traffic": {"blue": 100}}
    asked = {"location": "westeurope", "identity": {"type": "None"}, "properties": body}
    workspace.request("PUT", "onlineEndpoints/iris", asked).raise_for_status()
    route = {"name": "iris", "scoring_uri": shown["endpoint"]["properties"]["scoringUri"], "auth": "aad_token"}
    request = Request(b'{"inputs": [1]}', "application/json")
    answer = invoke(place(workspace, "env:ROBOT", directory), {**route, "deployments": {}}, request, 10)
    assert answer.status == 200
    assert directory.asked[0]["scope"] == ["https://ml.azure.com/.default"]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (ROBOT, "ClientSecretCredential"),
        ({"tenant_id": TENANT, "client_id": "robot", "certificate_path": "PEM"}, "CertificateCredential"),
        ({"tenant_id": TENANT, "client_id": "robot", "federated_token_file": "/token"}, "WorkloadIdentityCredential"),
        ({}, "DefaultAzureCredential"),
        ({"managed": True}, "ManagedIdentityCredential"),
    ],
)
def test_each_kind_is_azure_identitys_own(directory: SignIn, fields: dict[str, Any], kind: str) -> None:
    fields = {key: str(directory.bundle) if value == "PEM" else value for key, value in fields.items()}
    given = {"credential": "managed_identity"} if fields.pop("managed", None) else {}
    settings = connection.AzureMlSettings.model_validate({**given, "managed_identity_client_id": "x"})
    made = connection._opened(settings, fields, 5.0)
    assert type(made).__name__ == kind
    getattr(made, "close", lambda: None)()


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        (json.dumps({**ROBOT, "client_secret": "wrong-one"}), r"signing in failed: .*Invalid client secret.*\*\*\*"),
        ("{" + SECRET, "neither a token nor JSON"),
        (json.dumps({**ROBOT, "unknown": SECRET}), "the fields are certificate_password, .*tenant_id, token"),
        (json.dumps({**ROBOT, "tenant_id": 3}), "each a text that is not empty"),
        (json.dumps({"client_secret": SECRET}), "it needs tenant_id, client_id and one of client_secret"),
        (SECRET, r"answered 401 InvalidAuthenticationToken: The access token \*\*\* is not valid"),
        (f"{SECRET}\nof two lines", "env:WRONG: it holds characters that cannot stand in a header"),
    ],
)
def test_what_does_not_sign_in_says_why_without_the_secret(
    workspace: AzureMl, directory: SignIn, monkeypatch: pytest.MonkeyPatch, secret: str, told: str
) -> None:
    monkeypatch.setenv("WRONG", secret)
    with pytest.raises(Denied, match=told) as raised:
        check(workspace, "env:WRONG", directory)
    assert SECRET not in str(raised.value)
    assert "wrong-one" not in str(raised.value)


def test_a_directory_that_is_down_is_temporary(
    workspace: AzureMl, directory: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", json.dumps(ROBOT))
    directory.status = 503
    with pytest.raises(Temporary, match="signing in failed"):
        check(workspace, "env:ROBOT", directory)
    settings = {"authority": "https://127.0.0.1:1", "instance_discovery": False}
    with pytest.raises(Temporary, match="signing in failed"):
        check(workspace, "env:ROBOT", settings=settings)


def test_signing_in_takes_no_longer_than_a_call(
    workspace: AzureMl, directory: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", json.dumps(ROBOT))
    directory.delay = 1.0
    with pytest.raises(Temporary, match=r"signing in took longer than 0\.2 s"):
        check(workspace, "env:ROBOT", directory, call_timeout_seconds=0.2)
    route = {"name": "iris", "scoring_uri": workspace.url, "auth": "aad_token", "deployments": {}}
    with pytest.raises(Unreachable) as raised:
        invoke(place(workspace, "env:ROBOT", directory), route, Request(b"{}", "application/json"), 0.2)
    assert raised.value.timed_out


def test_an_unreachable_azure_is_temporary(workspace: AzureMl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", TOKEN)
    with pytest.raises(Temporary, match="could not be reached"):
        check(workspace, "env:A_TOKEN", settings={"resource_manager": "http://127.0.0.1:1"})


@pytest.mark.parametrize(
    "uri", ["azureml", "azureml:/sub/group", "azureml:/a/b/c/d", "azureml://u:p@a/b/c", "azureml:/a/b/c?d"]
)
def test_a_uri_that_is_none(workspace: AzureMl, uri: str) -> None:
    with pytest.raises(Permanent, match="not of the form azureml:/SUBSCRIPTION/RESOURCE_GROUP/WORKSPACE"):
        check(workspace, uri=uri)


def test_without_the_sdk_the_remedy_is_told(workspace: AzureMl, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("azure.identity"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setenv("ROBOT", json.dumps(ROBOT))
    with pytest.raises(Denied, match=r"pip install 'modelport\[azureml\]', or give a token"):
        check(workspace, "env:ROBOT")
