"""A worker dies before or after each effect, one after the other; another one finishes, and nothing happens twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from adapters import registry
from operations import ledger, queue
from operations.database import Database
from operations.models import Event, Operation
from operations.states import ALLOWED, FINAL, Kind, Lane, State
from tests import rows
from tests.fakes.memory.world import WORLDS, World
from tests.worker.crashing import Worker, time_passes

ONE, TWO = rows.spec("models:/iris/1"), rows.spec("models:/iris/2")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
    monkeypatch.setattr(queue, "announce", lambda *_: None)
    monkeypatch.setattr(queue, "hint", lambda *_: None)
    world = WORLDS["memory:/one"] = World(looks=0)
    yield world
    WORLDS.clear()


def finish(db: Database, world: World, worker: Worker) -> None:
    for _ in range(40):
        time_passes(db)
        for lane in (Lane.WRITE, Lane.LOOK):
            worker.advance(lane)
        with db.read() as session:
            if session.scalars(select(Operation.id).where(Operation.finished_at.is_(None))).first() is None:
                return
    raise AssertionError("unfinished")


def submit(db: Database, kind: Kind, name: str, document: dict | None = None) -> str:
    with db.write() as session:
        return rows.submit(session, kind, name=name, document=document).id


def cancelled(db: Database, identity: str) -> None:
    with db.write() as session:
        ledger.cancel(session, identity, "tests")


class Case:
    """A deployment of this name, brought to where the operation under test begins, and what must be true at the end."""

    def __init__(self, db: Database, world: World, name: str) -> None:
        self.db, self.world, self.name = db, world, name

    def existing(self) -> None:
        submit(self.db, Kind.CREATE, self.name, ONE)
        finish(self.db, self.world, Worker(self.db, self.world, "before"))

    def create(self) -> str:
        return submit(self.db, Kind.CREATE, self.name, ONE)

    def update(self) -> str:
        self.existing()
        return submit(self.db, Kind.UPDATE, self.name, TWO)

    def traffic(self) -> str:
        self.existing()
        return submit(self.db, Kind.TRAFFIC, self.name, {**ONE, "traffic": {"main": 100, "other": 0}})

    def delete(self) -> str:
        self.existing()
        return submit(self.db, Kind.DELETE, self.name)

    def rolled_back(self) -> str:
        identity = self.update()
        self.world.refuses = TWO
        return identity

    def cancelled(self) -> str:
        self.existing()
        self.world.looks = 3
        identity = submit(self.db, Kind.UPDATE, self.name, TWO)
        Worker(self.db, self.world, "before").advance(Lane.WRITE)
        self.world.looks = 0
        cancelled(self.db, identity)
        return identity


CASES: list[tuple[Callable[[Case], str], State, dict | None, int]] = [
    # how it begins, how it ends, what serves then, how many writes of this deployment in all
    (Case.create, State.SUCCEEDED, ONE, 1),
    (Case.update, State.SUCCEEDED, TWO, 2),
    (Case.traffic, State.SUCCEEDED, {**ONE, "traffic": {"main": 100, "other": 0}}, 2),
    (Case.delete, State.SUCCEEDED, None, 1),
    # its failure is forgotten when the worker dies before it was written down, so it may be asked for once more
    (Case.rolled_back, State.FAILED, ONE, 3),
    (Case.cancelled, State.CANCELLED, ONE, 3),
]


@pytest.mark.parametrize(("begin", "ends", "serves", "puts"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_a_death_at_every_boundary_changes_nothing_in_the_end(
    db: Database, world: World, begin: Callable[[Case], str], ends: State, serves: dict | None, puts: int
) -> None:
    at = 0
    while True:
        name = f"model-{at}"
        identity = begin(Case(db, world, name))
        mortal = Worker(db, world, "mortal", at)
        for _ in range(12):
            for lane in (Lane.WRITE, Lane.LOOK):
                mortal.advance(lane)
            if mortal.mortal.dead:
                break
            time_passes(db)
        finish(db, world, Worker(db, world, "heir"))
        with db.read() as session:
            operation = session.scalars(select(Operation).where(Operation.id == identity)).unique().one()
            events = session.scalars(select(Event).where(Event.operation_id == identity).order_by(Event.number)).all()
            current = operation.deployment.current
            assert operation.state == ends, (at, operation.error)
            assert (current.spec if current else None) == serves, at
        assert (world.things[name].serving if name in world.things else None) == serves, at
        assert puts - (ends == State.FAILED) <= world.effects["put", name] <= puts, at
        assert world.effects["delete", name] == (1 if serves is None else 0), at
        check_history(events)
        if not mortal.mortal.dead:
            break
        at += 1
    assert at > 8, "the worker passed fewer boundaries than an operation has"


def check_history(events: list[Event] | object) -> None:
    states = []
    for number, event in enumerate(events, start=1):  # type: ignore[arg-type, var-annotated, call-overload]
        assert event.number == number
        if not states or states[-1] != event.state:
            states.append(event.state)
    assert all(after in ALLOWED[before] for before, after in itertools.pairwise(states))
    assert states[-1] in FINAL
