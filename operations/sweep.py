"""What is done now and then by one worker of all: old rows go, and what was left behind is tried again.

Each part takes a bounded number of rows, found through an index, and may run in two workers at once.
"""

from __future__ import annotations

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.orm import Session

from operations import questions, submit
from operations.batches.models import Batch, BatchState
from operations.clock import now
from operations.models import Deployment, IdempotencyKey, Operation, Target, Worker
from operations.problems import Refused
from operations.settings import Settings
from operations.submit import Asked

SWEEPER = Asked("sweep")
PLAN_SECONDS = 86_400.0  # a plan that nobody started


def prune(session: Session, settings: Settings) -> int:
    """Remove a portion of what is older than the settings keep. Returns how many operations went."""
    old = session.scalars(
        select(Operation.id)
        .where(Operation.finished_at < now() - settings.keep_days * 86_400)
        .order_by(Operation.finished_at)
        .limit(settings.prune_size)
    ).all()
    session.execute(delete(Operation).where(Operation.id.in_(old)))
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now() - settings.idempotency_hours * 3600))
    ended = Batch.finished_at < now() - settings.keep_days * 86_400
    forgotten = and_(Batch.state == BatchState.PLANNED, Batch.created_at < now() - PLAN_SECONDS)
    old_batches = session.scalars(select(Batch.id).where(or_(ended, forgotten)).limit(1)).all()
    session.execute(delete(Batch).where(Batch.id.in_(old_batches)))
    session.execute(delete(Worker).where(Worker.heard_at < now() - 86_400))
    questions.prune(session)
    return len(old)


def unclean(session: Session, settings: Settings) -> list[str]:
    """Operations whose leftovers are due to be tried again."""
    return list(
        session.scalars(
            select(Operation.id)
            .where(Operation.unclean, Operation.finished_at < now() - settings.leftover_seconds)
            .limit(settings.prune_size)
        )
    )


def clean(session: Session, operation_id: str) -> Operation | None:
    """Submit what removes an operation's leftovers; None where a later operation has taken that over."""
    try:
        accepted = submit.take_back(session, operation_id, SWEEPER)
    except Refused:
        session.execute(update(Operation).where(Operation.id == operation_id).values(unclean=False))
        return None
    return accepted.operation


def schedule_observation(session: Session, settings: Settings) -> None:
    """Have every target with deployments observed in its turn, if the settings ask for it."""
    if settings.observe_seconds:
        session.execute(
            update(Target)
            .where(Target.observe_due_at.is_(None), Target.id.in_(select(Deployment.target_id)))
            .values(observe_due_at=now() + settings.observe_seconds)
        )
