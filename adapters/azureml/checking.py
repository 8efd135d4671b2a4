"""One question to a deployment that has no traffic yet, past the traffic split."""

from __future__ import annotations

import json

import httpx

from adapters.azureml.arm import Started
from adapters.azureml.connection import Access
from adapters.azureml.scoring import DEPLOYMENT_HEADER, forget, model_status, scoring, signed_in, whole
from adapters.contract import JSON, Denied, Permanent, Place, Temporary
from adapters.http.connection import Deadline

QUOTED_LENGTH = 500
GATEWAY = frozenset({404, 408, 429, 500, 502, 503, 504})


def answers(place: Place, route: JSON, deployment: str, request: JSON | None) -> Started | str:
    """Whether its model answers, within the target's call timeout; a text: why not, which is final.

    With a request it has to answer that well. Without one, an empty document is sent: what a model makes of it is its
    own affair, and an error of the model's is an answer. Raises Temporary where no model answered, and Denied.
    """
    if not route["scoring_uri"]:
        raise Temporary(f"endpoint {route['name']} has no address yet")
    for _ in range(2):
        way = signed_in(place, route, place.call_timeout_seconds)
        status, said, text = _asked(place, route, way, deployment, request)
        if status != httpx.codes.UNAUTHORIZED or not forget(place, route):
            break
    told = f"deployment {deployment}, asked before it gets traffic, answered {status}: {text}"
    if status in (401, 403):
        raise Denied(f"{told} (check_pinned: false leaves the question out)")
    if 300 <= status < 400:
        raise Permanent(f"endpoint {route['name']} redirects, which is not followed")
    if status in GATEWAY or (status == 424 and said == 424):
        raise Temporary(told)
    if status < 300 or request is None:
        return Started()
    return told if said == status else f"{told} (the model's own status: {said})"


def _asked(place: Place, route: JSON, way: Access, deployment: str, request: JSON | None) -> tuple[int, int, str]:
    """The endpoint's status, the model's own, and the words."""
    deadline = Deadline(place.call_timeout_seconds)
    body = json.dumps(request or {}).encode()
    try:
        with scoring(route, way, body, {"content-type": "application/json"}, deployment, deadline) as response:
            text = " ".join(whole(response, deadline).decode(errors="replace").split())
    except httpx.HTTPError as error:
        reason = way.redact(str(error)) or type(error).__name__
        raise Temporary(f"deployment {deployment} gave no answer before it gets traffic: {reason}") from error
    answered = response.headers.get(DEPLOYMENT_HEADER, deployment)
    if response.is_success and answered != deployment:
        raise Temporary(f"deployment {answered} answered where {deployment} was asked")
    return response.status_code, model_status(response), way.redact(text)[:QUOTED_LENGTH]
