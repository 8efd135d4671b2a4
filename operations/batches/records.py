"""Taking batches in, and steering them. Every verb is idempotent, holds the batch's row, and calls nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from operations import audit, ledger
from operations.access import Permission, Principal, principal
from operations.admission import Asked
from operations.batches import strategy as strategies
from operations.batches.models import ENDED, Batch, BatchItem, BatchState, ItemState
from operations.clock import instant
from operations.ids import new_id
from operations.models import Deployment, Operation
from operations.problems import BatchNotFound, Forbidden, PlanStale
from operations.problems import BatchState as WrongState
from operations.states import State

Document = dict[str, Any]
PORTION = 1000


@dataclass(frozen=True)
class Wanted:
    """One item as it is asked for; ``change`` None is the batch's own."""

    target_id: str
    name: str
    deployment_id: str | None = None
    change: Document | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    generation: int | None = None


def create(
    session: Session,
    *,
    change: Document,
    selection: Document | None,
    strategy: Document,
    items: Sequence[Wanted],
    asked: Asked,
    planned: bool = False,
    parent: tuple[str, str] | None = None,
) -> Batch:
    """Record the batch and its items, which takes three statements however many they are."""
    at = instant(session)
    wanted = strategies.DEFAULT | strategy
    batch = Batch(
        id=new_id(),
        state=BatchState.PLANNED if planned else BatchState.RUNNING,
        change=change,
        selection=selection,
        strategy=wanted,
        total=len(items),
        due_at=None if planned else at,
        started_at=None if planned else at,
        parent_id=parent[0] if parent else None,
        relation=parent[1] if parent else None,
        principal=asked.principal,
        grants=asked.who.to_json() if asked.who else None,
        request_id=asked.request_id,
        created_at=at,
        updated_at=at,
    )
    session.add(batch)
    session.flush()
    waves = strategies.waves(wanted, [item.labels for item in items])
    rows = [
        {
            "batch_id": batch.id,
            "number": number,
            "wave": wave,
            "target_id": item.target_id,
            "name": item.name,
            "deployment_id": item.deployment_id,
            "change": item.change,
            "generation": item.generation,
            "state": ItemState.PENDING,
        }
        for number, (item, wave) in enumerate(zip(items, waves, strict=True), start=1)
    ]
    for start in range(0, len(rows), PORTION):
        session.execute(insert(BatchItem), rows[start : start + PORTION])
    told = {
        "change": change,
        "selection": selection,
        "strategy": wanted,
        "total": len(items),
        "state": batch.state.value,
    }
    audit.note(session, subject=batch.id, after=told)
    return batch


def get(session: Session, batch_id: str, who: Principal | None = None) -> Batch:
    """The batch, for who may see all or asked for it. Raises BatchNotFound."""
    batch = session.get(Batch, batch_id)
    if batch is None or not _sees(who, batch, Permission.READ):
        raise BatchNotFound(f"there is no batch {batch_id[:80]!r}")
    return batch


def principal_of(batch: Batch) -> Principal | None:
    """Who asked for the batch, with what it might do then."""
    return None if batch.grants is None else principal(batch.principal, batch.grants)


def lock(session: Session, batch_id: str) -> Batch:
    """The batch's row, locked and as it is now. Raises BatchNotFound."""
    batch = session.scalars(
        select(Batch).where(Batch.id == batch_id).with_for_update().execution_options(populate_existing=True)
    ).one_or_none()
    if batch is None:
        raise BatchNotFound(f"there is no batch {batch_id[:80]!r}")
    return batch


def start(session: Session, batch_id: str) -> Batch:
    """Begin what was planned, exactly as planned. Raises PlanStale naming what changed since. Twice is once."""
    batch = lock(session, batch_id)
    if batch.state != BatchState.PLANNED:
        return batch
    changed = session.execute(
        select(BatchItem.name)
        .join(Deployment, Deployment.id == BatchItem.deployment_id)
        .where(BatchItem.batch_id == batch_id, Deployment.generation != BatchItem.generation)
        .order_by(BatchItem.number)
    ).scalars()
    names = list(changed)
    if names:
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise PlanStale(f"changed since the plan was made: {shown}")
    batch.state = BatchState.RUNNING
    batch.started_at = instant(session)
    return _touch(session, batch)


