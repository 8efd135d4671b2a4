"""The same thing by many at the same moment."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from sqlalchemy import func, select

from operations import idempotency, ledger, problems, submit
from operations.database import Database
from operations.idempotency import Key, Stored
from operations.models import Deployment, Operation
from operations.states import Kind, Lane
from tests import rows
from tests.operations.test_submit import ME, RULES

T = TypeVar("T")


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_twenty_with_one_key_are_one_operation_and_twenty_equal_answers(db: Database) -> None:
    with db.write() as session:
        rows.target(session)
    key = Key("me", "POST", "/v1/deployments", "k", "hash")

    def send(_: int) -> Stored:
        with db.write() as session:
            stored = idempotency.begin(session, key)
            if stored is None:
                accepted = submit.create(session, rows.target(session), RULES, "iris", rows.spec(), {}, ME)
                assert accepted.operation is not None
                stored = Stored(202, {"ETag": accepted.etag}, {"id": accepted.operation.id})
                idempotency.keep(session, key, stored)
            return stored

    answers = at_once(20, send)
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].body
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Operation)) == 1


def test_a_key_with_another_body_is_refused_and_a_refused_request_keeps_no_key(db: Database) -> None:
    key = Key("me", "POST", "/v1/deployments", "k", "hash")
    with contextlib.suppress(problems.Busy), db.write() as session:
        assert idempotency.begin(session, key) is None
        raise problems.Busy("refused after the key was reserved")
    with db.write() as session:
        assert idempotency.begin(session, key) is None
        idempotency.keep(session, key, Stored(202, {}, {"id": "x"}))
    with db.write() as session:
        assert idempotency.begin(session, key) == Stored(202, {}, {"id": "x"})
        with pytest.raises(problems.IdempotencyKeyReuse):
            idempotency.begin(session, Key("me", "POST", "/v1/deployments", "k", "other"))
        assert idempotency.begin(session, Key("you", "POST", "/v1/deployments", "k", "other")) is None


def test_creating_the_same_name_at_once_takes_one(db: Database) -> None:
    with db.write() as session:
        rows.target(session)

    def send(_: int) -> bool:
        try:
            with db.write() as session:
                submit.create(session, rows.target(session), RULES, "iris", rows.spec(), {}, ME)
        except problems.DeploymentExists:
            return False
        return True

    assert sum(at_once(10, send)) == 1
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Deployment)) == 1


def test_each_due_operation_is_claimed_by_one(db: Database) -> None:
    with db.write() as session:
        for number in range(60):
            rows.submit(session, Kind.CREATE, name=f"model-{number}")

    def claim(number: int) -> list[str]:
        mine: list[str] = []
        while True:
            with db.write() as session:
                claim = ledger.claim(
                    session, worker=f"w{number}", lanes=[Lane.WRITE], offers=["memory"], limit=7, lease_seconds=60
                )
            if not claim.operations:
                return mine
            mine += [operation.id for operation in claim.operations]

    claimed = [identity for mine in at_once(6, claim) for identity in mine]
    assert len(claimed) == 60
    assert len(set(claimed)) == 60


def test_updates_of_one_deployment_at_once_get_their_own_numbers(db: Database) -> None:
    with db.write() as session:
        rows.target(session)
        submit.create(session, rows.target(session), RULES, "iris", rows.spec(), {}, ME)

    def send(number: int) -> int:
        with db.write() as session:
            spec = rows.spec(f"models:/iris/{number + 2}")
            accepted = submit.apply(session, rows.target(session), RULES, "iris", spec, None, ME)
            assert accepted.operation is not None
            return accepted.operation.seq

    assert sorted(at_once(8, send)) == list(range(2, 10))
    with db.read() as session:
        due = session.scalars(select(Operation.seq).where(Operation.due_at.is_not(None))).all()
    assert due == [1]


def test_who_waited_for_the_lock_sees_the_revision_that_landed_meanwhile(db: Database) -> None:
    with db.write() as session:
        operation = rows.submit(session, Kind.CREATE)
        deployment_id, revision_id = operation.deployment_id, operation.desired_id
    holding, waited = threading.Event(), threading.Event()

    def land() -> None:
        with db.write() as session:
            deployment = ledger.lock_deployment(session, deployment_id)
            holding.set()
            # the other one is waiting for this row by now, or begins only after it was written: both must hold
            waited.wait(0.5)
            deployment.current_id = revision_id

    def look() -> str | None:
        holding.wait()
        with db.write() as session:
            current = ledger.lock_deployment(session, deployment_id).current
            return current.id if current else None

    with ThreadPoolExecutor(2) as pool:
        landed, seen = pool.submit(land), pool.submit(look)
        landed.result()
        assert seen.result() == revision_id
