"""One platform's address, credentials and connections; shared by the verbs and by predictions."""

from __future__ import annotations

import ssl
import time
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from adapters import credentials, outgoing
from adapters.contract import Permanent, Place
from adapters.http.describe import HttpSettings

CONNECTIONS = 64
# Shorter than the 5 s for which uvicorn keeps an idle connection, so that none is used that is about to be closed.
IDLE_SECONDS = 4.0


def open_client() -> httpx.Client:
    """A client for many threads. It follows no redirect: credentials go to the registered address only."""
    limits = httpx.Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS
    )
    return outgoing.client(limits, _trust())


@cache
def _trust() -> ssl.SSLContext:
    # reading the certificates takes longer than many a call
    return httpx.create_ssl_context()


def base_of(place: Place) -> str:
    """The platform's address without a slash at its end. Raises Permanent where it cannot be one."""
    parts = urlsplit(place.uri)
    if parts.username is not None or parts.password is not None:
        raise Permanent(f"the URI of target {place.name} holds credentials; register a reference to them instead")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Permanent(f"the URI of target {place.name} is not of the form http://HOST:PORT/BASE or https://HOST/BASE")
    wrong = outgoing.check_host(parts.hostname)
    if wrong:
        raise Permanent(f"the URI of target {place.name}: {wrong}")
    return place.uri.rstrip("/")


def path_of(name: str) -> str:
    """The path of a deployment under the platform's address."""
    return f"/deployments/{quote(name, safe='')}"


def secret_of(place: Place) -> str | None:
    """The target's secret as it is now, fit for the header that carries it. Raises Denied."""
    if not place.credentials:
        return None
    return credentials.for_header(place.credentials, credentials.resolve(place.credentials))


def auth_headers(settings: HttpSettings, secret: str | None) -> dict[str, str]:
    """The header that carries the secret."""
    return {settings.auth_header: f"{settings.auth_scheme} {secret}".lstrip()} if secret else {}


def send(
    client: httpx.Client, method: str, url: str, *, seconds: float, headers: dict[str, str], **request: Any
) -> httpx.Response:
    """One request and its whole answer, within ``seconds`` altogether. Never repeated. Raises httpx.HTTPError."""
    deadline = Deadline(seconds)
    with client.stream(method, url, headers=headers, extensions={"timeout": deadline}, **request) as response:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > outgoing.ANSWER_BYTES:
                raise httpx.ReadError(f"the answer is longer than {outgoing.ANSWER_BYTES} bytes")
            if deadline.passed:
                raise httpx.ReadTimeout(f"no whole answer within {seconds:g} s", request=response.request)
    # the body is decoded by now, and its headers must not say otherwise
    kept = [(k, v) for k, v in response.headers.multi_items() if k not in ("content-encoding", "content-length")]
    return httpx.Response(response.status_code, headers=kept, content=bytes(body), request=response.request)


class Deadline(dict[str, Any]):
    """The ``timeout`` of a request, for httpx's transport: each phase gets what is left of the whole call's time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._until = time.monotonic() + seconds

    def get(self, key: str, default: Any = None) -> float:  # noqa: ARG002
        """The seconds left, whatever the phase."""
        return max(self._until - time.monotonic(), 0.001)

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() > self._until
