"""How long to ask for, how long to pause and when to give up, while something is followed over the network.

Decides by a clock that it is given; the clients do the asking and the pausing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from modelport.errors import ModelportError, Problem, ServerError, Throttled, Unreachable, WaitTimeout
from modelport.types import Operation

Clock = Callable[[], float]

LONG_POLL_SECONDS = 25.0  # under the 30 to 60 s after which proxies drop a silent connection
SHORTEST_LOOK_SECONDS = 0.5  # between two looks, also at a server that holds no answer back
RECONNECT_SECONDS = 1.0

OUTAGES = (Unreachable, ServerError, Throttled)


class Outage:
    """Failures in a row are borne for ``patience_seconds``, so that a restart of the server ends nobody's waiting."""

    def __init__(self, patience_seconds: float, clock: Clock = time.monotonic) -> None:
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._since: float | None = None

    def over(self) -> None:
        """The server answered."""
        self._since = None

    def pause_after(self, error: ModelportError) -> float:
        """Seconds to pause before the next try; raises the error once it has lasted too long."""
        now = self._clock()
        if self._since is None:
            self._since = now
        pause = RECONNECT_SECONDS
        if isinstance(error, Problem) and error.retry_after is not None:
            pause = max(pause, error.retry_after)
        if now + pause - self._since > self._patience_seconds:
            raise error
        return pause


class Deadline:
    """The moment that is ``timeout`` seconds away when this is made; None: never."""

    def __init__(self, timeout: float | None, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._at = None if timeout is None else clock() + timeout

    def remaining(self) -> float | None:
        """Seconds until then, 0 once it has passed; None: for ever."""
        return None if self._at is None else max(0.0, self._at - self._clock())


class Polls:
    """The long polls of one operation, until it ends or ``timeout`` seconds have passed (None: for ever)."""

    def __init__(
        self, *, timeout: float | None, every: float, outage_seconds: float, clock: Clock = time.monotonic
    ) -> None:
        self._timeout = timeout
        self._every = every
        self._clock = clock
        self._outage = Outage(outage_seconds, clock)
        self._deadline = Deadline(timeout, clock)
        self._asked_at = clock()
        self._seen: Operation | None = None

    def next_wait(self) -> float:
        """Seconds that the server is asked to hold its answer back: none for the first look."""
        self._asked_at = self._clock()
        if self._seen is None:
            return 0.0
        return max(0.0, min(self._every, self._remaining()))

    def pause_after(self, operation: Operation) -> float:
        """Seconds to pause before the next look at what has not ended. Raises WaitTimeout when the time is up."""
        self._outage.over()
        first, self._seen = self._seen is None, operation
        remaining = self._remaining()
        if remaining <= 0:
            raise WaitTimeout(operation, self._timeout or 0.0)
        if first:
            return 0.0
        spent = self._clock() - self._asked_at
        return max(0.0, min(SHORTEST_LOOK_SECONDS - spent, remaining))

    def pause_after_error(self, error: ModelportError) -> float:
        """Seconds to pause before asking again; raises the error, or WaitTimeout, when it is time to give up."""
        pause = self._outage.pause_after(error)
        remaining = self._remaining()
        if remaining <= 0:
            if self._seen is None:
                raise error
            raise WaitTimeout(self._seen, self._timeout or 0.0) from error
        return min(pause, remaining)

    def _remaining(self) -> float:
        remaining = self._deadline.remaining()
        return float("inf") if remaining is None else remaining
