"""Flower's buttons: its *Revoke* and *Terminate* cancel the operations that the rows stand for."""

from __future__ import annotations

from typing import Any

import structlog
from celery.worker.control import Panel
from sqlalchemy import select

from operations import ledger, queue
from operations.database import Database
from operations.models import Operation
from operations.settings import settings

log = structlog.get_logger(__name__)


def revoke(state: Any, task_id: str | list[str], terminate: bool = False, **_: object) -> dict[str, str]:
    """Cancel the operations of these ids. Fires in every worker; twice is the same as once.

    ``terminate`` means nothing here: killing a process would hurt other operations and not this one.
    """
    identities = [task_id] if isinstance(task_id, str) else list(task_id or ())
    database = Database(settings().sqlalchemy_url)
    said = []
    try:
        for identity in identities:
            with database.write() as session:
                if session.scalar(select(Operation.id).where(Operation.id == identity)) is None:
                    said.append(f"{identity} is no operation")
                    continue
                try:
                    operation = ledger.cancel(session, identity, by="flower")
                except ledger.TooLate:
                    said.append(f"{identity} can no longer be cancelled")
                    continue
                session.flush()
            queue.announce([operation], state.hostname)
            queue.hint(ledger.write_lane(operation))
            said.append(f"{identity} is being cancelled")
    finally:
        database.close()
    log.info("revoke", operations=identities, terminate=terminate)
    return {"ok": "; ".join(said)}


Panel.data["revoke"] = revoke
