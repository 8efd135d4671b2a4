"""Flower's buttons: its *Revoke* and *Terminate* cancel the operations that the rows stand for."""

from __future__ import annotations

from typing import Any

import structlog
from celery.worker.control import Panel
from sqlalchemy import select

from operations import audit, ledger, queue, submit
from operations.audit import Source
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
                before = session.get_one(Operation, identity)
                was, asked_before = before.state.value, before.cancelled_by
                try:
                    operation = ledger.cancel(session, identity, by="flower")
                except ledger.TooLate:
                    said.append(f"{identity} can no longer be cancelled")
                    continue
                session.flush()
                # it fires in every worker; the first one did it
                if asked_before is None and operation.cancelled_by == "flower":
                    submit.note_cancelled(session, operation, was)
                    source = Source("flower", str(state.hostname))
                    audit.write(session, source, "operations.cancel", "accepted", what=audit.noted(session), status=0)
            queue.announce([operation], state.hostname)
            queue.hint(ledger.write_lane(operation))
            said.append(f"{identity} is being cancelled")
    finally:
        database.close()
    log.info("revoke", operations=identities, terminate=terminate)
    return {"ok": "; ".join(said)}


Panel.data["revoke"] = revoke