def pause(session: Session, batch_id: str, reason: str = "") -> Batch:
    """Nothing new starts; what runs ends. Twice is the same as once. Raises WrongState once it has ended.

    What was released and has not begun, such as what waits for a target's limit, is cancelled and its item is pending
    again: a new operation does it after ``resume``.
    """
    batch = lock(session, batch_id)
    if batch.state == BatchState.PAUSED:
        return batch
    _expect(batch, BatchState.RUNNING, BatchState.AWAITING_APPROVAL)
    hold(session, batch, reason)
    return _touch(session, batch)


def hold(session: Session, batch: Batch, reason: str) -> None:
    """Pause a batch whose row is locked."""
    batch.state, batch.reason = BatchState.PAUSED, reason
    withdrawn = _cancel_queued(session, batch.id, by=batch.principal)
    session.execute(
        update(BatchItem)
        .where(BatchItem.batch_id == batch.id, BatchItem.operation_id.in_(withdrawn))
        .values(state=ItemState.PENDING, operation_id=None, released_at=None)
        .execution_options(synchronize_session=False)
    )


def resume(session: Session, batch_id: str) -> Batch:
    """Go on. Twice is the same as once."""
    batch = lock(session, batch_id)
    if batch.state in (BatchState.RUNNING, BatchState.AWAITING_APPROVAL):
        return batch
    _expect(batch, BatchState.PAUSED)
    batch.state, batch.reason = BatchState.RUNNING, ""
    return _touch(session, batch)


def approve(session: Session, batch_id: str, wave: int) -> Batch:
    """Let what comes behind this wave begin. Twice is the same as once."""
    batch = lock(session, batch_id)
    if batch.approved_wave >= wave:
        return batch
    _expect(batch, BatchState.AWAITING_APPROVAL)
    if wave != batch.wave:
        raise WrongState(f"wave {batch.wave} awaits approval, not {wave}")
    batch.approved_wave = wave
    batch.state, batch.reason = BatchState.RUNNING, ""
    return _touch(session, batch)


def end(session: Session, batch_id: str, ends_as: BatchState, reason: str, *, by: str) -> Batch:
    """Start nothing more, cancel what is only queued, and end once nothing is under way. Twice is the same as once."""
    batch = lock(session, batch_id)
    if batch.state in ENDED or batch.state == BatchState.STOPPING:
        return batch
    stop(session, batch, ends_as, reason)
    _cancel_queued(session, batch_id, by=by)
    if ends_as == BatchState.ABORTED and batch.started_at is None:
        # it was a plan: nothing of it is under way, and no worker has to find that out
        batch.state, batch.due_at, batch.finished_at = ends_as, None, instant(session)
    return _touch(session, batch)


def stop(session: Session, batch: Batch, ends_as: BatchState, reason: str) -> None:
    """No item of it that has not begun will begin."""
    batch.state, batch.ends_as, batch.reason = BatchState.STOPPING, ends_as, reason
    session.execute(
        update(BatchItem)
        .where(BatchItem.batch_id == batch.id, BatchItem.state == ItemState.PENDING)
        .values(state=ItemState.NOT_STARTED, ended_at=instant(session))
        .execution_options(synchronize_session=False)
    )


def adjust(session: Session, batch_id: str, changes: Document) -> Batch:
    """Change ``max_concurrent``, ``start`` or ``end`` while it runs."""
    batch = lock(session, batch_id)
    if batch.state in ENDED:
        raise WrongState(f"the batch has ended: {batch.state}")
    batch.strategy = {**batch.strategy, **changes}
    return _touch(session, batch)


def again(session: Session, batch_id: str, asked: Asked) -> Batch:
    """A batch of what failed, was refused or was cancelled in one that has ended. Twice is the same as once."""
    return _child(session, batch_id, "retry", asked)


def roll_back(session: Session, batch_id: str, asked: Asked) -> Batch:
    """A batch that restores what served before on everything that this one changed. Twice is the same as once."""
    return _child(session, batch_id, "roll_back", asked)


