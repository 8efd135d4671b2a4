"""The tip of a deployment: what its last unfinished operation will make of it, else what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from operations.models import Deployment, Operation, Revision
from operations.states import State


@dataclass(frozen=True)
class Tip:
    """``revision`` is None where the deployment does not exist, or will not. ``unfinished`` is in order."""

    revision: Revision | None
    unfinished: Sequence[Operation]


def tip(session: Session, deployment: Deployment) -> Tip:
    """The tip as the records stand in this transaction."""
    return tips(session, [deployment])[0]


def tips(session: Session, deployments: Sequence[Deployment]) -> list[Tip]:
    """The tips of these deployments, in one query."""
    unfinished: dict[str, list[Operation]] = {deployment.id: [] for deployment in deployments}
    rows = session.scalars(
        select(Operation)
        .where(Operation.deployment_id.in_(unfinished), Operation.finished_at.is_(None))
        .order_by(Operation.seq)
    )
    for operation in rows.unique():
        unfinished[operation.deployment_id].append(operation)
    return [_tip(deployment, unfinished[deployment.id]) for deployment in deployments]


def previous(session: Session, revision: Revision) -> Revision | None:
    """What served last before this revision of the same deployment, by when it landed: numbers do not tell.

    After a rollback from 2 to 1 and an update to 3 that is 1, and not the 2 that was left for a reason.
    """
    earlier = select(Revision).where(
        Revision.deployment_id == revision.deployment_id,
        Revision.id != revision.id,
        Revision.landed_at.is_not(None),
    )
    return session.scalars(earlier.order_by(Revision.landed_at.desc(), Revision.number.desc()).limit(1)).one_or_none()


def _tip(deployment: Deployment, unfinished: Sequence[Operation]) -> Tip:
    # what is being cancelled or undone will leave the deployment as it was
    coming = [o for o in unfinished if o.cancelled_by is None and o.state != State.UNDOING]
    return Tip(coming[-1].desired if coming else deployment.current, unfinished)
