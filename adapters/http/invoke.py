"""Predictions through an in-house platform."""

from __future__ import annotations

from functools import cache

import httpx

from adapters.contract import JSON, Answer, Place, Request, Unreachable
from adapters.credentials import redact
from adapters.http.connection import auth_headers, base_of, open_client, path_of, secret_of, send
from adapters.http.describe import HttpSettings

VARIANT_HEADER = "Modelport-Variant"

# What concerns one hop alone, or proves to us who the caller is: none of it is the platform's.
_NOT_PASSED_ON = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# Without the variant's header these come from the platform, which found no model to ask.
_PLATFORMS_OWN = frozenset({401, 403, 404, 429, 502, 503, 504})


def invoke(place: Place, route: JSON, request: Request, timeout_seconds: float) -> Answer:
    """Send one prediction and return what the model's server said, whatever that is, within ``timeout_seconds``.

    Safe from many threads at once; never repeated. Raises ``Unreachable`` when no model answered, and ``Denied`` when
    the target's credentials cannot be read here.
    """
    secret = secret_of(place)
    headers = httpx.Headers({k: v for k, v in request.headers.items() if k.lower() not in _NOT_PASSED_ON})
    headers.update({"Content-Type": request.content_type})
    headers.update(auth_headers(HttpSettings.model_validate(place.settings), secret))
    try:
        response = send(
            _client(),
            "POST",
            f"{base_of(place)}{path_of(route['name'])}/invocations",
            seconds=timeout_seconds,
            headers=dict(headers),
            params={"variant": request.variant} if request.variant is not None else None,
            content=request.body,
        )
    except httpx.TimeoutException as error:
        message = f"target {place.name} gave no answer within {timeout_seconds:g} s"
        raise Unreachable(message, timed_out=True) from error
    except httpx.HTTPError as error:
        reason = redact(str(error), secret) or type(error).__name__
        raise Unreachable(f"target {place.name} could not be reached: {reason}") from error
    return _answer(place, route, response)


def _answer(place: Place, route: JSON, response: httpx.Response) -> Answer:
    status, variant = response.status_code, response.headers.get(VARIANT_HEADER)
    if response.is_redirect:
        raise Unreachable(f"target {place.name} redirects predictions, which is not followed")
    if variant is None and status in _PLATFORMS_OWN:
        raise Unreachable(
            f"target {place.name} answered {status} for deployment {route['name']}: no model was asked",
            timed_out=status == httpx.codes.GATEWAY_TIMEOUT,
        )
    content_type = response.headers.get("Content-Type", "application/octet-stream")
    return Answer(status, response.content, content_type, variant)


@cache
def _client() -> httpx.Client:
    return open_client()
