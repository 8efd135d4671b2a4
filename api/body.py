"""Bodies: how large they may be, and JSON that is read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from operations.problems import BodyTooLarge, InvalidBody, UnsupportedMediaType
from operations.settings import settings

DEPTH = 32
LARGEST_INTEGER = 2**53


class BodyLimit:
    """Refuses a body over the limit, announced or chunked, before anything reads it. Predictions have their own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self._app(scope, receive, send)
            return
        predicting = scope["path"].endswith("/predict")
        limit = settings().predict_body_bytes if predicting else settings().body_bytes
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if len(body) > limit:
                refused = BodyTooLarge(f"the body is larger than {limit} bytes")
                await problems.respond(scope, refused)(scope, receive, send)
                return
            if not message.get("more_body"):
                break
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)


class StrictRoute(APIRoute):
    """A route whose body is strict JSON: no NaN, NUL, lone surrogates or doubled keys; bounded depth and numbers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that FastAPI calls."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if self.body_field is not None:
                body = await request.body()
                kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
                if body and kind != "application/json":
                    raise UnsupportedMediaType(f"{kind or 'a body without Content-Type'} is not read here")
                if body:
                    request._json = read_json(body)
            return await handler(request)

        return strict


def read_json(body: bytes) -> Any:
    """A strict JSON document. Raises InvalidBody."""
    try:
        document = json.loads(body, parse_constant=_no_constant, object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"the body is not valid JSON: {error}") from None
    _check(document, 0)
    return document


def _check(value: Any, depth: int) -> None:
    if depth > DEPTH:
        raise InvalidBody(f"the body is nested deeper than {DEPTH}")
    if isinstance(value, str):
        if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
            raise InvalidBody("a string has a NUL or a lone surrogate, which cannot be stored")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check(key, depth)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST_INTEGER:
        raise InvalidBody("a number is larger than JSON numbers can carry everywhere")
    elif isinstance(value, float) and value in {float("inf"), float("-inf")}:
        raise InvalidBody("a number is too large")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is there twice")
    return document
