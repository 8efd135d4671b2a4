"""The engine over a target in memory: the ways an operation can go, and what is left on the target after each."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from adapters import registry
from adapters.contract import Denied, Permanent, Temporary
from operations import ledger, queue
from operations.clock import instant
from operations.database import Database
from operations.models import Deployment, Event, Operation
from operations.settings import settings
from operations.states import FINAL, Kind, Lane, State
from tests import rows
from tests.fakes.memory.world import WORLDS, Thing, World
from worker.engine import Engine


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
    monkeypatch.setattr(queue, "announce", lambda *_: None)
    monkeypatch.setattr(queue, "hint", lambda *_: None)
    world = WORLDS["memory:/one"] = World()
    yield world
    WORLDS.clear()


@pytest.fixture
def engine(db: Database, world: World) -> Iterator[Engine]:
    engine = make_engine(db, "one")
    yield engine
    engine.close()


def make_engine(db: Database, name: str) -> Engine:
    quick = settings().model_copy(update={"backoff_seconds": 0.001, "attempts": 3})
    return Engine(db, quick, worker=f"{name}@here", process=f"{name}#1", offers=["memory"])


def run(engine: Engine, db: Database, *, turns: int = 60) -> None:
    """Advance until nothing is unfinished."""
    for _ in range(turns):
        for lane in Lane:
            engine.advance(lane)
        with db.write() as session:
            # what waits a moment is due at once, so that no test has to wait
            session.execute(
                update(Operation).where(Operation.leased_by.is_(None), Operation.due_at.is_not(None)).values(due_at=0.0)
            )
            if session.scalars(select(Operation.id).where(Operation.finished_at.is_(None))).first() is None:
                return
    raise AssertionError(f"unfinished after {turns} turns")


def submit(db: Database, kind: Kind, document: dict | None = None, **values: object) -> str:
    with db.write() as session:
        return rows.submit(session, kind, document=document, **values).id


def get(db: Database, identity: str) -> Operation:
    with db.read() as session:
        return session.scalars(select(Operation).where(Operation.id == identity)).unique().one()


def states(db: Database, identity: str) -> list[State]:
    with db.read() as session:
        events = session.scalars(select(Event).where(Event.operation_id == identity).order_by(Event.number))
        seen: list[State] = []
        for event in events:
            if not seen or seen[-1] != event.state:
                seen.append(event.state)
        return seen


def created(db: Database, engine: Engine, document: dict | None = None) -> None:
    submit(db, Kind.CREATE, document)
    run(engine, db)


def test_create_goes_through_its_states_and_serves(db: Database, engine: Engine, world: World) -> None:
    identity = submit(db, Kind.CREATE)
    run(engine, db)
    operation = get(db, identity)
    assert states(db, identity) == [State.QUEUED, State.STARTING, State.WAITING, State.SUCCEEDED]
    assert operation.deployment.current_id == operation.desired_id
    assert operation.deployment.route == {"to": "iris"}
    assert world.things["iris"].serving == rows.spec()
    assert world.effects["put", "iris"] == 1


def test_operations_of_one_deployment_run_in_order(db: Database, engine: Engine, world: World) -> None:
    asked = [
        submit(db, Kind.CREATE),
        submit(db, Kind.UPDATE, rows.spec("models:/iris/2")),
        submit(db, Kind.DELETE),
        submit(db, Kind.CREATE, rows.spec("models:/iris/3")),
    ]
    run(engine, db)
    ended = [get(db, identity) for identity in asked]
    assert [o.state for o in ended] == [State.SUCCEEDED] * 4
    instants = [(o.started_at, o.finished_at) for o in ended]
    assert instants == sorted(instants)
    assert world.things["iris"].serving == rows.spec("models:/iris/3")


def test_fences_only_grow_over_the_operations_of_a_deployment(db: Database, engine: Engine, world: World) -> None:
    first = submit(db, Kind.CREATE)
    second = submit(db, Kind.UPDATE, rows.spec("models:/iris/2"))
    run(engine, db)
    assert get(db, first).fence < get(db, second).fence
    assert world.things["iris"].fence <= get(db, second).fence


def test_a_temporary_failure_is_tried_again(db: Database, engine: Engine, world: World) -> None:
    failures = iter([Temporary("try later", retry_in=0.001), OSError("connection reset")])

    def fail(verb: str, name: str) -> None:
        if verb == "put" and (error := next(failures, None)):
            raise error

    world.before = fail
    identity = submit(db, Kind.CREATE)
    run(engine, db)
    assert get(db, identity).state == State.SUCCEEDED


def test_a_lost_answer_is_adopted_not_repeated(db: Database, engine: Engine, world: World) -> None:
    lost = iter([OSError("connection reset")])

    def lose(verb: str, name: str) -> None:
        if verb == "put" and (error := next(lost, None)):
            raise error

    world.after = lose
    identity = submit(db, Kind.CREATE)
    run(engine, db)
    assert get(db, identity).state == State.SUCCEEDED
    assert world.effects["put", "iris"] == 1


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (Permanent("no such instance type"), "refused-by-target"),
        (Denied("no access"), "denied-by-target"),
        (OSError("connection reset"), "attempts-exhausted"),
    ],
)
def test_what_cannot_succeed_ends_failed_with_the_reason(
    db: Database, engine: Engine, world: World, error: Exception, slug: str
) -> None:
    def fail(verb: str, name: str) -> None:
        if verb == "put":
            raise error

    world.before = fail
    identity = submit(db, Kind.CREATE)
    run(engine, db)
    operation = get(db, identity)
    assert operation.state == State.FAILED
    assert operation.error is not None
    assert operation.error["type"] == f"/problems/{slug}"
    assert str(error) in operation.error["detail"]
    assert operation.deployment.current_id is None
    assert world.things == {}


def test_a_failed_update_is_undone_and_the_old_revision_serves(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)
    before = get(db, submit(db, Kind.UPDATE, rows.spec("models:/iris/2"))).deployment.current_id
    world.rolls_back = "out of capacity"
    run(engine, db)
    with db.read() as session:
        deployment = session.scalars(select(Deployment)).unique().one()
        last = session.scalars(select(Operation).order_by(Operation.seq.desc())).unique().first()
    assert last is not None
    assert last.state == State.FAILED
    assert last.error is not None
    assert last.error["type"] == "/problems/target-failed"
    assert "out of capacity" in last.error["detail"]
    assert deployment.current_id == before
    assert world.things["iris"].serving == rows.spec()


def test_a_foreign_thing_of_that_name_is_never_touched(db: Database, engine: Engine, world: World) -> None:
    world.things["iris"] = Thing(uid=None, serving=rows.spec("theirs"))
    identity = submit(db, Kind.CREATE)
    run(engine, db)
    operation = get(db, identity)
    assert operation.state == State.FAILED
    assert operation.error is not None
    assert operation.error["type"] == "/problems/conflict-on-target"
    assert world.things["iris"].serving == rows.spec("theirs")
    assert not world.effects


def test_past_its_deadline_an_operation_is_undone(db: Database, engine: Engine, world: World) -> None:
    world.looks = 1_000_000
    identity = submit(db, Kind.CREATE, deadline_seconds=3600.0)
    engine.advance(Lane.WRITE)
    with db.write() as session:
        session.execute(update(Operation).values(deadline_at=0.0))
    world.looks = 0
    world.things["iris"].looks_left = 0
    world.stuck = True
    world.before = lambda verb, name: setattr(world, "stuck", False)
    world.things["iris"].coming = rows.spec("models:/other/1")
    run(engine, db)
    operation = get(db, identity)
    assert operation.state == State.FAILED
    assert operation.error is not None
    assert operation.error["type"] == "/problems/deadline-exceeded"
    assert world.things == {}


def test_a_queued_operation_is_cancelled_at_once_and_the_next_starts(
    db: Database, engine: Engine, world: World
) -> None:
    first = submit(db, Kind.CREATE)
    second = submit(db, Kind.CREATE, rows.spec("models:/iris/2"))
    with db.write() as session:
        ledger.cancel(session, first, "tests")
    assert get(db, first).state == State.CANCELLED
    run(engine, db)
    assert get(db, second).state == State.SUCCEEDED
    assert world.things["iris"].serving == rows.spec("models:/iris/2")


def test_cancelling_what_is_under_way_takes_it_back(db: Database, engine: Engine, world: World) -> None:
    world.looks = 3
    identity = submit(db, Kind.CREATE)
    engine.advance(Lane.WRITE)
    assert get(db, identity).state == State.WAITING
    with db.write() as session:
        ledger.cancel(session, identity, "tests")
        ledger.cancel(session, identity, "tests")
    run(engine, db)
    operation = get(db, identity)
    assert operation.state == State.CANCELLED
    assert states(db, identity) == [
        State.QUEUED,
        State.STARTING,
        State.WAITING,
        State.UNDOING,
        State.CANCELLED,
    ]
    assert world.things == {}


def test_a_cancel_after_the_end_is_too_late(db: Database, engine: Engine, world: World) -> None:
    identity = submit(db, Kind.CREATE)
    run(engine, db)
    with db.write() as session, pytest.raises(ledger.TooLate):
        ledger.cancel(session, identity, "tests")


def test_a_relative_change_fails_when_its_base_did(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)
    with db.write() as session:
        update_row = rows.submit(session, Kind.UPDATE, document=rows.spec("models:/iris/2"))
        base = update_row.desired_id
        relative = rows.submit(
            session, Kind.TRAFFIC, document=rows.spec("models:/iris/2", size=2), relative=True, base_id=base
        ).id
        ledger.cancel(session, update_row.id, "tests")
    run(engine, db)
    operation = get(db, relative)
    assert operation.state == State.FAILED
    assert operation.error is not None
    assert operation.error["type"] == "/problems/base-changed"
    assert world.things["iris"].serving == rows.spec()


def test_a_frozen_worker_that_comes_back_changes_nothing(db: Database, engine: Engine, world: World) -> None:
    identity = submit(db, Kind.CREATE)
    other = make_engine(db, "two")
    woken: list[bool] = []

    def freeze(verb: str, name: str) -> None:
        if verb == "put" and not woken:
            woken.append(True)
            # the lease runs out while the first worker sleeps, and the second brings the operation to its end
            with db.write() as session:
                session.execute(update(Operation).values(due_at=0.0))
            run(other, db)

    world.before = freeze
    engine.advance(Lane.WRITE)
    operation = get(db, identity)
    assert operation.state == State.SUCCEEDED
    assert operation.fence > 1
    assert world.effects["put", "iris"] == 1
    with db.read() as session:
        numbers = session.scalars(select(Event.number).where(Event.operation_id == identity)).all()
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    other.close()


def test_an_unreachable_target_costs_no_attempts(db: Database, engine: Engine, world: World) -> None:
    down = [True] * 20

    def fail(verb: str, name: str) -> None:
        if verb == "list" and down:
            down.pop()
            raise Temporary("connection refused")

    world.before = fail
    identity = submit(db, Kind.CREATE)
    run(engine, db, turns=100)
    operation = get(db, identity)
    assert operation.state == State.SUCCEEDED


def test_one_list_call_looks_at_many(db: Database, engine: Engine, world: World) -> None:
    with db.write() as session:
        for number in range(30):
            rows.submit(session, Kind.CREATE, name=f"model-{number}")
    engine.advance(Lane.WRITE)
    calls = world.calls["list"]
    with db.write() as session:
        session.execute(update(Operation).values(due_at=0.0))
    engine.advance(Lane.LOOK)
    assert world.calls["list"] == calls + 1


def test_the_limit_of_a_target_postpones_and_says_until_when(db: Database, engine: Engine, world: World) -> None:
    with db.write() as session:
        rows.target(session, limits={"writes": 2, "per_seconds": 1000.0})
        for number in range(3):
            rows.submit(session, Kind.CREATE, name=f"model-{number}")
    engine.advance(Lane.WRITE)
    with db.read() as session:
        waiting = session.scalars(select(Operation).where(Operation.waits_for.is_not(None))).unique().all()
    assert world.calls["put"] == 1
    assert len(waiting) == 2
    assert all(o.not_before and "2 writes in 1000 s" in (o.waits_for or "") for o in waiting)
    # waiting for the limit is not the target being slow
    assert all(o.deadline_at - o.started_at >= o.deadline_seconds + 900 for o in waiting)  # type: ignore[operator]


def test_a_limit_that_is_changed_holds_from_then_on(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)
    with db.write() as session:
        rows.target(session).limits = {"writes": 2, "per_seconds": 1000.0}
        rows.target(session).tokens, rows.target(session).tokens_at = 0.0, instant(session)
        rows.submit(session, Kind.UPDATE, document=rows.spec("models:/iris/2"))
    engine.advance(Lane.WRITE)
    with db.read() as session:
        waiting = session.scalars(select(Operation).where(Operation.waits_for.is_not(None))).unique().all()
    assert ["2 writes in 1000 s" in (operation.waits_for or "") for operation in waiting] == [True]


def test_tokens_of_the_next_moments_are_waited_for_and_each_call_keeps_to_its_instant(
    db: Database, engine: Engine, world: World
) -> None:
    at: list[float] = []
    world.before = lambda call, _: at.append(time.monotonic()) if call == "put" else None
    with db.write() as session:
        rows.target(session, limits={"writes": 20, "per_seconds": 2.0})
        for number in range(8):
            rows.submit(session, Kind.CREATE, name=f"model-{number}")
    engine.advance(Lane.WRITE)
    with db.read() as session:
        states = list(session.scalars(select(Operation.state)))
    assert states == [State.WAITING] * 8
    spacing = 2.5 / 19  # a token was there when all was asked for, seven came one by one
    assert at[-1] - at[0] >= 6 * spacing


@pytest.mark.parametrize("kind", [Kind.DELETE])
def test_delete_of_what_is_gone_succeeds(db: Database, engine: Engine, world: World, kind: Kind) -> None:
    created(db, engine)
    world.things.clear()
    identity = submit(db, kind)
    run(engine, db)
    operation = get(db, identity)
    assert operation.state == State.SUCCEEDED
    assert operation.deployment.current_id is None


def test_every_final_operation_has_no_lease_and_nothing_due(db: Database, engine: Engine, world: World) -> None:
    submit(db, Kind.CREATE)
    submit(db, Kind.DELETE)
    run(engine, db)
    with db.read() as session:
        for operation in session.scalars(select(Operation)).unique():
            assert operation.state in FINAL
            assert operation.due_at is None
            assert operation.leased_by is None


def test_one_that_waits_can_be_cancelled_while_another_is_under_way(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)
    world.looks = 3
    submit(db, Kind.UPDATE, rows.spec("models:/iris/2"))
    engine.advance(Lane.WRITE)
    waiting = submit(db, Kind.UPDATE, rows.spec("models:/iris/3"))
    with db.write() as session:
        ledger.cancel(session, waiting, "tests")
    assert get(db, waiting).state == State.CANCELLED
    run(engine, db)
    assert world.things["iris"].serving == rows.spec("models:/iris/2")
