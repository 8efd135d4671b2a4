"""Drives flows: sends with httpx, sleeps, and lets other tasks run meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from modelport.awaiting.handles import AsyncDeployment, AsyncOperation
from modelport.calls import Calls
from modelport.calls.request import Call, Pages
from modelport.connection import Connection
from modelport.flows import Chunk, Exchange, Flow, Flows, Give, Open, Pause
from modelport.repeating import Repeats
from modelport.requests import built

T = TypeVar("T")


class AsyncDriver:
    """One server's connections, for the tasks of one event loop."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        profile: str | None = None,
        timeout: float | None = None,
        repeats: Repeats | None = None,
        outage_seconds: float = 60.0,
    ) -> None:
        self._connection = Connection.made_from(url, api_key, timeout, profile)
        self._calls = Calls(AsyncDeployment, AsyncOperation)
        self._flows = Flows(self._calls, self._connection, repeats or Repeats(), outage_seconds)
        self._http = httpx.AsyncClient(base_url=self._connection.url, headers=self._connection.headers())

    @property
    def connection(self) -> Connection:
        """The server's address and what every request to it carries."""
        return self._connection

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._connection.url

    async def close(self) -> None:
        """Give back the connections. Twice is the same as once."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, call: Call[T], timeout: float | None = None) -> T:
        return await self._one(self._flows.one(call, timeout))

    def _all(self, pages: Pages[T]) -> AsyncIterator[T]:
        return self._each(self._flows.pages(pages))

    async def _one(self, flow: Flow[T]) -> T:
        [item] = [item async for item in self._each(flow)]
        return item

    async def _each(self, flow: Flow[T]) -> AsyncIterator[T]:
        stream = _Stream()
        answer: Any = None
        failed: httpx.HTTPError | None = None
        try:
            while True:
                try:
                    asked = flow.send(answer) if failed is None else flow.throw(failed)
                except StopIteration:
                    return
                answer = failed = None
                if isinstance(asked, Give):
                    yield self._owned(asked.item)
                    continue
                try:
                    answer = await self._done(asked, stream)
                except httpx.HTTPError as error:
                    failed = error
        finally:
            flow.close()
            await stream.close()

    async def _done(self, asked: Exchange | Open | Chunk | Pause, stream: _Stream) -> Any:
        match asked:
            case Exchange():
                request = self._http.build_request(**built(asked.call, self._connection, asked.timeout))
                return await self._http.send(request)
            case Open():
                request = self._http.build_request(**built(asked.call, self._connection, asked.timeout))
                return await stream.open(await self._http.send(request, stream=True))
            case Chunk():
                return await stream.read()
            case Pause():
                await asyncio.sleep(asked.seconds)
        return None

    def _owned(self, item: T) -> T:
        if isinstance(item, AsyncOperation | AsyncDeployment):
            item._client = self  # type: ignore[assignment]  # every driver of ours is an AsyncClient
        return item


class _Stream:
    def __init__(self) -> None:
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def open(self, response: httpx.Response) -> httpx.Response:
        await self.close()
        self._response, self._chunks = response, response.aiter_bytes()
        if not response.is_success:
            await response.aread()
        return response

    async def read(self) -> bytes | None:
        return None if self._chunks is None else await anext(self._chunks, None)

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
