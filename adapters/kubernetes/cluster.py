"""An API server's calls: each is sent once, is bounded in time, and answers a document or raises an AdapterError.

Verbs, preconditions and status reasons from kubernetes.io, "Kubernetes API Concepts" and "Server-Side Apply".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from adapters.contract import JSON, AdapterError, Denied, Permanent, Place, Temporary
from adapters.http.connection import send
from adapters.kubernetes.connection import access
from adapters.kubernetes.settings import ClusterSettings

MANAGER = "modelport"
QUOTED_LENGTH = 500
PASSING = {"Timeout", "ServerTimeout", "InternalError", "ServiceUnavailable", "TooManyRequests"}


@dataclass(frozen=True)
class Kind:
    """A kind of object: its API's path, its group and version, its name in paths and in documents."""

    api: str
    group_version: str
    plural: str
    kind: str


DEPLOYMENTS = Kind("/apis/apps/v1", "apps/v1", "deployments", "Deployment")
SERVICES = Kind("/api/v1", "v1", "services", "Service")
PODS = Kind("/api/v1", "v1", "pods", "Pod")


class Stale(Temporary):
    """The object changed since it was looked at."""


class Missing(Permanent):
    """There is nothing of this name, or the cluster does not know the kind."""


class Occupied(Temporary):
    """Fields of it belong to somebody else, whatever a read said."""


class Cluster:
    """One namespace of one cluster, called from several threads."""

    def __init__(self, place: Place, settings: ClusterSettings, namespace: str) -> None:
        self._place, self._settings, self.namespace = place, settings, namespace

    def get(self, kind: Kind, name: str) -> JSON | None:
        """One object; None where there is none, or its kind is not known here."""
        try:
            return self._document("GET", self._path(kind, name))
        except Missing:
            return None

    def list(self, kind: Kind, selector: str = "", limit: int | None = None) -> Iterator[JSON]:
        """The namespace's objects of this kind, page by page; nothing where the cluster does not know the kind.

        ``limit`` asks for one page of so many and no more. A list that expired half way raises Temporary.
        """
        params = {"limit": str(limit or self._settings.list_page_size)}
        params |= {"labelSelector": selector} if selector else {}
        while True:
            try:
                answer = self._document("GET", self._path(kind), params=params)
            except Missing:
                return
            found = answer.get("items")
            if not isinstance(found, list):
                raise Temporary(f"target {self._place.name} answered a list without items")
            yield from (each for each in found if isinstance(each, dict))
            following = (answer.get("metadata") or {}).get("continue")
            if not following or limit is not None:
                return
            params = {**params, "continue": following}

    def apply(self, kind: Kind, manifest: JSON, *, force: bool, dry_run: bool = False) -> JSON:
        """Server-side apply as our own field manager; the object as it is then. Raises also Stale, Occupied.

        Twice is the same as once. With ``metadata.resourceVersion`` it must still be what was looked at. What
        the schema does not know is refused and not dropped. ``force`` takes fields over from other managers.
        """
        document = {"apiVersion": kind.group_version, "kind": kind.kind, **manifest}
        params = {"fieldManager": MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        params |= {"dryRun": "All"} if dry_run else {}
        path = self._path(kind, manifest["metadata"]["name"])
        # a JSON document is a YAML document
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return self._document("PATCH", path, params=params, headers=headers, content=json.dumps(document))

    def delete(self, kind: Kind, name: str, uid: str, resource_version: str | None = None) -> None:
        """Delete this very object, its children first; what is not there counts as deleted. Raises also Stale."""
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": preconditions,
        }
        try:
            self._call("DELETE", self._path(kind, name), json=body)
        except Missing:
            return

    def log(self, pod: str, container: str, lines: int, *, previous: bool = False) -> str:
        """The last lines of a container; empty where it has not started. ``previous``: of the one that died."""
        params = {"container": container, "tailLines": str(lines)} | ({"previous": "true"} if previous else {})
        try:
            return self._call("GET", f"{self._path(PODS, pod)}/log", params=params)
        except (Missing, Permanent):
            return ""

    def _path(self, kind: Kind, name: str | None = None) -> str:
        path = f"{kind.api}/namespaces/{self.namespace}/{kind.plural}"
        return path if name is None else f"{path}/{quote(name, safe='')}"

    def _document(self, method: str, path: str, **request: Any) -> JSON:
        try:
            document = json.loads(self._call(method, path, **request))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Temporary(f"target {self._place.name} answered something that is no JSON object")
        return document

    def _call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any) -> str:
        seconds = self._place.call_timeout_seconds
        way = access(self._place, self._settings)
        sent = {"Accept": "application/json", **(headers or {}), **way.headers}
        try:
            response = send(way.client, method, way.base + path, seconds=seconds, headers=sent, **request)
        except httpx.TimeoutException as error:
            raise Temporary(f"target {self._place.name} gave no answer within {seconds:g} s") from error
        except httpx.HTTPError as error:
            reason = way.redact(str(error)) or type(error).__name__
            raise Temporary(f"target {self._place.name} could not be reached: {reason}") from error
        if not response.is_success:
            reason, words = _words(response)
            raise self._refusal(response, reason, _short(way.redact(words)))
        return way.redact(response.text)

    def _refusal(self, response: httpx.Response, reason: str, words: str) -> AdapterError:
        status, retry_in = response.status_code, self._retry_after(response)
        said = f"target {self._place.name} answered {' '.join(filter(None, (str(status), reason)))}: {words}"
        if response.is_redirect:
            return Permanent(f"target {self._place.name} redirects, which is not followed; check its address")
        if status == 409:
            taken = "Apply failed with" in words or reason == "AlreadyExists"
            return Occupied(said, retry_in) if taken else Stale(said, retry_in)
        if status == 404:
            return Missing(said)
        if status == 403 and "exceeded quota" in words:
            return Temporary(said, retry_in or self._settings.retry_after_cap_seconds)
        if "admission webhook" in words and ("failed calling webhook" in words or "timeout" in words.lower()):
            return Temporary(said, retry_in)
        if status == 403 and "denied the request" in words:
            return Permanent(said)  # a validator's refusal of what was asked, not of who asked
        if status in (401, 403):
            return Denied(said)
        if status == 410 or status == 504 or (reason in PASSING and status != 500):
            return Temporary(said, retry_in)
        if status == 500 and ("denied the request" in words or "not declared in schema" in words):
            return Permanent(said)
        return Temporary(said, retry_in) if status in (408, 425, 429) or status >= 500 else Permanent(said)

    def _retry_after(self, response: httpx.Response) -> float | None:
        value = response.headers.get("Retry-After", "")
        if re.fullmatch(r"\d+(\.\d+)?", value) is None:
            return None
        return min(float(value), self._settings.retry_after_cap_seconds)


def _words(response: httpx.Response) -> tuple[str, str]:
    """The reason and the server's own words, from a ``Status`` document where it is one."""
    try:
        document: Any = json.loads(response.content)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return str(document.get("reason") or ""), str(document.get("message") or response.reason_phrase)
    html = "html" in response.headers.get("content-type", "")
    return "", response.reason_phrase if html or not response.text else response.text


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= QUOTED_LENGTH else f"{words[:QUOTED_LENGTH]}…"
