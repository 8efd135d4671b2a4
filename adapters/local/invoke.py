"""Predictions to a model's server on its machine. Route: ``{"variants": {name: {"url": ..., "weight": 80}}}``."""

from __future__ import annotations

import random
import time
from functools import cache

import httpx

from adapters.contract import JSON, Answer, Place, Request, Unreachable

# Shorter than the servers keep an idle connection, so that none is used that its server is about to close.
IDLE_SECONDS = 30.0


def invoke(place: Place, route: JSON, request: Request, timeout: float) -> Answer:
    """Send the body's bytes to the pinned variant, or to one drawn by weight. Blocks for at most about ``timeout``
    seconds. Never sent twice: a prediction whose answer was lost is the caller's to repeat. Raises Unreachable.
    """
    variant = request.variant or _drawn(route)
    if variant not in route["variants"]:
        raise Unreachable(f"there is no variant {variant!r}; there are: {', '.join(route['variants'])}")
    url = f"{route['variants'][variant]['url']}/invocations"
    headers = {**request.headers, "content-type": request.content_type, "accept-encoding": "identity"}
    until = time.monotonic() + timeout
    try:
        with _client().stream("POST", url, content=request.body, headers=headers, timeout=timeout) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if time.monotonic() > until:  # httpx bounds every single read, not their sum
                    raise Unreachable(_too_slow(place, variant, timeout), timed_out=True)
    except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
        raise Unreachable(_too_slow(place, variant, timeout), timed_out=True) from error
    except httpx.TransportError as error:
        raise Unreachable(f"the server of variant {variant} on target {place.name} is not there: {error}") from error
    content_type = response.headers.get("content-type", "application/octet-stream")
    return Answer(response.status_code, bytes(body), content_type, variant)


def _drawn(route: JSON) -> str:
    variants: list[str] = list(route["variants"])
    weights = [route["variants"][variant]["weight"] for variant in variants]
    return random.choices(variants, weights)[0]  # noqa: S311  # a traffic split, not a secret


def _too_slow(place: Place, variant: str, timeout: float) -> str:
    return f"the model of variant {variant} on target {place.name} gave no answer within {timeout:g} s"


@cache
def _client() -> httpx.Client:
    """One for the process, used by all its threads; proxies of the environment are not for this machine's servers."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=IDLE_SECONDS)
    return httpx.Client(limits=limits, trust_env=False)