def steered_by(session: Session, batch_id: str, who: Principal | None) -> None:
    """Raises unless ``who`` may steer the batch: who may deploy everywhere, and who asked for it.

    BatchNotFound where it may not be seen either, Forbidden where it may. What its items do is judged by what the
    batch's principal might when it asked.
    """
    batch = get(session, batch_id, who)
    if not _sees(who, batch, Permission.DEPLOY):
        raise Forbidden(f"the batch is of {batch.principal}, and {who.name if who else ''} may not deploy everywhere")
    told = {"state": batch.state.value, "strategy": batch.strategy}
    audit.note(session, subject=batch.id, before=told)


def counts(session: Session, batch_id: str, wave: int | None = None) -> dict[ItemState, int]:
    """How many items stand where, counted now."""
    query = select(BatchItem.state, func.count()).where(BatchItem.batch_id == batch_id).group_by(BatchItem.state)
    if wave is not None:
        query = query.where(BatchItem.wave == wave)
    return {state: count for state, count in session.execute(query)}  # noqa: C416  # rows, not pairs


def _sees(who: Principal | None, batch: Batch, permission: Permission) -> bool:
    return who is None or who.everywhere(permission) or (batch.principal == who.name and who.reaches(permission))


def _child(session: Session, batch_id: str, relation: str, asked: Asked) -> Batch:
    parent = lock(session, batch_id)
    known = session.scalars(select(Batch).where(Batch.parent_id == batch_id, Batch.relation == relation)).first()
    if known is not None:
        return known
    if parent.state not in ENDED:
        raise WrongState(f"the batch has not ended: {parent.state}")
    states = (
        (ItemState.SUCCEEDED,)
        if relation == "roll_back"
        else (ItemState.FAILED, ItemState.REFUSED, ItemState.CANCELLED)
    )
    rows = session.scalars(
        select(BatchItem).where(BatchItem.batch_id == batch_id, BatchItem.state.in_(states)).order_by(BatchItem.number)
    ).all()
    if not rows:
        raise WrongState("none of its items is concerned")
    items = [
        Wanted(row.target_id, row.name, row.deployment_id, _restoring(row) if relation == "roll_back" else row.change)
        for row in rows
    ]
    keep = ("max_concurrent", "max_failures", "on_failure", "deadline_seconds")
    strategy = {key: parent.strategy[key] for key in keep}
    if relation == "roll_back":
        strategy |= {"on_failure": "continue", "max_failures": None}
    change = {"action": "rollback"} if relation == "roll_back" else parent.change
    return create(
        session,
        change=change,
        selection=None,
        strategy=strategy,
        items=items,
        asked=asked,
        parent=(batch_id, relation),
    )


def _restoring(item: BatchItem) -> Document:
    """Its own previous revision; what did not exist before goes."""
    if item.from_revision is None:
        return {"action": "delete"}
    return {"action": "rollback", "revision": item.from_revision}


def _cancel_queued(session: Session, batch_id: str, *, by: str) -> list[str]:
    """Cancel the batch's operations that have not begun; those that were."""
    queued = session.scalars(
        select(Operation.id)
        .join(BatchItem, BatchItem.operation_id == Operation.id)
        .where(BatchItem.batch_id == batch_id, BatchItem.state == ItemState.RELEASED, Operation.state == State.QUEUED)
        .order_by(Operation.deployment_id)
    ).all()
    cancelled = []
    for operation_id in queued:
        try:
            if ledger.cancel(session, operation_id, by=by).state == State.CANCELLED:
                cancelled.append(operation_id)
        except ledger.TooLate:
            continue
    return cancelled


def _expect(batch: Batch, *states: BatchState) -> None:
    if batch.state not in states:
        raise WrongState(f"the batch is {batch.state}")


def _touch(session: Session, batch: Batch) -> Batch:
    """Something of it changed: its releaser looks at once."""
    batch.updated_at = instant(session)
    batch.version += 1
    if batch.released_by is None and batch.state not in ENDED:
        batch.due_at = batch.updated_at
    return batch
