"""The whole OpenAPI document, asked with a key: no answer of 5xx that is no answer, and none outside of its schema."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.checks import CHECKS

from adapters import registry
from api.app import create_app
from operations import database as database_module
from operations import queue
from operations.database import Database
from operations.migrate import migrate
from operations.settings import settings as our_settings
from tests.api.conftest import TARGETS
from tests.api.identities import client, key
from tests.api.serving import serving

NAMES = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
SAYS_WHO_IS_MISSING = {"/problems/target-not-served", "/problems/check-unanswered", "/problems/not-ready"}
"""Answers of 5xx that are right: there is no worker here."""


class Broken(AssertionError):
    """An answer that must not be; the message has the request."""


@contextmanager
def world() -> Iterator[tuple[str, str, dict[str, str]]]:
    """A server over a database of its own, an administrator's key, and the names of what is there."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
        patch.delenv("MODELPORT_ANONYMOUS_ROLE", raising=False)
        for name, value in {
            "TARGETS": json.dumps(TARGETS), "FOLDER": folder, "DATABASE_URL": "", "CHECK_SECONDS": "0.01",
            "WAIT_SECONDS_MAX": "0.01", "SUBMISSIONS_PER_MINUTE": "1000000", "QUEUE_SIZE": "1000000",
        }.items():  # fmt: skip
            patch.setenv(f"MODELPORT_{name}", value)
        patch.setattr(queue, "hint", lambda *_: None)
        patch.setattr(queue, "announce", lambda *_: None)
        our_settings.cache_clear()
        database_module.database.cache_clear()
        db: Database = database_module.database()
        migrate(db)
        try:
            with serving() as url:
                token = key(db, "admin", "root")
                key(db, "viewer", "spare")
                with client(url, token) as http:
                    yield url, token, _there(http)
        finally:
            db.close()
            database_module.database.cache_clear()
            our_settings.cache_clear()


def fuzz(url: str, token: str, there: dict[str, str], cases: int) -> Counter[str]:
    """Ask every operation of the document ``cases`` times; how many answers of each status. Raises Broken."""
    document = create_app().openapi()
    schema = schemathesis.openapi.from_dict(document)
    checks = [CHECKS.get_one(name) for name in NAMES]
    seen: Counter[str] = Counter()
    with httpx.Client(base_url=url, trust_env=False, timeout=30.0) as http:
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(
                max_examples=cases, deadline=None, database=None, derandomize=cases < 10,
                suppress_health_check=list(HealthCheck), phases=[Phase.generate],
            )  # fmt: skip
            @given(case=operation.as_strategy(), place=strategies.booleans())
            def ask(case: Any, place: bool) -> None:
                if place:
                    _put(case, there)
                status = _ask(http, case, token, checks)
                seen[str(status)] += 1

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ask()
    return seen


def _ask(http: httpx.Client, case: Any, token: str, checks: list[Any]) -> int:
    case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
    arguments = case.as_transport_kwargs(base_url=str(http.base_url))
    arguments.pop("cookies", None)
    response = case.call(base_url=str(http.base_url), headers={"Authorization": f"Bearer {token}"}, timeout=30)
    told = f"{case.method} {case.formatted_path} {arguments.get('params')} {str(arguments.get('json'))[:500]}"
    if response.status_code >= 500:
        document = response.json()
        if document.get("type") not in SAYS_WHO_IS_MISSING:
            raise Broken(f"{told}: {response.status_code} {document}")
    try:
        case.validate_response(response, checks=checks)
    except Exception as error:
        raise Broken(f"{told}: {error}") from error
    return int(response.status_code)


def _put(case: Any, there: dict[str, str]) -> None:
    """Put the names of what is there into the path, so that more than 404 is seen."""
    names = case.path_parameters or {}
    for name in names:
        if name == "name":
            kind = case.path.split("/")[2]
            names[name] = {"targets": "there", "keys": "spare"}.get(kind, "iris")
        elif name in there:
            names[name] = there[name]


def _there(http: httpx.Client) -> dict[str, str]:
    body = {"target": "here", "name": "iris", "model_uri": "models:/m/1"}
    operation = http.post("/v1/deployments", json=body).raise_for_status().json()["id"]
    # the streams of what has ended have an end too
    http.post(f"/v1/operations/{operation}/cancel").raise_for_status()
    http.post("/v1/deployments", json=body).raise_for_status()
    asked = {"selection": {"target": "here"}, "change": {"model_uri": "models:/m/2"}}
    batch = http.post("/v1/batches/plan", json=asked).raise_for_status().json()["id"]
    http.post(f"/v1/batches/{batch}/abort").raise_for_status()
    return {"target": "here", "operation_id": operation, "batch_id": batch, "slug": "busy", "number": "1"}
