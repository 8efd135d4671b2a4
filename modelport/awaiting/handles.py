"""The handles of ``modelport.blocking.handles``, whose methods are awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from modelport import types
from modelport.types import Event, Prediction

if TYPE_CHECKING:
    from modelport.async_client import AsyncClient


class AsyncOperation(types.Operation):
    """An operation as it was when it was read, and what can be done about it."""

    _client: AsyncClient | None = PrivateAttr(default=None)

    async def refresh(self) -> AsyncOperation:
        """How it stands now."""
        return await self._owner.operation(self.id)

    async def wait(self, timeout: float | None = None) -> AsyncOperation:
        """As ``AsyncClient.wait``."""
        return await self._owner.wait(self.id, timeout)

    def follow(self, *, timeout: float | None = None, every: float = 2.0) -> AsyncIterator[AsyncOperation]:
        """As ``AsyncClient.follow``."""
        return self._owner.follow(self.id, timeout=timeout, every=every)

    def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """As ``AsyncClient.events``."""
        return self._owner.events(self.id, after=after)

    async def cancel(self) -> AsyncOperation:
        """As ``AsyncClient.cancel``."""
        return await self._owner.cancel(self.id)

    async def retry(self) -> AsyncOperation:
        """As ``AsyncClient.retry``."""
        return await self._owner.retry(self.id)

    @property
    def _owner(self) -> AsyncClient:
        if self._client is None:
            raise RuntimeError("this operation did not come from a client")
        return self._client


class AsyncDeployment(types.Deployment):
    """A deployment as it was when it was read, and what can be done about it."""

    _client: AsyncClient | None = PrivateAttr(default=None)

    async def refresh(self) -> AsyncDeployment:
        """How it stands now."""
        return await self._owner.get(self.target, self.name)

    async def wait(self, timeout: float | None = None) -> AsyncDeployment:
        """As ``Deployment.wait``: ``await (await client.apply(...)).wait()`` is for both of what ``apply`` gives."""
        return await self._owner.wait_until_settled(self, timeout)

    async def predict(self, data: Any, *, variant: str | None = None, content_type: str | None = None) -> Prediction:
        """As ``AsyncClient.predict``."""
        return await self._owner.predict(self.target, self.name, data, variant=variant, content_type=content_type)

    @property
    def _owner(self) -> AsyncClient:
        if self._client is None:
            raise RuntimeError("this deployment did not come from a client")
        return self._client
