"""Predictions through a plugin. Route: ``{"name": ..., "family": "deployments" | "endpoints"}``.

The API imports no MLflow: each prediction is answered by a fork of the process that holds the plugin on this machine.
That costs a fork (about ten milliseconds) and whatever the plugin's client does for a first call, such as a new
connection, each time.
"""

from __future__ import annotations

from adapters.bridge.asking import Refused, TooLate, holder_of
from adapters.bridge.describe import BridgeSettings
from adapters.contract import JSON, Answer, Place, Request, Temporary, Unreachable


def invoke(place: Place, route: JSON, request: Request, timeout: float) -> Answer:
    """One prediction, asked once. Blocks for at most about ``timeout`` seconds, the plugin's first import included.

    Raises Unreachable where the plugin gave no model's answer, and Denied where the credentials cannot be had here.
    """
    settings = BridgeSettings.model_validate(place.settings)
    asked = {
        "verb": "predict",
        "family": route["family"],
        "endpoint": settings.endpoint,
        "name": route["name"],
        "body": request.body.decode(errors="replace"),
        "content_type": request.content_type,
        "predict_with": settings.predict_with,
    }
    try:
        answer = holder_of(place).ask(asked, timeout)
    except TooLate as error:
        raise Unreachable(error.message, timed_out=error.timed_out) from error
    except Temporary as error:
        raise Unreachable(error.message) from error
    except Refused as refused:
        raise Unreachable(f"the plugin of target {place.name} did not predict: {refused.message}") from refused
    return Answer(answer["status"], answer["body"].encode(), answer["content_type"])
