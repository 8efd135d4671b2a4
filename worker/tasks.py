"""The one task: *advance what is due in this lane*. It carries nothing else, so losing or doubling it is harmless."""

from __future__ import annotations

import os

from celery import Task, signals

from adapters import registry
from operations import queue
from operations.database import database
from operations.settings import settings
from operations.states import Lane
from worker import node
from worker.engine import Engine

_engines: dict[int, Engine] = {}


# no events of its own: rows in Flower are operations, and Flower switches a worker's events on
@queue.app.task(name=queue.ADVANCE, bind=True, send_events=False, Strategy="worker.strategy:checked")
def advance(self: Task, lane: str) -> None:
    """Drive what is due in ``lane``, and ask for another turn when the claim was full. Twice is the same as once."""
    if node.stopping():
        return
    if _engine(self.request.hostname).advance(Lane(lane)):
        queue.hint(Lane(lane))


@signals.worker_process_shutdown.connect
def close(**_: object) -> None:
    """Close this process's adapters and connections."""
    engine = _engines.pop(os.getpid(), None)
    if engine is not None:
        engine.close()
        database().close()


def _engine(hostname: str) -> Engine:
    pid = os.getpid()
    if pid not in _engines:
        offers = [offer for offer, why_not in registry.offered().items() if why_not is None]
        _engines[pid] = Engine(
            database(),
            settings(),
            worker=hostname,
            process=f"{hostname}#{pid}",
            offers=offers,
            stopping=node.stopping,
        )
    return _engines[pid]
