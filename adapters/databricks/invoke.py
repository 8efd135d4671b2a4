"""Predictions through a serving endpoint. Route: ``{"name": ..., "entities": {variant: its served entity}}``.

``POST /serving-endpoints/{name}/invocations`` goes through the traffic split; to one served entity, past the split, it
is ``/serving-endpoints/{name}/served-models/{entity}/invocations`` (docs.databricks.com, "Query individual models
behind an endpoint"). A route-optimised endpoint has an address of its own, in ``data_plane``, with its own kind of
token (databricks-sdk's ``ServingEndpointsDataPlaneAPI``). The answer's header ``served-model-name`` tells which entity
it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from urllib.parse import quote

import httpx

from adapters.contract import JSON, Answer, Place, Request, Temporary, Unreachable
from adapters.databricks.connection import Access, access, for_data_plane
from adapters.http.connection import Deadline, open_client

ENTITY_HEADER = "served-model-name"
EVENTS = "text/event-stream"
# What concerns one hop alone, or proves to us who the caller is: none of it is the workspace's.
NOT_PASSED_ON = frozenset({"accept-encoding", "authorization", "connection", "content-length", "cookie", "host"})
# Without the entity's header these come from the workspace, which asked no model.
WORKSPACES_OWN = frozenset({401, 403, 404, 429, 502, 503, 504})


def invoke(place: Place, route: JSON, request: Request, timeout_seconds: float) -> Answer:
    """Send one prediction and return what the model said, whatever that is; a stream as it comes.

    Within ``timeout_seconds`` the whole answer is there, or a stream has begun, each of whose chunks then comes within
    as long again. Safe from many threads at once; never repeated. Raises ``Unreachable`` when no model answered, and
    ``Denied`` when the target's credentials do not sign in.
    """
    until = time.monotonic() + timeout_seconds
    try:
        way = access(place, timeout_seconds)
        if "data_plane" in route:
            way = for_data_plane(place, way, route["data_plane"], max(until - time.monotonic(), 0.001))
    except Temporary as error:
        raise Unreachable(error.message, timed_out=time.monotonic() >= until) from error
    headers = {k: v for k, v in request.headers.items() if k.lower() not in NOT_PASSED_ON}
    headers |= {"content-type": request.content_type, "accept-encoding": "identity", **way.headers}
    deadline = _Patience(max(until - time.monotonic(), 0.001))
    failed = partial(_unreachable, place, way, timeout_seconds)
    with ExitStack() as connection:
        try:
            call = _client().stream(
                "POST",
                _url(way, route, request),
                content=request.body,
                headers=headers,
                extensions={"timeout": deadline},
            )
            response = connection.enter_context(call)
            variant = _variant(route, response)
            _refuse_the_workspaces_own(place, route, response, variant)
            if _streams(response):
                deadline.each_read = timeout_seconds
                chunks = _Stream(response, connection.pop_all(), failed)
                return Answer(response.status_code, b"", response.headers["content-type"], variant, chunks)
            body = _whole(response, deadline, timeout_seconds)
        except httpx.HTTPError as error:
            raise failed(error) from error
    content_type = response.headers.get("content-type", "application/octet-stream")
    return Answer(response.status_code, body, content_type, variant)


def _url(way: Access, route: JSON, request: Request) -> str:
    # the data plane's address ends in the same path
    path = f"{way.base}/serving-endpoints/{quote(route['name'], safe='')}"
    if "data_plane" in route:
        path = str(route["data_plane"]["url"]).removesuffix("/invocations")
    if request.variant is None:
        return f"{path}/invocations"
    entity = route["entities"].get(request.variant)
    if entity is None:
        raise Unreachable(f"there is no variant {request.variant!r}; there are: {', '.join(route['entities'])}")
    return f"{path}/served-models/{quote(entity, safe='')}/invocations"


def _variant(route: JSON, response: httpx.Response) -> str | None:
    entity = response.headers.get(ENTITY_HEADER)
    return next((variant for variant, name in route["entities"].items() if name == entity), None)


def _refuse_the_workspaces_own(place: Place, route: JSON, response: httpx.Response, variant: str | None) -> None:
    if response.is_redirect:
        raise Unreachable(f"target {place.name} redirects predictions, which is not followed")
    if variant is None and ENTITY_HEADER not in response.headers and response.status_code in WORKSPACES_OWN:
        raise Unreachable(
            f"target {place.name} answered {response.status_code} for endpoint {route['name']}: no model was asked",
            timed_out=response.status_code == httpx.codes.GATEWAY_TIMEOUT,
        )


def _streams(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).split(";")[0].strip().lower() == EVENTS


def _whole(response: httpx.Response, deadline: Deadline, seconds: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if deadline.passed:
            raise httpx.ReadTimeout(f"no whole answer within {seconds:g} s", request=response.request)
    return bytes(body)


class _Stream:
    """A stream of bytes that is still on its connection."""

    def __init__(self, response: httpx.Response, connection: ExitStack, failed: Callable[[httpx.HTTPError], Exception]):
        self._bytes = response.iter_bytes()
        self._connection = connection
        self._failed = failed

    def __next__(self) -> bytes:
        try:
            return next(self._bytes)
        except httpx.HTTPError as error:
            self.close()
            raise self._failed(error) from error

    def close(self) -> None:
        self._connection.close()


class _Patience(Deadline):
    """Time for the whole answer, until ``each_read`` says that from now on each read has so many seconds."""

    each_read: float | None = None

    def get(self, key: str, default: object = None) -> float:
        return super().get(key, default) if self.each_read is None else self.each_read


def _unreachable(place: Place, way: Access, seconds: float, error: httpx.HTTPError) -> Unreachable:
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(f"target {place.name} gave no answer within {seconds:g} s", timed_out=True)
    reason = way.redact(str(error)) or type(error).__name__
    return Unreachable(f"target {place.name} could not be reached: {reason}")


@cache
def _client() -> httpx.Client:
    return open_client()
