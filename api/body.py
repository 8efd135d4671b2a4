"""What is read of a request: bodies up to their limit, strict JSON, and no query parameter that is not known."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.problems import path_of
from api.rules import RULES, Rule
from operations.access import Permission, check_target
from operations.problems import BodyTooLarge, FieldError, InvalidBody, TooSlow, UnknownField, UnsupportedMediaType
from operations.settings import settings

DEPTH = 32
LARGEST_INTEGER = 2**53
# read and thrown away of a body that is too large, so that its sender sees the answer and no reset connection
DISCARDED_BYTES = 64 * 1024 * 1024

NDJSON = "application/x-ndjson"
LISTS = frozenset({"/v1/batches", "/v1/batches/plan"})  # where a body may be a list, one operation a line
JSON_TYPE = (b"content-type", b"application/json")

Place = tuple[int | str, ...]
CLOSED = Rule(Permission.ADMINISTER)


class BodyLimit:
    """Refuses a body over the limit, announced or chunked, before anything reads it. Predictions have their own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self._app(scope, receive, send)
            return
        limit = _limit(scope["path"])
        body = bytearray()
        size = 0
        more = True
        loop = asyncio.get_running_loop()
        until = loop.time() + settings().body_seconds
        while more and size <= limit + DISCARDED_BYTES:
            try:
                message = await asyncio.wait_for(receive(), until - loop.time())
            except TimeoutError:
                late = TooSlow(f"the body did not come within {settings().body_seconds:g} s")
                close = {"Connection": "close"}
                await problems.respond(scope, late, headers=close)(scope, receive, send)
                return
            if message["type"] != "http.request":
                return
            part = message.get("body", b"")
            size += len(part)
            more = message.get("more_body", False)
            if size <= limit:
                body += part
            else:
                body.clear()
        if size > limit:
            refused = BodyTooLarge(f"the body is larger than {limit} bytes")
            await problems.respond(scope, refused)(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)


def _limit(path: str) -> int:
    if path.endswith("/predict"):
        return settings().predict_body_bytes
    return settings().batch_body_bytes if path.startswith("/v1/batches") else settings().body_bytes


class StrictRoute(APIRoute):
    """A route that knows all its query parameters, and whose body, if it has one, is strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that FastAPI calls."""
        handler = super().get_route_handler()
        known = _query_parameters(self.dependant)
        rule = RULES.get((min(self.methods or {""}), self.path), CLOSED)
        action = f"{self.tags[0]}.{self.name.strip('_')}" if self.tags else self.name

        async def strict(request: Request) -> Response:
            request.state.action = action
            _check_permission(request, rule)
            _check_query(request, known)
            if self.body_field is not None:
                body = await request.body()
                kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
                if body and kind == NDJSON and self.path in LISTS:
                    request._json = read_lines(body)
                    request.scope["headers"] = [*_without_type(request.scope["headers"]), JSON_TYPE]
                    del request._headers
                elif body and kind != "application/json":
                    raise UnsupportedMediaType(f"{kind or 'a body without Content-Type'} is not read here")
                elif body:
                    request._json = read_json(body)
            return await handler(request)

        return strict


def _check_permission(request: Request, rule: Rule) -> None:
    if rule.permission is not None:
        who = request.state.principal
        if rule.changes:
            request.app.state.quotas.take(who.name)
        target = request.path_params[rule.target] if rule.target else None
        check_target(who, rule.permission, target)


def read_json(body: bytes) -> Any:
    """A JSON document in UTF-8 without NaN, NUL, lone surrogates or doubled keys, of bounded depth and numbers.

    Raises InvalidBody.
    """
    try:
        document = json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"the body is not valid JSON: {error}") from None
    _check(document, ())
    return document


def read_lines(body: bytes) -> Any:
    """A list of operations, one JSON document a line, as the document with ``operations`` that says the same.

    A first line ``{"strategy": ...}`` is the strategy. Raises InvalidBody, naming the line.
    """
    documents = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        if line.strip():
            try:
                documents.append(read_json(line))
            except InvalidBody as fault:
                raise InvalidBody(f"line {number}: {fault.detail}", fault.errors) from None
    strategy = documents.pop(0) if documents and _keys(documents[0]) == {"strategy"} else {}
    return {"operations": documents, **strategy}


def _keys(document: Any) -> set[str]:
    return set(document) if isinstance(document, dict) else set()


def _without_type(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name != b"content-type"]


def _check(value: Any, place: Place) -> None:
    if len(place) > DEPTH:
        raise _unfit(place[:DEPTH], f"is nested deeper than {DEPTH}")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not _is_text(key):
                raise _unfit(place, "has a key with a NUL or a lone surrogate, which cannot be stored")
            _check(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check(inner, (*place, number))
    elif isinstance(value, str) and not _is_text(value):
        raise _unfit(place, "has a NUL or a lone surrogate, which cannot be stored")
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise _unfit(place, "is a larger integer than every reader of JSON can hold")
    elif isinstance(value, float) and not math.isfinite(value):
        raise _unfit(place, "is a larger number than can be stored")


def _is_text(value: str) -> bool:
    return "\0" not in value and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))


def _unfit(place: Place, message: str) -> InvalidBody:
    field = path_of(place)
    return InvalidBody(f"{field or 'body'}: {message}", [FieldError(field or "body", message, "Correct the value.")])


def _query_parameters(dependant: Dependant) -> frozenset[str]:
    here = {str(parameter.alias) for parameter in dependant.query_params}
    return frozenset(here.union(*map(_query_parameters, dependant.dependencies)))


def _check_query(request: Request, known: frozenset[str]) -> None:
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        remedy = f"The query parameters here are: {', '.join(sorted(known)) or 'none'}."
        faults = [FieldError(name[:80], "is not known here", remedy) for name in unknown]
        raise UnknownField(f"{faults[0].field}: {faults[0].message}", faults)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is there twice")
    return document
