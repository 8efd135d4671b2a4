"""Releases what batches may start; the operations themselves are driven like any other."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import select

from adapters import registry
from adapters.contract import AdapterError, Spec, Temporary, Variant
from operations import queue, specs
from operations.batches import records, releasing
from operations.batches.models import Batch, BatchItem, BatchState, ItemState
from operations.database import Database
from operations.models import Operation, Target
from operations.settings import Settings
from operations.specs import Rules
from operations.states import Lane
from worker.places import Places

log = structlog.get_logger(__name__)

TURNS = 20
MOVES = re.compile(r"models:/[^/@]+(@.+|/(latest|[A-Za-z]\w*))$")
"""A model URI that may name another version tomorrow."""


class Releaser:
    """Releases for one worker process of the node ``worker``."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        places: Places,
        *,
        worker: str,
        process: str,
        stopping: Callable[[], bool],
    ) -> None:
        self._database = database
        self._settings = settings
        self._places = places
        self._worker = worker
        self._process = process
        self._stopping = stopping

    def run(self) -> None:
        """Give every batch that is due its turn, each a bounded one."""
        for _ in range(TURNS):
            if self._stopping():
                return
            with self._database.write() as session:
                batch = releasing.take(session, self._process, self._settings.lease_seconds)
            if batch is None:
                return
            try:
                if self._resolved(batch):
                    self._turn(batch.id)
            finally:
                self._give_back(batch)

    def _give_back(self, taken: Batch) -> None:
        before = taken.version
        with self._database.write() as session:
            batch = releasing.give_back(session, taken.id, self._process)
            counts = records.counts(session, taken.id)
        if batch is not None and (batch.version != before or before == 0):
            queue.announce_batch(batch, counts, self._worker)

    def _turn(self, batch_id: str) -> None:
        with self._database.write() as session:
            numbers = releasing.settle(session, batch_id, self._process)
        for start in range(0, len(numbers), releasing.RELEASED_AT_ONCE):
            if self._stopping():
                return
            portion = numbers[start : start + releasing.RELEASED_AT_ONCE]
            with self._database.write() as session:
                released = releasing.release(session, batch_id, self._process, portion, _rules)
            self._tell(released)

    def _tell(self, released: list[Operation]) -> None:
        if released:
            queue.announce(released, self._worker)
            queue.hint(Lane.BULK)

    def _resolved(self, batch: Batch) -> bool:
        """Whether the batch's model is one fixed version; an alias is resolved once, for all of its items."""
        uri = batch.change.get("model_uri")
        if batch.state != BatchState.RUNNING or not uri or not MOVES.match(uri):
            return True
        with self._database.read() as session:
            target = session.scalars(
                select(Target)
                .join(BatchItem, BatchItem.target_id == Target.id)
                .where(BatchItem.batch_id == batch.id, BatchItem.state == ItemState.PENDING)
                .order_by(BatchItem.number)
                .limit(1)
            ).first()
        if target is None or not registry.describe(target.uri).capabilities.resolves_models:
            return True
        change: dict[str, Any] = {}
        try:
            spec = Spec((Variant("main", uri, batch.change.get("flavor")),), {"main": 100})
            fixed = self._places.open(target).adapter.resolve(spec).variants[0].model_uri
            change = {"model_uri": fixed, "asked_model_uri": uri}
        except Exception as error:
            why = error.message if isinstance(error, AdapterError) else f"{type(error).__name__}: {error}"
            log.warning("batch_model_unresolved", batch=batch.id, error=why)
            with self._database.write() as session:
                if isinstance(error, Temporary):
                    records.lock(session, batch.id).reason = f"{uri} cannot be resolved now: {why}"
                else:
                    records.end(session, batch.id, BatchState.STOPPED, f"{uri}: {why}", by=self._worker)
            return not isinstance(error, Temporary)
        with self._database.write() as session:
            row = records.lock(session, batch.id)
            row.change = {**row.change, **change}
        return True


def _rules(target: Target) -> Rules:
    return specs.rules(registry.describe(target.uri), target.settings)
