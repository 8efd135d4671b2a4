"""The real HTTP interface and an engine that takes what is due, in threads of the test's process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import structlog
import uvicorn
from sqlalchemy import update

from api.app import create_app
from operations import queue
from operations.database import Database
from operations.models import Operation as Row
from operations.settings import settings
from operations.states import Lane
from worker.engine import Engine


@contextmanager
def serving(db: Database, monkeypatch: pytest.MonkeyPatch, offers: Sequence[str]) -> Iterator[str]:
    """The URL of a server whose worker offers these kinds of target. Nothing is sent to any broker."""
    monkeypatch.setattr(queue, "announce", lambda *_: None)
    monkeypatch.setattr(queue, "hint", lambda *_: None)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # standard output is ours
    stopping = threading.Event()
    server = uvicorn.Server(uvicorn.Config(create_app(), host="127.0.0.1", port=0, log_level="warning"))
    api = threading.Thread(target=server.run)
    working = threading.Thread(target=_work, args=(db, stopping, offers))
    api.start()
    try:
        while not server.started:
            assert api.is_alive()
            stopping.wait(0.01)
        working.start()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        stopping.set()
        server.should_exit = True
        api.join()
        if working.ident:
            working.join()
        structlog.reset_defaults()


def _work(db: Database, stopping: threading.Event, offers: Sequence[str]) -> None:
    engine = Engine(db, settings(), worker="one@here", process="one#1", offers=list(offers))
    try:
        while not stopping.wait(0.02):
            for lane in Lane:
                engine.advance(lane)
            with db.write() as session:
                # what waits a moment is due at once, so that no test has to wait
                session.execute(update(Row).where(Row.leased_by.is_(None), Row.due_at.is_not(None)).values(due_at=0.0))
    finally:
        engine.close()
