"""What clients do over several requests, without doing any of it: sending again, pages, waiting, streams.

A flow is a generator that asks for one thing after another (``Exchange``, ``Pause``, ``Open``, ``Chunk``), is sent what
came of it, has errors of the connection thrown in, and gives its results (``Give``). The clients drive it: one of them
blocks, the other awaits. Nothing that is decided is decided there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from modelport import answers
from modelport.answers import Response
from modelport.batch_errors import BatchFailed, BatchTimeout
from modelport.calls import Calls, batches
from modelport.calls.request import Call, D, O, Pages
from modelport.connection import Connection
from modelport.errors import Unreachable, raise_unless_succeeded
from modelport.pieces import Pieces
from modelport.repeating import ONCE, Repeats
from modelport.sse import Decoder
from modelport.types import Batch, Event
from modelport.waiting import (
    LONG_POLL_SECONDS,
    OUTAGES,
    RECONNECT_SECONDS,
    Deadline,
    Outage,
    Polls,
)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Exchange:
    """Send a request. What comes back is the Response, its body read, or an httpx.HTTPError."""

    call: Call[Any]
    timeout: float | None


@dataclass(frozen=True)
class Open:
    """Send a request whose answer is read in chunks, in place of the one that was open before.

    What comes back is the Response, with its body read only where it is no success, or an httpx.HTTPError.
    """

    call: Call[Any]
    timeout: float | None


@dataclass(frozen=True)
class Chunk:
    """Read on. What comes back are bytes, None at the end, or an httpx.HTTPError."""


@dataclass(frozen=True)
class Pause:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Give(Generic[T]):
    """A result for the caller."""

    item: T


Ask: TypeAlias = Exchange | Open | Chunk | Pause
Part: TypeAlias = Generator[Ask, Any, R]
"""A part of a flow: asks, and returns what it found."""
Flow: TypeAlias = Generator[Ask | Give[T], Any, None]
"""A whole flow: asks, and gives."""


class Flows(Generic[D, O]):
    """The flows of one client. ``outage_seconds`` is how long the server may be away while something is followed."""

    def __init__(self, calls: Calls[D, O], connection: Connection, repeats: Repeats, outage_seconds: float) -> None:
        self._calls = calls
        self._connection = connection
        self._repeats = repeats
        self._outage_seconds = outage_seconds

    def one(self, call: Call[T], timeout: float | None = None) -> Flow[T]:
        """Gives the answer. Raises Unreachable when none came, and whatever reading it raises."""
        yield Give((yield from self._sent(call, timeout)))

    def pages(self, pages: Pages[T], keep: Callable[[T], bool] = lambda _: True) -> Flow[T]:
        """Gives the items of a list that shall be kept, page after page."""
        token = None
        while True:
            page = yield from self._sent(pages(token))
            for item in filter(keep, page.items):
                yield Give(item)
            token = page.next_page_token
            if not token:
                return

    def follow(self, operation_id: str, *, timeout: float | None, every: float) -> Flow[O]:
        """Gives an operation as it is now, then every so many seconds, and when it has ended."""
        polls = Polls(timeout=timeout, every=every, outage_seconds=self._outage_seconds)
        while True:
            operation = yield from self._polled(operation_id, polls)
            yield Give(operation)
            if operation.final:
                return
            yield Pause(polls.pause_after(operation))

    def ended(self, operation_id: str, timeout: float | None) -> Flow[O]:
        """Gives an operation once it has succeeded; raises as it ended otherwise."""
        yield Give((yield from self._ended(operation_id, timeout)))

    def settled(self, deployment: D, timeout: float | None) -> Flow[D]:
        """Gives a deployment once nothing is under way any more."""
        deadline = Deadline(timeout)
        found = deployment
        while found.operation is not None:
            yield from self._ended(found.operation, deadline.remaining())
            found = yield from self._sent(self._calls.get(found.target, found.name))
        yield Give(found)

    def events(self, operation_id: str, after: int) -> Flow[Event]:
        """Gives the events after number ``after`` as they happen, until the last; takes up again what broke."""
        outage = Outage(self._outage_seconds)
        ended = False
        while True:
            decoder = Decoder()
            try:
                yield from self._opened(self._calls.event_stream(operation_id, after))
                outage.over()
                while (chunk := (yield from self._chunk())) is not None:
                    outage.over()
                    for message in decoder.feed(chunk):
                        for event in answers.new_event(message, after):
                            after = event.number
                            yield Give(event)
                            ended = ended or event.final
                if ended:
                    return  # and not sooner: what is left behind may be told after the end
                if (yield from self._sent(self._calls.operation(operation_id), repeats=ONCE)).final:
                    yield from self.pages(self._calls.events(operation_id), keep=_behind(after))
                    return
            except OUTAGES as error:
                pause = outage.pause_after(error)
            else:
                pause = RECONNECT_SECONDS
            yield Pause(pause if decoder.retry_seconds is None else decoder.retry_seconds)

    def batch_moves(self, batch_id: str, after: int | None, timeout: float | None) -> Flow[Batch]:
        """Gives a batch each time that it has moved after version ``after``, until it has ended.

        Takes up again what broke. Raises BatchTimeout.
        """
        yield from self._moved(batch_id, after, timeout, tell=True)

    def batch_ended(self, batch_id: str, timeout: float | None) -> Flow[Batch]:
        """Gives a batch once it has succeeded; raises BatchFailed as it ended otherwise, and BatchTimeout."""
        batch = yield from self._moved(batch_id, None, timeout, tell=False)
        if batch.state != "succeeded":
            raise BatchFailed(batch)
        yield Give(batch)

    def pieces(self, call: Call[None], timeout: float | None) -> Flow[Any]:
        """Gives the JSON of each piece of an answer as it comes."""
        pieces = Pieces()
        yield from self._opened(call, timeout)
        while (chunk := (yield from self._chunk())) is not None:
            for piece in pieces.feed(chunk):
                yield Give(piece)
        for piece in pieces.end():
            yield Give(piece)

    def _sent(self, call: Call[T], timeout: float | None = None, repeats: Repeats | None = None) -> Part[T]:
        repeats = repeats or self._repeats
        tried = 0
        while True:
            try:
                response: Response = yield Exchange(call, timeout)
            except httpx.HTTPError as error:
                pause = repeats.after_error(call, tried, error)
                if pause is None:
                    raise self._unreachable(error) from error
            else:
                pause = repeats.after_answer(call, tried, response)
                if pause is None:
                    return call.read(response)
            tried += 1
            yield Pause(pause)

    def _polled(self, operation_id: str, polls: Polls) -> Part[O]:
        while True:
            call = self._calls.operation(operation_id, wait_seconds=polls.next_wait())
            try:
                return (yield from self._sent(call, repeats=ONCE))
            except OUTAGES as error:
                pause = polls.pause_after_error(error)
            yield Pause(pause)

    def _ended(self, operation_id: str, timeout: float | None) -> Part[O]:
        polls = Polls(timeout=timeout, every=LONG_POLL_SECONDS, outage_seconds=self._outage_seconds)
        while True:
            operation = yield from self._polled(operation_id, polls)
            if operation.final:
                raise_unless_succeeded(operation)
                return operation
            yield Pause(polls.pause_after(operation))

    def _moved(
        self, batch_id: str, after: int | None, timeout: float | None, *, tell: bool
    ) -> Generator[Ask | Give[Batch], Any, Batch]:
        """How a batch ended; gives it each time that it moved, where that shall be told."""
        outage, deadline = Outage(self._outage_seconds), Deadline(timeout)
        seen = None
        if after is not None:
            seen = yield from self._sent(batches.batch(batch_id))
            if seen.final and seen.version <= after:
                return seen  # the stream would have nothing to tell, ever
        while True:
            decoder = Decoder()
            try:
                yield from self._opened(batches.event_stream(batch_id, after))
                outage.over()
                while (chunk := (yield from self._chunk())) is not None:
                    outage.over()
                    for message in decoder.feed(chunk):
                        for seen in answers.new_batch(message, after):
                            after = seen.version
                            if tell:
                                yield Give(seen)
                            if seen.final:
                                return seen
                    _raise_if_late(deadline, seen, timeout)  # the server sends something each second
            except OUTAGES as error:
                pause = outage.pause_after(error)
            else:
                pause = RECONNECT_SECONDS
            _raise_if_late(deadline, seen, timeout)
            yield Pause(pause if decoder.retry_seconds is None else decoder.retry_seconds)

    def _opened(self, call: Call[None], timeout: float | None = None) -> Part[None]:
        try:
            response: Response = yield Open(call, timeout)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        call.read(response)

    def _chunk(self) -> Part[bytes | None]:
        try:
            chunk: bytes | None = yield Chunk()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        return chunk

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        return Unreachable(self._connection.unreachable(error))


def _raise_if_late(deadline: Deadline, batch: Batch | None, timeout: float | None) -> None:
    if batch is not None and deadline.remaining() == 0:
        raise BatchTimeout(batch, timeout or 0.0)


def _behind(number: int) -> Callable[[Event], bool]:
    return lambda event: event.number > number
