"""The real HTTP interface on a port of its own, and what a worker would do behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select

from api.__main__ import Server
from api.app import create_app
from operations import ledger, models
from operations.database import Database
from operations.models import Operation, Revision
from operations.states import State

STORED = (models.Deployment, models.Revision, models.Operation, models.Event, models.IdempotencyKey)


@contextmanager
def serving() -> Iterator[str]:
    """The URL of a server that runs in a thread until the end."""
    server = Server(create_app(), host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def stored(db: Database) -> list[int]:
    """How many rows a submission's tables hold."""
    with db.read() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in STORED]


def start(db: Database, operation_id: str, message: str = "") -> None:
    """Take the operation as a worker does."""
    with db.write() as session:
        operation = session.get_one(Operation, operation_id)
        ledger.move(session, operation, State.STARTING, message=message, by="tests")


def land(db: Database, operation_id: str, **route: Any) -> None:
    """Bring a queued operation to its successful end; ``route`` says what predictions do then."""
    start(db, operation_id)
    with db.write() as session:
        operation = session.get_one(Operation, operation_id)
        deployment = ledger.lock_deployment(session, operation.deployment_id)
        deployment.current_id = operation.desired_id
        deployment.route = {"to": deployment.name, **route} if operation.desired_id else None
        if operation.desired_id:
            session.get_one(Revision, operation.desired_id).landed_at = 1.0
        ledger.move(session, operation, State.SUCCEEDED, message="serves", by="tests")


def fail(db: Database, operation_id: str) -> None:
    """Bring a queued operation to its failed end."""
    start(db, operation_id)
    with db.write() as session:
        operation = session.get_one(Operation, operation_id)
        operation.error = {"type": "/problems/target-failed", "title": "The target failed", "detail": "out of memory"}
        ledger.move(session, operation, State.FAILED, message="out of memory", by="tests")
