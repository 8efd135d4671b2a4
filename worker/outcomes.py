"""What a call to the target came to, written down: each function changes one claimed operation's row, and no more.

All run inside the transaction that locked the row (``ledger.record``) and leave the lease ended or the state final,
except ``go_on``, which keeps the lease for the next step at once.
"""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from adapters.contract import Leftover, Permanent, Progress, Temporary
from operations import ledger
from operations.clock import instant
from operations.models import Operation, Target
from operations.settings import Settings
from operations.states import Kind, Lane, State

# a delete that has begun only goes forward, and what was adopted is not ours to take away
ONE_WAY = frozenset({Kind.DELETE, Kind.ADOPT})


def problem(slug: str, title: str, detail: str) -> dict[str, str]:
    """The error as the operation keeps it, in the form of a problem document."""
    return {"type": f"/problems/{slug}", "title": title, "detail": detail}


def to_be_cancelled(operation: Operation) -> bool:
    """Whether cancelling was asked for in time: its change does not serve yet, and it is no delete that has begun."""
    begun_delete = operation.kind == Kind.DELETE and operation.writes > 0
    under_way = operation.state != State.UNDOING and operation.phase != "clean"
    return operation.cancelled_by is not None and under_way and not begun_delete


class Outcomes:
    """Writes down outcomes under the name of one worker."""

    def __init__(self, settings: Settings, worker: str) -> None:
        self._settings = settings
        self._worker = worker

    def progressed(self, session: Session, operation: Operation, progress: Progress, *, keep_lease: bool) -> bool:
        """Write down a step. True when the lease was kept for the next step, which is due now."""
        operation.handle = progress.handle
        operation.attempts = 0
        operation.not_before = None
        operation.waits_for = None
        message_is_new = progress.message != operation.message
        operation.message = progress.message
        if operation.state == State.UNDOING:
            return self._undone(session, operation, progress, keep_lease)
        if progress.route is not None or progress.outcome == "done":
            self._landed(session, operation, progress)
        elif operation.phase != "clean":
            operation.phase = progress.phase
        if progress.outcome == "done":
            self._succeed(session, operation, progress.leftovers)
            return False
        if progress.outcome != "again":
            self.give_up(
                session,
                operation,
                problem("target-failed", "The target gave up", progress.message or "it did not say why"),
                progress.leftovers,
            )
            return False
        if operation.state == State.STARTING and progress.again_in > 0:
            ledger.move(session, operation, State.WAITING, message=progress.message, by=self._worker)
        elif message_is_new:
            ledger.note(session, operation, progress.message, by=self._worker)
        return self._again(session, operation, progress, keep_lease)

    def failed(self, session: Session, operation: Operation, error: Exception) -> None:
        """Write down a call that raised: try again later, or give up when that cannot help."""
        detail = str(error) if isinstance(error, (Temporary, Permanent)) else f"{type(error).__name__}: {error}"
        if isinstance(error, Permanent):
            slug = {"Conflict": "conflict-on-target", "Denied": "denied-by-target"}.get(
                type(error).__name__, "refused-by-target"
            )
            self.give_up(session, operation, problem(slug, "The target refused", detail))
            return
        operation.attempts += 1
        if operation.attempts >= self._settings.attempts:
            reason = f"gave up after {operation.attempts} attempts in a row; the last: {detail}"
            self.give_up(session, operation, problem("attempts-exhausted", "The target kept failing", reason))
            return
        told = error.retry_in if isinstance(error, Temporary) else None
        pause = told if told is not None else self._backoff(operation.attempts)
        operation.message = detail
        operation.not_before = instant(session) + pause
        operation.waits_for = f"attempt {operation.attempts + 1} after: {detail}"
        ledger.note(session, operation, operation.waits_for, by=self._worker)
        ledger.hand_back(session, operation, due_in=pause, lane=ledger.write_lane(operation))

    def unreachable(self, session: Session, operation: Operation, error: Exception) -> None:
        """Write down that the target as a whole did not answer: not this operation's fault, so no attempt is used."""
        told = error.retry_in if isinstance(error, Temporary) else None
        pause = told if told is not None else self._backoff(3)
        operation.not_before = instant(session) + pause
        waits_for = f"the target to answer: {error}"
        if operation.waits_for != waits_for:
            operation.waits_for = operation.message = waits_for
            ledger.note(session, operation, waits_for, by=self._worker)
        ledger.hand_back(session, operation, due_in=pause, lane=operation.lane)

    def postponed(self, session: Session, operation: Operation, *, wait: float, reason: str) -> None:
        """Write down that the next step waits ``wait`` seconds for a limit, and which; deadlines wait with it."""
        operation.not_before = instant(session) + wait
        if operation.deadline_at is not None:
            operation.deadline_at += wait
        if operation.undo_deadline_at is not None:
            operation.undo_deadline_at += wait
        if operation.waits_for != reason:
            operation.waits_for = reason
            ledger.note(session, operation, f"waits for {reason}", by=self._worker)
        ledger.hand_back(session, operation, due_in=wait, lane=ledger.write_lane(operation))

    def give_up(
        self,
        session: Session,
        operation: Operation,
        error: dict[str, str] | None,
        leftovers: tuple[Leftover, ...] = (),
    ) -> None:
        """End the way forward (or back), as far as the operation has come; ``error`` None means it was cancelled."""
        detail = error["detail"] if error else f"cancelled by {operation.cancelled_by}"
        operation.leftovers = [*operation.leftovers, *map(_leftover, leftovers)]
        if operation.state != State.UNDOING and operation.phase == "clean":
            self._succeed(session, operation, (Leftover("previous revision", operation.deployment.name, detail),))
            return
        operation.error = operation.error or error
        operation.message = detail
        if operation.state == State.UNDOING:
            if not operation.leftovers:
                operation.leftovers = [_leftover(Leftover("deployment", operation.deployment.name, detail))]
            operation.unclean = True
            ledger.move(session, operation, State.FAILED, message=f"could not be taken back: {detail}", by=self._worker)
        elif operation.writes and operation.kind not in ONE_WAY:
            operation.undo_deadline_at = instant(session) + self._settings.undo_deadline_seconds
            operation.attempts = 0
            ledger.move(session, operation, State.UNDOING, message=detail, by=self._worker)
            ledger.hand_back(session, operation, due_in=0.0, lane=ledger.write_lane(operation))
        elif error is None:
            ledger.move(session, operation, State.UNDOING, message=detail, by=self._worker)
            ledger.move(session, operation, State.CANCELLED, message="nothing was changed", by=self._worker)
        else:
            if operation.writes:
                operation.leftovers = [_leftover(Leftover("deployment", operation.deployment.name, detail))]
                operation.unclean = operation.kind == Kind.DELETE
            ledger.move(session, operation, State.FAILED, message=detail, by=self._worker)

    def _undone(self, session: Session, operation: Operation, progress: Progress, keep_lease: bool) -> bool:
        if progress.outcome == "again":
            return self._again(session, operation, progress, keep_lease)
        if progress.outcome == "landed":
            self._landed(session, operation, progress)
            operation.error = None
            self._succeed(session, operation, progress.leftovers)
            return False
        operation.leftovers = [*operation.leftovers, *map(_leftover, progress.leftovers)]
        if progress.outcome == "done" and operation.error is None:
            ledger.move(session, operation, State.CANCELLED, message="taken back", by=self._worker)
        elif progress.outcome == "done":
            ledger.move(session, operation, State.FAILED, message="taken back", by=self._worker)
        else:
            self.give_up(session, operation, problem("undo-failed", "Taking back failed", progress.message))
        return False

    def _again(self, session: Session, operation: Operation, progress: Progress, keep_lease: bool) -> bool:
        if progress.again_in > 0 and not to_be_cancelled(operation):
            ledger.hand_back(session, operation, due_in=progress.again_in, lane=Lane.LOOK)
            return False
        if keep_lease:
            return True
        ledger.hand_back(session, operation, due_in=0.0, lane=ledger.write_lane(operation))
        return False

    def _landed(self, session: Session, operation: Operation, progress: Progress) -> None:
        deployment = operation.deployment
        deployment.current_id = operation.desired_id
        deployment.route = progress.route
        deployment.placed = progress.handle
        deployment.updated_at = instant(session)
        if operation.desired_id is None:
            deployment.observed, deployment.observed_at = {}, None
        if operation.desired is not None and operation.phase != "clean":
            operation.desired.landed_at = deployment.updated_at
            operation.phase = "clean"

    def _succeed(self, session: Session, operation: Operation, leftovers: tuple[Leftover, ...]) -> None:
        operation.leftovers = [*operation.leftovers, *map(_leftover, leftovers)]
        operation.unclean = bool(operation.leftovers)
        self._verify_later(session, operation)
        operation.deployment.placed = (operation.handle or {}) if operation.desired_id else {}
        message = operation.message or "done"
        ledger.move(session, operation, State.SUCCEEDED, message=message, by=self._worker)

    def _verify_later(self, session: Session, operation: Operation) -> None:
        """Have the target observed once a call that a lost worker may still have under way can no longer land."""
        contested = operation.deployment.contested_until
        if contested is None:
            return
        target = operation.deployment.target
        due = contested + self._settings.call_timeout_seconds
        if target.observe_due_at is None or due < target.observe_due_at:
            session.execute(update(Target).where(Target.id == target.id).values(observe_due_at=due))

    def _backoff(self, attempts: int) -> float:
        longest: float = min(self._settings.backoff_cap_seconds, self._settings.backoff_seconds * 2 ** (attempts - 1))
        # half fixed, half random: a whole fleet that failed together does not come back together
        return longest * (0.5 + random.random() / 2)  # noqa: S311  # spreads load, protects nothing


def _leftover(leftover: Leftover) -> dict[str, Any]:
    return {"kind": leftover.kind, "name": leftover.name, "why": leftover.why}
