"""Drift, reconciling, adopting, taking back, and what a takeover means on a target without preconditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from operations import queries, submit, sweep
from operations.database import Database
from operations.models import Deployment, Operation, Target
from operations.problems import DeploymentNotFound
from operations.settings import settings
from operations.states import Kind, Lane, State
from operations.submit import Asked
from tests import rows
from tests.fakes.memory import describe
from tests.fakes.memory.world import Thing, World
from tests.operations.test_submit import RULES
from tests.worker.test_engine import Engine, created, engine, get, make_engine, run, world

__all__ = ["engine", "world"]

ME = Asked("tests")


def deployment(db: Database) -> Deployment:
    with db.read() as session:
        return session.scalars(select(Deployment)).unique().one()


def observe(db: Database, engine: Engine) -> dict[str, Any]:
    with db.write() as session:
        session.execute(update(Target).values(observe_due_at=0.0))
    engine.advance(Lane.LOOK)
    return deployment(db).observed


def test_what_serves_as_recorded_is_in_sync(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)
    assert observe(db, engine)["state"] == "in_sync"
    with db.read() as session:
        due = session.scalars(select(Target.observe_due_at)).one()
    assert due is not None
    assert due > 1_000_000


def test_what_was_changed_by_other_hands_is_drifted_with_the_difference(
    db: Database, engine: Engine, world: World
) -> None:
    created(db, engine)
    world.things["iris"].serving = rows.spec("models:/iris/9")
    observed = observe(db, engine)
    assert observed["state"] == "drifted"
    assert observed["difference"]["variants"]["observed"][0]["model_uri"] == "models:/iris/9"
    assert world.things["iris"].serving == rows.spec("models:/iris/9")


def test_what_is_gone_is_missing_and_reconcile_brings_it_back(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)
    del world.things["iris"]
    assert observe(db, engine)["state"] == "missing"
    with db.write() as session:
        accepted = submit.reconcile(session, rows.target(session), "iris", ME, rules=RULES)
    assert accepted.operation is not None
    run(engine, db)
    assert get(db, accepted.operation.id).state == State.SUCCEEDED
    assert world.things["iris"].serving == rows.spec()
    assert observe(db, engine)["state"] == "in_sync"


def test_what_was_deleted_and_is_there_all_the_same_is_shown_and_can_be_deleted_again(
    db: Database, engine: Engine, world: World
) -> None:
    created(db, engine)
    observe(db, engine)
    with db.write() as session:
        submit.delete(session, rows.target(session), "iris", ME, rules=RULES)
    run(engine, db)
    assert observe(db, engine) == {}
    with db.read() as session, pytest.raises(DeploymentNotFound):
        queries.get_deployment(session, rows.target(session), "iris")

    world.things["iris"] = Thing(deployment(db).id, rows.spec())  # a call that was lost on its way has arrived
    assert observe(db, engine)["state"] == "drifted"
    with db.read() as session:
        shown = queries.get_deployment(session, rows.target(session), "iris")
        assert shown.observed["difference"]["deployment"]["observed"] == rows.spec()
    with db.write() as session:
        submit.delete(session, rows.target(session), "iris", ME, rules=RULES)
    run(engine, db)
    assert world.things == {}
    assert observe(db, engine) == {}

    world.things["iris"] = Thing(deployment(db).id, rows.spec())
    assert observe(db, engine)["state"] == "drifted"
    del world.things["iris"]
    assert observe(db, engine) == {}


def test_reconcile_undoes_drift(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)
    world.things["iris"].serving = rows.spec("models:/iris/9")
    with db.write() as session:
        submit.reconcile(session, rows.target(session), "iris", ME, rules=RULES)
    run(engine, db)
    assert world.things["iris"].serving == rows.spec()


def test_a_target_that_does_not_answer_is_unknown(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)

    def fail(verb: str, name: str) -> None:
        raise OSError("connection refused")

    world.before = fail
    observed = observe(db, engine)
    assert observed["state"] == "unknown"
    assert "connection refused" in observed["message"]


def test_what_is_under_way_is_not_judged(db: Database, engine: Engine, world: World) -> None:
    created(db, engine)
    with db.write() as session:
        rows.submit(session, Kind.UPDATE, document=rows.spec("models:/iris/2"))
    del world.things["iris"]
    assert observe(db, engine) == {}


def test_adopting_takes_over_what_serves_and_marks_it(db: Database, engine: Engine, world: World) -> None:
    world.things["iris"] = Thing(uid=None, serving=rows.spec("models:/theirs/3"))
    with db.write() as session:
        accepted = submit.adopt(session, rows.target(session), RULES, "iris", {"team": "fraud"}, ME)
    run(engine, db)
    assert accepted.operation is not None
    operation = get(db, accepted.operation.id)
    assert operation.state == State.SUCCEEDED, operation.error
    row = deployment(db)
    assert row.current is not None
    assert row.current.spec == rows.spec("models:/theirs/3")
    assert world.things["iris"].uid == row.id
    assert world.things["iris"].serving == rows.spec("models:/theirs/3")


@pytest.mark.parametrize("owner", [None, "somebody"])
def test_adopting_what_is_not_there_or_not_free_fails(
    db: Database, engine: Engine, world: World, owner: str | None
) -> None:
    if owner is not None:
        world.things["iris"] = Thing(uid=owner, serving=rows.spec("models:/theirs/3"))
    with db.write() as session:
        accepted = submit.adopt(session, rows.target(session), RULES, "iris", {}, ME)
    run(engine, db)
    assert accepted.operation is not None
    assert get(db, accepted.operation.id).state == State.FAILED
    assert not world.effects
    assert [thing.uid for thing in world.things.values()] == ([owner] if owner else [])


def test_what_could_not_be_taken_back_is_listed_and_taken_back_on_request(
    db: Database, engine: Engine, world: World
) -> None:
    def refuse(verb: str, name: str) -> None:
        if verb == "delete":
            raise OSError("connection reset")

    world.before = refuse
    world.rolls_back = "image not found"
    with db.write() as session:
        identity = rows.submit(session, Kind.CREATE).id
    run(engine, db)
    operation = get(db, identity)
    assert operation.state == State.FAILED
    assert [(left["kind"], left["name"]) for left in operation.leftovers] == [("deployment", "iris")]
    assert "connection reset" in operation.leftovers[0]["why"]
    assert "iris" in world.things
    world.before = None
    with db.write() as session:
        again = submit.take_back(session, identity, ME).operation
        twice = submit.take_back(session, identity, ME).operation
    assert again is not None
    assert twice is not None
    assert again.id == twice.id
    run(engine, db)
    assert get(db, again.id).state == State.SUCCEEDED
    assert world.things == {}


def test_the_sweep_takes_back_by_itself_after_a_while(db: Database, engine: Engine, world: World) -> None:
    test_what_could_not_be_taken_back_is_listed_and_taken_back_on_request(db, engine, world)
    world.rolls_back = "image not found"
    world.before = lambda verb, name: _refuse_deletes(verb)
    with db.write() as session:
        identity = rows.submit(session, Kind.CREATE).id
    run(engine, db)
    world.before = None
    with db.write() as session:
        assert sweep.unclean(session, settings()) == []
        session.execute(update(Operation).where(Operation.id == identity).values(finished_at=1.0))
        assert sweep.unclean(session, settings()) == [identity]
        assert sweep.clean(session, identity) is not None
        assert sweep.unclean(session, settings()) == []
    run(engine, db)
    assert world.things == {}


def _refuse_deletes(verb: str) -> None:
    if verb == "delete":
        raise OSError("connection reset")


@pytest.fixture
def without_preconditions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    able = replace(describe.DESCRIPTION.capabilities, has_preconditions=False)
    monkeypatch.setattr(describe, "DESCRIPTION", replace(describe.DESCRIPTION, capabilities=able))
    return


@pytest.mark.usefixtures("without_preconditions")
def test_after_a_takeover_the_next_operation_waits_and_success_is_verified_once_more(
    db: Database, engine: Engine, world: World
) -> None:
    with db.write() as session:
        first = rows.submit(session, Kind.CREATE).id
        second = rows.submit(session, Kind.UPDATE, document=rows.spec("models:/iris/2")).id
    engine.advance(Lane.WRITE)
    with db.write() as session:
        # the worker falls silent in the middle of a call
        session.execute(
            update(Operation).where(Operation.id == first).values(leased_by="gone/1", due_at=0.0, lane=Lane.WRITE)
        )
    other = make_engine(db, "two")
    for _ in range(6):
        other.advance(Lane.WRITE)
        with db.write() as session:
            session.execute(update(Operation).where(Operation.id == first, Operation.due_at > 0).values(due_at=0.0))
        other.advance(Lane.LOOK)
    assert get(db, first).state == State.SUCCEEDED
    waiting = get(db, second)
    assert waiting.state == State.QUEUED
    assert waiting.not_before is not None
    assert "lost worker" in (waiting.waits_for or "")
    with db.read() as session:
        due = session.scalars(select(Target.observe_due_at)).one()
    assert due is not None
    with db.write() as session:
        session.execute(update(Deployment).values(contested_until=0.0))
    run(other, db)
    assert get(db, second).state == State.SUCCEEDED
    other.close()
