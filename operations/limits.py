"""A target's limit of writes, shared by all workers: a token bucket in the target's row.

A worker may take tokens of the next moments too, each for the instant at which it comes, so that a limit of ten a
second is used up though a worker does not ask ten times a second.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from operations.clock import instant
from operations.models import Operation, Target
from operations.states import Lane

BURST = 0.05  # of the limit at once; the rest of it comes evenly
KEPT_FROM_BULK = 0.2  # of the bucket
SLACK = 0.25  # of the window, and at most so many seconds: how much later than its grant a call may arrive
SLACK_SECONDS = 2.0
ASKS_AGAIN_SECONDS = 15.0  # who waits for a limit asks at least so often: others may have ended without using it


@dataclass(frozen=True)
class Taken:
    """What was granted, and how long the others wait: none of it is reserved for them.

    ``at_once`` tokens are there (below zero: that many are taken in advance), then one comes every ``spacing`` seconds.
    ``ahead`` others wait for one already, and nobody waits longer than ``longest`` before asking again.
    """

    granted: int
    at_once: float
    spacing: float
    ahead: int
    longest: float

    def start(self, place: int) -> float:
        """Seconds after which the one at this place of those granted may write."""
        return max(0.0, place + 1 - self.at_once) * self.spacing

    def wait(self, place: int, *, begun: bool = False) -> float:
        """Seconds after which the one at this place of those not granted may ask again.

        What is ``begun`` comes before all that wait to begin.
        """
        return min(self.start(self.granted + place + (0 if begun else self.ahead)), self.longest)


def take(
    session: Session,
    target_id: str,
    *,
    wanted: int,
    lane: Lane,
    writes: int,
    per_seconds: float,
    within_seconds: float = 0.0,
    ask_only: bool = False,
) -> Taken:
    """Take up to ``wanted`` tokens that are there or come ``within_seconds``, each for its instant (``Taken.start``).

    Bulk work leaves a fifth of the bucket to those who ask for one thing. With ``ask_only`` nothing is taken: the
    answer tells what would be granted.

    The bucket holds a twentieth of ``writes`` and refills with the rest evenly over ``per_seconds`` and a
    slack, so that no window of that length sees more than ``writes`` arrive, whatever came before it.
    """
    at = instant(session)
    target = session.execute(
        select(Target.tokens, Target.tokens_at).where(Target.id == target_id).with_for_update(of=Target)
    ).one()
    capacity, rate = bucket(writes, per_seconds)
    tokens = min(capacity, target.tokens + (at - target.tokens_at) * rate)
    kept = capacity * KEPT_FROM_BULK if lane == Lane.BULK and capacity >= 2 else 0.0
    at_once = tokens - kept
    granted = max(0, min(wanted, int(at_once + within_seconds * rate)))
    left = tokens if ask_only else tokens - granted
    session.execute(update(Target).where(Target.id == target_id).values(tokens=left, tokens_at=at))
    ahead = _waiting(session, target_id, lane, at) if granted < wanted else 0
    return Taken(granted, at_once, 1.0 / rate, ahead, max(per_seconds, 1.0 / rate, ASKS_AGAIN_SECONDS))


def bucket(writes: int, per_seconds: float) -> tuple[float, float]:
    """How many at once, and how many a second after that."""
    capacity = max(1.0, writes * BURST)
    seconds = per_seconds + min(SLACK * per_seconds, SLACK_SECONDS)
    return capacity, (writes - capacity if writes > 1 else 1.0) / seconds


def _waiting(session: Session, target_id: str, lane: Lane, at: float) -> int:
    """Operations of this lane that wait to write to the target; what only waits to be looked at is in another."""
    return session.execute(
        select(func.count())
        .select_from(Operation)
        .where(
            Operation.lane == lane,
            Operation.finished_at.is_(None),
            Operation.due_at > at,
            Operation.not_before.is_not(None),
            Operation.leased_by.is_(None),
            Operation.target_id == target_id,
        )
    ).scalar_one()
