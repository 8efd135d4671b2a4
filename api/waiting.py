"""Waiting for operations: many requests at once, none of them holding a thread or a database connection.

One task of the process asks the database about all operations that are waited for, in one query, and only while
somebody waits.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from operations import queries, views
from operations.database import Database
from operations.models import Operation
from operations.settings import settings

POLL_SECONDS = 0.1
KEEP_ALIVE_SECONDS = 15.0
IDS_AT_ONCE = 500


@dataclass(frozen=True)
class Standing:
    """How far an operation's history has come."""

    last_event: int
    final: bool


class Watch:
    """Tells when operations move. One for each process, used from its event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, set[asyncio.Future[Standing]]] = defaultdict(set)
        self._last: dict[asyncio.Future[Standing], int] = {}
        self._task: asyncio.Task[None] | None = None

    async def moved(self, operation_id: str, after: int, timeout_seconds: float) -> Standing | None:
        """Wait until the operation has an event behind number ``after`` or is final; None when time is up."""
        future: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        self._waiting[operation_id].add(future)
        self._last[future] = after
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            return await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            return None
        finally:
            self._forget(operation_id, future)

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
        """The operation's events behind ``after`` as server-sent events, until it is final."""
        while True:
            rows, final = await run_in_threadpool(self._events, operation_id, after)
            for document in rows:
                after = document["number"]
                yield f"id: {operation_id}:{after}\nevent: {document['state']}\ndata: {json.dumps(document)}\n\n"
            if final:
                return
            if await self.moved(operation_id, after, KEEP_ALIVE_SECONDS) is None:
                yield ": still there\n\n"

    async def close(self) -> None:
        """Stop asking; those who still wait are told that time is up."""
        if self._task is not None:
            self._task.cancel()
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()

    async def _poll(self) -> None:
        while self._waiting:
            ids = list(self._waiting)
            for start in range(0, len(ids), IDS_AT_ONCE):
                standings = await run_in_threadpool(self._standings, ids[start : start + IDS_AT_ONCE])
                for operation_id, standing in standings.items():
                    for future in list(self._waiting.get(operation_id, ())):
                        if not future.done() and (standing.final or standing.last_event > self._last[future]):
                            future.set_result(standing)
            await asyncio.sleep(POLL_SECONDS)

    def _forget(self, operation_id: str, future: asyncio.Future[Standing]) -> None:
        self._last.pop(future, None)
        self._waiting[operation_id].discard(future)
        if not self._waiting[operation_id]:
            del self._waiting[operation_id]

    def _standings(self, ids: list[str]) -> dict[str, Standing]:
        with self._database.read() as session:
            rows = session.execute(
                select(Operation.id, Operation.last_event, Operation.finished_at).where(Operation.id.in_(ids))
            )
            return {row.id: Standing(row.last_event, row.finished_at is not None) for row in rows}

    def _events(self, operation_id: str, after: int) -> tuple[list[dict[str, Any]], bool]:
        with self._database.read() as session:
            operation = queries.get_operation(session, operation_id)
            rows = queries.events(session, operation_id, after)
            return [views.event(row) for row in rows], operation.finished_at is not None


def preferred_wait(prefer: str | None) -> float:
    """The seconds that ``Prefer: wait=N`` asks for, as far as the settings grant them; 0.0 without it."""
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,9})(?:$|[,;\s])", prefer or "")
    return min(float(found[1]), settings().wait_seconds_max) if found else 0.0
