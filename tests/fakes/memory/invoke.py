"""Predictions of the memory target: they show what arrived, or do what the route says.

Route: ``{"to": name, "status": 500, "body": "text", "raise": "words", "times_out": bool}``; only ``to``
must be there.
"""

from __future__ import annotations

import base64
import json

from adapters.contract import JSON, Answer, Place, Request, Unreachable


def invoke(place: Place, route: JSON, request: Request, timeout: float) -> Answer:
    if "raise" in route:
        raise Unreachable(route["raise"], timed_out=route.get("times_out", False))
    shown = {
        "to": route["to"],
        "uri": place.uri,
        "body": base64.b64encode(request.body).decode(),
        "content_type": request.content_type,
        "timeout": timeout,
    }
    body = route["body"] if "body" in route else json.dumps(shown)
    kind = route.get("content_type", "application/json")
    return Answer(route.get("status", 200), body.encode(), kind, request.variant)
