"""Answers that a model gives piece by piece: bytes in, JSON out."""

from __future__ import annotations

import json
from typing import Any

from modelport.errors import UnexpectedAnswer, problem
from modelport.sse import Decoder, Message

END = "[DONE]"
PROBLEMS = "/problems/"
BAD_GATEWAY = 502
STARTS_OF_EVENTS = frozenset(b":deir")  # of comments, data, event, id and retry; no JSON starts so


class Pieces:
    """Reads one answer: server-sent events whose data is JSON, JSON line by line, or one JSON document."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._read = b""
        self._events: bool | None = None

    def feed(self, chunk: bytes) -> list[Any]:
        """Take some bytes, cut anywhere; the pieces that they complete. Raises UnexpectedAnswer, and Problem."""
        if self._events is None:
            chunk = (self._read + chunk).lstrip()
            self._read = b""
            if not chunk:
                return []
            self._events = chunk[0] in STARTS_OF_EVENTS
        if not self._events:
            self._read += chunk
            return []
        return [_piece(message) for message in self._decoder.feed(chunk) if message.data.strip() != END]

    def end(self) -> list[Any]:
        """The pieces that are only complete now. Raises UnexpectedAnswer, and Problem."""
        if self._events:
            return [_piece(message) for message in self._decoder.feed(b"\n\n") if message.data.strip() != END]
        text = self._read.decode("utf-8", errors="replace").strip()
        try:
            return [json.loads(text)] if text else []
        except ValueError:
            return [_json(line) for line in text.splitlines() if line.strip()]


def _piece(message: Message) -> Any:
    found = _json(message.data)
    if message.event == "error" and isinstance(found, dict) and str(found.get("type")).startswith(PROBLEMS):
        raise problem(BAD_GATEWAY, found)  # the server's, where the model broke off
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UnexpectedAnswer(f"the model's answer should be JSON and is {text[:200]!r}") from None
