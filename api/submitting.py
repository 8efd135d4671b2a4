"""The way of every submission: replay or reserve the key, record, keep the answer, commit; then say so and wait."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import StringConstraints
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from adapters import registry
from api.requests import Principal, RequestId
from api.waiting import preferred_wait
from operations import idempotency, ledger, presence, queries, queue, views
from operations.database import database
from operations.idempotency import Key, Stored
from operations.models import Operation, Target
from operations.specs import Rules
from operations.submit import Accepted, Asked

RETRY_AFTER_SECONDS = 1
WORKER_KNOWN_SECONDS = 5.0

IdempotencyHeader = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[\x21-\x7e]{1,255}$")]
PreferHeader = Annotated[str | None, Header(alias="Prefer", max_length=256, description="wait=N seconds for the end")]
IfMatchHeader = Annotated[str | None, Header(alias="If-Match", max_length=1024)]
OnConflict = Annotated[Literal["queue", "refuse", "supersede"], Query(description="while another is under way")]
PathName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^\x00-\x1f\x7f]+$")]


@dataclass(frozen=True)
class Submission:
    """The headers and parameters that every submitting route takes."""

    request: Request
    principal: Principal
    request_id: RequestId
    idempotency_key: IdempotencyHeader = None
    prefer: PreferHeader = None
    if_match: IfMatchHeader = None
    on_conflict: OnConflict = "queue"

    def asked(self, deadline_seconds: float | None = None) -> Asked:
        """Who asks, and how, for ``operations.submit``."""
        return Asked(self.principal, self.request_id, self.if_match, self.on_conflict, deadline_seconds)


async def take(submission: Submission, act: Callable[[Session], Accepted]) -> JSONResponse:
    """Record what ``act`` accepts and answer 202 with the operation, or 200 when nothing had to be done or it ended."""
    body = await submission.request.body()
    answer, operation_id = await run_in_threadpool(_record, submission, act, body)
    wait = preferred_wait(submission.prefer)
    if not wait or answer.status != 202 or operation_id is None:
        return _response(answer)
    applied = {**answer.headers, "Preference-Applied": f"wait={wait:g}"}
    if await submission.request.app.state.watch.ended(operation_id, wait):
        document = await run_in_threadpool(_operation, operation_id)
        applied.pop("Retry-After", None)
        return _response(Stored(200, applied, document))
    return _response(Stored(202, applied, answer.body))


def rules_of(target: Target) -> Rules:
    """What the target's kind allows, for ``operations.submit``."""
    description = registry.describe(target.uri)
    able = description.capabilities

    def config(document: dict[str, Any]) -> dict[str, Any]:
        return description.config_model.model_validate(document).model_dump(mode="json", exclude_unset=True)

    return Rules(
        scheme=description.scheme,
        max_variants=able.max_variants,
        can_split=able.can_split,
        name_pattern=able.name_pattern,
        deadline_seconds=description.deadline_seconds,
        require_if_match=bool(target.settings.get("require_if_match")),
        config=config,
    )


def tell(operation: Operation) -> None:
    """After the commit: there is work, and a row for Flower. Never blocks, never fails."""
    worker = _some_worker()
    if worker is not None:
        queue.announce([operation], worker)
    queue.hint(ledger.write_lane(operation))


def _record(submission: Submission, act: Callable[[Session], Accepted], body: bytes) -> tuple[Stored, str | None]:
    request = submission.request
    key = None
    if submission.idempotency_key is not None:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        digest = hashlib.sha256(body).hexdigest()
        key = Key(submission.principal, request.method, path, submission.idempotency_key, digest)
    with database().write() as session:
        stored = idempotency.begin(session, key) if key else None
        if stored is not None:
            known = (stored.body or {}).get("id") if stored.status == 202 else None
            return Stored(stored.status, {**stored.headers, "Idempotency-Replayed": "true"}, stored.body), known
        accepted = act(session)
        session.flush()
        answer = _answer(session, accepted)
        if key:
            idempotency.keep(session, key, answer)
    if accepted.operation is not None:
        tell(accepted.operation)
    return answer, accepted.operation.id if accepted.operation else None


def _answer(session: Session, accepted: Accepted) -> Stored:
    if accepted.operation is None:
        return Stored(200, {"ETag": accepted.etag}, views.deployment(session, accepted.deployment))
    headers = {
        "ETag": accepted.etag,
        "Location": f"/v1/operations/{accepted.operation.id}",
        "Retry-After": str(RETRY_AFTER_SECONDS),
    }
    return Stored(202, headers, views.operation(accepted.operation))


def _operation(operation_id: str) -> dict[str, Any]:
    with database().read() as session:
        return views.operation(queries.get_operation(session, operation_id))


def _response(stored: Stored) -> JSONResponse:
    return JSONResponse(stored.body, stored.status, headers=stored.headers)


_worker_known: tuple[float, str | None] = (float("-inf"), None)


def _some_worker() -> str | None:
    """A live worker under whose name a row can be shown; asked for now and then only."""
    global _worker_known  # noqa: PLW0603  # one small cache for the process
    known_at, name = _worker_known
    if time.monotonic() - known_at > WORKER_KNOWN_SECONDS:
        with database().read() as session:
            live = presence.live_workers(session)
        name = live[0].name if live else None
        _worker_known = (time.monotonic(), name)
    return name
