"""Checks of targets: the API asks, a worker that can serve the target answers, the row holds both."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from operations.clock import instant, now
from operations.models import Target

_UNANSWERED = Target.check_asked_at > func.coalesce(Target.checked_at, 0.0)


def asked_for(session: Session, offers: Sequence[str]) -> Sequence[Target]:
    """The targets whose check this worker can do and nobody has answered."""
    return session.scalars(select(Target).where(_UNANSWERED, Target.requires.in_(offers))).all()


def any_asked_for(session: Session) -> bool:
    """Whether a check waits for an answer."""
    return session.scalar(select(Target.id).where(_UNANSWERED).limit(1)) is not None


def answered(session: Session, target_id: str, *, ok: bool, message: str) -> None:
    """Record what the check came to."""
    session.execute(
        update(Target).where(Target.id == target_id).values(checked_at=now(), checked={"ok": ok, "message": message})
    )


def ask(session: Session, target: Target) -> float:
    """Ask for a check of this target; the answer is the one whose ``checked_at`` is not before the instant returned."""
    target.check_asked_at = instant(session)
    return target.check_asked_at
