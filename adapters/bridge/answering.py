"""One request to a plugin, in the fork that answers it: reads and predictions to the socket, writes to their folder."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import mlflow

from adapters.bridge import calling, client, predicting
from adapters.bridge.client import Client
from adapters.bridge.failures import failure, kind_of
from adapters.bridge.shapes import plain
from adapters.credentials import redact

load = client.load


def answer(request: dict[str, Any], connection: socket.socket, broken: dict[str, str] | None) -> None:
    """Answer with ``{"value": ...}`` or ``{"failure": {"kind", "message"}}``. Blocks as long as the plugin does.

    A request that is not answered within its ``timeout`` seconds ends this process.
    """
    secret = os.environ.get(request.get("secret") or "", "")

    def reply(document: dict[str, Any]) -> None:
        connection.sendall(redact(json.dumps(document), secret or None).encode() + b"\n")
        connection.close()

    if broken is not None:
        reply({"failure": broken})
    elif request["verb"] == "call":
        calling.carry_out(request["folder"], lambda begun: reply({"value": begun}), secret)
    else:
        signal.setitimer(signal.ITIMER_REAL, request["timeout"])
        reply(_tried(lambda: VERBS[request["verb"]](request)))


def _tried(ask: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": plain(ask())}
    except Exception as error:
        return {"failure": failure(error)}


def _look(request: dict[str, Any]) -> Any:
    opened = _open(request)
    return {"family": opened.family, "found": opened.look(request["names"], request["ready"], request["failed"])}


def _list(request: dict[str, Any]) -> Any:
    opened = _open(request)
    return {"family": opened.family, "listed": client.listing(opened, request["ready"], request["failed"])}


def _check(request: dict[str, Any]) -> Any:
    opened = _open(request)
    try:
        count = len(opened.everything())
    except Exception as error:
        if kind_of(error) != "unsupported":
            raise
        count = None
    return {"mlflow": mlflow.__version__, "family": opened.family, "count": count}


def _help(request: dict[str, Any]) -> Any:
    return client.target_help(request["plugin"])


def _resolve(request: dict[str, Any]) -> Any:
    return {uri: _tried(lambda uri=uri: client.resolve(uri)) for uri in request["uris"]}  # type: ignore[misc]


def _predict(request: dict[str, Any]) -> Any:
    return predicting.predict(_open(request), request)


def _open(request: dict[str, Any]) -> Client:
    return Client(request["uri"], request["family"], request["endpoint"])


VERBS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "check": _check,
    "help": _help,
    "list": _list,
    "look": _look,
    "predict": _predict,
    "resolve": _resolve,
}
