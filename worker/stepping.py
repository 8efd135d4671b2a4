"""The steps of one target's share: calls in threads of their own, what they came to written down in groups.

One thread runs a share. It gives calls to a pool as long as there is room, waits for the first to come back, records
all that have come back by then in one transaction, and goes on with those that need not wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.orm import Session

from adapters.contract import AdapterError, Fence, Progress, Seen, Toward
from operations import ledger, limits
from operations.ledger import Claim
from operations.models import Operation
from operations.settings import Settings
from operations.states import State
from worker.outcomes import Outcomes
from worker.places import Opened
from worker.recorder import Recorder, note_failure

log = structlog.get_logger(__name__)

RETRY_SECONDS = 5.0  # after a failure of our own, such as a database that went away
BEGINS_WITHIN_SECONDS = 1.0  # so far ahead may the token be with which an operation begins
WAITS_SECONDS = 3.0  # and so far ahead that of a next step; it is waited for here, with no thread
LISTENS_SECONDS = 0.2  # while waiting for nothing but an instant: how soon a stop is heard

Sight = Seen | AdapterError


@dataclass
class Run:
    """One share under way, by this process's clock.

    ``held`` tells since when each lease is good for a call, ``starts`` not before when the limit allows it.
    """

    claim: Claim
    opened: Opened
    until: float
    pool: ThreadPoolExecutor
    width: int
    ready: deque[tuple[Operation, Sight]]
    held: dict[str, float] = field(default_factory=dict)
    starts: dict[str, float] = field(default_factory=dict)
    steps: dict[Future[Progress | Exception], Operation] = field(default_factory=dict)
    looks: dict[Future[Mapping[str, Sight]], list[Operation]] = field(default_factory=dict)


class Stepping:
    """Takes operations forward for one process. ``stopping`` is asked between steps."""

    def __init__(
        self, settings: Settings, recorder: Recorder, outcomes: Outcomes, stopping: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._outcomes = outcomes
        self._stopping = stopping

    def run(
        self, claim: Claim, share: Sequence[Operation], opened: Opened, seen: Mapping[str, Sight], until: float
    ) -> None:
        """Take each as far as it goes without waiting, until the monotonic instant ``until``; the rest is handed back.

        Blocks for as long as the calls take, and sleeps for nothing but a token that comes in a moment.
        """
        width = opened.width(len(share))
        with ThreadPoolExecutor(width, thread_name_prefix="call") as pool:
            run = Run(claim, opened, until, pool, width, deque((o, seen[o.id]) for o in share))
            while run.ready or run.steps or run.looks:
                self._begin_calls(run)
                self._end_calls(run)

    def within_limit(self, claim: Claim, share: list[Operation], opened: Opened) -> list[Operation]:
        """Those whose writes the target's limit allows now; the others wait before anything is asked about them."""
        limit = opened.limits
        if limit.writes is None or len(share) < 2:
            return share
        with self._recorder.database.write() as session:
            allowed = limits.take(
                session,
                share[0].target_id,
                wanted=len(share),
                lane=ledger.write_lane(share[0]),
                writes=limit.writes,
                per_seconds=limit.per_seconds,
                within_seconds=BEGINS_WITHIN_SECONDS,
                ask_only=True,
            )
        first = max(1, allowed.granted)
        if share[first:]:
            self._postpone(claim, opened, share[first:], allowed)
        return share[:first]

    def _over(self, run: Run) -> bool:
        return time.monotonic() > run.until or self._stopping()

    def _begin_calls(self, run: Run) -> None:
        if run.ready and self._over(run):
            self._recorder.hand_back(run.claim, [operation for operation, _ in run.ready])
            run.ready.clear()
        going = True
        while going and run.ready and (room := run.width - len(run.steps)) > 0:
            self._permit(run, room)
            going = False  # what is left waits for its instant, or for room
            while len(run.steps) < run.width and (following := _following(run)) is not None:
                operation, sight = following
                run.steps[run.pool.submit(_call, run.opened, operation, sight)] = operation
                run.held.pop(operation.id, None)
                run.starts.pop(operation.id, None)
                going = True

    def _end_calls(self, run: Run) -> None:
        under_way: list[Future[Any]] = [*run.steps, *run.looks]
        pause = None
        if len(run.steps) < run.width and (soon := [run.starts[o.id] for o, _ in run.ready if o.id in run.starts]):
            pause = max(0.0, min(soon) - time.monotonic())
        if not under_way:
            time.sleep(min(pause or 0.0, LISTENS_SECONDS))
            return
        ended, _ = wait(under_way, timeout=pause, return_when=FIRST_COMPLETED)
        stepped = {operation.id: (operation, f.result()) for f, operation in list(run.steps.items()) if f in ended}
        for future in ended & run.steps.keys():
            del run.steps[future]
        for future in ended & run.looks.keys():
            self._keep_looks(run, run.looks.pop(future), future)
        if stepped:
            self._record(run, stepped)

    def _record(self, run: Run, stepped: dict[str, tuple[Operation, Progress | Exception]]) -> None:
        """Write down what came back, and go on with what need not wait."""
        kept: dict[str, Progress] = {}

        def write(session: Session, operation: Operation) -> None:
            result = stepped[operation.id][1]
            if isinstance(result, Exception):
                self._outcomes.failed(session, operation, result)
                return
            keep_lease = not self._over(run) and operation.cancelled_by is None
            if self._outcomes.progressed(session, operation, result, keep_lease=keep_lease):
                kept[operation.id] = result

        try:
            rows = self._recorder.record_all(run.claim, [operation for operation, _ in stepped.values()], write)
        except Exception:
            log.exception("record_failed", operations=list(stepped))
            lost = [operation for operation, _ in stepped.values()]
            self._recorder.hand_back(run.claim, lost, due_in=RETRY_SECONDS)
            return
        unseen = []
        for row in rows:
            if row.id in kept:
                sight = kept[row.id].seen
                if sight is None:
                    unseen.append(row)
                else:
                    run.ready.appendleft((row, sight))  # what has begun ends before others begin
        if unseen:
            handles = {row.id: row.handle or {} for row in unseen}
            run.looks[run.pool.submit(run.opened.adapter.look_many, handles)] = unseen

    def _keep_looks(self, run: Run, operations: list[Operation], looked: Future[Mapping[str, Sight]]) -> None:
        try:
            sights = looked.result()
        except Exception as failure:
            error = failure  # the name of an except clause ends with it
            note_failure(error, operations[0])
            self._recorder.record_all(run.claim, operations, lambda s, o: self._outcomes.unreachable(s, o, error))
            return
        run.ready.extendleft((operation, sights[operation.id]) for operation in operations)

    def _permit(self, run: Run, room: int) -> None:
        """Leave in front of ``ready`` what may call now: its lease renewed, its write counted and within the limit.

        One transaction for many. The leases of all are renewed at once, unless the target's limit gives its tokens one
        by one; a call that begins more than a third of a lease later has its own renewed anew.
        """
        limit = run.opened.limits
        fresh = time.monotonic() - self._settings.lease_seconds / 3
        first = list(run.ready)[: room if limit.writes is not None else None]
        stale = [(o, sight) for o, sight in first if isinstance(sight, Seen) and run.held.get(o.id, 0.0) < fresh]
        if not stale:
            return
        writing = [o for o, sight in stale if isinstance(sight, Seen) and _writes(o, sight)]
        waiting = [o for o, _ in stale if o not in writing]
        taken = None
        held_at = time.monotonic()
        token, lease = run.claim.token, self._settings.lease_seconds
        with self._recorder.database.write() as session:
            if limit.writes is not None and writing:
                taken = limits.take(
                    session,
                    writing[0].target_id,
                    wanted=len(writing),
                    lane=ledger.write_lane(writing[0]),
                    writes=limit.writes,
                    per_seconds=limit.per_seconds,
                    within_seconds=WAITS_SECONDS,
                )
            granted = writing[: taken.granted] if taken else writing
            held = ledger.hold_many(session, [o.id for o in granted], token, lease_seconds=lease, writes=True)
            held |= ledger.hold_many(session, [o.id for o in waiting], token, lease_seconds=lease, writes=False)
        run.held.update(dict.fromkeys(held, held_at))
        run.starts.update(dict.fromkeys(held, held_at))
        if taken:
            run.starts |= {o.id: held_at + taken.start(place) for place, o in enumerate(granted) if o.id in held}
        gone = {o.id for o, _ in stale} - held
        run.ready = deque((o, sight) for o, sight in run.ready if o.id not in gone)
        postponed = writing[len(granted) :]
        for identity in gone - {o.id for o in postponed}:
            log.warning("lease_lost", operation=identity)
        if taken and postponed:
            self._postpone(run.claim, run.opened, postponed, taken)

    def _postpone(self, claim: Claim, opened: Opened, operations: list[Operation], taken: limits.Taken) -> None:
        limit = opened.limits
        reason = f"{opened.place.name} allows {limit.writes} writes in {limit.per_seconds:g} s"
        waits = {o.id: taken.wait(place, begun=o.writes > 0) for place, o in enumerate(operations)}
        self._recorder.record_all(
            claim, operations, lambda s, o: self._outcomes.postponed(s, o, wait=waits[o.id], reason=reason)
        )


