"""Which workers are there, and what each can serve."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from operations.clock import now
from operations.models import Worker
from operations.settings import settings


def announce(session: Session, name: str, node: str, offers: Mapping[str, str | None]) -> None:
    """Say that the worker ``name`` is there and what it offers; beside what it lacks stands why. Twice is once."""
    values = {
        "node": node,
        "host": socket.gethostname(),
        "offers": [offer for offer, why_not in offers.items() if why_not is None],
        "lacks": {offer: why_not for offer, why_not in offers.items() if why_not is not None},
        "heard_at": now(),
    }
    known = session.scalar(select(Worker.name).where(Worker.name == name))
    if known is None:
        session.add(Worker(name=name, **values))
    else:
        session.execute(update(Worker).where(Worker.name == name).values(**values))


def retire(session: Session, name: str) -> None:
    """Say that the worker is gone. Twice is the same as once."""
    session.execute(delete(Worker).where(Worker.name == name))


def live_workers(session: Session) -> Sequence[Worker]:
    """The workers heard from lately, by name."""
    since = now() - settings().worker_silent_seconds
    return session.scalars(select(Worker).where(Worker.heard_at > since).order_by(Worker.name)).all()
