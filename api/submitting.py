"""The way of every submission: replay or reserve the key, record, keep the answer, commit; then say so and wait."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import structlog
from fastapi import Depends, Header, Query, Request, Response
from pydantic import StringConstraints
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from adapters import registry
from adapters.description import Description
from api import audited
from api.requests import RequestId, Who
from api.waiting import preferred_wait
from operations import audit, idempotency, ledger, presence, queries, queue, specs, views
from operations.access import Principal
from operations.database import database
from operations.idempotency import Key, Stored
from operations.models import Operation, Target
from operations.problems import TooManyRequests, UnknownTargetKind
from operations.specs import Rules
from operations.states import FINAL
from operations.submit import Accepted, Asked

RETRY_AFTER_SECONDS = 1
WORKER_KNOWN_SECONDS = 5.0
TRIES = 3
ROLLED_BACK = frozenset({"40001", "40P01"})
"""What PostgreSQL says when it ended a transaction so that others could go on: nothing was done, try again."""

Act = Callable[[Session], tuple[Stored, Operation | None]]

log = structlog.get_logger(__name__)

KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"
IdempotencyHeader = Annotated[str | None, Header(alias="Idempotency-Key", pattern=KEY_PATTERN)]
PreferHeader = Annotated[str | None, Header(alias="Prefer", max_length=256, description="wait=N seconds for the end")]
IfMatchHeader = Annotated[str | None, Header(alias="If-Match", max_length=1024)]
OnConflict = Annotated[Literal["queue", "refuse", "supersede"], Query(description="while another is under way")]
PathName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^\x00-\x1f\x7f]+$")]


@dataclass(frozen=True)
class Submission:
    """The headers and parameters that every submitting route takes."""

    request: Request
    who: Principal
    request_id: str
    idempotency_key: str | None
    prefer: str | None
    if_match: str | None
    on_conflict: Literal["queue", "refuse", "supersede"]

    def about(self, target: str, name: str) -> None:
        """Say what the request is about where its path does not, for the audit of what is refused."""
        self.request.state.about = {"target": target, "name": name}

    def asked(self, deadline_seconds: float | None = None) -> Asked:
        """Who asks, and how, for ``operations.submit``."""
        return Asked(self.who.name, self.request_id, self.if_match, self.on_conflict, deadline_seconds, who=self.who)


async def submission(
    request: Request,
    who: Who,
    request_id: RequestId,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
    if_match: IfMatchHeader = None,
    on_conflict: OnConflict = "queue",
) -> Submission:
    """What a submitting route depends on: a function that is awaited, since FastAPI makes a class in a thread."""
    return Submission(request, who, request_id, idempotency_key, prefer, if_match, on_conflict)


Asking = Annotated[Submission, Depends(submission)]


async def take(submission: Submission, act: Callable[[Session], Accepted]) -> Response:
    """Record what ``act`` accepts and answer 202 with the operation, or 200 when nothing had to be done or it ended."""

    def submit(session: Session) -> tuple[Stored, Operation | None]:
        accepted = act(session)
        session.flush()
        _note_outcome(session, accepted)
        return _answer(session, accepted), accepted.operation

    body = await submission.request.body()
    answer, operation_id = await run_in_threadpool(_record, submission, submit, body)
    wait = preferred_wait(submission.prefer)
    if not wait or answer.status != 202 or operation_id is None:
        return _response(answer)
    state = submission.request.app.state
    try:
        state.quotas.begin_waiting(submission.who.name)
    except TooManyRequests:
        return _response(answer)  # it is on record; that nobody waits for it here is no refusal
    applied = {**answer.headers, "Preference-Applied": f"wait={wait:g}"}
    try:
        ended = await state.watch.ended(operation_id, wait)
    finally:
        state.quotas.end_waiting(submission.who.name)
    if ended:
        document = await run_in_threadpool(_operation, operation_id)
        applied.pop("Retry-After", None)
        return _response(Stored(200, applied, document))
    return _response(Stored(202, applied, answer.body))


async def once(submission: Submission, act: Callable[[Session], Stored]) -> Response:
    """Do what is done at once, and answer as ``act`` says; under the same key it is done once."""
    body = await submission.request.body()
    answer, _ = await run_in_threadpool(_record, submission, lambda session: (act(session), None), body)
    return _response(answer)


def description_of(target: Target) -> Description:
    """What the target's kind says about itself. Raises UnknownTargetKind where it is not installed any more."""
    try:
        return registry.describe(target.uri)
    except registry.UnknownScheme as error:
        raise UnknownTargetKind.one("target", f"{target.name}: {error}", UnknownTargetKind.remedy) from error


