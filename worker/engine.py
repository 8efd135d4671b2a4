"""Brings operations forward: claim what is due, load, act on the target, record; never one inside the other.

One ``advance`` claims a batch, drives each target's share in threads of its own with the target's cap, hands back what
its time budget did not reach, and says whether more is due. Nothing here sleeps: what must wait is handed back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy.orm import Session

from adapters.contract import AdapterError, Change, Fence, Progress, Seen, Spec, Toward
from operations import checks, ledger, limits, queue
from operations.clock import instant
from operations.database import Database
from operations.ledger import Claim, Lost
from operations.models import Operation, Revision
from operations.settings import Settings
from operations.states import FINAL, Kind, Lane, State
from worker.outcomes import Outcomes, problem
from worker.places import Opened, Places

log = structlog.get_logger(__name__)

RECORDS_AT_ONCE = 50
RETRY_SECONDS = 5.0  # after a failure of our own, such as a database that went away


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
        self._stopping = stopping
        self._places = Places(settings)
        self._outcomes = Outcomes(settings, worker)

    def advance(self, lane: Lane) -> bool:
        """Take what is due in this lane one step further each. True when more may be due at once."""
        if lane == Lane.LOOK:
            self._check_targets()
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

    def _check_targets(self) -> None:
        with self._database.read() as session:
            asked = checks.asked_for(session, self._offers)
        for target in asked:
            try:
                ok, message = True, self._places.open(target).adapter.check()
            except Exception as error:
                ok, message = (
                    False,
                    str(error) if isinstance(error, AdapterError) else f"{type(error).__name__}: {error}",
                )
            with self._database.write() as session:
                checks.answered(session, target.id, ok=ok, message=message)

    def close(self) -> None:
        """Close the adapters."""
        self._places.close()

    def _drive_share(self, claim: Claim, share: list[Operation], lane: Lane, until: float) -> None:
        target = share[0].deployment.target
        try:
            opened = self._places.open(target)
            share = self._begin(claim, share, opened)
            share = self._turn_back(claim, share)
            if not share:
                return
            try:
                seen = opened.adapter.look_many({o.id: o.handle or {} for o in share})
            except Exception as error:
                self._log(error, share[0])
                self._away(claim, share, error)
                return
            if lane == Lane.LOOK:
                self._conclude(claim, share, opened, seen)
            else:
                self._step_all(claim, share, opened, seen, until)
        except Exception:
            log.exception("share_failed", target=target.name)
            self._hand_back(claim, share, due_in=RETRY_SECONDS)

    def _away(self, claim: Claim, share: Sequence[Operation], error: Exception) -> None:
        self._record_all(claim, share, lambda s, o: self._outcomes.unreachable(s, o, error))

    def _begin(self, claim: Claim, share: list[Operation], opened: Opened) -> list[Operation]:
        """Bring what has no handle yet to the point where it has one. Returns what can be driven further."""
        new = [o for o in share if o.handle is None]
        if not new:
            return share
        started = self._record_all(claim, new, self._start)
        started = [o for o in started if o.state == State.STARTING and o.leased_by]
        plans: dict[str, tuple[Spec | None, dict[str, object]] | Exception] = {}

        def plan(operation: Operation) -> None:
            try:
                plans[operation.id] = self._plan(operation, opened)
            except Exception as error:
                self._log(error, operation)
                plans[operation.id] = error

        with ThreadPoolExecutor(self._width(opened, started), thread_name_prefix="plan") as pool:
            list(pool.map(plan, started))

        def keep(session: Session, operation: Operation) -> None:
            planned = plans[operation.id]
            if isinstance(planned, Exception):
                self._outcomes.failed(session, operation, planned)
                return
            resolved, operation.handle = planned
            if operation.desired is not None and resolved is not None:
                session.get_one(Revision, operation.desired_id).resolved = resolved.to_json()

        planned = self._record_all(claim, started, keep)
        return [o for o in share if o.handle is not None] + [o for o in planned if o.handle is not None]

    def _start(self, session: Session, operation: Operation) -> None:
        if operation.state != State.QUEUED:
            return
        deployment = operation.deployment
        at = instant(session)
        operation.started_at = at
        operation.deadline_at = at + operation.deadline_seconds
        operation.from_id = deployment.current_id
        if operation.cancelled_by:
            ledger.move(session, operation, State.CANCELLED, message="cancelled before it started", by=self._worker)
        elif operation.relative and operation.base_id != deployment.current_id:
            error = problem(
                "base-changed",
                "What this builds on did not come to be",
                "it was asked for relative to a revision that does not serve; look at the deployment and ask again",
            )
            operation.error = error
            ledger.move(session, operation, State.FAILED, message=error["detail"], by=self._worker)
        elif operation.kind == Kind.CREATE and deployment.current_id is not None:
            error = problem(
                "deployment-exists", "The deployment exists", "the delete before this create failed; it still serves"
            )
            operation.error = error
            ledger.move(session, operation, State.FAILED, message=error["detail"], by=self._worker)
        else:
            ledger.move(session, operation, State.STARTING, by=self._worker)

    def _plan(self, operation: Operation, opened: Opened) -> tuple[Spec | None, dict[str, object]]:
        deployment = operation.deployment
        desired = None
        if operation.desired is not None:
            known = operation.desired.resolved
            desired = Spec.from_json(known) if known else opened.adapter.resolve(Spec.from_json(operation.desired.spec))
        current = deployment.current
        change = Change(
            installation=opened.place.installation,
            uid=deployment.id,
            name=deployment.name,
            current=Spec.from_json(current.resolved or current.spec) if current else None,
            desired=desired,
            placed=deployment.placed,
            labels=deployment.labels,
        )
        return desired, opened.adapter.plan(change)

    def _turn_back(self, claim: Claim, share: list[Operation]) -> list[Operation]:
        """Begin taking back what was cancelled or is past its deadline. Returns what goes on, in either direction."""
        overdue = {o.id: reason for o in share if (reason := self._overdue(o, claim.at)) is not None}
        if not overdue:
            return share
        self._record_all(
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
        if operation.cancelled_by and operation.phase != "clean":
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

        self._record_all(claim, changed, keep)

    def _conclusion(
        self, operation: Operation, opened: Opened, seen: Seen | AdapterError
    ) -> Progress | Exception | None:
        if isinstance(seen, AdapterError):
            return seen
        if seen.needs_write:
            return None
        try:
            return opened.adapter.step(operation.handle or {}, seen, _toward(operation), Fence(operation.fence))
        except Exception as error:
            self._log(error, operation)
            return error

    def _step_all(
        self,
        claim: Claim,
        share: list[Operation],
        opened: Opened,
        seen: Mapping[str, Seen | AdapterError],
        until: float,
    ) -> None:
        def drive(operation: Operation) -> None:
            if time.monotonic() > until or self._stopping():
                self._hand_back(claim, [operation])
                return
            try:
                self._step(claim, operation, opened, seen[operation.id], until)
            except Lost:
                log.warning("lease_lost", operation=operation.id)
            except Exception:
                log.exception("step_failed", operation=operation.id)
                self._hand_back(claim, [operation], due_in=RETRY_SECONDS)

        with ThreadPoolExecutor(self._width(opened, share), thread_name_prefix="call") as pool:
            list(pool.map(drive, share))

    def _step(
        self, claim: Claim, operation: Operation, opened: Opened, seen: Seen | AdapterError, until: float
    ) -> None:
        """Take one operation as far as it goes without waiting. Raises Lost."""
        while True:
            result: Progress | Exception
            if isinstance(seen, AdapterError):
                result = seen
            else:
                if not self._may_write(claim, operation, opened, seen):
                    return
                try:
                    result = opened.adapter.step(
                        operation.handle or {}, seen, _toward(operation), Fence(operation.fence)
                    )
                except Exception as error:
                    self._log(error, operation)
                    result = error
            kept = False
            with self._database.write() as session:
                operation = ledger.record(session, operation, claim.token)
                if isinstance(result, Progress):
                    keep_lease = time.monotonic() < until and not self._stopping() and operation.cancelled_by is None
                    kept = self._outcomes.progressed(session, operation, result, keep_lease=keep_lease)
                else:
                    self._outcomes.failed(session, operation, result)
            self._tell([operation])
            if not kept or isinstance(result, Exception):
                return
            seen = result.seen or opened.adapter.look_many({operation.id: operation.handle or {}})[operation.id]

    def _may_write(self, claim: Claim, operation: Operation, opened: Opened, seen: Seen) -> bool:
        """Renew the lease right before a call, and take a token of the target's limit. Raises Lost."""
        wait = 0.0
        with self._database.write() as session:
            if seen.needs_write and opened.limits.writes is not None:
                wait = limits.take(
                    session, operation.target_id, writes=opened.limits.writes, per_seconds=opened.limits.per_seconds
                )
            if wait:
                operation = ledger.record(session, operation, claim.token)
                reason = f"{opened.place.name} allows {opened.limits.writes} writes in {opened.limits.per_seconds:g} s"
                self._outcomes.postponed(session, operation, wait=wait, reason=reason)
            else:
                ledger.hold(
                    session,
                    operation,
                    claim.token,
                    lease_seconds=self._settings.lease_seconds,
                    writes=seen.needs_write,
                )
        if wait:
            self._tell([operation])
        return not wait

    def _record_all(
        self, claim: Claim, share: Sequence[Operation], write: Callable[[Session, Operation], None]
    ) -> list[Operation]:
        """Write down something about each, several in one transaction. Returns the rows still ours when it began."""
        recorded: list[Operation] = []
        # one order for all workers, so that none waits for a row that waits for it
        ordered = sorted(share, key=lambda o: o.deployment_id)
        for start in range(0, len(ordered), RECORDS_AT_ONCE):
            rows: list[Operation] = []
            with self._database.write() as session:
                for operation in ordered[start : start + RECORDS_AT_ONCE]:
                    try:
                        row = ledger.record(session, operation, claim.token)
                    except Lost:
                        log.warning("lease_lost", operation=operation.id)
                        continue
                    write(session, row)
                    rows.append(row)
            self._tell(rows)
            recorded += rows
        return recorded

    def _hand_back(self, claim: Claim, share: Sequence[Operation], due_in: float = 0.0) -> None:
        with self._database.write() as session:
            ledger.hand_back_many(session, [o.id for o in share], claim.token, due_in=due_in)

    def _tell(self, rows: Sequence[Operation]) -> None:
        """After the commit: show the rows in Flower, and say where work is due now."""
        queue.announce(rows, self._worker)
        for lane in _lanes_due(rows):
            queue.hint(lane)

    def _width(self, opened: Opened, share: Sequence[Operation]) -> int:
        return max(1, min(opened.limits.parallel, self._settings.threads, len(share)))

    def _log(self, error: Exception, operation: Operation) -> None:
        expected = isinstance(error, AdapterError)
        log.warning("call_failed", operation=operation.id, error=str(error), exc_info=None if expected else error)


def _toward(operation: Operation) -> Toward:
    return "back" if operation.state == State.UNDOING else "forward"


def _lanes_due(rows: Iterable[Operation]) -> set[Lane]:
    lanes = set()
    for row in rows:
        if row.state in FINAL:
            if row.deployment.last_seq > row.seq:
                lanes.add(Lane.WRITE)
        elif row.leased_by is None and row.lane != Lane.LOOK and row.not_before is None:
            lanes.add(row.lane)
    return lanes
