"""The one door through which an operation's state changes, and the leases under which workers hold operations.

Every function takes an open session and makes no call to anything but the database. The row of the deployment is
locked before those of its operations, everywhere, so that writers cannot block each other in a circle.

``due_at`` carries the lease: a claim sets it to when the lease ends, so that one indexed question (*what is due?*)
finds lost messages, expired leases, due looks and successors alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, exists, select, update
from sqlalchemy.orm import Session, raiseload

from operations import observing, questions
from operations.batches.models import Batch
from operations.clock import instant, now
from operations.ids import new_id
from operations.models import Deployment, Event, Operation, Target
from operations.states import ALLOWED, FINAL, Kind, Lane, State


class TooLate(Exception):
    """The operation can no longer be cancelled."""


class NotAllowed(AssertionError):
    """A transition that the table does not have: a defect, never a user's fault."""


@dataclass(frozen=True)
class Claim:
    """What one worker holds: operations as they were when claimed, under one token, at the database's time ``at``.

    ``taken_over`` are those whose former holder let its lease run out; a call of it may still be under way.
    """

    token: str
    at: float
    operations: Sequence[Operation]
    taken_over: frozenset[str]


def move(session: Session, operation: Operation, state: State, *, message: str = "", by: str) -> None:
    """Bring an operation to ``state`` and write the event. Raises NotAllowed outside the table.

    A final state ends the lease and lets the deployment's next operation start: the deployment's row must be locked.
    """
    if state not in ALLOWED[operation.state]:
        raise NotAllowed(f"operation {operation.id}: {operation.state} may not become {state}")
    at = instant(session)
    # state and end together, so that no flush in between shows two operations of the deployment under way
    operation.state = state
    if state in FINAL:
        operation.finished_at = at
    note(session, operation, message, by=by)
    if operation.finished_at is not None:
        _finish(session, operation, operation.finished_at)


def note(session: Session, operation: Operation, message: str, *, by: str) -> None:
    """Write an event that changes no state."""
    operation.last_event += 1
    operation.updated_at = instant(session)
    session.add(
        Event(operation_id=operation.id, number=operation.last_event, state=operation.state, message=message, by=by)
    )


def lock_deployment(session: Session, deployment_id: str) -> Deployment:
    """The deployment's row, locked until the transaction ends and as it is now."""
    deployment = lock_one(session, Deployment.id == deployment_id)
    if deployment is None:
        raise LookupError(deployment_id)
    return deployment


def lock_one(session: Session, *which: ColumnElement[bool]) -> Deployment | None:
    """The one deployment that ``which`` names, locked until the transaction ends and as it is now.

    Locked first and read by a statement of its own: PostgreSQL gives a statement that waited for a lock the new version
    of the locked row, beside the old versions of the rows that are joined to it.
    """
    identity = session.scalar(select(Deployment.id).where(*which).with_for_update())
    if identity is None:
        return None
    return session.scalars(
        select(Deployment).where(Deployment.id == identity).execution_options(populate_existing=True)
    ).one()


def claim(
    session: Session, *, worker: str, lanes: Iterable[Lane], offers: Sequence[str], limit: int, lease_seconds: float
) -> Claim:
    """Take up to ``limit`` due operations that this worker can serve; no other worker gets them while the lease lasts.

    An operation due for a look is taken only if no other worker is looking at its target, so that one list call
    answers for all of them.
    """
    lanes = list(lanes)
    token = f"{worker}/{new_id()}"
    at = instant(session)
    due = [
        Operation.finished_at.is_(None),
        Operation.lane.in_(lanes),
        Operation.due_at <= at,
    ]
    if Lane.LOOK in lanes:
        due.append(Operation.target_id.in_(_lease_targets(session, worker, due, offers, lease_seconds)))
    else:
        due.append(Operation.target_id.in_(select(Target.id).where(Target.requires.in_(offers)).scalar_subquery()))
    held_by = dict(
        session.execute(
            select(Operation.id, Operation.leased_by)
            .where(*due)
            .order_by(Operation.due_at)
            .limit(limit)
            .with_for_update(of=Operation, skip_locked=True)
        ).all()
    )
    if not held_by:
        return Claim(token, at, (), frozenset())
    session.execute(
        update(Operation)
        .where(Operation.id.in_(held_by))
        .values(leased_by=token, due_at=now() + lease_seconds, fence=Operation.fence + 1)
        .execution_options(synchronize_session=False)
    )
    operations = session.scalars(select(Operation).where(Operation.id.in_(held_by)).order_by(Operation.created_at))
    taken_over = frozenset(identity for identity, holder in held_by.items() if holder)
    return Claim(token, at, list(operations.unique()), taken_over)


def hold_many(
    session: Session, identities: Sequence[str], token: str, *, lease_seconds: float, writes: bool
) -> frozenset[str]:
    """Renew many leases just before the calls to the target; those that are still held."""
    if not identities:
        return frozenset()
    held = session.scalars(
        update(Operation)
        .where(Operation.id.in_(identities), Operation.leased_by == token)
        .values(due_at=now() + lease_seconds, writes=Operation.writes + (1 if writes else 0))
        .returning(Operation.id)
        .execution_options(synchronize_session=False)
    )
    return frozenset(held)


