"""The methods of ``modelport.blocking.batches``, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from modelport.awaiting.driver import AsyncDriver
from modelport.calls import batches as calls
from modelport.calls.batches import Amount, BatchOperation, Change, Selection, Strategy
from modelport.types import Batch, BatchItem, BatchPlan


class AsyncBatches(AsyncDriver):
    """The methods that concern batches."""

    async def create_batch(
        self,
        *,
        selection: Selection | None = None,
        change: Change | None = None,
        operations: Sequence[BatchOperation] | None = None,
        strategy: Strategy | None = None,
        key: str | None = None,
    ) -> Batch:
        """As ``Client.create_batch``."""
        return await self._ask(calls.create(selection, change, operations, strategy, key=key))

    async def plan_batch(
        self,
        *,
        selection: Selection | None = None,
        change: Change | None = None,
        operations: Sequence[BatchOperation] | None = None,
        strategy: Strategy | None = None,
        key: str | None = None,
    ) -> BatchPlan:
        """As ``Client.plan_batch``."""
        return await self._ask(calls.plan(selection, change, operations, strategy, key=key))

    async def batch(self, batch_id: str) -> Batch:
        """As ``Client.batch``."""
        return await self._ask(calls.batch(batch_id))

    def batches(self, *, page_size: int | None = None) -> AsyncIterator[Batch]:
        """As ``Client.batches``."""
        return self._all(calls.batches(page_size=page_size))

    def batch_items(
        self, batch_id: str, *, state: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[BatchItem]:
        """As ``Client.batch_items``."""
        return self._all(calls.items(batch_id, state=state, page_size=page_size))

    async def start_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """As ``Client.start_batch``."""
        return await self._ask(calls.steer(batch_id, "start", key=key))

    async def pause_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """As ``Client.pause_batch``."""
        return await self._ask(calls.steer(batch_id, "pause", key=key))

    async def resume_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """As ``Client.resume_batch``."""
        return await self._ask(calls.steer(batch_id, "resume", key=key))

    async def approve_batch(self, batch_id: str, wave: int, *, key: str | None = None) -> Batch:
        """As ``Client.approve_batch``."""
        return await self._ask(calls.steer(batch_id, "approve", key=key, body={"wave": wave}))

    async def reject_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """As ``Client.reject_batch``."""
        return await self._ask(calls.steer(batch_id, "reject", key=key))

    async def abort_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """As ``Client.abort_batch``."""
        return await self._ask(calls.steer(batch_id, "abort", key=key))

    async def retry_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """As ``Client.retry_batch``."""
        return await self._ask(calls.steer(batch_id, "retry", key=key))

    async def roll_back_batch(self, batch_id: str, *, key: str | None = None) -> Batch:
        """As ``Client.roll_back_batch``."""
        return await self._ask(calls.steer(batch_id, "rollback", key=key))

    async def adjust_batch(
        self,
        batch_id: str,
        *,
        max_concurrent: Amount | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        key: str | None = None,
    ) -> Batch:
        """As ``Client.adjust_batch``."""
        return await self._ask(calls.adjust(batch_id, max_concurrent=max_concurrent, start=start, end=end, key=key))

    async def wait_for_batch(self, batch_id: str, timeout: float | None = None) -> Batch:
        """As ``Client.wait_for_batch``."""
        return await self._one(self._flows.batch_ended(batch_id, timeout))

    def batch_events(
        self, batch_id: str, *, after: int | None = None, timeout: float | None = None
    ) -> AsyncIterator[Batch]:
        """As ``Client.batch_events``."""
        return self._each(self._flows.batch_moves(batch_id, after, timeout))
