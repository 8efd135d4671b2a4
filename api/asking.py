"""Asking a worker: many requests wait at once for answers, none of them holding a thread or a database connection."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.waiting import preferred_wait
from operations import presence, questions, queue
from operations.database import database
from operations.models import Deployment, QuestionKind, Target
from operations.problems import TargetNotServed
from operations.questions import Answer
from operations.settings import settings
from operations.states import Lane


def ask(
    session: Session, kind: QuestionKind, target: Target, deployment: Deployment | None = None, **words: Any
) -> str:
    """Put the question where workers find it. Raises TargetNotServed where none of them can answer it."""
    live = presence.live_workers(session)
    if not any(target.requires in worker.offers for worker in live):
        why = {worker.lacks[target.requires] for worker in live if target.requires in worker.lacks}
        raise TargetNotServed("; ".join(sorted(why)) or f"no live worker offers {target.requires}")
    return questions.ask(session, kind, target, deployment, **words)


async def answer(request: Request, question_id: str, prefer: str | None) -> Answer | None:
    """The answer, once its question is committed; None where it did not come in time, or the server stops.

    Time is what ``Prefer: wait=N`` asks for, or ``MODELPORT_CHECK_SECONDS``.
    """
    name = request.state.principal.name
    request.app.state.quotas.begin_waiting(name)
    try:
        return await _answer(request, question_id, prefer)
    finally:
        request.app.state.quotas.end_waiting(name)


async def _answer(request: Request, question_id: str, prefer: str | None) -> Answer | None:
    queue.hint(Lane.LOOK)
    loop = asyncio.get_running_loop()
    until = loop.time() + (preferred_wait(prefer) or settings().check_seconds)
    while loop.time() < until and not request.app.state.watch.closed:
        found = await run_in_threadpool(_read, question_id)
        if found is not None:
            return found
        await asyncio.sleep(settings().watch_seconds)
    return None


def _read(question_id: str) -> Answer | None:
    with database().read() as session:
        return questions.answer_to(session, question_id)
