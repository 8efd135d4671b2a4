"""What targets really serve, beside what the records say. Nothing is changed by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from operations.clock import instant, now
from operations.models import Deployment, Operation, Target

Document = dict[str, Any]


def due(session: Session) -> bool:
    """Whether a target is due to be observed."""
    return session.scalar(select(Target.id).where(Target.observe_due_at <= now()).limit(1)) is not None


def take_due(session: Session, offers: Sequence[str], lease_seconds: float) -> Sequence[Target]:
    """The due targets that this worker can serve; no other gets them while the lease lasts."""
    rows = session.scalars(
        select(Target)
        .where(Target.observe_due_at <= now(), Target.requires.in_(offers))
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        row.observe_due_at = instant(session) + lease_seconds
    return rows


def record(session: Session, target_id: str, seen: Mapping[str, Document], at: float, again_in: float | None) -> None:
    """Write down a whole observation that began at ``at``; ``seen`` is by deployment id, what is not there is missing.

    Deployments under way, or changed since the observation began, are left alone. One that was deleted is noted only
    while the target still, or again, has it.
    """
    settled = (
        Deployment.target_id == target_id,
        Deployment.updated_at < at,
        ~exists().where(Operation.deployment_id == Deployment.id, Operation.finished_at.is_(None)),
    )
    rows = session.scalars(select(Deployment).where(*settled, Deployment.current_id.is_not(None))).unique().all()
    for row in rows:
        row.observed = judge(row, seen.get(row.id))
        row.observed_at = at
    surplus = list(seen.keys() - {row.id for row in rows})
    gone = (Deployment.current_id.is_(None), Deployment.id.in_(surplus) | Deployment.observed_at.is_not(None))
    for row in session.scalars(select(Deployment).where(*settled, *gone)).unique():
        there = seen.get(row.id)
        row.observed = judge(row, there) if there else {}
        row.observed_at = at if there else None
    _schedule(session, target_id, again_in)


def record_unknown(session: Session, target_id: str, why: str, again_in: float | None) -> None:
    """Write down that the target could not be observed."""
    session.execute(
        update(Deployment)
        .where(Deployment.target_id == target_id, Deployment.current_id.is_not(None))
        .values(observed={"state": "unknown", "message": why}, observed_at=now())
    )
    _schedule(session, target_id, again_in)


def judge(row: Deployment, seen: Document | None) -> Document:
    """In sync, drifted with the difference, or missing."""
    if seen is None:
        return {"state": "missing", "message": "the target has no deployment of this name that is ours"}
    recorded = row.current.resolved or row.current.spec if row.current else None
    if recorded is None:
        difference = {"deployment": {"recorded": None, "observed": seen["spec"]}}
        return {"state": "drifted", "status": seen["status"], "difference": difference, "detail": seen["detail"]}
    differences: Document = {}
    if seen["content"] is not None and seen["content"] != row.placed.get("content"):
        differences["content"] = {"recorded": row.placed.get("content"), "observed": seen["content"]}
    if seen["spec"]:
        for key in ("variants", "traffic"):
            if seen["spec"][key] != recorded[key]:
                differences[key] = {"recorded": recorded[key], "observed": seen["spec"][key]}
    state = "drifted" if differences else "in_sync"
    return {"state": state, "status": seen["status"], "difference": differences, "detail": seen["detail"]}


def _schedule(session: Session, target_id: str, again_in: float | None) -> None:
    session.execute(
        update(Target)
        .where(Target.id == target_id)
        .values(observe_due_at=None if again_in is None else now() + again_in)
    )
