"""Secrets by reference from AWS Secrets Manager, as moto has it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from adapters import credentials, secret_managers
from adapters.contract import Denied

SECRET = "planted-in-the-cloud"


@pytest.fixture(autouse=True)
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    secret_managers.forget()
    with mock_aws():
        client = boto3.client("secretsmanager", region_name="eu-west-1")
        client.create_secret(Name="models/token", SecretString=f" {SECRET}\n")
        client.create_secret(Name="models/keys", SecretString=json.dumps({"token": SECRET, "other": "x"}))
        client.create_secret(Name="bytes", SecretBinary=b"x")
        yield


def test_a_secret_or_one_key_of_it() -> None:
    assert credentials.resolve("aws-secret:eu-west-1/models/token") == SECRET
    assert credentials.resolve("aws-secret:eu-west-1/models/keys#token") == SECRET


@pytest.mark.parametrize(
    "place", ["models/token", "eu-west-1/none", "eu-west-1/models/keys#none", "eu-west-1/models/token#x",
              "eu-west-1/bytes", "eu-west-1/", "us-east-1/models/token", "eu-west-1/a b", "EU/x"],
)  # fmt: skip
def test_what_is_not_there_is_denied_without_its_words(place: str) -> None:
    with pytest.raises(Denied) as denied:
        credentials.resolve(f"aws-secret:{place}")
    assert SECRET not in denied.value.message
    assert "aws-secret:" in denied.value.message


def test_it_is_not_asked_for_with_every_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = secret_managers._asked

    def counted(region: str, name: str) -> str:
        asked.append(name)
        return real(region, name)

    monkeypatch.setattr(secret_managers, "_asked", counted)
    for _ in range(5):
        credentials.resolve("aws-secret:eu-west-1/models/token")
    assert asked == ["models/token"]
    secret_managers.forget()
    credentials.resolve("aws-secret:eu-west-1/models/token")
    assert len(asked) == 2
