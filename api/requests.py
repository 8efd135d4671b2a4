"""What every request has: an id, somebody who asks, a line in the log, and an answer even if the server fails."""

from __future__ import annotations

import re
import time
from typing import Annotated

import structlog
from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from operations.access import Principal
from operations.ids import new_id
from operations.problems import InvalidField

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

log = structlog.get_logger(__name__)


class RequestIds:
    """Gives every request an id, takes over a sane ``X-Request-Id``, answers with it, and logs a line without bodies.

    It surrounds everything else, so that a failure anywhere is answered with a problem that bears the id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = sent if SANE_ID.fullmatch(sent) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        began = time.monotonic()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                # no database stores it, and it names nothing
                refused = InvalidField.one("path", "has a NUL character", "Leave it out.")
                await problems.respond(scope, refused)(scope, receive, answer)
                return
            await self._app(scope, receive, answer)
        except Exception as error:
            refusal = problems.from_failure(error)
            if status:
                raise
            await problems.respond(scope, refusal)(scope, receive, answer)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round((time.monotonic() - began) * 1000, 1),
            )


async def principal(request: Request) -> Principal:
    """Who asks, as ``Authentication`` found out. As all that needs no thread, it is asked for in none."""
    who: Principal = request.state.principal
    return who


async def request_id(request: Request) -> str:
    """The id of this request."""
    return str(request.state.request_id)


Who = Annotated[Principal, Depends(principal)]
RequestId = Annotated[str, Depends(request_id)]