def rules_of(target: Target) -> Rules:
    """What the target's kind allows, for ``operations.submit``. Raises UnknownTargetKind."""
    return specs.rules(description_of(target), target.settings)


def tell(operation: Operation) -> None:
    """After the commit: there is work, and a row for Flower. Never blocks, never fails."""
    try:
        worker = _some_worker()
        if worker is not None:
            queue.announce([operation], worker)
    except DBAPIError as error:
        # it is on record; the workers announce open rows again and again
        log.warning("not_announced", operation=operation.id, error=type(error).__name__)
    queue.hint(ledger.write_lane(operation))


def _record(submission: Submission, act: Act, body: bytes) -> tuple[Stored, str | None]:
    for left in reversed(range(TRIES)):
        try:
            return _record_once(submission, act, body)
        except DBAPIError as error:
            raced = isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) in ROLLED_BACK
            if not left or not raced:
                raise
    raise AssertionError("the last try returned or raised")


def _record_once(submission: Submission, act: Act, body: bytes) -> tuple[Stored, str | None]:
    key = _key(submission, body)
    with database().write() as session:
        stored = idempotency.begin(session, key) if key else None
        if stored is not None:
            submission.request.state.audited = True  # when it was done
            known = (stored.body or {}).get("id") if stored.status == 202 else None
            return Stored(stored.status, {**stored.headers, "Idempotency-Replayed": "true"}, stored.body), known
        submission.request.app.state.quotas.check_queue(session, submission.who.name)
        answer, operation = act(session)
        audited.accepted(session, submission.request, answer.status)
        if key:
            idempotency.keep(session, key, answer)
    submission.request.state.audited = True
    if operation is not None:
        tell(operation)
    return answer, operation.id if operation else None


def _key(submission: Submission, body: bytes) -> Key | None:
    if submission.idempotency_key is None:
        return None
    request = submission.request
    digest = hashlib.sha256(request.url.query.encode() + b"\n" + _canonical(body)).hexdigest()
    return Key(submission.who.name, request.method, request.url.path, submission.idempotency_key, digest)


def _canonical(body: bytes) -> bytes:
    """The same for a document whose keys come in another order; routes that read no body take any bytes."""
    try:
        return json.dumps(json.loads(body), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return body


def _answer(session: Session, accepted: Accepted) -> Stored:
    if accepted.operation is None:
        return Stored(200, {"ETag": accepted.etag}, views.deployment(session, accepted.deployment))
    if accepted.operation.state in FINAL:
        return Stored(200, {"ETag": accepted.etag}, views.operation(accepted.operation))
    headers = {
        "ETag": accepted.etag,
        "Location": f"/v1/operations/{accepted.operation.id}",
        "Retry-After": str(RETRY_AFTER_SECONDS),
    }
    return Stored(202, headers, views.operation(accepted.operation))


def _note_outcome(session: Session, accepted: Accepted) -> None:
    """What is known of every accepted change; a change of an operation's own state has said more."""
    if audit.noted(session).after is None:
        deployment, operation = accepted.deployment, accepted.operation
        after = {"generation": deployment.generation, "labels": deployment.labels}
        audit.note(session, after=after, subject=operation.id if operation else None)


def _operation(operation_id: str) -> dict[str, Any]:
    with database().read() as session:
        return views.operation(queries.get_operation(session, operation_id))


def _response(stored: Stored) -> Response:
    if stored.body is None:
        return Response(status_code=stored.status, headers=stored.headers)
    # a database gives a document's keys back in an order of its own; what is replayed is equal to the letter
    content = json.dumps(stored.body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Response(content, stored.status, headers=stored.headers, media_type="application/json")


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
