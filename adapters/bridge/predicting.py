"""One prediction through a plugin: the body made into what plugins take, and what they return made into a body."""

from __future__ import annotations

import io
import json
from typing import Any

from adapters.bridge.client import Client
from adapters.bridge.failures import message_of, status_of
from adapters.bridge.shapes import JSON, plain

FRAMES = ("dataframe_split", "dataframe_records")
VALUES = ("instances", "inputs")

# these come from what stands before the model, not from the model
NO_MODEL_ASKED = frozenset({401, 403, 404, 429, 502, 503, 504})


def predict(client: Client, request: JSON) -> JSON:
    """``{"status", "body", "content_type"}`` of the model's answer. Raises what the plugin raised where none came."""
    with_body = request["predict_with"] == "body" or (
        request["predict_with"] == "auto" and client.family == "endpoints"
    )
    inputs, params = _inputs(request["body"], request["content_type"], with_body=with_body)
    try:
        returned = client.predict(request["name"], inputs, params)
    except Exception as error:
        refused = _refused(error)
        if refused is None:
            raise
        return refused
    return {"status": 200, "body": json.dumps(_answer(returned)), "content_type": "application/json"}


def _inputs(body: str, content_type: str, *, with_body: bool) -> tuple[Any, Any]:
    """What ``predict`` is given, and the params beside it."""
    if content_type.split(";")[0].strip().lower() == "text/csv":
        import pandas as pd

        return pd.read_csv(io.StringIO(body)), None
    document = json.loads(body)
    if with_body or not isinstance(document, dict):
        return document, None
    params = document.get("params")
    for key in (*FRAMES, *VALUES):
        if key in document:
            return (_frame(key, document[key]) if key in FRAMES else document[key]), params
    return document, None


def _frame(key: str, value: Any) -> Any:
    import pandas as pd

    if key == "dataframe_records":
        return pd.DataFrame.from_records(value)
    return pd.DataFrame(value["data"], index=value.get("index"), columns=value.get("columns"))


def _answer(returned: Any) -> Any:
    """A document as it is, and anything else as MLflow's scoring server gives it: under ``predictions``."""
    found = plain(returned)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            return {"predictions": found}
    return found if isinstance(found, dict) else {"predictions": found}


def _refused(error: Exception) -> JSON | None:
    """The model's own refusal with its status, where an HTTP library kept it; None for all other failures."""
    status = status_of(error)
    response: Any = getattr(error, "response", None)
    text = getattr(response, "text", None)
    if status is None or status in NO_MODEL_ASKED or status < 400:
        return None
    if not isinstance(text, str):
        return {
            "status": status,
            "body": json.dumps({"message": message_of(error)}),
            "content_type": "application/json",
        }
    content_type = getattr(response, "headers", {}).get("content-type", "text/plain")
    return {"status": status, "body": text, "content_type": content_type}
