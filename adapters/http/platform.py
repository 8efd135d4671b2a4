"""The platform's calls: each is sent once, is bounded in time, and answers a document or raises an AdapterError."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from adapters.contract import JSON, Conflict, Denied, Permanent, Place, Temporary
from adapters.credentials import redact
from adapters.http.connection import auth_headers, base_of, open_client, path_of, secret_of, send
from adapters.http.describe import HttpSettings

FENCE_HEADER = "Modelport-Fence"
ADOPT_HEADER = "Modelport-Adopt"
OWNER_HEADER = "Modelport-Owner"
PAGE_SIZE = 1000
QUOTED_LENGTH = 500
ABSENT = "absent"


class Owner(BaseModel):
    """Whose a deployment is."""

    installation: str
    uid: str


class Operation(BaseModel):
    """The change that a deployment went through last. ``content`` is what it brings, None for a delete.

    ``location`` is the ``Location`` of the answer that accepted it, for whom that answer got lost.
    """

    id: str | None = None
    status: Literal["running", "succeeded", "failed"]
    message: str = ""
    content: str | None = None
    location: str | None = None


class Document(BaseModel):
    """A deployment as the platform shows it. ``content`` is what serves now, whatever else is on its way."""

    name: str
    etag: str
    status: str
    owner: Owner | None = None
    content: str | None = None
    message: str = ""
    variants: list[JSON] = []
    traffic: dict[str, int] = {}
    operation: Operation | None = None


@dataclass(frozen=True)
class Accepted:
    """What the platform said to a write. ``thing`` is None where it said nothing of the deployment, or it is gone."""

    status: int
    thing: JSON | None
    location: str | None
    retry_after: float | None


class Busy(Temporary):
    """Another operation is under way and the platform does not let a new one take its place."""


class Platform:
    """One platform, called from several threads."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._base = base_of(place)
        self._settings = HttpSettings.model_validate(place.settings)
        self._client = open_client()

    def list(self, page_size: int = PAGE_SIZE) -> Iterator[JSON]:
        """Every deployment there, page by page as it is asked for; not checked, see ``thing``."""
        token: str | None = None
        while True:
            params = {"page_size": str(page_size)} | ({"page_token": token} if token else {})
            answer = self._json(self._call("GET", "/deployments", params=params))
            found, following = answer.get("deployments"), answer.get("next_page_token")
            if not isinstance(found, list):
                raise Temporary(f"target {self._place.name} answered a list without deployments")
            yield from found
            if not following:
                return
            if following == token:
                raise Temporary(f"target {self._place.name} gave the same page token twice")
            token = str(following)

    def get(self, name: str) -> JSON | None:
        """One deployment, None where there is none."""
        response = self._call("GET", path_of(name), accept=(404,))
        return None if response.status_code == 404 else self.thing(self._json(response))

    def operation(self, location: str) -> JSON | None:
        """How an operation stands, None where the platform does not know it any more."""
        response = self._call("GET", location, accept=(404,))
        if response.status_code == 404:
            return None
        return self._checked(Operation, self._json(response))

    def put(self, name: str, body: JSON, *, key: str, fence: int, base: str, adopt: bool = False) -> Accepted:
        """Ask for this content, if the deployment is still as its ETag ``base`` says. Raises also Busy.

        ``adopt``: take over what has no owner and serves the same already; what serves is not touched.
        """
        headers = {
            **({ADOPT_HEADER: "true"} if adopt else {}),
            "Idempotency-Key": key,
            FENCE_HEADER: str(fence),
            **({"If-None-Match": "*"} if base == ABSENT else {"If-Match": base}),
        }
        return self._accepted(self._call("PUT", path_of(name), headers=headers, json=body))

    def delete(self, name: str, owner: Owner, *, fence: int, base: str) -> Accepted:
        """Ask for its end, if it is still as ``base`` says; done already is as good. Raises also Busy.

        Where nothing is, the fence is left all the same: a create that is late is refused.
        """
        headers = {
            OWNER_HEADER: f"{owner.installation}/{owner.uid}",
            FENCE_HEADER: str(fence),
            **({} if base == ABSENT else {"If-Match": base}),
        }
        return self._accepted(self._call("DELETE", path_of(name), headers=headers, accept=(404, 410)))

    def thing(self, document: object) -> JSON:
        """A deployment's document, checked. Raises Temporary where it is none."""
        thing = self._checked(Document, document)
        if thing["operation"] is not None:
            thing["operation"]["location"] = self._location(thing["operation"]["location"])
        return thing

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _checked(self, kind: type[BaseModel], document: object) -> JSON:
        try:
            return kind.model_validate(document).model_dump(mode="json")
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, fault["loc"])) or "it"
            raise Temporary(
                f"target {self._place.name} answered a document that breaks the contract: {field}: {fault['msg']}"
            ) from error

    def _call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, accept: tuple[int, ...] = (), **kw: Any
    ) -> httpx.Response:
        secret = secret_of(self._place)
        auth = auth_headers(self._settings, secret)
        try:
            response = send(
                self._client,
                method,
                self._base + path,
                seconds=self._place.call_timeout_seconds,
                headers={"Accept": "application/json", **(headers or {}), **auth},
                **kw,
            )
        except httpx.TimeoutException as error:
            limit = self._place.call_timeout_seconds
            raise Temporary(f"target {self._place.name} gave no answer within {limit:g} s") from error
        except httpx.HTTPError as error:
            reason = redact(str(error), secret) or type(error).__name__
            raise Temporary(f"target {self._place.name} could not be reached: {reason}") from error
        if response.is_success or response.status_code in accept:
            return response
        raise self._refusal(response, secret)

    def _refusal(self, response: httpx.Response, secret: str | None) -> Exception:
        status, place = response.status_code, self._place.name
        code, words = _words(response, secret)
        said = f"target {place} answered {status}" + (f": {words}" if words else "")
        retry_in = self._retry_after(response)
        if status == 412:
            if code == "precondition-failed":
                return Temporary(f"the deployment on target {place} changed since it was looked at", retry_in)
            return Temporary("a newer worker holds this deployment", retry_in)
        if status == 409 and code == "not-owner":
            return Conflict(said)
        if status == 409:
            return Busy(said, retry_in)
        if status in (401, 403):
            return Denied(said)
        if status in (408, 425, 429) or status >= 500:
            return Temporary(said, retry_in)
        if response.is_redirect:
            to = urlsplit(redact(response.headers.get("location", ""), secret))
            return Permanent(
                f"target {place} redirects to {to.scheme}://{to.netloc}{to.path}, which is not followed; "
                "register the address that answers"
            )
        return Permanent(said)

    def _accepted(self, response: httpx.Response) -> Accepted:
        thing = None
        if response.content and response.status_code in (200, 201, 202):
            try:
                thing = self.thing(self._json(response))
            except Temporary:
                # it was accepted, and the next look tells the rest
                thing = None
        return Accepted(
            response.status_code,
            thing,
            self._location(response.headers.get("location")),
            self._retry_after(response),
        )

    def _location(self, location: str | None) -> str | None:
        """The operation's path under the platform's address; what lies elsewhere gets no credentials of ours."""
        if not location:
            return None
        url = urljoin(f"{self._base}/", location)
        return url.removeprefix(self._base) if url.startswith(f"{self._base}/") else None

    def _retry_after(self, response: httpx.Response) -> float | None:
        text = response.headers.get("retry-after", "").strip()
        if not text:
            return None
        try:
            seconds = float(text) if text.isdigit() else _seconds_until(text)
        except ValueError:
            return None
        return min(max(seconds, 0.0), self._settings.retry_after_cap_seconds)

    def _json(self, response: httpx.Response) -> JSON:
        try:
            document = json.loads(response.content)
        except ValueError as error:
            raise Temporary(f"target {self._place.name} answered something that is not JSON") from error
        if not isinstance(document, dict):
            raise Temporary(f"target {self._place.name} answered JSON that is no object")
        return document


def _words(response: httpx.Response, secret: str | None) -> tuple[str, str]:
    """The code and the platform's own words of a refusal, in one line of sane length."""
    code, text = "", response.text
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if isinstance(document, dict):
        code = str(document.get("code", ""))
        text = str(document.get("message") or document.get("detail") or document.get("title") or text)
    elif "html" in response.headers.get("content-type", ""):
        text = response.reason_phrase
    # before it is cut, which might leave half of a secret
    text = " ".join(redact(text, secret).split())
    return code, text if len(text) <= QUOTED_LENGTH else f"{text[:QUOTED_LENGTH]}…"


def _seconds_until(date: str) -> float:
    at = parsedate_to_datetime(date)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