def record(session: Session, operations: Sequence[Operation], token: str) -> list[Operation]:
    """Operations as they are now, locked with their deployments for writing down what calls came to.

    Those whose lease is no longer this worker's are left out: what it found out about them is dropped.
    """
    if not operations:
        return []
    # in one order for all workers, so that none waits for a row that waits for it
    session.execute(
        select(Deployment.id)
        .where(Deployment.id.in_({o.deployment_id for o in operations}))
        .order_by(Deployment.id)
        .with_for_update()
    )
    rows = session.scalars(
        select(Operation)
        .where(Operation.id.in_([o.id for o in operations]), Operation.leased_by == token)
        .order_by(Operation.deployment_id)
        .with_for_update(of=Operation)
        .execution_options(populate_existing=True)
    )
    return list(rows.unique())


def hand_back(session: Session, operation: Operation, *, due_in: float, lane: Lane) -> None:
    """End the lease: the next step is due in ``due_in`` seconds, for a node of this lane."""
    operation.leased_by = None
    operation.lane = lane
    operation.due_at = instant(session) + due_in


def hand_back_many(session: Session, identities: Sequence[str], token: str, *, due_in: float) -> int:
    """End the leases of operations about which there is nothing new to write down; those lost are left alone."""
    if not identities:
        return 0
    result = session.execute(
        update(Operation)
        .where(Operation.id.in_(identities), Operation.leased_by == token)
        .values(leased_by=None, due_at=now() + due_in)
        .execution_options(synchronize_session=False)
    )
    return cast(CursorResult[Any], result).rowcount


def release_targets(session: Session, worker: str) -> None:
    """End this worker's turn of looking at targets."""
    session.execute(update(Target).where(Target.looked_by == worker).values(looked_by=None, look_until=0.0))


def due_lanes(session: Session) -> set[Lane]:
    """Where work is due now: the sweep's one question, answered from one index."""
    at = instant(session)
    lanes = {Lane.LOOK} if questions.any_due(session) or observing.due(session) else set()
    if session.scalar(select(exists().where(Batch.due_at <= at))):
        lanes.add(Lane.BULK)
    return lanes | {
        lane
        for lane in Lane
        if session.scalar(
            select(exists().where(Operation.lane == lane, Operation.finished_at.is_(None), Operation.due_at <= at))
        )
    }


def cancel(session: Session, operation_id: str, by: str) -> Operation:
    """Ask that an operation ends without its effect: a queued one ends now, one under way is taken back by a worker.

    Twice is the same as once. Raises TooLate when it has ended otherwise, or when its change already serves.
    """
    deployment_id = session.scalars(select(Operation.deployment_id).where(Operation.id == operation_id)).one()
    lock_deployment(session, deployment_id)
    operation = session.scalars(
        select(Operation)
        .where(Operation.id == operation_id)
        .with_for_update(of=Operation)
        .execution_options(populate_existing=True)
    ).one()
    if operation.state == State.CANCELLED or (operation.cancelled_by and operation.state not in FINAL):
        return operation
    if operation.state in FINAL or operation.phase == "clean":
        raise TooLate(operation_id)
    if operation.kind == Kind.DELETE and operation.writes:
        raise TooLate(operation_id)
    if operation.state == State.UNDOING:
        return operation
    operation.cancelled_by = by
    if operation.state == State.QUEUED:
        move(session, operation, State.CANCELLED, message="cancelled before it started", by=by)
        return operation
    note(session, operation, "cancelling was asked for", by=by)
    if operation.leased_by is None:
        hand_back(session, operation, due_in=0.0, lane=write_lane(operation))
    return operation


def write_lane(operation: Operation) -> Lane:
    """The lane whose nodes take this operation's writing steps."""
    return Lane.BULK if operation.bulk else Lane.WRITE


def _finish(session: Session, operation: Operation, at: float) -> None:
    deployment = operation.deployment
    operation.due_at = None
    operation.leased_by = None
    operation.not_before = None
    operation.waits_for = None
    deployment.fence = operation.fence
    deployment.updated_at = at
    if operation.state != State.SUCCEEDED:
        deployment.generation += 1
    if deployment.last_seq == operation.seq:
        return
    # the operation itself is left out by name, since its end may not be flushed yet
    successor = session.scalars(
        select(Operation)
        .where(
            Operation.deployment_id == operation.deployment_id,
            Operation.finished_at.is_(None),
            Operation.id != operation.id,
        )
        .order_by(Operation.seq)
        .limit(1)
        .options(raiseload("*"))
    ).first()
    if successor is not None and successor.due_at is None:
        successor.due_at = at
        successor.fence = operation.fence


def _lease_targets(
    session: Session, worker: str, due: Sequence[Any], offers: Sequence[str], lease_seconds: float
) -> Sequence[str]:
    wanted = session.scalars(
        select(Target.id)
        .where(
            Target.requires.in_(offers),
            (Target.look_until <= now()) | (Target.looked_by == worker) | (Target.looked_by.is_(None)),
            exists().where(Operation.target_id == Target.id, *due),
        )
        .with_for_update(of=Target, skip_locked=True)
    ).all()
    if wanted:
        session.execute(
            update(Target)
            .where(Target.id.in_(wanted))
            .values(looked_by=worker, look_until=now() + lease_seconds)
            .execution_options(synchronize_session=False)
        )
    return wanted
