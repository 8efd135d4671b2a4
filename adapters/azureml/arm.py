"""The workspace's calls to Azure Resource Manager: each is sent once, is bounded in time, and raises AdapterErrors.

Paths and documents from azure-ai-ml 1.35's ARM client (``_restclient/arm_ml_service``), api-version 2025-12-01;
long-running operations as azure-mgmt-core's ``ARMPolling`` reads them: ``Azure-AsyncOperation`` before ``Location``.
The vendor's own recordings differ from its documents: an operation under way may say ``Updating`` for ``InProgress``,
``error.code`` may be null, ``Retry-After`` may be missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import httpx

from adapters.azureml.connection import access, manager_of, manager_scope, same_origin, settings_of
from adapters.azureml.models import scope_of
from adapters.azureml.things import GAVE_UP, GOOD
from adapters.contract import JSON, AdapterError, Conflict, Denied, Permanent, Place, Temporary
from adapters.http.connection import open_client, send

API_VERSION = "2025-12-01"
QUOTED_LENGTH = 1000
MOST_PAGES = 1000
TAKEN = re.compile(r"already an endpoint with this name|unique within a region|name .*not available", re.IGNORECASE)
ENCLOSING = ("SubscriptionNotFound", "InvalidSubscriptionId", "ResourceGroupNotFound")
QUOTA = re.compile(r"quota|out of capacity|OutOfCapacity", re.IGNORECASE)


@dataclass(frozen=True)
class Started:
    """A write that Azure took: where its long-running operation is told of, and when to look at it; None: nowhere."""

    operation: str | None = None
    retry_in: float | None = None


class Busy(Temporary):
    """Something of the endpoint is under way, and no other write is taken meanwhile; also a moment after it ended."""


class Missing(Permanent):
    """There is nothing of this name."""


class Workspace:
    """One workspace, called from several threads."""

    def __init__(self, place: Place, client: httpx.Client | None = None) -> None:
        self._place = place
        self._settings = settings_of(place)
        self._base = manager_of(self._settings)
        self._path = scope_of(place).path
        self._client = client or open_client()
        self._location = self._settings.location

    def location(self) -> str:
        """The workspace's region, which every document of it has to name; asked for once."""
        if self._location is None:
            self._location = str(self._call("GET", self._path)[0].get("location") or "")
        return self._location

    def endpoints(self) -> list[JSON]:
        """Every online endpoint, page by page, with its traffic and tags and without its deployments."""
        return list(self._pages(f"{self._path}/onlineEndpoints"))

    def endpoint(self, name: str) -> JSON | None:
        """One endpoint; None where there is none."""
        return self._found(_endpoint(self._path, name))

    def deployments(self, name: str) -> list[JSON]:
        """The deployments of an endpoint; none where it is not there."""
        try:
            return list(self._pages(f"{_endpoint(self._path, name)}/deployments"))
        except Missing:
            return []

    def has_model(self, name: str, version: str) -> bool:
        """Whether this version of a model is registered."""
        return self._found(_model(self._path, name, version)) is not None

    def newest_model(self, name: str) -> str:
        """The newest version of a model. Raises also Missing."""
        order = {"$orderBy": "createdtime desc", "$top": "1"}
        versions = self._call("GET", f"{self._path}/models/{quote(name, safe='')}/versions", params=order)[0]
        for shown in versions.get("value") or []:
            return str(shown["name"])
        raise Missing(f"target {self._place.name} has no version of a model {name}")

    def put_endpoint(self, name: str, body: JSON) -> Started:
        """Make or replace an endpoint; where its operation is. Raises also Busy, Conflict."""
        return self._write("PUT", _endpoint(self._path, name), body)

    def patch_tags(self, name: str, tags: dict[str, str]) -> Started:
        """Replace an endpoint's tags; where its operation is. Raises also Busy, Missing."""
        return self._write("PATCH", _endpoint(self._path, name), {"tags": tags})

    def put_deployment(self, endpoint: str, name: str, body: JSON) -> Started:
        """Make or replace a deployment; where its operation is. Raises also Busy, Missing."""
        path = f"{_endpoint(self._path, endpoint)}/deployments/{quote(name, safe='')}"
        return self._write("PUT", path, body)

    def put_model(self, name: str, version: str, body: JSON) -> None:
        """Register a version of a model."""
        self._call("PUT", _model(self._path, name, version), body)

    def delete_endpoint(self, name: str) -> Started:
        """Delete an endpoint with its deployments; what is not there counts as deleted. Raises also Busy."""
        return self._delete(_endpoint(self._path, name))

    def delete_deployment(self, endpoint: str, name: str) -> Started:
        """Delete a deployment; what is not there counts as deleted. Raises also Busy."""
        return self._delete(f"{_endpoint(self._path, endpoint)}/deployments/{quote(name, safe='')}")

    def delete_model(self, name: str, version: str) -> None:
        """Remove a version of a model; what is not there counts as removed."""
        self._delete(_model(self._path, name, version))

    def operation(self, address: str) -> JSON:
        """How a long-running operation stands: ``status`` is running, Succeeded, Failed, Canceled or None (unknown).

        Addresses of other servers are not asked: the token is for this one.
        """
        unknown: JSON = {"status": None, "message": "", "retry_in": None}
        if not same_origin(address, self._base):
            return unknown
        try:
            document, response = self._call("GET", address[len(self._base) :])
        except (Missing, Denied):
            # it is forgotten, or told to whoever may read the whole subscription: the thing itself tells as well
            return unknown
        except Permanent as refused:
            # what is polled by Location answers with the operation's own failure
            return {"status": "Failed", "message": refused.message, "retry_in": None}
        status = document.get("status") or (document.get("properties") or {}).get("provisioningState")
        if response.status_code == 202 or (status and str(status).capitalize() not in (GOOD, *GAVE_UP)):
            status = "running"
        status = str(status or GOOD)
        status = status if status == "running" else status.capitalize()
        return {"status": status, "message": _words(document)[1], "retry_in": self._retry_after(response)}

    def logs(self, endpoint: str, name: str, lines: int, container: str = "InferenceServer") -> str:
        """The last lines that a deployment's container wrote; empty where there are none."""
        path = f"{_endpoint(self._path, endpoint)}/deployments/{quote(name, safe='')}/getLogs"
        try:
            found, _ = self._call("POST", path, {"containerType": container, "tail": lines})
        except Missing:
            return ""
        return str(found.get("content") or "")

    def keys(self, name: str) -> JSON:
        """The keys for predictions. Raises also Missing."""
        return self._call("POST", f"{_endpoint(self._path, name)}/listKeys")[0]

    def token(self, name: str) -> JSON:
        """A token of Azure ML's own for predictions. Raises also Missing."""
        return self._call("POST", f"{_endpoint(self._path, name)}/token")[0]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _pages(self, path: str) -> Iterator[JSON]:
        for _ in range(MOST_PAGES):
            page, _ = self._call("GET", path)
            yield from (each for each in page.get("value") or [] if isinstance(each, dict))
            following = page.get("nextLink")
            if not following:
                return
            if not same_origin(urljoin(self._base, following), self._base):
                raise Temporary(f"target {self._place.name} names another server for its next page")
            path = urljoin(self._base, following)[len(self._base) :]

    def _found(self, path: str) -> JSON | None:
        try:
            return self._call("GET", path)[0]
        except Missing:
            return None

    def _write(self, method: str, path: str, body: JSON) -> Started:
        return self._started(self._call(method, path, body)[1])

    def _delete(self, path: str) -> Started:
        try:
            return self._started(self._call("DELETE", path)[1])
        except Missing:
            return Started()

    def _started(self, response: httpx.Response) -> Started:
        address = response.headers.get("azure-asyncoperation") or response.headers.get("location")
        return Started(urljoin(self._base, address) if address else None, self._retry_after(response))

    def _call(
        self, method: str, path: str, body: JSON | None = None, params: dict[str, str] | None = None
    ) -> tuple[JSON, httpx.Response]:
        seconds = self._place.call_timeout_seconds
        way = access(self._place, manager_scope(self._settings), seconds)
        asked = {} if "api-version=" in path else {"api-version": API_VERSION}
        query = urlencode({**asked, **(params or {})})
        url = self._base + path + (("&" if "?" in path else "?") + query if query else "")
        content = {} if body is None else {"json": body}
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **way.headers}
        try:
            response = send(self._client, method, url, seconds=seconds, headers=headers, **content)
        except httpx.TimeoutException as error:
            raise Temporary(f"target {self._place.name} gave no answer within {seconds:g} s") from error
        except httpx.HTTPError as error:
            reason = way.redact(str(error)) or type(error).__name__
            raise Temporary(f"target {self._place.name} could not be reached: {reason}") from error
        document = self._document(way.redact(response.text), strict=response.is_success)
        if not response.is_success:
            raise self._refusal(response, *_words(document), way.redact(response.text))
        return document, response

    def _document(self, text: str, *, strict: bool) -> JSON:
        """The answer's document; none counts as an empty one, as what was accepted may be answered without."""
        try:
            document = json.loads(text if text.strip() else "{}") or {}
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document
        if not strict:
            return {}
        raise Temporary(f"target {self._place.name} answered something that is no JSON object")

    def _refusal(self, response: httpx.Response, code: str, words: str, text: str) -> AdapterError:
        status, retry_in = response.status_code, self._retry_after(response)
        words = words or _short(text if "html" not in response.headers.get("content-type", "") else "")
        said = f"target {self._place.name} answered {' '.join(filter(None, (str(status), code)))}: {words}"
        if response.is_redirect:
            return Permanent(f"target {self._place.name} redirects, which is not followed; check resource_manager")
        if status in (400, 409) and TAKEN.search(words):
            return Conflict(f"{said} (names of endpoints are unique in a region of Azure)")
        if status < 429 and status not in (401, 404) and (QUOTA.search(words) or QUOTA.search(code)):
            return Temporary(said, max(retry_in or 0, self._settings.quota_seconds))
        if status == 409:
            return Busy(said, retry_in)
        if status == 404:
            # of what encloses everything there is, a thing that is missing is a mistake in the target's URI
            return Permanent(said) if code in ENCLOSING else Missing(said)
        if status in (408, 425, 429) or status >= 500:
            return Temporary(said, retry_in)
        return Denied(said) if status in (401, 403) else Permanent(said)

    def _retry_after(self, response: httpx.Response) -> float | None:
        """What Azure asked for, up to the settings' cap; None where it asked for nothing that can be read."""
        value = response.headers.get("Retry-After")
        if value is None:
            return None
        try:
            seconds = float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else _seconds_until(value)
        except (TypeError, ValueError):
            return None
        return min(max(seconds, 0.0), self._settings.retry_after_cap_seconds)


def _endpoint(path: str, name: str) -> str:
    return f"{path}/onlineEndpoints/{quote(name, safe='')}"


def _model(path: str, name: str, version: str) -> str:
    return f"{path}/models/{quote(name, safe='')}/versions/{quote(version, safe='')}"


def _words(document: JSON) -> tuple[str, str]:
    """The code and Azure's own words of a refusal or of an operation's end, with what its details add."""
    error: Any = document.get("error") or {}
    if not isinstance(error, dict):
        return "", _short(str(error))
    told = [str(error.get("message") or "")]
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        words = str((detail or {}).get("message") or "")
        if words and words not in told[0]:
            told.append(words)
    return str(error.get("code") or ""), _short(" ".join(filter(None, told)))


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= QUOTED_LENGTH else f"{words[:QUOTED_LENGTH]}…"


def _seconds_until(date: str) -> float:
    at = parsedate_to_datetime(date)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
