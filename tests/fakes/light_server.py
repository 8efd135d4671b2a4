"""A stand-in for MLflow's scoring server that starts in a fraction of its time: same paths, no MLflow, no model.

Where the real one loads a model, this reads ``behaviour.json`` beside the MLmodel file:
``answer`` is what it predicts, ``fail`` what it dies of while loading, ``hang`` keeps /ping from answering,
``predict_seconds`` how long a prediction takes; once one began there is a file ``predicting`` where it runs.
A prediction's answer also shows the server's environment, and the request's body as the server got it.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

MODEL_PATH = "__pyfunc_model_path__"


def model(folder: Path, **behaviour: Any) -> str:
    """Write a model that behaves like this; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text("flavors: {python_function: {}}\n")
    (folder / "behaviour.json").write_text(json.dumps(behaviour))
    return str(folder)


def _loaded() -> dict[str, Any]:
    behaviour = dict(json.loads((Path(os.environ[MODEL_PATH]) / "behaviour.json").read_text()))
    if "fail" in behaviour:
        raise RuntimeError(behaviour["fail"])
    return behaviour


BEHAVIOUR = _loaded() if MODEL_PATH in os.environ else {}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    if scope["path"] == "/ping":
        return await _answer(send, 503 if BEHAVIOUR.get("hang") else 200, {})
    Path("predicting").touch()
    await asyncio.sleep(BEHAVIOUR.get("predict_seconds", 0))
    shown = {"environment": dict(os.environ), "received": body.decode("latin-1")}
    return await _answer(send, 200, {"predictions": [BEHAVIOUR.get("answer")], **shown})


async def _answer(send: Any, status: int, document: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})