def toward(operation: Operation) -> Toward:
    """The direction in which the operation goes."""
    return "back" if operation.state == State.UNDOING else "forward"


def fence(operation: Operation) -> Fence:
    """What its writes carry."""
    return Fence(operation.fence, operation.deployment.fence_floor)


def _following(run: Run) -> tuple[Operation, Sight] | None:
    """The first that may call now, taken out of ``ready``; what needs no call needs no permission."""
    at = time.monotonic()
    for place, (operation, sight) in enumerate(run.ready):
        if isinstance(sight, AdapterError) or (operation.id in run.held and run.starts[operation.id] <= at):
            del run.ready[place]
            return operation, sight
    return None


def _call(opened: Opened, operation: Operation, sight: Sight) -> Progress | Exception:
    if isinstance(sight, AdapterError):
        return sight
    try:
        return opened.adapter.step(operation.handle or {}, sight, toward(operation), fence(operation))
    except Exception as error:
        note_failure(error, operation)
        return error


def raises_fence(operation: Operation) -> bool:
    """Whether a write with a newer fence must come before any conclusion, since a lost worker's call may still land."""
    return operation.deployment.fence_floor > int((operation.handle or {}).get("fenced", 0))


def _writes(operation: Operation, seen: Seen) -> bool:
    """Whether the next step may write; a look does not know that the direction has turned, or the worker changed."""
    return seen.needs_write or operation.state == State.UNDOING or raises_fence(operation)
