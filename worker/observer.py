"""Compares what targets serve with what the records say, in list calls, and answers what the API asks of targets."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from adapters.contract import AdapterError, Observed
from operations import observing, questions
from operations.clock import instant
from operations.database import Database
from operations.models import QuestionKind, Target
from operations.questions import Taken
from operations.settings import Settings
from worker.places import Places

ANSWERS_AT_ONCE = 8

log = structlog.get_logger(__name__)


class Observer:
    """Looks for one worker process; changes nothing on any target."""

    def __init__(self, database: Database, settings: Settings, places: Places, offers: Sequence[str]) -> None:
        self._database = database
        self._settings = settings
        self._places = places
        self._offers = offers
        self._pool = ThreadPoolExecutor(ANSWERS_AT_ONCE, thread_name_prefix="answer")
        self._answering: set[Future[None]] = set()

    def run(self) -> None:
        """Begin to answer what was asked, and observe the targets that are due."""
        with self._database.read() as session:
            asked = questions.any_due(session)
            due = observing.due(session)
        if asked:
            self._answer_many()
        if due:
            with self._database.write() as session:
                targets = observing.take_due(session, self._offers, self._settings.lease_seconds)
                at = instant(session)
            for target in targets:
                self._observe(target, at)

    def close(self) -> None:
        """Return once what was begun is answered; the rest is left to others."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _answer_many(self) -> None:
        """In threads that nobody waits for: reading a log may take as long as the looks of many operations."""
        free = ANSWERS_AT_ONCE - len(self._answering)
        if free <= 0:
            return
        with self._database.write() as session:
            turn = self._settings.call_timeout_seconds
            taken = questions.take(session, self._offers, limit=free, turn_seconds=turn)
        for question in taken:
            future = self._pool.submit(self._answer, question)
            self._answering.add(future)
            future.add_done_callback(self._answering.discard)

    def _answer(self, question: Taken) -> None:
        try:
            ok, text = True, self._found_out(question)
        except Exception as error:
            ok, text = False, _said(error)
        try:
            with self._database.write() as session:
                questions.answered(session, question.id, ok=ok, text=text)
        except Exception as error:
            # it is due again when this turn ends; what the database says repeats the answer, which no log may hold
            log.warning("answer_lost", question=question.kind, target=question.target.name, error=type(error).__name__)

    def _found_out(self, question: Taken) -> str:
        adapter = self._places.open(question.target).adapter
        if question.kind == QuestionKind.LOGS:
            return adapter.logs(question.handle, question.ask["variant"], question.ask["lines"])
        return adapter.check()

    def _observe(self, target: Target, at: float) -> None:
        again_in = self._settings.observe_seconds or None
        try:
            seen = {o.uid: _document(o) for o in self._places.open(target).adapter.observe_all() if o.uid}
        except Exception as error:
            log.warning("observe_failed", target=target.name, error=_said(error))
            with self._database.write() as session:
                observing.record_unknown(session, target.id, _said(error), again_in)
            return
        with self._database.write() as session:
            observing.record(session, target.id, seen, at, again_in)


def _document(seen: Observed) -> dict[str, object]:
    return {
        "status": seen.status,
        "content": seen.content,
        "spec": seen.spec.to_json() if seen.spec else None,
        "detail": seen.detail,
    }


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, AdapterError) else f"{type(error).__name__}: {error}"
