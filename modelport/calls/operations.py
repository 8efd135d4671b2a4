"""Operations and their events."""

from __future__ import annotations

from modelport import answers
from modelport.calls.reading import Reading
from modelport.calls.request import Call, D, O, Pages, pages, path, submit
from modelport.types import Event


class OperationCalls(Reading[D, O]):
    """The routes under ``/v1/operations``."""

    def operation(self, operation_id: str, *, wait_seconds: float = 0.0) -> Call[O]:
        """GET an operation, held back by the server for up to ``wait_seconds`` until it has ended."""
        headers = {"Prefer": f"wait={round(wait_seconds)}"} if wait_seconds >= 1 else {}
        where = path("operations", operation_id)
        return Call("GET", where, self._operation, headers=headers, held_seconds=wait_seconds)

    def operations(
        self,
        *,
        target: str | None,
        deployment: str | None,
        state: str | None,
        kind: str | None,
        page_size: int | None,
    ) -> Pages[O]:
        """GET operations."""
        query = {"target": target, "deployment": deployment, "state": state, "kind": kind, "page_size": page_size}
        return pages(path("operations"), self._operations, query)

    def cancel(self, operation_id: str, *, key: str | None) -> Call[O]:
        """POST a cancel."""
        return submit("POST", path("operations", operation_id, "cancel"), self._operation, key=key)

    def retry(self, operation_id: str, *, key: str | None) -> Call[O]:
        """POST a retry."""
        return submit("POST", path("operations", operation_id, "retry"), self._operation, key=key)

    def undo(self, operation_id: str, *, key: str | None) -> Call[O]:
        """POST an undo."""
        return submit("POST", path("operations", operation_id, "undo"), self._operation, key=key)

    def events(self, operation_id: str) -> Pages[Event]:
        """GET an operation's events."""
        return pages(path("operations", operation_id, "events"), answers.page(Event))

    def event_stream(self, operation_id: str, after: int) -> Call[None]:
        """GET the events after number ``after`` as a stream; reading it only tells whether the stream was opened."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if after:
            headers["Last-Event-ID"] = f"{operation_id}:{after}"
        return Call("GET", path("operations", operation_id, "events"), answers.nothing, headers=headers)
