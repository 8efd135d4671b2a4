"""What is asked all the time is answered from an index, however many finished operations there are."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Select, event, insert, select, text

from operations import ledger, sweep
from operations.clock import now
from operations.database import Database
from operations.ids import new_id
from operations.models import Deployment, Operation
from operations.settings import settings
from operations.states import Kind, Lane, State
from tests import rows

FINISHED = 3000

QUESTIONS: dict[str, tuple[Select[tuple[object]], str]] = {
    "due": (
        select(Operation.id).where(
            Operation.lane == Lane.WRITE, Operation.finished_at.is_(None), Operation.due_at <= now()
        ),
        # nothing is unfinished here, so both partial indexes are as empty and as good
        "ix_operations_(due|unfinished)",
    ),
    "tip": (
        select(Operation.id)
        .where(Operation.deployment_id == "x", Operation.finished_at.is_(None))
        .order_by(Operation.seq),
        "operations_un",
    ),
    "unclean": (
        select(Operation.id).where(Operation.unclean, Operation.finished_at < now() - 1),
        "ix_operations_unclean",
    ),
    "prune": (
        select(Operation.id).where(Operation.finished_at < now() - 1e9).order_by(Operation.finished_at).limit(500),
        "ix_operations_finished_at",
    ),
    "newest": (
        select(Operation.id).order_by(Operation.created_at.desc(), Operation.id.desc()).limit(101),
        "ix_operations_created_at_id",
    ),
}


@pytest.fixture
def full(db: Database) -> Database:
    """A history of finished operations, and statistics of it."""
    with db.write() as session:
        target = rows.target(session)
        deployment = Deployment(target_id=target.id, name="old")
        session.add(deployment)
        session.flush()
        session.execute(
            insert(Operation),
            [
                {
                    "id": new_id(),
                    "deployment_id": deployment.id,
                    "target_id": target.id,
                    "seq": number + 1,
                    "kind": Kind.UPDATE,
                    "state": State.SUCCEEDED,
                    "deadline_seconds": 1.0,
                    "principal": "tests",
                    "created_at": float(number),
                    "updated_at": float(number),
                    "finished_at": float(number) + 1,
                }
                for number in range(FINISHED)
            ],
        )
    with db.engine.execution_options(begin_to_write=True).begin() as connection:
        connection.execute(text("ANALYZE"))
    return db


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_plan_uses_the_index(full: Database, question: str) -> None:
    query, index = QUESTIONS[question]
    explain = "EXPLAIN QUERY PLAN " if full.engine.dialect.name == "sqlite" else "EXPLAIN "
    compiled = query.compile(full.engine, compile_kwargs={"literal_binds": True})
    with full.engine.connect() as connection:
        plan = "\n".join(str(tuple(row)) for row in connection.exec_driver_sql(explain + str(compiled)))
    assert re.search(index, plan), plan
    assert "Seq Scan on operations" not in plan
    assert "SCAN operations\n" not in plan


def test_a_tick_with_nothing_to_do_asks_little(full: Database) -> None:
    asked: list[str] = []
    event.listen(full.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    with full.read() as session:
        assert ledger.due_lanes(session) == set()
    about_operations = [statement for statement in asked if "FROM operations" in statement]
    assert len(about_operations) == len(Lane)


def test_old_operations_go_in_portions_and_open_ones_stay(full: Database) -> None:
    with full.write() as session:
        open_ = rows.submit(session, Kind.CREATE, name="new").id
    small = settings().model_copy(update={"prune_size": 1000, "keep_days": 1.0})
    removed = []
    while True:
        with full.write() as session:
            removed.append(sweep.prune(session, small))
        if removed[-1] == 0:
            break
    assert removed == [1000, 1000, 1000, 0]
    with full.read() as session:
        assert session.scalars(select(Operation.id)).all() == [open_]
