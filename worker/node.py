"""What each worker node does beside its tasks: it ticks, says that it is there, and shows open operations in Flower.

There is no beat: every node asks the database whether anything is due in its lanes and sends a message only then, so
a tick that happens twice, or in ten nodes, changes nothing.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Iterable
from typing import Any

import structlog
from celery import signals
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from adapters import registry
from operations import ledger, presence, queue, sweep
from operations.clock import now
from operations.database import Database
from operations.models import Operation
from operations.settings import settings
from operations.states import Lane

PRESENCE_SECONDS = 5.0
ROWS_SHOWN = 5000

log = structlog.get_logger(__name__)

# shared with the processes that are forked later; they look at it between steps
_stop = mmap.mmap(-1, 1)
_ticks: list[Tick] = []


def stopping() -> bool:
    """Whether this node was asked to stop: what is not begun is handed back."""
    return _stop[0] != 0


class Tick(threading.Thread):
    """The node's own thread, in the parent process, with a database connection of its own."""

    def __init__(self, name: str, lanes: Iterable[Lane]) -> None:
        super().__init__(name="modelport-tick", daemon=True)
        self._node = name
        self._lanes = set(lanes)
        self._database = Database(settings().sqlalchemy_url)
        self._offers = registry.offered()
        self._end = threading.Event()
        self._said_at = self._shown_at = self._swept_at = float("-inf")

    def run(self) -> None:
        """Tick until told to end; an unreachable database is waited for."""
        while not self._end.wait(settings().tick_seconds):
            try:
                self._tick()
            except Exception as error:
                log.warning("tick_failed", error=f"{type(error).__name__}: {error}")
                self._end.wait(1.0)

    def end(self) -> None:
        """Stop ticking and say that the node is gone."""
        self._end.set()
        self.join(timeout=5.0)
        try:
            with self._database.write() as session:
                presence.retire(session, self._node)
        except Exception as error:
            log.warning("retire_failed", error=f"{type(error).__name__}: {error}")
        self._database.close()

    def _tick(self) -> None:
        with self._database.read() as session:
            due = ledger.due_lanes(session) & self._lanes
        for lane in due:
            queue.hint(lane)
        if time.monotonic() - self._said_at >= PRESENCE_SECONDS:
            self._said_at = time.monotonic()
            with self._database.write() as session:
                presence.announce(session, self._node, "+".join(sorted(self._lanes)), self._offers)
        if time.monotonic() - self._swept_at >= settings().sweep_seconds:
            self._swept_at = time.monotonic()
            self._sweep()
        if time.monotonic() - self._shown_at >= settings().announce_seconds:
            self._shown_at = time.monotonic()
            with self._database.read() as session:
                rows = self._open_rows(session)
            queue.announce(rows, self._node)

    def _sweep(self) -> None:
        with self._database.read() as session:
            if not self._first(session):
                return
            left = sweep.unclean(session, settings())
        with self._database.write() as session:
            sweep.prune(session, settings())
            sweep.schedule_observation(session, settings())
        for identity in left:
            with self._database.write() as session:
                operation = sweep.clean(session, identity)
            if operation is not None:
                queue.announce([operation], self._node)

    def _first(self, session: Session) -> bool:
        """Whether this node, of all that are there, is the one that does what one is enough for."""
        live = presence.live_workers(session)
        return not live or live[0].name == self._node

    def _open_rows(self, session: Session) -> list[Operation]:
        """Open operations, and those that ended while Flower may not have listened; one node of all shows them."""
        if not self._first(session):
            return []
        lately = now() - 2 * settings().announce_seconds
        return list(
            session.scalars(
                select(Operation)
                .where(or_(Operation.finished_at.is_(None), Operation.finished_at > lately))
                .order_by(Operation.created_at.desc())
                .limit(ROWS_SHOWN)
            ).unique()
        )


@signals.worker_ready.connect
def start(sender: Any, **_: object) -> None:
    """Begin to tick once the node takes messages."""
    tick = Tick(sender.hostname, _lanes())
    _ticks.append(tick)
    tick.start()


@signals.worker_shutting_down.connect
def stop(**_: object) -> None:
    """Ask the node's processes to hand back what they have not begun."""
    _stop[0] = 1


@signals.worker_shutdown.connect
def end(**_: object) -> None:
    """End the tick with the node."""
    while _ticks:
        _ticks.pop().end()


def _lanes() -> list[Lane]:
    return [Lane(name) for name in queue.app.amqp.queues.consume_from if name in set(Lane)]
