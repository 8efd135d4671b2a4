"""Drives flows: sends with httpx, sleeps, and blocks meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from modelport.blocking.handles import Deployment, Operation
from modelport.calls import Calls
from modelport.calls.request import Call, Pages
from modelport.connection import Connection
from modelport.flows import Chunk, Exchange, Flow, Flows, Give, Open, Pause
from modelport.repeating import Repeats
from modelport.requests import built

T = TypeVar("T")


class Driver:
    """One server's connections, for one or many threads."""

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
        self._calls = Calls(Deployment, Operation)
        self._flows = Flows(self._calls, self._connection, repeats or Repeats(), outage_seconds)
        self._http = httpx.Client(base_url=self._connection.url, headers=self._connection.headers())

    @property
    def connection(self) -> Connection:
        """The server's address and what every request to it carries."""
        return self._connection

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._connection.url

    def close(self) -> None:
        """Give back the connections. Twice is the same as once."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, call: Call[T], timeout: float | None = None) -> T:
        return self._one(self._flows.one(call, timeout))

    def _all(self, pages: Pages[T]) -> Iterator[T]:
        return self._each(self._flows.pages(pages))

    def _one(self, flow: Flow[T]) -> T:
        [item] = self._each(flow)
        return item

    def _each(self, flow: Flow[T]) -> Iterator[T]:
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
                    answer = self._done(asked, stream)
                except httpx.HTTPError as error:
                    failed = error
        finally:
            flow.close()
            stream.close()

    def _done(self, asked: Exchange | Open | Chunk | Pause, stream: _Stream) -> Any:
        match asked:
            case Exchange():
                return self._http.send(self._http.build_request(**built(asked.call, self._connection, asked.timeout)))
            case Open():
                request = self._http.build_request(**built(asked.call, self._connection, asked.timeout))
                return stream.open(self._http.send(request, stream=True))
            case Chunk():
                return stream.read()
            case Pause():
                time.sleep(asked.seconds)
        return None

    def _owned(self, item: T) -> T:
        if isinstance(item, Operation | Deployment):
            item._client = self  # type: ignore[assignment]  # every driver of ours is a Client
        return item


class _Stream:
    def __init__(self) -> None:
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def open(self, response: httpx.Response) -> httpx.Response:
        self.close()
        self._response, self._chunks = response, response.iter_bytes()
        if not response.is_success:
            response.read()
        return response

    def read(self) -> bytes | None:
        return next(self._chunks, None)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
