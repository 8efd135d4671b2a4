"""How much one principal may ask for: changes in a minute, operations that wait, answers that are held back.

Rates and waits are counted by each process for itself, which protects the process; operations that wait are counted in
the database, which protects the queue.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from operations.models import Operation
from operations.problems import TooManyRequests
from operations.settings import Settings

MINUTE = 60.0
COUNT_KNOWN_SECONDS = 1.0
QUEUE_RETRY_SECONDS = 10.0
PRINCIPALS_AT_ONCE = 10_000


class Quotas:
    """The counters of one process. Safe from several threads."""

    def __init__(self, chosen: Settings) -> None:
        self._a_minute = chosen.submissions_per_minute
        self._queued = chosen.queued_per_principal
        self._waits = chosen.waits
        self._waits_each = chosen.waits_per_principal
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}
        self._counted: dict[str, tuple[float, int]] = {}
        self._waiting: Counter[str] = Counter()

    def take(self, principal: str) -> None:
        """Take one change of this minute's. Raises TooManyRequests, saying when the next one is there."""
        per_second = self._a_minute / MINUTE
        with self._lock:
            now = time.monotonic()
            left, at = self._left.get(principal, (float(self._a_minute), now))
            left = min(float(self._a_minute), left + (now - at) * per_second)
            if left < 1:
                self._left[principal] = (left, now)
                raise TooManyRequests(
                    f"{principal} asked for {self._a_minute} changes in a minute", retry_after=(1 - left) / per_second
                )
            if len(self._left) >= PRINCIPALS_AT_ONCE:
                self._left.clear()
            self._left[principal] = (left - 1, now)

    def check_queue(self, session: Session, principal: str) -> None:
        """Raises TooManyRequests where as many operations of this principal wait as may.

        Counted anew once a second, and always near the limit, so that a submission rarely pays for it.
        """
        with self._lock:
            at, count = self._counted.get(principal, (float("-inf"), 0))
            count += 1
            if time.monotonic() - at < COUNT_KNOWN_SECONDS and count < self._queued:
                self._counted[principal] = (at, count)
                return
        mine = (Operation.principal == principal, Operation.finished_at.is_(None), Operation.batch_id.is_(None))
        some = select(Operation.id).where(*mine).limit(self._queued).subquery()
        count = session.scalar(select(func.count()).select_from(some)) or 0
        with self._lock:
            if len(self._counted) >= PRINCIPALS_AT_ONCE:
                self._counted.clear()
            self._counted[principal] = (time.monotonic(), count)
        if count >= self._queued:
            detail = f"{count} operations of {principal} have not ended"
            raise TooManyRequests(detail, retry_after=QUEUE_RETRY_SECONDS)

    @contextmanager
    def waiting(self, principal: str) -> Iterator[None]:
        """Hold one of the places for answers that are held back. Raises TooManyRequests where there is none."""
        self.begin_waiting(principal)
        try:
            yield
        finally:
            self.end_waiting(principal)

    def begin_waiting(self, principal: str) -> None:
        """Take a place; give it back with ``end_waiting``. Raises TooManyRequests."""
        with self._lock:
            if self._waiting.total() >= self._waits or self._waiting[principal] >= self._waits_each:
                raise TooManyRequests("too many requests wait already", retry_after=1.0)
            self._waiting[principal] += 1

    def end_waiting(self, principal: str) -> None:
        """Give a place back."""
        with self._lock:
            self._waiting[principal] -= 1
            if not self._waiting[principal]:
                del self._waiting[principal]


def held(stream: AsyncIterator[str], quotas: Quotas, principal: str) -> AsyncIterator[str]:
    """The stream, holding a place from now until it ends or its reader goes. Raises TooManyRequests at once."""
    quotas.begin_waiting(principal)

    async def within() -> AsyncIterator[str]:
        try:
            async for part in stream:
                yield part
        finally:
            quotas.end_waiting(principal)

    return within()
