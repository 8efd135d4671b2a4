"""Brings operations forward: claim what is due, load, act on the target, record; never one inside the other.

One ``advance`` claims a batch, drives each target's share in threads of its own with the target's cap, hands back what
its time budget did not reach, and says whether more is due. Nothing here sleeps: what must wait is handed back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy.orm import Session

from adapters.contract import AdapterError, Progress, Seen
from operations import ledger
from operations.database import Database
from operations.ledger import Claim
from operations.models import Operation
from operations.settings import Settings
from operations.states import Lane, State
from worker.beginning import Beginning
from worker.observer import Observer
from worker.outcomes import Outcomes, problem, to_be_cancelled
from worker.places import Opened, Places
from worker.recorder import Recorder, note_failure
from worker.releaser import Releaser
from worker.stepping import RETRY_SECONDS, Stepping, fence, raises_fence, toward

log = structlog.get_logger(__name__)


class Engine:
    """Drives operations for one process of the node ``worker``. ``stopping`` is asked between steps."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        worker: str,
        process: str,
        offers: Sequence[str],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._settings = settings
        self._worker = worker
        self._process = process
        self._offers = list(offers)
        self._places = Places(settings)
        self._outcomes = Outcomes(settings, worker)
        self._recorder = Recorder(database, worker)
        self._beginning = Beginning(self._recorder, self._outcomes, worker)
        self._stepping = Stepping(settings, self._recorder, self._outcomes, stopping)
        self._releaser = Releaser(database, settings, self._places, worker=worker, process=process, stopping=stopping)
        self._observer = Observer(database, settings, self._places, self._offers)

    def advance(self, lane: Lane) -> bool:
        """Take what is due in this lane one step further each. True when more may be due at once."""
        if lane == Lane.LOOK:
            self._observer.run()
        elif lane == Lane.BULK:
            self._releaser.run()
        limit = self._settings.look_size if lane == Lane.LOOK else self._settings.claim_size
        with self._database.write() as session:
            claim = ledger.claim(
                session,
                worker=self._process,
                lanes=[lane],
                offers=self._offers,
                limit=limit,
                lease_seconds=self._settings.lease_seconds,
            )
        if not claim.operations:
            return False
        until = time.monotonic() + self._settings.advance_budget_seconds
        shares: dict[str, list[Operation]] = defaultdict(list)
        for operation in claim.operations:
            shares[operation.target_id].append(operation)
        with ThreadPoolExecutor(len(shares), thread_name_prefix="target") as pool:
            for share in shares.values():
                pool.submit(self._drive_share, claim, share, lane, until)
        if lane == Lane.LOOK:
            with self._database.write() as session:
                ledger.release_targets(session, self._process)
        return len(claim.operations) >= limit

    def close(self) -> None:
        """Let the answers under way be given, then close the adapters."""
        self._observer.close()
        self._places.close()

    def _drive_share(self, claim: Claim, share: list[Operation], lane: Lane, until: float) -> None:
        target = share[0].deployment.target
        try:
            opened = self._places.open(target)
            share = self._beginning.begin(claim, self._beginning.contest(claim, share, opened), opened)
            share = self._turn_back(claim, share)
            if lane != Lane.LOOK:
                share = self._stepping.within_limit(claim, share, opened)
            if not share:
                return
            try:
                seen = opened.adapter.look_many({o.id: o.handle or {} for o in share})
            except Exception as error:
                note_failure(error, share[0])
                self._away(claim, share, error)
                return
            if lane == Lane.LOOK:
                self._conclude(claim, share, opened, seen)
            else:
                self._stepping.run(claim, share, opened, seen, until)
        except Exception:
            log.exception("share_failed", target=target.name)
            self._recorder.hand_back(claim, share, due_in=RETRY_SECONDS)

    def _away(self, claim: Claim, share: Sequence[Operation], error: Exception) -> None:
        self._recorder.record_all(claim, share, lambda s, o: self._outcomes.unreachable(s, o, error))

    def _turn_back(self, claim: Claim, share: list[Operation]) -> list[Operation]:
        """Begin taking back what was cancelled or is past its deadline. Returns what goes on, in either direction."""
        overdue = {o.id: reason for o in share if (reason := self._overdue(o, claim.at)) is not None}
        if not overdue:
            return share
        self._recorder.record_all(
            claim,
            [o for o in share if o.id in overdue],
            lambda s, o: self._outcomes.give_up(s, o, overdue[o.id] or None),
        )
        return [o for o in share if o.id not in overdue]

    def _overdue(self, operation: Operation, at: float) -> dict[str, str] | None:
        if operation.state == State.UNDOING:
            if operation.undo_deadline_at is not None and at > operation.undo_deadline_at:
                return problem("undo-deadline-exceeded", "Taking back took too long", "its deadline has passed")
            return None
        if to_be_cancelled(operation):
            return {}
        if operation.deadline_at is not None and at > operation.deadline_at:
            detail = f"not done within {operation.deadline_seconds:g} seconds; the target last said: "
            return problem("deadline-exceeded", "The deadline has passed", detail + (operation.message or "nothing"))
        return None

    def _conclude(
        self, claim: Claim, share: list[Operation], opened: Opened, seen: Mapping[str, Seen | AdapterError]
    ) -> None:
        """After a look: conclude or wait; what needs a write is handed to a node that writes."""
        unchanged: dict[float, list[str]] = defaultdict(list)
        changed: list[Operation] = []
        results: dict[str, Progress | Exception | None] = {}
        for operation in share:
            result = self._conclusion(operation, opened, seen[operation.id])
            if (
                isinstance(result, Progress)
                and result.outcome == "again"
                and result.again_in > 0
                and operation.cancelled_by is None
                and (result.handle, result.message) == (operation.handle, operation.message)
                and operation.not_before is None
                and operation.attempts == 0
            ):
                unchanged[result.again_in].append(operation.id)
            else:
                results[operation.id] = result
                changed.append(operation)
        for again_in, identities in unchanged.items():
            with self._database.write() as session:
                ledger.hand_back_many(session, identities, claim.token, due_in=again_in)

        def keep(session: Session, operation: Operation) -> None:
            result = results[operation.id]
            if result is None:
                ledger.hand_back(session, operation, due_in=0.0, lane=ledger.write_lane(operation))
            elif isinstance(result, Progress):
                self._outcomes.progressed(session, operation, result, keep_lease=False)
            else:
                self._outcomes.failed(session, operation, result)

        self._recorder.record_all(claim, changed, keep)

    def _conclusion(
        self, operation: Operation, opened: Opened, seen: Seen | AdapterError
    ) -> Progress | Exception | None:
        if isinstance(seen, AdapterError):
            return seen
        if seen.needs_write or raises_fence(operation):
            return None
        try:
            return opened.adapter.step(operation.handle or {}, seen, toward(operation), fence(operation))
        except Exception as error:
            note_failure(error, operation)
            return error
