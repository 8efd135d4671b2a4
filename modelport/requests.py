"""From calls to httpx's requests, the same for both clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import httpx

from modelport.calls.request import Call
from modelport.connection import Connection

LONGEST_CONNECT_SECONDS = 10.0


class Built(TypedDict):
    """The arguments of ``build_request`` of httpx's clients."""

    method: str
    url: str
    params: tuple[tuple[str, str], ...] | None
    headers: Mapping[str, str]
    content: bytes | None
    timeout: httpx.Timeout


def built(call: Call[Any], connection: Connection, timeout: float | None) -> Built:
    """A call as it is sent; ``timeout`` None: the connection's."""
    seconds = connection.timeout if timeout is None else timeout
    return Built(
        method=call.method,
        url=call.path,
        params=call.query or None,
        headers=call.headers,
        content=call.content,
        timeout=httpx.Timeout(seconds, connect=min(seconds, LONGEST_CONNECT_SECONDS), read=seconds + call.held_seconds),
    )
