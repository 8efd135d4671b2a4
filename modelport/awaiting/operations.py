"""The methods of ``modelport.blocking.operations``, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator

from modelport.awaiting.driver import AsyncDriver
from modelport.awaiting.handles import AsyncDeployment, AsyncOperation
from modelport.types import Event


class AsyncOperations(AsyncDriver):
    """The methods that concern operations."""

    async def operation(self, operation_id: str) -> AsyncOperation:
        """As ``Client.operation``."""
        return await self._ask(self._calls.operation(operation_id))

    def operations(
        self,
        *,
        target: str | None = None,
        deployment: str | None = None,
        state: str | None = None,
        kind: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[AsyncOperation]:
        """As ``Client.operations``."""
        return self._all(
            self._calls.operations(target=target, deployment=deployment, state=state, kind=kind, page_size=page_size)
        )

    async def cancel(self, operation_id: str, *, key: str | None = None) -> AsyncOperation:
        """As ``Client.cancel``."""
        return await self._ask(self._calls.cancel(operation_id, key=key))

    async def retry(self, operation_id: str, *, key: str | None = None) -> AsyncOperation:
        """As ``Client.retry``."""
        return await self._ask(self._calls.retry(operation_id, key=key))

    async def undo(self, operation_id: str, *, key: str | None = None) -> AsyncOperation:
        """As ``Client.undo``."""
        return await self._ask(self._calls.undo(operation_id, key=key))

    async def wait(self, operation_id: str, timeout: float | None = None) -> AsyncOperation:
        """As ``Client.wait``."""
        return await self._one(self._flows.ended(operation_id, timeout))

    async def wait_until_settled(self, deployment: AsyncDeployment, timeout: float | None = None) -> AsyncDeployment:
        """As ``Client.wait_until_settled``."""
        return await self._one(self._flows.settled(deployment, timeout))

    def follow(
        self, operation_id: str, *, timeout: float | None = None, every: float = 2.0
    ) -> AsyncIterator[AsyncOperation]:
        """As ``Client.follow``."""
        return self._each(self._flows.follow(operation_id, timeout=timeout, every=every))

    def events(self, operation_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """As ``Client.events``."""
        return self._each(self._flows.events(operation_id, after))
