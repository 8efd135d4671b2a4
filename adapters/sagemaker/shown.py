"""What SageMaker shows of endpoints, asked for once after each change.

A listing tells of every endpoint when it changed last and its status, and a description is good until either differs.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from adapters.contract import JSON
from adapters.sagemaker.calls import Calls


class Shown:
    """Remembers for the life of the process; safe from several threads. What it returns is not to be changed."""

    def __init__(self, calls: Calls, fresh_seconds: float) -> None:
        self._calls = calls
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._listed: dict[str, JSON] = {}
        self._listed_at = float("-inf")
        self._described: dict[str, tuple[Any, JSON]] = {}

    def recently(self) -> dict[str, JSON]:
        """Summaries by name, from a listing at most ``fresh_seconds`` old: looks come one after the other."""
        with self._lock:
            if time.monotonic() - self._listed_at > self._fresh_seconds:
                self._list()
            return self._listed

    def now(self) -> dict[str, JSON]:
        """Summaries by name, from a listing made for this."""
        with self._lock:
            self._list()
            return self._listed

    def described(self, summary: JSON) -> JSON | None:
        """The endpoint of this summary as it is described; None where it is gone."""
        known = self._described.get(summary["EndpointArn"])
        if known is not None and known[0] == _stamp(summary):
            return known[1]
        return self.describe(summary["EndpointName"])

    def describe(self, name: str) -> JSON | None:
        """The endpoint as it is described now; None where there is none."""
        document = self._calls.endpoint(name)
        if document is not None:
            self._described[document["EndpointArn"]] = (_stamp(document), document)
        return document

    def _list(self) -> None:
        began = time.monotonic()
        self._listed = {each["EndpointName"]: each for each in self._calls.endpoints()}
        self._listed_at = began
        for arn in set(self._described) - {each["EndpointArn"] for each in self._listed.values()}:
            self._described.pop(arn, None)


def _stamp(told: JSON) -> tuple[Any, Any]:
    return told["LastModifiedTime"], told["EndpointStatus"]
