"""Sends calls with httpx, again where that is safe, and blocks for the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from modelport.calls import Call
from modelport.connection import Connection
from modelport.errors import Unreachable
from modelport.repeating import Repeats
from modelport.types import Page

T = TypeVar("T")

LONGEST_CONNECT_SECONDS = 10.0
ONCE = Repeats(limit=0)


class Transport:
    """One server's connections, for one or many threads."""

    def __init__(self, connection: Connection, repeats: Repeats) -> None:
        self._connection = connection
        self._repeats = repeats
        self._http = httpx.Client(base_url=connection.url, headers=connection.headers())

    def send(self, call: Call[T], *, timeout: float | None = None, repeats: Repeats | None = None) -> T:
        """The answer to a call, read. Raises Unreachable when none came, and whatever reading it raises."""
        repeats = repeats or self._repeats
        tried = 0
        while True:
            try:
                response = self._http.send(self._request(call, timeout))
            except httpx.HTTPError as error:
                pause = repeats.after_error(call, tried, error)
                if pause is None:
                    raise Unreachable(self._connection.unreachable(error)) from error
            else:
                pause = repeats.after_answer(call, tried, response)
                if pause is None:
                    return call.read(response)
            tried += 1
            time.sleep(pause)

    def pages(self, call: Callable[[str | None], Call[Page[T]]]) -> Iterator[T]:
        """The items of a list, page after page; ``call`` makes the call for a page token."""
        token = None
        while True:
            page = self.send(call(token))
            yield from page.items
            token = page.next_page_token
            if not token:
                return

    def stream(self, call: Call[None], *, timeout: float | None = None) -> Iterator[bytes]:
        """The body of an answer as it comes, sent once; first an empty piece when it has been accepted."""
        try:
            response = self._http.send(self._request(call, timeout), stream=True)
            try:
                if not response.is_success:
                    response.read()
                call.read(response)
                yield b""
                yield from response.iter_bytes()
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise Unreachable(self._connection.unreachable(error)) from error

    def close(self) -> None:
        """Give back the connections. Twice is the same as once."""
        self._http.close()

    def _request(self, call: Call[Any], timeout: float | None) -> httpx.Request:
        seconds = self._connection.timeout if timeout is None else timeout
        return self._http.build_request(
            call.method,
            call.path,
            params=call.query or None,
            headers=call.headers,
            content=call.content,
            timeout=httpx.Timeout(
                seconds, connect=min(seconds, LONGEST_CONNECT_SECONDS), read=seconds + call.held_seconds
            ),
        )
