"""The client for programs of asyncio: the methods of ``modelport.client``, awaited."""

from __future__ import annotations

from modelport.awaiting.batches import AsyncBatches
from modelport.awaiting.deployments import AsyncDeployments
from modelport.awaiting.operations import AsyncOperations
from modelport.awaiting.security import AsyncSecurity
from modelport.awaiting.targets import AsyncTargets


class AsyncClient(AsyncDeployments, AsyncOperations, AsyncBatches, AsyncTargets, AsyncSecurity):
    """As ``modelport.Client``, for the tasks of one event loop.

    Methods are awaited, lists and streams are iterated with ``async for``, and operations and deployments have
    methods that are awaited too. Use it with ``async with``, or await ``close``.
    """
