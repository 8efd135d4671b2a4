"""An engine that dies at a chosen boundary: before or after a commit, before or after a call to the target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import update
from sqlalchemy.orm import Session

from operations.database import Database
from operations.models import Operation, Target
from operations.settings import settings
from operations.states import Lane
from tests.fakes.memory.world import World
from worker.engine import Engine


class Crash(BaseException):
    """The process is gone; nothing in it runs on."""


class Mortal:
    """Counts the boundaries that one worker passes, and dies at number ``at``; afterwards it has no effect at all."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.passed = 0
        self.dead = False

    def boundary(self) -> None:
        if self.dead:
            raise Crash
        self.passed += 1
        if self.passed - 1 == self.at:
            self.dead = True
            raise Crash


class MortalDatabase(Database):
    """A database as seen by a worker that may die at each of its commits."""

    def __init__(self, database: Database, mortal: Mortal) -> None:
        self.engine = database.engine
        self._writer = database.engine.execution_options(begin_to_write=True)
        self._turn = database._turn
        self._mortal = mortal

    @contextmanager
    def write(self) -> Iterator[Session]:
        with super().write() as session:
            yield session
            session.flush()
            self._mortal.boundary()
        self._mortal.boundary()

    @contextmanager
    def read(self) -> Iterator[Session]:
        if self._mortal.dead:
            raise Crash
        with super().read() as session:
            yield session


class Worker:
    """One worker of a test: an engine that can die, over a world whose calls it makes."""

    def __init__(self, database: Database, world: World, name: str, at: int | None = None) -> None:
        self.mortal = Mortal(at)
        self._world = world
        quick = settings().model_copy(update={"backoff_seconds": 0.001, "attempts": 4, "threads": 1})
        self.engine = Engine(
            MortalDatabase(database, self.mortal), quick, worker=f"{name}@here", process=f"{name}#1", offers=["memory"]
        )

    def advance(self, lane: Lane) -> None:
        """One turn; quietly ends where the worker died."""
        self._world.before = self._world.after = lambda *_: self.mortal.boundary()
        try:
            self.engine.advance(lane)
        except Crash:
            pass
        finally:
            self._world.before = self._world.after = None


def time_passes(database: Database) -> None:
    """Every lease has run out and everything that waited is due."""
    with database.write() as session:
        session.execute(
            update(Operation).where(Operation.finished_at.is_(None), Operation.due_at.is_not(None)).values(due_at=0.0)
        )
        session.execute(update(Target).values(look_until=0.0))
