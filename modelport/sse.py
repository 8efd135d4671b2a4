"""Server-sent events, the part of the standard that a client of ours needs: bytes in, messages out."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Message:
    """One message: its id (the last one sent so far), kind and data."""

    id: str
    event: str
    data: str


class Decoder:
    """Reads one stream. A message that the connection cut in the middle is never given.

    ``retry_seconds`` is the pause before reconnecting that the server asked for, None while it did not.
    """

    def __init__(self) -> None:
        self.retry_seconds: float | None = None
        self._rest = b""
        self._id = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Message]:
        """Take some bytes, cut anywhere; the messages that they complete."""
        unread = self._rest + chunk
        half_an_end = b"\r" if unread.endswith(b"\r") else b""
        *lines, last = LINE_END.split(unread.removesuffix(half_an_end))
        self._rest = last + half_an_end
        return [message for line in lines if (message := self._line(line.decode("utf-8", errors="replace")))]

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isdecimal():
            self.retry_seconds = int(value) / 1000
        return None

    def _dispatch(self) -> Message | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        if not data:
            return None
        return Message(self._id, event or "message", "\n".join(data))
