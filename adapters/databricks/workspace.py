"""The workspace's calls: each is sent once, is bounded in time, and answers a document or raises an AdapterError.

Paths from databricks-sdk's ``service/serving.py`` and ``service/catalog.py``, error codes from its ``errors/mapping``.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx

from adapters.contract import JSON, AdapterError, Denied, Permanent, Place, Temporary
from adapters.databricks.connection import access
from adapters.databricks.describe import DatabricksSettings
from adapters.http.connection import open_client, send

ENDPOINTS = "/api/2.0/serving-endpoints"
QUOTED_LENGTH = 500
MISSING = {"RESOURCE_DOES_NOT_EXIST", "ENDPOINT_NOT_FOUND", "NOT_FOUND"}
EXISTS = {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}
PASSING = {"TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR", "CANCELLED"}
QUOTAS = {"RESOURCE_LIMIT_EXCEEDED", "QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED"}
QUOTA_WORDS = re.compile(r"quota|(maximum|limit)\b.*\b(endpoints|workspace)", re.IGNORECASE)


class Busy(Temporary):
    """An update of the endpoint is under way, and none other is taken meanwhile."""


class Exists(Temporary):
    """An endpoint of this name is there, whatever a read said."""


class Missing(Permanent):
    """There is nothing of this name."""


class Workspace:
    """One workspace, called from several threads."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._settings = DatabricksSettings.model_validate(place.settings)
        self._client = open_client()

    def endpoints(self) -> list[JSON]:
        """Every endpoint, in one call; without traffic, pending config and the states of entities."""
        return [there for there in self._call("GET", ENDPOINTS).get("endpoints") or [] if isinstance(there, dict)]

    def get(self, name: str) -> JSON | None:
        """One endpoint with all that it shows; None where there is none."""
        try:
            return self._call("GET", _path(name))
        except Missing:
            return None

    def create(self, body: JSON) -> JSON:
        """A new endpoint, as it is shown then. Raises also Exists."""
        return self._call("POST", ENDPOINTS, body)

    def configure(self, name: str, body: JSON) -> JSON:
        """Replace the served entities and their traffic; the endpoint as it is then. Raises also Busy, Missing."""
        return self._call("PUT", _path(name, "config"), body)

    def patch_tags(self, name: str, add: dict[str, str], delete: list[str]) -> None:
        """Add these tags and delete those. Raises also Missing."""
        tags = [{"key": key, "value": value} for key, value in add.items()]
        self._call("PATCH", _path(name, "tags"), {"add_tags": tags, "delete_tags": delete})

    def put_gateway(self, name: str, gateway: JSON) -> None:
        """Replace all settings of the AI Gateway. Raises also Missing."""
        self._call("PUT", _path(name, "ai-gateway"), gateway)

    def put_rate_limits(self, name: str, limits: list[JSON]) -> None:
        """Replace the older rate limits. Raises also Missing."""
        self._call("PUT", _path(name, "rate-limits"), {"rate_limits": limits})

    def patch_notifications(self, name: str, notifications: JSON) -> None:
        """Replace who gets mail. Raises also Missing."""
        self._call("PATCH", _path(name, "notifications"), {"email_notifications": notifications})

    def delete(self, name: str) -> None:
        """Delete; what is not there counts as deleted."""
        try:
            self._call("DELETE", _path(name))
        except Missing:
            return

    def build_log(self, name: str, entity: str) -> str:
        """What building the entity's container said; empty where there is none."""
        return self._log(name, entity, "build-logs")

    def server_log(self, name: str, entity: str) -> str:
        """What the entity's server said; empty where there is none."""
        return self._log(name, entity, "logs")

    def alias(self, model: str, alias: str) -> str:
        """The version that an alias names now. Raises also Missing."""
        if in_unity_catalog(model):
            found = self._call("GET", f"{_model(model)}/aliases/{quote(alias, safe='')}")
        else:
            found = self._call("GET", "/api/2.0/mlflow/registered-models/alias", params={"name": model, "alias": alias})
            found = found.get("model_version") or {}
        if not found.get("version"):
            raise Temporary(f"target {self._place.name} answered without a version for {model}@{alias}")
        return str(found["version"])

    def check_version(self, model: str, version: str) -> None:
        """Raises also Missing where the model or its version is not there."""
        if in_unity_catalog(model):
            self._call("GET", f"{_model(model)}/versions/{quote(version, safe='')}")
        else:
            self._call("GET", "/api/2.0/mlflow/model-versions/get", params={"name": model, "version": version})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _log(self, name: str, entity: str, kind: str) -> str:
        try:
            return str(
                self._call("GET", _path(name, f"served-models/{quote(entity, safe='')}/{kind}")).get("logs") or ""
            )
        except Missing:
            return ""

    def _call(self, method: str, path: str, body: JSON | None = None, params: dict[str, str] | None = None) -> JSON:
        seconds = self._place.call_timeout_seconds
        way = access(self._place, seconds)
        content = {} if body is None else {"json": body}
        headers = {"Accept": "application/json", **way.headers}
        try:
            response = send(
                self._client, method, way.base + path, seconds=seconds, headers=headers, params=params, **content
            )
        except httpx.TimeoutException as error:
            raise Temporary(f"target {self._place.name} gave no answer within {seconds:g} s") from error
        except httpx.HTTPError as error:
            reason = way.redact(str(error)) or type(error).__name__
            raise Temporary(f"target {self._place.name} could not be reached: {reason}") from error
        if not response.is_success:
            code, words = _words(response)
            raise self._refusal(response, code, _short(way.redact(words)))
        return self._document(way.redact(response.text))

    def _document(self, text: str) -> JSON:
        try:
            document = json.loads(text or "{}")
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Temporary(f"target {self._place.name} answered something that is no JSON object")
        return document

    def _refusal(self, response: httpx.Response, code: str, words: str) -> AdapterError:
        status, retry_in = response.status_code, self._retry_after(response)
        said = f"target {self._place.name} answered {' '.join(filter(None, (str(status), code)))}: {words}"
        if response.is_redirect:
            return Permanent(f"target {self._place.name} redirects, which is not followed; check its host")
        if code in EXISTS or (status == 409 and "already exists" in words):
            return Exists(said, retry_in)
        if status == 409 or code == "RESOURCE_CONFLICT":
            return Busy(said, retry_in)
        if code in MISSING or status == 404:
            return Missing(said)
        if status < 429 and (code in QUOTAS or QUOTA_WORDS.search(words)):
            return Temporary(said, max(retry_in or 0, self._settings.quota_seconds))
        if status in (408, 425, 429) or status >= 500 or code in PASSING:
            return Temporary(said, retry_in)
        return Denied(said) if status in (401, 403) else Permanent(said)

    def _retry_after(self, response: httpx.Response) -> float | None:
        """What the workspace asked for, up to the settings' cap; None where it asked for nothing that can be read."""
        value = response.headers.get("Retry-After")
        if value is None:
            return None
        try:
            seconds = float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else _seconds_until(value)
        except (TypeError, ValueError):
            return None
        return min(max(seconds, 0.0), self._settings.retry_after_cap_seconds)


