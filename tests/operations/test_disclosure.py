"""What looks like a secret is refused with the way to pass it and is not quoted; what merely sounds like one is not."""

from __future__ import annotations

from typing import Any

import pytest

from operations import disclosure
from operations.problems import SecretInConfig

PLANTED = "hunter2-planted"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"password": PLANTED}, "config.password"),
        ({"env": {"DB_PASSWORD": PLANTED}}, "config.env.DB_PASSWORD"),
        ({"env": [{"name": "API_TOKEN", "value": PLANTED}]}, "config.env[0].value"),
        ({"openai_config": {"openai_api_key_plaintext": PLANTED}}, "config.openai_config.openai_api_key_plaintext"),
        ({"clientSecret": PLANTED}, "config.clientSecret"),
        ({"AWS_SECRET_ACCESS_KEY": PLANTED}, "config.AWS_SECRET_ACCESS_KEY"),
        ({"accessKey": PLANTED}, "config.accessKey"),
        ({"a": [{"b": {"Authorization": f"Bearer {PLANTED}"}}]}, "config.a[0].b.Authorization"),
        ({"note": "key AKIAIOSFODNN7EXAMPLE"}, "config.note"),
        ({"pem": "-----BEGIN RSA PRIVATE KEY-----\nx"}, "config.pem"),
        ({"url": f"postgresql://user:{PLANTED}@db/x"}, "config.url"),
        ({"x": "dapi" + "0" * 32}, "config.x"),
        ({"x": "ghp_" + "a" * 36}, "config.x"),
        ({"x": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.x"}, "config.x"),
        ({"x": "mp_" + "a" * 13 + "_" + "b" * 43}, "config.x"),
    ],
    ids=str,
)
def test_secrets_are_refused_and_not_quoted(config: dict[str, Any], field: str) -> None:
    with pytest.raises(SecretInConfig) as refused:
        disclosure.check(config, "config")
    assert refused.value.errors[0].field == field
    assert "env:NAME" in refused.value.errors[0].remedy
    assert PLANTED not in str(vars(refused.value))


@pytest.mark.parametrize(
    "config",
    [
        {"max_tokens": 100, "tokens": "many", "tokenizer": "some-tokenizer", "token_type": "word-piece"},
        {"openai_api_key": "{{secrets/llm/openai}}", "token": "env:TOKEN", "password": "file:/run/secret"},
        {"PASSWORD": "${{keyvault:https://v.vault.azure.net/secrets/p}}", "secret": "pull-secret-name"},
        {"credential_variable": "MY_TOKEN", "execution_role_arn": "arn:aws:iam::123456789012:role/x"},
        {"primary_key": "id-column", "key": "abcdefgh", "sort_key": "time-of-day", "keys": ["abcdefgh"]},
        {"password": "", "token": None, "api_key": True, "image": "registry/x:1"},
    ],
    ids=str,
)
def test_names_and_references_are_taken(config: dict[str, Any]) -> None:
    disclosure.check(config, "config")
