"""Batches: many changes released together; planning, steering, watching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from modelport.blocking.driver import Driver
from modelport.calls import batches as calls
from modelport.calls.batches import Amount, BatchOperation, Change, Selection, Strategy
from modelport.types import Batch, BatchItem, BatchPlan


class Batches(Driver):
    """The methods that concern batches."""

    def create_batch(
        self,
        *,
        selection: Selection | None = None,
        change: Change | None = None,
        operations: Sequence[BatchOperation] | None = None,
        strategy: Strategy | None = None,
        key: str | None = None,
    ) -> Batch:
        """Begin to change what ``selection`` finds, or what ``operations`` lists, under the limits of ``strategy``."""
        return self._ask(calls.create(selection, change, operations, strategy, key=key))

    def plan_batch(
        self,
        *,
        selection: Selection | None = None,
        change: Change | None = None,
        operations: Sequence[BatchOperation] | None = None,
        strategy: Strategy | None = None,
        key: str | None = None,
    ) -> BatchPlan:
        """As ``create_batch``, but nothing begins: what would happen to each, and how long it takes.

        ``start_batch`` then does exactly that.
        """
        return self._ask(calls.plan(selection, change, operations, strategy, key=key))

    def batch(self, batch_id: str) -> Batch:
        """One batch as it stands. Raises NotFound."""
        return self._ask(calls.batch(batch_id))

    def batches(self, *, page_size: int | None = None) -> Iterator[Batch]:
        """All batches, the newest first, page after page as they are read."""
        return self._all(calls.batches(page_size=page_size))

    def batch_items(
        self, batch_id: str, *, state: str | None = None, page_size: int | None = None
    ) -> Iterator[BatchItem]:
        """The items of a batch in order, page after page as they are read. Raises NotFound."""
        return self._all(calls.items(batch_id, state=state, page_size=page_size))

    def start_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """Begin what was planned; twice is the same as once. Raises Conflict where anything of it changed since."""
        return self._ask(calls.steer(batch_id, "start", key=key))

    def pause_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """Nothing new starts, and what runs ends. Raises Conflict once the batch has ended."""
        return self._ask(calls.steer(batch_id, "pause", key=key))

    def resume_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """Go on after a pause. Raises Conflict once the batch has ended."""
        return self._ask(calls.steer(batch_id, "resume", key=key))

    def approve_batch(self, batch_id: str, wave: int, *, key: str | None = None) -> Batch:
        """Let what comes behind this wave begin; twice is the same as once. Raises Conflict where it is not awaited."""
        return self._ask(calls.steer(batch_id, "approve", key=key, body={"wave": wave}))

    def reject_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """Refuse what awaits approval: the batch stops as if too many had failed."""
        return self._ask(calls.steer(batch_id, "reject", key=key))

    def abort_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """Cancel what is queued, let what runs end, and start nothing more. Twice is the same as once."""
        return self._ask(calls.steer(batch_id, "abort", key=key))

    def retry_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """A new batch of what failed, was refused or was cancelled. Raises Conflict before the old one has ended."""
        return self._ask(calls.steer(batch_id, "retry", key=key))

    def roll_back_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """A new batch that restores what served before on all that this one changed. Raises as ``retry_batch``."""
        return self._ask(calls.steer(batch_id, "rollback", key=key))

    def adjust_batch(
        self,
        batch_id: str,
        *,
        max_concurrent: Amount | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        key: str | None = None,
    ) -> Batch:
        """Change how many may be under way at once, or the window, while it runs. Raises Conflict once it has ended."""
        return self._ask(calls.adjust(batch_id, max_concurrent=max_concurrent, start=start, end=end, key=key))

    def wait_for_batch(self, batch_id: str, timeout: float | None = None) -> Batch:
        """Block until the batch has succeeded.

        Raises BatchFailed where it ended otherwise, also where no more failed than may (partly_failed); BatchTimeout
        after ``timeout`` seconds (it goes on), and Unreachable. One that is paused or awaits approval is waited for.
        """
        return self._one(self._flows.batch_ended(batch_id, timeout))

    def batch_events(self, batch_id: str, *, after: int | None = None, timeout: float | None = None) -> Iterator[Batch]:
        """The batch as it is now (``after``: once it has gone past this version), and each time that it has moved.

        Ends when the batch has. A broken connection is taken up where it broke. Raises BatchTimeout and Unreachable as
        ``wait_for_batch``; that it failed is not raised.
        """
        return self._each(self._flows.batch_moves(batch_id, after, timeout))
