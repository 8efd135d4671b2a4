"""Waiting for operations: many requests at once, none of them holding a thread or a database connection.

One task of the process asks the database about all operations that are waited for, in one query, and only while
somebody waits.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from operations import queries, views
from operations.database import Database
from operations.models import Operation
from operations.settings import settings

IDS_AT_ONCE = 500

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Standing:
    """How far an operation's history has come."""

    last_event: int
    final: bool


@dataclass(eq=False)
class _Waiter:
    operation_id: str
    after: int
    moved: asyncio.Future[Standing | None]


class Watch:
    """Tells when operations move. One for each process, made and used in its event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: set[_Waiter] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        # a thread of its own for as long as one query lasts, whatever else keeps the others busy
        self._thread = CapacityLimiter(1)
        self._readers = CapacityLimiter(4)

    @property
    def closed(self) -> bool:
        """Whether the server stops, so that nobody waits any longer."""
        return self._closed

    async def moved(self, operation_id: str, after: int, timeout_seconds: float) -> Standing | None:
        """Wait until the operation has an event behind number ``after`` or is final; None when time is up."""
        if self._closed:
            return None
        waiter = _Waiter(operation_id, after, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            return await asyncio.wait_for(waiter.moved, timeout_seconds)
        except TimeoutError:
            return None
        finally:
            self._waiters.discard(waiter)

    async def ended(self, operation_id: str, timeout_seconds: float) -> bool:
        """Wait until the operation is final. False when time is up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_seconds
        after = 0
        while (left := until - loop.time()) > 0:
            standing = await self.moved(operation_id, after, left)
            if standing is None:
                return False
            if standing.final:
                return True
            after = standing.last_event
        return False

    async def stream(self, operation_id: str, after: int) -> AsyncIterator[str]:
        """The operation's events behind ``after`` as server-sent events, until it is final or the server stops."""
        while not self._closed:
            rows, final = await self.history(operation_id, after)
            for document in rows:
                after = document["number"]
                yield f"id: {operation_id}:{after}\nevent: {document['state']}\ndata: {json.dumps(document)}\n\n"
            if final:
                return
            standing = await self.moved(operation_id, after, settings().keep_alive_seconds)
            if standing is None and not self._closed:
                yield ": still there\n\n"

    async def history(self, operation_id: str, after: int) -> tuple[list[views.Document], bool]:
        """The events behind ``after``, and whether these are the last. Raises OperationNotFound."""
        return await to_thread.run_sync(self._history, operation_id, after, limiter=self._readers)

    def close(self) -> None:
        """Tell those who wait that time is up, now and from now on. Twice is the same as once."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.moved.done():
                waiter.moved.set_result(None)

    async def closed_down(self) -> None:
        """Close, and return once the database is not asked any more."""
        self.close()
        if self._task is not None:
            await self._task

    async def _poll(self) -> None:
        while self._waiters and not self._closed:
            ids = sorted({waiter.operation_id for waiter in self._waiters})
            for start in range(0, len(ids), IDS_AT_ONCE):
                self._wake(await self._standings(ids[start : start + IDS_AT_ONCE]))
            await asyncio.sleep(settings().watch_seconds)

    def _wake(self, standings: dict[str, Standing]) -> None:
        for waiter in self._waiters:
            standing = standings.get(waiter.operation_id)
            if standing is None or waiter.moved.done():
                continue
            if standing.final or standing.last_event > waiter.after:
                waiter.moved.set_result(standing)

    async def _standings(self, ids: list[str]) -> dict[str, Standing]:
        try:
            return await to_thread.run_sync(self._read, ids, limiter=self._thread)
        except SQLAlchemyError as error:
            # those who wait go on waiting: the database may come back
            log.warning("watch_failed", error=type(error).__name__)
            return {}

    def _read(self, ids: list[str]) -> dict[str, Standing]:
        with self._database.read() as session:
            rows = session.execute(
                select(Operation.id, Operation.last_event, Operation.finished_at).where(Operation.id.in_(ids))
            )
            return {row.id: Standing(row.last_event, row.finished_at is not None) for row in rows}

    def _history(self, operation_id: str, after: int) -> tuple[list[views.Document], bool]:
        with self._database.read() as session:
            operation = queries.get_operation(session, operation_id)
            rows = queries.events(session, operation_id, after)
            return [views.event(row) for row in rows], operation.finished_at is not None


def preferred_wait(prefer: str | None) -> float:
    """The seconds that ``Prefer: wait=N`` asks for, as far as the settings grant them; 0.0 without it."""
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,9})(?:$|[,;\s])", prefer or "")
    return min(float(found[1]), settings().wait_seconds_max) if found else 0.0
