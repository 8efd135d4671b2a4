"""The engine, by the recipes that keep fences true on SQLite and claims moving on PostgreSQL.

SQLite: write-ahead log; the driver's own transactions are off and ours begin ``IMMEDIATE`` to write, deferred to read.
The driver's default opens transactions late and loses a fence without an error; deferred writers fail as "locked".
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from operations.settings import settings

TURN_SECONDS = 10.0


class Database:
    """One engine of one process. Made after a fork, never before."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(begin_to_write=True)
        self._turn = _Turn(self.engine)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may write: commits at the end, rolls back on an exception. No network call inside."""
        with self._turn.taken(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads. No network call inside."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every connection; twice is the same as once."""
        self._turn.close()
        self.engine.dispose()


class _Turn:
    """SQLite's writers one after the other, without its busy handler, which sleeps up to 100 ms while the lock is free.

    A lock of this process, then one of the file beside the database; both only shorten the wait. Who does not get
    them in time goes on, and SQLite's own lock decides. Other databases need no turns.
    """

    def __init__(self, engine: Engine) -> None:
        path = engine.url.database if engine.dialect.name == "sqlite" else None
        self._path = f"{path}.turn" if path else None
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None

    def close(self) -> None:
        """Close the file; the next turn opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn."""
        if self._path is None or not self._lock.acquire(timeout=TURN_SECONDS):
            yield
            return
        try:
            self._file = self._file or Path(self._path).open("ab")  # noqa: SIM115  # kept for the process's life
            _lock_file(self._file)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._lock.release()


def _lock_file(file: IO[bytes]) -> None:
    until = time.monotonic() + TURN_SECONDS
    while time.monotonic() < until:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.0005)
        else:
            return


@cache
def database() -> Database:
    """This process's database."""
    return Database(settings().sqlalchemy_url)


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_size=20, max_overflow=20, pool_pre_ping=True)
    Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=20, max_overflow=20, connect_args={"timeout": 30, "isolation_level": None})
    event.listen(engine, "connect", _sqlite_connect)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_connect(connection: Any, record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    to_write = connection.get_execution_options().get("begin_to_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if to_write else "BEGIN")
