"""One turn of a batch: count what ended, pass waves on, release what may start. The caller's transactions, no calls.

A turn holds no lock while it lasts: ``take`` leaves a mark and a time after which another worker may take over, and
every later step locks the batch's row and goes on only while the mark is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import and_, exists, select
from sqlalchemy.orm import Session, aliased

from operations.admission import Asked
from operations.batches import changes, records
from operations.batches.models import ENDED, OPEN, UNSUCCESSFUL, Batch, BatchItem, BatchState, ItemState
from operations.batches.strategy import room, rules_of_wave, tolerance
from operations.clock import instant
from operations.models import Deployment, Operation, Target
from operations.problems import Busy, QueueFull, Refused
from operations.specs import Rules
from operations.states import State

Document = dict[str, Any]

TURN_SECONDS = 0.5
SETTLED_AT_ONCE = 1000
RELEASED_AT_ONCE = 50

BECAME = {
    State.SUCCEEDED: ItemState.SUCCEEDED,
    State.FAILED: ItemState.FAILED,
    State.CANCELLED: ItemState.CANCELLED,
}


def take(session: Session, worker: str, lease_seconds: float) -> Batch | None:
    """The batch that has waited the longest for its turn, marked as this worker's; None where none is due."""
    batch = session.scalars(
        select(Batch)
        .where(Batch.due_at <= instant(session))
        .order_by(Batch.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if batch is not None:
        batch.released_by, batch.due_at = worker, instant(session) + lease_seconds
    return batch


def settle(session: Session, batch_id: str, worker: str) -> list[int]:
    """Note which operations have ended, move the batch on, and return the numbers of the items to release now."""
    batch = _mine(session, batch_id, worker)
    if batch is None:
        return []
    _note_ended(session, batch)
    counts = records.counts(session, batch_id)
    active = counts.get(ItemState.RELEASED, 0)
    failed = sum(counts.get(state, 0) for state in UNSUCCESSFUL)
    most = tolerance(batch.strategy, batch.total)
    if batch.state == BatchState.RUNNING and most is not None and failed >= most and counts.get(ItemState.PENDING):
        records.stop(session, batch, BatchState.STOPPED, f"{failed} failed, and {most} may")
    if batch.state == BatchState.STOPPING and not active:
        _finish(session, batch, batch.ends_as or BatchState.STOPPED)
        return []
    if batch.state != BatchState.RUNNING or not _within_window(session, batch):
        return []
    if not _pass_waves_on(session, batch, failed + counts.get(ItemState.CANCELLED, 0)):
        return []
    return _next(session, batch, room(batch.strategy, batch.total, active=active, failed=failed))


def release(
    session: Session, batch_id: str, worker: str, numbers: list[int], rules: Callable[[Target], Rules]
) -> list[Operation]:
    """Submit the operations of these items, each in a savepoint of its own. What is busy stays pending."""
    batch = _mine(session, batch_id, worker)
    if batch is None or batch.state != BatchState.RUNNING:
        return []
    released = []
    items = session.scalars(
        select(BatchItem)
        .where(BatchItem.batch_id == batch_id, BatchItem.number.in_(numbers), BatchItem.state == ItemState.PENDING)
        .order_by(BatchItem.target_id, BatchItem.name)
    ).all()
    for item in items:
        operation = _release(session, batch, item, rules)
        if operation is not None:
            released.append(operation)
    batch.version += 1
    batch.updated_at = instant(session)
    return released


def give_back(session: Session, batch_id: str, worker: str) -> Batch | None:
    """End the turn; the next one is due soon while anything is under way or may start."""
    batch = _mine(session, batch_id, worker)
    if batch is None:
        return None
    batch.released_by = None
    if batch.state in ENDED or batch.state == BatchState.PLANNED:
        batch.due_at = None
        return batch
    counts = records.counts(session, batch_id)
    at = instant(session)
    waits_until = _waits_until(batch)
    if counts.get(ItemState.RELEASED) or batch.state == BatchState.STOPPING:
        batch.due_at = at + TURN_SECONDS
    elif batch.state in (BatchState.PAUSED, BatchState.AWAITING_APPROVAL):
        batch.due_at = None
    else:
        batch.due_at = max(at + TURN_SECONDS, waits_until)
    return batch


def _mine(session: Session, batch_id: str, worker: str) -> Batch | None:
    batch = records.lock(session, batch_id)
    return batch if batch.released_by == worker else None


def _note_ended(session: Session, batch: Batch) -> None:
    rows = session.execute(
        select(BatchItem, Operation.state, Operation.error, Operation.finished_at)
        .join(Operation, Operation.id == BatchItem.operation_id)
        .where(
            BatchItem.batch_id == batch.id,
            BatchItem.state == ItemState.RELEASED,
            Operation.finished_at.is_not(None),
        )
        .limit(SETTLED_AT_ONCE)
    ).all()
    for item, state, error, ended_at in rows:
        item.state, item.error, item.ended_at = BECAME[state], error, ended_at
    if rows:
        batch.version += 1
        batch.updated_at = instant(session)
        session.flush()


def _within_window(session: Session, batch: Batch) -> bool:
    at, begins, ends = instant(session), batch.strategy["start"], batch.strategy["end"]
    if ends is not None and at >= ends:
        records.hold(session, batch, "its window has ended: give it another end, and resume")
        batch.version += 1
        return False
    return begins is None or at >= begins


def _pass_waves_on(session: Session, batch: Batch, undone: int) -> bool:
    """Whether items of the batch's wave may start. Waits out soak times, awaits approvals, and ends the batch."""
    while not any(records.counts(session, batch.id, batch.wave).get(state) for state in OPEN):
        at = instant(session)
        last = session.scalar(
            select(BatchItem.wave).where(BatchItem.batch_id == batch.id).order_by(BatchItem.wave.desc()).limit(1)
        )
        if last is None or batch.wave >= last:
            _finish(session, batch, BatchState.PARTLY_FAILED if undone else BatchState.SUCCEEDED)
            return False
        if batch.wave_settled_at is None:
            batch.wave_settled_at = at
        between = rules_of_wave(batch.strategy, batch.wave)
        if at < batch.wave_settled_at + between["soak_seconds"]:
            batch.reason = f"wave {batch.wave} soaks for {between['soak_seconds']:g} s"
            return False
        if between["approval"] and batch.approved_wave < batch.wave:
            batch.state = BatchState.AWAITING_APPROVAL
            batch.reason = f"what comes behind wave {batch.wave} awaits approval"
            batch.version += 1
            return False
        batch.wave, batch.wave_settled_at, batch.reason = batch.wave + 1, None, ""
        batch.version += 1
    return True


def _waits_until(batch: Batch) -> float:
    begins = float(batch.strategy["start"] or 0.0)
    if batch.wave_settled_at is None:
        return begins
    return max(begins, batch.wave_settled_at + float(rules_of_wave(batch.strategy, batch.wave)["soak_seconds"]))


def _next(session: Session, batch: Batch, free: int) -> list[int]:
    """Pending items of the wave that may start: nothing of their deployment is unfinished, no older batch is at it."""
    if free <= 0:
        return []
    busy = exists().where(Operation.deployment_id == BatchItem.deployment_id, Operation.finished_at.is_(None))
    other = aliased(BatchItem)
    older = (
        select(other.number)
        .join(Batch, Batch.id == other.batch_id)
        .where(
            other.target_id == BatchItem.target_id,
            other.name == BatchItem.name,
            other.state.in_(OPEN),
            and_(Batch.id < batch.id, Batch.state != BatchState.PLANNED),
        )
        .exists()
    )
    return list(
        session.scalars(
            select(BatchItem.number)
            .where(
                BatchItem.batch_id == batch.id,
                BatchItem.state == ItemState.PENDING,
                BatchItem.wave == batch.wave,
                ~busy,
                ~older,
            )
            .order_by(BatchItem.number)
            .limit(min(free, 4 * RELEASED_AT_ONCE))
        )
    )


def _release(session: Session, batch: Batch, item: BatchItem, rules: Callable[[Target], Rules]) -> Operation | None:
    target = session.get_one(Target, item.target_id)
    asked = Asked(
        batch.principal,
        batch.request_id,
        on_conflict="refuse",
        deadline_seconds=batch.strategy["deadline_seconds"],
        batch_id=batch.id,
        who=records.principal_of(batch),
    )
    at = instant(session)
    before = session.scalars(
        select(Deployment).where(Deployment.target_id == item.target_id, Deployment.name == item.name)
    ).one_or_none()
    from_revision = before.current.number if before is not None and before.current is not None else None
    try:
        with session.begin_nested():
            accepted = changes.submit_one(session, target, rules(target), item.name, item.change or batch.change, asked)
    except (Busy, QueueFull):
        return None
    except Refused as refusal:
        item.state, item.ended_at = ItemState.REFUSED, at
        item.error = {"type": refusal.type, "title": refusal.title, "detail": refusal.detail}
        return None
    item.deployment_id, item.from_revision, item.released_at = accepted.deployment.id, from_revision, at
    operation = accepted.operation
    if operation is None:
        item.state, item.ended_at = ItemState.UNCHANGED, at
        return None
    if operation.batch_id != batch.id:
        return None  # equal to what is under way already: passed over until that has ended
    item.operation_id, item.state = operation.id, ItemState.RELEASED
    return operation


def _finish(session: Session, batch: Batch, state: BatchState) -> None:
    batch.state = state
    batch.due_at = None
    batch.finished_at = batch.updated_at = instant(session)
    batch.version += 1
    if state == BatchState.STOPPED and batch.strategy["on_failure"] == "roll_back_changed":
        changed = records.counts(session, batch.id).get(ItemState.SUCCEEDED)
        if changed:
            session.flush()
            asked = Asked(batch.principal, batch.request_id, who=records.principal_of(batch))
            records.roll_back(session, batch.id, asked)
