"""Predictions through an online endpoint.

Route: ``{"name", "scoring_uri", "auth", "deployments": {variant: its deployment}}``. The header
``azureml-model-deployment`` goes past the traffic split, and tells in the answer which deployment it was. Azure answers
424 for a model's own error, whose status is in ``ms-azureml-model-error-statuscode``, and 404 where no deployment has
traffic ("HTTP status codes for online endpoints", learn.microsoft.com).
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import httpx

from adapters.azureml.arm import Missing
from adapters.azureml.connection import Access
from adapters.azureml.scoring import DEPLOYMENT_HEADER, forget, model_status, scoring, signed_in, whole
from adapters.contract import JSON, Answer, Place, Request, Temporary, Unreachable
from adapters.http.connection import Deadline

EVENTS = "text/event-stream"
# What concerns one hop alone, proves to us who the caller is, or chooses a deployment: that is the variant's business.
NOT_PASSED_ON = frozenset(
    {"accept-encoding", "authorization", "connection", "content-length", "cookie", "host", DEPLOYMENT_HEADER}
)
# These come from the endpoint, which got no answer of a model: one's own error comes as 424.
ENDPOINTS_OWN = frozenset({401, 403, 404, 408, 429, 502, 503, 504})
TIMED_OUT = frozenset({408, 504})


def invoke(place: Place, route: JSON, request: Request, timeout_seconds: float) -> Answer:
    """Send one prediction and return what the model said, whatever that is; a stream as it comes.

    Within ``timeout_seconds`` the whole answer is there, or a stream has begun, each of whose chunks then comes within
    as long again. Safe from many threads at once; repeated only where a key was refused and another is there, which
    no model saw. Raises ``Unreachable`` when no model answered, and ``Denied`` when the credentials do not sign in.
    """
    until = time.monotonic() + timeout_seconds
    deployment = _deployment(route, request)
    answer = _once(place, route, request, deployment, until, timeout_seconds)
    if answer is None and forget(place, route):
        answer = _once(place, route, request, deployment, until, timeout_seconds)
    if answer is None:
        raise Unreachable(f"target {place.name} answered 401 for endpoint {route['name']}: no model was asked")
    return answer


def _once(
    place: Place, route: JSON, request: Request, deployment: str | None, until: float, seconds: float
) -> Answer | None:
    """The answer; None where the endpoint did not take the key."""
    try:
        way = signed_in(place, route, max(until - time.monotonic(), 0.001))
    except Temporary as error:
        raise Unreachable(error.message, timed_out=time.monotonic() >= until) from error
    except Missing as error:
        raise Unreachable(f"target {place.name}: {error.message}") from error
    headers = {k: v for k, v in request.headers.items() if k.lower() not in NOT_PASSED_ON}
    headers["content-type"] = request.content_type
    deadline = _Patience(max(until - time.monotonic(), 0.001))
    with ExitStack() as connection:
        try:
            response = connection.enter_context(scoring(route, way, request.body, headers, deployment, deadline))
            if response.status_code == httpx.codes.UNAUTHORIZED:
                return None
            _refuse_the_endpoints_own(place, route, response)
            variant = _variant(route, response)
            content_type = str(response.headers.get("content-type", "application/octet-stream"))
            if content_type.split(";")[0].strip().lower() == EVENTS:
                deadline.each_read = seconds
                stream = _Stream(response, connection.pop_all(), place, way, seconds)
                return Answer(response.status_code, b"", content_type, variant, stream)
            return Answer(model_status(response), whole(response, deadline), content_type, variant)
        except httpx.HTTPError as error:
            raise _unreachable(place, way, seconds, error) from error


def _deployment(route: JSON, request: Request) -> str | None:
    if request.variant is None:
        return None
    found: str | None = route["deployments"].get(request.variant)
    if found is None:
        raise Unreachable(f"there is no variant {request.variant!r}; there are: {', '.join(route['deployments'])}")
    return found


def _variant(route: JSON, response: httpx.Response) -> str | None:
    name = response.headers.get(DEPLOYMENT_HEADER)
    return next((variant for variant, deployment in route["deployments"].items() if deployment == name), None)


def _refuse_the_endpoints_own(place: Place, route: JSON, response: httpx.Response) -> None:
    if response.is_redirect:
        raise Unreachable(f"target {place.name} redirects predictions, which is not followed")
    if response.status_code in ENDPOINTS_OWN:
        raise Unreachable(
            f"target {place.name} answered {response.status_code} for endpoint {route['name']}: no model answered",
            timed_out=response.status_code in TIMED_OUT,
        )


class _Stream:
    """A stream of bytes that is still on its connection."""

    def __init__(self, response: httpx.Response, connection: ExitStack, place: Place, way: Access, seconds: float):
        self._bytes = response.iter_bytes()
        self._connection = connection
        self._told = (place, way, seconds)

    def __next__(self) -> bytes:
        try:
            return next(self._bytes)
        except httpx.HTTPError as error:
            self.close()
            raise _unreachable(*self._told, error) from error

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
