"""A database whose time is a number in a table, so that it passes only when a test says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from operations import clock
from operations.database import Database

BEGINS = 1_800_000_000.0


class VirtualTime:
    """The time of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.at = BEGINS

    def passes(self, seconds: float) -> None:
        """Let so much time pass."""
        self.at += seconds
        with self._database.write() as session:
            session.execute(text("UPDATE virtual_time SET at = :at"), {"at": self.at})


@contextmanager
def virtual_time(database: Database) -> Iterator[VirtualTime]:
    """Within it, every question for the time is answered from the table."""
    with database.write() as session:
        session.execute(text("CREATE TABLE virtual_time (at double precision)"))
        session.execute(text("INSERT INTO virtual_time VALUES (:at)"), {"at": BEGINS})
    real = dict(clock.SQL)
    clock.SQL.update(dict.fromkeys(real, "(SELECT at FROM virtual_time)"))
    database.engine.clear_compiled_cache()
    try:
        yield VirtualTime(database)
    finally:
        clock.SQL.update(real)
        database.engine.clear_compiled_cache()
