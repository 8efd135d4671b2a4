"""Batches over the engine: released under limits, stopped in time, steered at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from operations import ledger, submit
from operations.admission import Asked
from operations.batches import records, releasing
from operations.batches.models import ENDED, Batch, BatchItem, BatchState, ItemState
from operations.batches.records import Wanted
from operations.database import Database
from operations.models import Deployment, Operation
from operations.states import FINAL, Kind, Lane, State
from tests import rows
from tests.fakes.memory.world import World
from tests.operations.test_submit import RULES
from tests.worker.test_engine import Engine, engine, world
from tests.worker.virtual_time import VirtualTime, virtual_time

__all__ = ["engine", "world"]

ME = Asked("me")
NEW = {"action": "update", "model_uri": "models:/iris/2"}


@pytest.fixture
def clock(db: Database) -> Iterator[VirtualTime]:
    with virtual_time(db) as time:
        yield time


def deployments(db: Database, world: World, count: int, **labels: str) -> list[Wanted]:
    """So many, as if created long ago."""
    with db.write() as session:
        target = rows.target(session)
        there = len(world.things)
        for number in range(there, there + count):
            rows.submit(session, Kind.CREATE, name=f"m{number:04}")
    return found_after(db, target.id, there, labels)


def found_after(db: Database, target_id: str, there: int, labels: dict[str, str]) -> list[Wanted]:
    with db.read() as session:
        all_ = session.scalars(select(Deployment).order_by(Deployment.name)).unique().all()
        return [Wanted(target_id, row.name, row.id, None, labels, row.generation) for row in all_[there:]]


def begin(db: Database, items: list[Wanted], change: dict[str, Any] = NEW, **strategy: Any) -> str:
    with db.write() as session:
        return records.create(session, change=change, selection=None, strategy=strategy, items=items, asked=ME).id


def turn(clock: VirtualTime, engine: Engine, seconds: float = 1.0) -> None:
    clock.passes(seconds)
    for lane in (Lane.BULK, Lane.WRITE, Lane.LOOK):
        engine.advance(lane)


def until_ended(db: Database, clock: VirtualTime, engine: Engine, identity: str, turns: int = 200) -> Batch:
    for _ in range(turns):
        if batch(db, identity).state in ENDED:
            return batch(db, identity)
        turn(clock, engine)
    raise AssertionError(f"still {batch(db, identity).state}: {counts(db, identity)}")


def batch(db: Database, identity: str) -> Batch:
    with db.read() as session:
        return records.get(session, identity)


def counts(db: Database, identity: str) -> dict[ItemState, int]:
    with db.read() as session:
        return records.counts(session, identity)


def settled(db: Database, clock: VirtualTime, engine: Engine, world: World, count: int, **labels: str) -> list[Wanted]:
    items = deployments(db, world, count, **labels)
    for _ in range(60):
        turn(clock, engine)
        with db.read() as session:
            if not session.scalar(select(func.count()).where(Operation.finished_at.is_(None))):
                break
    with db.read() as session:
        generations = dict(session.execute(select(Deployment.id, Deployment.generation)).all())
    return [
        Wanted(i.target_id, i.name, i.deployment_id, None, labels, generations[i.deployment_id or ""]) for i in items
    ]


def test_everything_is_brought_to_the_new_version_once(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 7)
    identity = begin(db, items, max_concurrent=3)
    for _ in range(200):
        turn(clock, engine)
        assert counts(db, identity).get(ItemState.RELEASED, 0) <= 3
        if batch(db, identity).state in ENDED:
            break
    assert batch(db, identity).state == BatchState.SUCCEEDED
    assert counts(db, identity) == {ItemState.SUCCEEDED: 7}
    assert all(thing.serving["variants"][0]["model_uri"] == "models:/iris/2" for thing in world.things.values())
    assert all(world.effects["put", item.name] == 2 for item in items)
    with db.read() as session:
        lanes = session.scalars(select(Operation.bulk).where(Operation.batch_id == identity)).all()
    assert lanes == [True] * 7


def test_what_is_up_to_date_is_unchanged_and_what_cannot_be_is_refused(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 2)
    target = items[0].target_id
    same = Wanted(target, items[0].name, items[0].deployment_id, {"action": "update", "model_uri": "models:/iris/1"})
    absent = Wanted(target, "nobody", None, NEW)
    identity = begin(db, [same, items[1], absent], max_failures=2)
    assert until_ended(db, clock, engine, identity).state == BatchState.PARTLY_FAILED
    assert counts(db, identity) == {ItemState.UNCHANGED: 1, ItemState.SUCCEEDED: 1, ItemState.REFUSED: 1}
    with db.read() as session:
        refused = session.scalars(select(BatchItem).where(BatchItem.state == ItemState.REFUSED)).one()
    assert refused.error is not None
    assert refused.error["type"] == "/problems/deployment-not-found"


def test_a_busy_deployment_is_passed_over_and_takes_no_slot(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 2)
    world.stuck = True
    with db.write() as session:
        change = {"config": {"size": 5}}
        submit.patch(session, rows.target(session), RULES, items[0].name, change, ME)
    turn(clock, engine)
    identity = begin(db, items, max_concurrent=1)
    turn(clock, engine)
    with db.read() as session:
        states = dict(session.execute(select(BatchItem.number, BatchItem.state)).all())
    assert states == {1: ItemState.PENDING, 2: ItemState.RELEASED}
    world.stuck = False
    assert until_ended(db, clock, engine, identity).state == BatchState.SUCCEEDED


def test_the_second_batch_of_a_deployment_waits_for_the_first(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 3)
    first = begin(db, items, max_concurrent=1)
    second = begin(db, items, {"action": "update", "model_uri": "models:/iris/3"})
    for _ in range(200):
        turn(clock, engine)
        with db.read() as session:
            pending = set(
                session.scalars(
                    select(BatchItem.name).where(BatchItem.batch_id == first, BatchItem.state == ItemState.PENDING)
                )
            )
            released = set(
                session.scalars(
                    select(BatchItem.name).where(BatchItem.batch_id == second, BatchItem.state != ItemState.PENDING)
                )
            )
        assert not pending & released
        if batch(db, second).state in ENDED:
            break
    assert batch(db, first).state == batch(db, second).state == BatchState.SUCCEEDED
    assert {thing.serving["variants"][0]["model_uri"] for thing in world.things.values()} == {"models:/iris/3"}


def test_waves_soak_and_await_approval(db: Database, clock: VirtualTime, engine: Engine, world: World) -> None:
    items = settled(db, clock, engine, world, 6)
    waves = [{"size": 1, "soak_seconds": 30.0}, {"size": "34%", "approval": True}]
    identity = begin(db, items, waves=waves)
    while not counts(db, identity).get(ItemState.SUCCEEDED):
        turn(clock, engine)
    turn(clock, engine, 20)
    assert counts(db, identity) == {ItemState.SUCCEEDED: 1, ItemState.PENDING: 5}
    assert "soaks" in batch(db, identity).reason
    while batch(db, identity).state != BatchState.AWAITING_APPROVAL:
        turn(clock, engine, 11)
    turn(clock, engine, 1000)
    assert counts(db, identity) == {ItemState.SUCCEEDED: 4, ItemState.PENDING: 2}
    for _ in range(2):
        with db.write() as session:
            records.approve(session, identity, 1)
    assert until_ended(db, clock, engine, identity).state == BatchState.SUCCEEDED


def test_outside_its_window_nothing_starts(db: Database, clock: VirtualTime, engine: Engine, world: World) -> None:
    items = settled(db, clock, engine, world, 4)
    identity = begin(db, items, max_concurrent=1, start=clock.at + 100, end=clock.at + 103)
    turn(clock, engine)
    assert counts(db, identity) == {ItemState.PENDING: 4}
    turn(clock, engine, 100)
    for _ in range(10):
        turn(clock, engine)
    paused = batch(db, identity)
    assert paused.state == BatchState.PAUSED
    assert "window has ended" in paused.reason
    assert counts(db, identity)[ItemState.PENDING] > 0
    with db.write() as session:
        records.adjust(session, identity, {"end": None})
        records.resume(session, identity)
    assert until_ended(db, clock, engine, identity).state == BatchState.SUCCEEDED


def test_what_was_released_and_has_not_begun_is_withdrawn_by_a_pause(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 3)
    identity = begin(db, items, max_concurrent=2)
    clock.passes(1)
    engine._releaser.run()
    for _ in range(2):
        with db.write() as session:
            records.pause(session, identity)
    for _ in range(3):
        turn(clock, engine)
    assert counts(db, identity) == {ItemState.PENDING: 3}
    assert all(world.effects["put", item.name] == 1 for item in items)
    with db.write() as session:
        records.resume(session, identity)
    assert until_ended(db, clock, engine, identity).state == BatchState.SUCCEEDED


def test_abort_cancels_what_is_queued_and_starts_nothing(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 5)
    identity = begin(db, items, max_concurrent=2, max_failures=5)
    clock.passes(1)
    engine._releaser.run()
    assert counts(db, identity) == {ItemState.RELEASED: 2, ItemState.PENDING: 3}
    for _ in range(2):
        with db.write() as session:
            records.end(session, identity, BatchState.ABORTED, "aborted", by="me")
    assert until_ended(db, clock, engine, identity).state == BatchState.ABORTED
    assert counts(db, identity) == {ItemState.CANCELLED: 2, ItemState.NOT_STARTED: 3}


def test_a_plan_is_aborted_without_a_worker(db: Database, clock: VirtualTime, engine: Engine, world: World) -> None:
    items = settled(db, clock, engine, world, 2)
    with db.write() as session:
        plan = records.create(session, change=NEW, selection=None, strategy={}, items=items, asked=ME, planned=True)
    for _ in range(2):
        with db.write() as session:
            records.end(session, plan.id, BatchState.ABORTED, "aborted", by="me")
    assert batch(db, plan.id).state == BatchState.ABORTED
    assert batch(db, plan.id).finished_at == clock.at
    assert counts(db, plan.id) == {ItemState.NOT_STARTED: 2}


def test_a_batch_that_is_aborted_during_a_turn_before_its_window_ends_at_once(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 1)
    identity = begin(db, items, start=clock.at + 1_000_000)
    with db.write() as session:
        taken = releasing.take(session, "other", 60.0)
        assert taken is not None
    with db.write() as session:
        records.end(session, identity, BatchState.ABORTED, "aborted", by="me")
    with db.write() as session:
        releasing.give_back(session, identity, "other")
    assert until_ended(db, clock, engine, identity, turns=3).state == BatchState.ABORTED


def test_a_batch_whose_items_were_cancelled_one_by_one_did_not_succeed(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 2)
    identity = begin(db, items, max_failures=2)
    clock.passes(1)
    engine._releaser.run()
    with db.write() as session:
        ids = session.scalars(select(Operation.id).where(Operation.batch_id == identity)).all()
        ledger.cancel(session, ids[0], "somebody")
    assert until_ended(db, clock, engine, identity).state == BatchState.PARTLY_FAILED
    assert counts(db, identity) == {ItemState.SUCCEEDED: 1, ItemState.CANCELLED: 1}


def test_roll_back_changed_returns_each_to_its_own_previous_revision(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 4)
    with db.write() as session:
        submit.patch(session, rows.target(session), RULES, items[0].name, {"config": {"size": 9}}, ME)
    for _ in range(6):
        turn(clock, engine)
    before = {name: thing.serving for name, thing in world.things.items()}
    refused = {**rows.spec("models:/iris/2"), "traffic": {"main": 100}}
    bad = [*items[:3], Wanted(items[3].target_id, items[3].name, items[3].deployment_id, {**NEW, "model_uri": "bad"})]
    world.refuses = {**refused, "variants": [{**refused["variants"][0], "model_uri": "bad"}]}
    identity = begin(db, bad, max_concurrent=1, max_failures=1, on_failure="roll_back_changed")
    ended = until_ended(db, clock, engine, identity)
    # all but the bad one were changed before it was its turn, and no item is left to stop for
    assert ended.state == BatchState.PARTLY_FAILED
    with db.write() as session:
        child = records.roll_back(session, identity, ME).id
    with db.write() as session:
        assert records.roll_back(session, identity, ME).id == child
    assert until_ended(db, clock, engine, child).state == BatchState.SUCCEEDED
    assert {name: thing.serving for name, thing in world.things.items()} == before


def test_a_plan_starts_only_if_nothing_has_changed(
    db: Database, clock: VirtualTime, engine: Engine, world: World
) -> None:
    items = settled(db, clock, engine, world, 2)
    with db.write() as session:
        plans = [
            records.create(session, change=NEW, selection=None, strategy={}, items=items, asked=ME, planned=True).id
            for _ in range(2)
        ]
    turn(clock, engine)
    assert counts(db, plans[0]) == {ItemState.PENDING: 2}
    with db.write() as session:
        records.start(session, plans[0])
    assert until_ended(db, clock, engine, plans[0]).state == BatchState.SUCCEEDED
    with db.write() as session, pytest.raises(records.PlanStale, match=items[0].name):
        records.start(session, plans[1])


@given(
    fails=st.lists(st.booleans(), min_size=1, max_size=12),
    max_failures=st.integers(1, 4),
    max_concurrent=st.integers(1, 12),
    looks=st.lists(st.integers(0, 3), min_size=1, max_size=12),
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_tolerance_is_never_exceeded(
    db: Database,
    clock: VirtualTime,
    engine: Engine,
    world: World,
    fails: list[bool],
    max_failures: int,
    max_concurrent: int,
    looks: list[int],
) -> None:
    start = len(world.things)
    items = settled(db, clock, engine, world, len(fails))
    refused = rows.spec("models:/refused/1")
    world.refuses = refused
    asked = [
        Wanted(i.target_id, i.name, i.deployment_id, {**NEW, "model_uri": "models:/refused/1"} if bad else None)
        for i, bad in zip(items, fails, strict=True)
    ]
    identity = begin(db, asked, max_failures=max_failures, max_concurrent=max_concurrent)
    for number in range(300):
        world.looks = looks[number % len(looks)]
        turn(clock, engine)
        found = counts(db, identity)
        assert found.get(ItemState.FAILED, 0) + found.get(ItemState.RELEASED, 0) <= max(
            max_failures, found.get(ItemState.FAILED, 0)
        )
        assert found.get(ItemState.FAILED, 0) <= max_failures
        if batch(db, identity).state in ENDED:
            break
    world.looks, world.refuses = 0, None
    ended = batch(db, identity)
    assert ended.state in ENDED
    failed = counts(db, identity).get(ItemState.FAILED, 0)
    assert sum(counts(db, identity).values()) == len(fails)
    if ended.state == BatchState.STOPPED:
        assert failed == max_failures
    else:
        assert failed == sum(fails)
    with db.read() as session:
        states = session.scalars(select(Operation.state).where(Operation.batch_id == identity)).all()
    assert set(states) <= FINAL
    assert states.count(State.FAILED) == failed
    assert len(world.things) == start + len(fails)
