"""A target's limit of writes, shared by all workers: a token bucket in the target's row."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from operations.clock import instant
from operations.models import Target


def take(session: Session, target_id: str, *, writes: int, per_seconds: float) -> float:
    """Take one token. Returns 0.0 when it was granted, else the seconds until one will be there; none is reserved.

    The bucket holds ``writes`` tokens less what any window of ``per_seconds`` already saw: it refills at
    ``writes / per_seconds`` and starts with half, so that no window of that length can see more than ``writes``
    after a burst.
    """
    at = instant(session)
    target = session.execute(
        select(Target.tokens, Target.tokens_at).where(Target.id == target_id).with_for_update(of=Target)
    ).one()
    capacity = max(1.0, writes / 2)
    rate = (writes - capacity) / per_seconds if writes > 1 else writes / per_seconds
    tokens = min(capacity, target.tokens + (at - target.tokens_at) * rate)
    granted = tokens >= 1.0
    session.execute(
        update(Target).where(Target.id == target_id).values(tokens=tokens - 1.0 if granted else tokens, tokens_at=at)
    )
    return 0.0 if granted else (1.0 - tokens) / rate
