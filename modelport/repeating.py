"""When a call is sent again, and after how long. Decides; the clients do the waiting."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import httpx

from modelport.answers import Response, is_problem, retry_after_seconds
from modelport.calls.request import Call

NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
CANNOT_HELP = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
TURNED_AWAY = frozenset({429})
MAYBE_LATER = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Repeats:
    """``limit`` tries after the first, with pauses that double from ``first_pause_seconds``, less some jitter.

    A server that asks for more than ``longest_pause_seconds`` (Retry-After) is not waited for.
    """

    limit: int = 3
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 30.0

    def after_error(self, call: Call[Any], tried: int, error: httpx.HTTPError) -> float | None:
        """Seconds to pause before the next try, or None to give up. A call that was never sent may always go again."""
        if tried >= self.limit or isinstance(error, CANNOT_HELP) or not isinstance(error, httpx.TransportError):
            return None
        if not call.repeatable and not isinstance(error, NEVER_SENT):
            return None
        return self._backoff(tried)

    def after_answer(self, call: Call[Any], tried: int, response: Response) -> float | None:
        """Seconds to pause before the next try, or None to take this answer.

        429 means that nothing was begun. A 5xx of our server goes again only when it says after how long; one of
        something in between, which cannot know, goes again too.
        """
        again = MAYBE_LATER if call.repeatable else TURNED_AWAY
        if tried >= self.limit or response.status_code not in again:
            return None
        asked = retry_after_seconds(response)
        if asked is not None:
            return asked if asked <= self.longest_pause_seconds else None
        if response.status_code not in TURNED_AWAY and is_problem(response):
            return None
        return self._backoff(tried)

    def _backoff(self, tried: int) -> float:
        pause = min(self.first_pause_seconds * 2.0**tried, self.longest_pause_seconds)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, guards nothing


ONCE = Repeats(limit=0)
"""Never again: for what has its own way to go on."""
