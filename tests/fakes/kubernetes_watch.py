"""Watches: what happens to objects of one kind, as a stream of events, until the asker has enough."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable

from starlette.responses import Response, StreamingResponse

from tests.fakes.kubernetes_objects import Document

TICK_SECONDS = 0.02


def watch(found: Callable[[], list[Document]], since: int, seconds: float) -> Response:
    """Events about what ``found`` finds, from the objects of ``since`` on; it looks at them every moment."""
    return StreamingResponse(_events(found, since, seconds), media_type="application/json")


async def _events(found: Callable[[], list[Document]], since: int, seconds: float) -> AsyncIterator[bytes]:
    known = {each["metadata"]["name"]: copy.deepcopy(each) for each in found() if _version(each) <= since}
    for _ in range(int(seconds / TICK_SECONDS)):
        there = {each["metadata"]["name"]: each for each in found()}
        for name, each in there.items():
            if name not in known or _version(known[name]) != _version(each):
                yield _event("MODIFIED" if name in known else "ADDED", each)
        for name in known.keys() - there.keys():
            yield _event("DELETED", known[name])
        known = copy.deepcopy(there)
        await asyncio.sleep(TICK_SECONDS)


def _version(document: Document) -> int:
    return int(document["metadata"].get("resourceVersion", 0))


def _event(kind: str, document: Document) -> bytes:
    return json.dumps({"type": kind, "object": document}).encode() + b"\n"
