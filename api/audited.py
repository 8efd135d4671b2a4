"""Every change that was asked for is on record: what was accepted with the change itself, what was refused after it."""

from __future__ import annotations

import asyncio
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from operations import audit
from operations.audit import Note, Source
from operations.database import database
from operations.settings import settings

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
NO_CHANGE = ("/predict", "/check", "/verify")
NAMELESS_A_MINUTE = 60

log = structlog.get_logger(__name__)


class Audited:
    """Writes an entry for every change that was refused or failed, before its answer is sent.

    Of refusals that anybody can cause without a name or beyond the limits, a bounded number in a minute; how many were
    left out stands in the next.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._nameless = _Bounded(NAMELESS_A_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http" or not _asks_for_a_change(scope):
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                await self._note(scope, message["status"])
            await send(message)

        await self._app(scope, receive, answer)

    async def _note(self, scope: Scope, status: int) -> None:
        state = scope["state"]
        if state.get("audited"):
            return
        state["audited"] = True
        left_out = 0
        if status in (401, 429):
            taken = self._nameless.take()
            if taken is None:
                return
            left_out = taken
        about = {**scope.get("path_params", {}), **state.get("about", {})}
        what = Note(
            target=about.get("target"),
            deployment=about.get("name") if "target" in about else None,
            subject=about.get("operation_id") or about.get("batch_id") or about.get("name"),
            more={**state.get("problem", {}), **({"left_out": left_out} if left_out else {})},
        )
        if status == 404 and "action" not in state:
            return  # no route: nothing could have been changed
        action = state.get("action") or f"{scope['method']} {scope['path'][:200]}"
        try:
            await run_in_threadpool(_write, source_of(scope), action, what, status)
        except SQLAlchemyError as error:
            log.error("refusal_not_audited", action=action, status=status, error=type(error).__name__)


def accepted(session: Session, request: Request, status: int) -> None:
    """Write the entry of what this transaction does, in it."""
    audit.write(
        session, source_of(request.scope), request.state.action, "accepted", what=audit.noted(session), status=status
    )


def source_of(scope: Scope) -> Source:
    """Who sends this request, and from where: the peer's address, as forwarded headers can be made up."""
    state = scope["state"]
    who = state.get("principal")
    client = scope.get("client")
    return Source(who.name if who else "nobody", client[0] if client else "unix", state.get("request_id"))


async def seal_now_and_then() -> None:
    """Chain what was committed, for as long as the process serves. Failing is tried again."""
    while True:
        try:
            while await run_in_threadpool(seal):
                pass
        except SQLAlchemyError as error:
            log.warning("audit_not_sealed", error=type(error).__name__)
        await asyncio.sleep(settings().audit_seal_seconds)


def seal() -> int:
    """Chain a portion; how many entries. The head goes to the log too, where it outlives the database."""
    with database().read() as session:
        if not audit.waits(session):
            return 0
    with database().write() as session:
        count = audit.seal(session)
        head = audit.head(session)
    if count:
        log.info("audit_sealed", entries=count, head=head)
    return count


class _Bounded:
    """So many a minute."""

    def __init__(self, a_minute: int) -> None:
        self._a_minute = a_minute
        self._began, self._taken, self._left_out = float("-inf"), 0, 0

    def take(self) -> int | None:
        """How many were left out before this one; None where this one is."""
        now = time.monotonic()
        if now - self._began > 60:
            self._began, self._taken = now, 0
        if self._taken >= self._a_minute:
            self._left_out += 1
            return None
        self._taken += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def _write(source: Source, action: str, what: Note, status: int) -> None:
    with database().write() as session:
        audit.write(session, source, action, "refused" if status < 500 else "failed", what=what, status=status)


def _asks_for_a_change(scope: Scope) -> bool:
    return scope["method"] in CHANGING and scope["path"].startswith("/v1/") and not scope["path"].endswith(NO_CHANGE)
