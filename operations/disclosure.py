"""Secrets where none belong: what is recorded is shown to many, so a value that looks like a secret is refused.

Told by the name that it stands under, or by its own shape. References to secrets are no secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from operations.problems import SecretInConfig

NAMES = re.compile(
    r"(^|[_.-])(pass(word|wd|phrase)|(api|access|account|private|secret|shared|signing|encryption)[_-]?key|"
    r"((access|auth|bearer|refresh|session|api|id|hf|github|slack|bot)[_-]?)?token|client[_-]?secret|secret[_-]?value|"
    r"connection[_-]?string|credentials?|authorization)(_plaintext)?$"
)
SHAPES = re.compile(
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bdapi[0-9a-f]{32}\b"  # Databricks
    r"|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{40}"
    r"|\bglpat-[A-Za-z0-9_-]{20}"
    r"|\bhf_[A-Za-z0-9]{30}"
    r"|\bsk-[A-Za-z0-9_-]{20}"  # OpenAI and those that took over its form
    r"|\bxox[abprs]-[A-Za-z0-9-]{10}"
    r"|\bAIza[0-9A-Za-z_-]{35}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."  # a signed token
    r"|\bAccountKey=[A-Za-z0-9+/]{20}|\bSharedAccessSignature="
    r"|\bmp_[a-z2-7]{13}_[A-Za-z0-9_-]{20}"  # ours
)
USER_AND_PASSWORD = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@")
REFERENCES = re.compile(
    r"^(env|file|aws-secret):|^\{\{\s*secrets/|^\$\{?\{|^@Microsoft\.KeyVault\(|^arn:aws[a-z-]*:(secretsmanager|ssm|kms):"
    r"|^https://[a-z0-9-]+\.vault\.azure\.net/|^projects/[^/]+/secrets/"
)
REMEDY = (
    "Everybody who may read this would read it. Give a reference: to the target's own secret store where it has "
    "one, or let an administrator put env:NAME, file:PATH or aws-secret:REGION/NAME into the target's credentials, or "
    "pass a variable of the worker; the target's page in docs/targets says which."
)
LENGTH = 4  # nobody's secret is shorter


def check(document: Any, field: str) -> None:
    """Raises SecretInConfig, naming the field and never the value."""
    for place in _found(document, field, ""):
        raise SecretInConfig.one(place, "looks like a secret, and what stands here is recorded and shown", REMEDY)


def check_text(text: str, field: str) -> None:
    """The same for a single text, such as a URI."""
    if SHAPES.search(text) or USER_AND_PASSWORD.search(text):
        raise SecretInConfig.one(field, "holds what looks like a secret, and it is recorded and shown", REMEDY)


def _found(value: Any, place: str, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        # as Kubernetes lists variables
        named = value.get("name")
        for key, inner in value.items():
            under = str(named) if key == "value" and isinstance(named, str) else str(key)
            yield from _found(inner, f"{place}.{key}", under)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _found(inner, f"{place}[{number}]", name)
    elif isinstance(value, str) and _looks_secret(value, name):
        yield place


def _looks_secret(value: str, name: str) -> bool:
    if len(value) < LENGTH or REFERENCES.match(value):
        return False
    return any((SHAPES.search(value), USER_AND_PASSWORD.search(value), NAMES.search(_words(name))))


def _words(name: str) -> str:
    """``apiKey`` and ``API_KEY`` alike."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
