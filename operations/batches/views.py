"""Batches as JSON documents."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from operations.batches.models import ENDED, OPEN, UNSUCCESSFUL, Batch, BatchItem, ItemState
from operations.clock import instant
from operations.models import Operation, Target
from operations.views import time_of

Document = dict[str, Any]
REASONS = 20


def batch(session: Session, row: Batch) -> Document:
    """A batch with its counters, which are counted from its items now."""
    by_wave: dict[int, Document] = {}
    counters = dict.fromkeys((state.value for state in ItemState), 0)
    query = (
        select(BatchItem.wave, BatchItem.state, func.count())
        .where(BatchItem.batch_id == row.id)
        .group_by(BatchItem.wave, BatchItem.state)
    )
    for wave, state, count in session.execute(query):
        counters[state.value] += count
        by_wave.setdefault(wave, {"wave": wave})[state.value] = count
    open_ = sum(counters[state.value] for state in OPEN)
    done = row.total - open_
    return {
        "id": row.id,
        "state": row.state.value,
        "final": row.state in ENDED,
        "reason": row.reason,
        "change": row.change,
        "selection": row.selection,
        "strategy": row.strategy,
        "total": row.total,
        "counters": counters,
        "waves": [by_wave[wave] for wave in sorted(by_wave)],
        "wave": row.wave,
        "percent": round(100 * done / row.total, 1),
        **_pace(session, row, done, open_),
        "parent": row.parent_id,
        "relation": row.relation,
        "version": row.version,
        "created_at": time_of(row.created_at),
        "started_at": time_of(row.started_at),
        "finished_at": time_of(row.finished_at),
    }


def detail(session: Session, row: Batch) -> Document:
    """The same, with the counters of each target, failures by reason, and what waits for a limit."""
    return {
        **batch(session, row),
        "targets": _targets(session, row),
        "failures": _failures(session, row),
        "waits_for": _waits_for(session, row),
    }


def item(row: BatchItem, target: str) -> Document:
    """One item."""
    return {
        "number": row.number,
        "target": target,
        "name": row.name,
        "wave": row.wave,
        "state": row.state.value,
        "change": row.change,
        "operation": row.operation_id,
        "from_revision": row.from_revision,
        "problem": row.error,
        "released_at": time_of(row.released_at),
        "ended_at": time_of(row.ended_at),
    }


def _pace(session: Session, row: Batch, done: int, open_: int) -> Document:
    """Items a second since it started, and the seconds that the rest will take at that pace."""
    if row.started_at is None or not done:
        return {"per_second": None, "seconds_left": None}
    pace = done / max((row.finished_at or instant(session)) - row.started_at, 0.001)
    return {"per_second": round(pace, 3), "seconds_left": round(open_ / pace, 1)}


def _targets(session: Session, row: Batch) -> list[Document]:
    query = (
        select(Target.name, BatchItem.state, func.count())
        .join(Target, Target.id == BatchItem.target_id)
        .where(BatchItem.batch_id == row.id)
        .group_by(Target.name, BatchItem.state)
        .order_by(Target.name)
    )
    found: dict[str, Document] = {}
    for name, state, count in session.execute(query):
        found.setdefault(name, {"target": name})[state.value] = count
    return list(found.values())


def _failures(session: Session, row: Batch) -> list[Document]:
    """Grouped by what the problem says, the most frequent first; each with an example."""
    groups: dict[str, Document] = {}
    query = select(BatchItem.name, BatchItem.error).where(
        BatchItem.batch_id == row.id, BatchItem.state.in_(UNSUCCESSFUL)
    )
    for name, error in session.execute(query):
        reason = (error or {}).get("detail") or "unknown"
        group = groups.setdefault(reason, {"reason": reason, "count": 0, "example": name})
        group["count"] += 1
    return sorted(groups.values(), key=lambda group: -group["count"])[:REASONS]


def _waits_for(session: Session, row: Batch) -> list[Document]:
    query = (
        select(Operation.waits_for, func.count())
        .join(BatchItem, BatchItem.operation_id == Operation.id)
        .where(
            BatchItem.batch_id == row.id,
            BatchItem.state == ItemState.RELEASED,
            Operation.waits_for.is_not(None),
            Operation.finished_at.is_(None),
        )
        .group_by(Operation.waits_for)
        .order_by(func.count().desc())
        .limit(REASONS)
    )
    return [{"reason": reason, "count": count} for reason, count in session.execute(query)]
