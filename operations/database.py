"""The engine, by the recipes that keep fences true on SQLite and claims moving on PostgreSQL.

SQLite: write-ahead log; the driver's own transactions are off and ours begin ``IMMEDIATE`` to write, deferred to read.
The driver's default opens transactions late and loses a fence without an error; deferred writers fail as "locked".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from operations.settings import settings


class Database:
    """One engine of one process. Made after a fork, never before."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(begin_to_write=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may write: commits at the end, rolls back on an exception. No network call inside."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads. No network call inside."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every connection; twice is the same as once."""
        self.engine.dispose()


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