def in_unity_catalog(model: str) -> bool:
    """Whether this is the full name of a model there, CATALOG.SCHEMA.MODEL, and not one of the workspace's registry."""
    return model.count(".") == 2


def _path(name: str, rest: str = "") -> str:
    return f"{ENDPOINTS}/{quote(name, safe='')}" + (f"/{rest}" if rest else "")


def _model(model: str) -> str:
    return f"/api/2.1/unity-catalog/models/{quote(model, safe='')}"


def _words(response: httpx.Response) -> tuple[str, str]:
    """The code and the workspace's own words of a refusal."""
    try:
        document: Any = json.loads(response.content)
    except ValueError:
        document = None
    if isinstance(document, dict):
        code = document.get("error_code") or document.get("errorCode") or ""
        words = document.get("message") or document.get("error_description") or document.get("error") or ""
        return str(code), str(words)
    found = re.match(r"([A-Z_]{4,}): (.*)", response.text, re.DOTALL)
    if found:
        return found[1], found[2]
    html = "html" in response.headers.get("content-type", "")
    return "", response.reason_phrase if html or not response.text else response.text


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= QUOTED_LENGTH else f"{words[:QUOTED_LENGTH]}…"


def _seconds_until(date: str) -> float:
    at = parsedate_to_datetime(date)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
