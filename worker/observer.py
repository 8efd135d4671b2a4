"""Compares what targets serve with what the records say, in list calls, and answers checks of targets."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from adapters.contract import AdapterError, Observed
from operations import checks, observing
from operations.clock import instant
from operations.database import Database
from operations.models import Target
from operations.settings import Settings
from worker.places import Places

log = structlog.get_logger(__name__)


class Observer:
    """Looks for one worker process; changes nothing on any target."""

    def __init__(self, database: Database, settings: Settings, places: Places, offers: Sequence[str]) -> None:
        self._database = database
        self._settings = settings
        self._places = places
        self._offers = offers

    def run(self) -> None:
        """Answer the checks that were asked for, and observe the targets that are due."""
        with self._database.read() as session:
            asked = checks.asked_for(session, self._offers)
            due = observing.due(session)
        for target in asked:
            self._check(target)
        if due:
            with self._database.write() as session:
                targets = observing.take_due(session, self._offers, self._settings.lease_seconds)
                at = instant(session)
            for target in targets:
                self._observe(target, at)

    def _check(self, target: Target) -> None:
        try:
            ok, message = True, self._places.open(target).adapter.check()
        except Exception as error:
            ok, message = False, _said(error)
        with self._database.write() as session:
            checks.answered(session, target.id, ok=ok, message=message)

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
