"""Writing down what became of claimed operations, several in one transaction, and saying so after the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog
from sqlalchemy.orm import Session

from adapters.contract import AdapterError
from operations import ledger, queue
from operations.database import Database
from operations.ledger import Claim
from operations.models import Operation
from operations.states import FINAL, Lane

log = structlog.get_logger(__name__)

RECORDS_AT_ONCE = 50


class Recorder:
    """Records for one process of the node ``worker``."""

    def __init__(self, database: Database, worker: str) -> None:
        self.database = database
        self._worker = worker

    def record_all(
        self, claim: Claim, share: Sequence[Operation], write: Callable[[Session, Operation], None]
    ) -> list[Operation]:
        """Write down something about each, several in one transaction. Returns the rows still ours when it began."""
        recorded: list[Operation] = []
        ordered = sorted(share, key=lambda o: o.deployment_id)
        for start in range(0, len(ordered), RECORDS_AT_ONCE):
            portion = ordered[start : start + RECORDS_AT_ONCE]
            with self.database.write() as session:
                rows = ledger.record(session, portion, claim.token)
                # each row is written once, at the end: what one outcome changes, the next one does not ask about
                with session.no_autoflush:
                    for row in rows:
                        write(session, row)
            for lost in {o.id for o in portion} - {row.id for row in rows}:
                log.warning("lease_lost", operation=lost)
            self.tell(rows)
            recorded += rows
        return recorded

    def hand_back(self, claim: Claim, share: Sequence[Operation], due_in: float = 0.0) -> None:
        """End the leases of what was not brought further."""
        with self.database.write() as session:
            ledger.hand_back_many(session, [o.id for o in share], claim.token, due_in=due_in)

    def tell(self, rows: Sequence[Operation]) -> None:
        """After the commit: show the rows in Flower, and say where work is due now."""
        queue.announce(rows, self._worker)
        for lane in _lanes_due(rows):
            queue.hint(lane)


def note_failure(error: Exception, operation: Operation) -> None:
    """Log a call to a target that raised; with its trace unless it is of the contract's own kinds."""
    expected = isinstance(error, AdapterError)
    log.warning("call_failed", operation=operation.id, error=str(error), exc_info=None if expected else error)


def _lanes_due(rows: Iterable[Operation]) -> set[Lane]:
    lanes = set()
    for row in rows:
        if row.state in FINAL:
            if row.deployment.last_seq > row.seq:
                lanes.add(Lane.WRITE)
        elif row.leased_by is None and row.lane != Lane.LOOK and row.not_before is None:
            lanes.add(row.lane)
    return lanes
