"""Operations: how they stand, waiting for them, and their events."""

from __future__ import annotations

from collections.abc import Iterator

from modelport.blocking.driver import Driver
from modelport.blocking.handles import Deployment, Operation
from modelport.types import Event


class Operations(Driver):
    """The methods that concern operations."""

    def operation(self, operation_id: str) -> Operation:
        """One operation as it stands. Raises NotFound."""
        return self._ask(self._calls.operation(operation_id))

    def operations(
        self,
        *,
        target: str | None = None,
        deployment: str | None = None,
        state: str | None = None,
        kind: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Operation]:
        """All operations that fit, page after page as they are read."""
        return self._all(
            self._calls.operations(target=target, deployment=deployment, state=state, kind=kind, page_size=page_size)
        )

    def cancel(self, operation_id: str, *, key: str | None = None) -> Operation:
        """Ask for an operation to be taken back; twice is the same as once. Raises TooLate when it has ended."""
        return self._ask(self._calls.cancel(operation_id, key=key))

    def retry(self, operation_id: str, *, key: str | None = None) -> Operation:
        """Begin anew what failed or was cancelled; the new operation names the old in ``retry_of``."""
        return self._ask(self._calls.retry(operation_id, key=key))

    def undo(self, operation_id: str, *, key: str | None = None) -> Operation:
        """Ask again that what an ended operation left behind is removed. Raises NotRetryable where nothing was."""
        return self._ask(self._calls.undo(operation_id, key=key))

    def wait(self, operation_id: str, timeout: float | None = None) -> Operation:
        """Block until the operation has succeeded, by long polls.

        Raises OperationFailed and OperationCancelled, WaitTimeout after ``timeout`` seconds (it goes on; a server
        that does not answer can make it later by the client's own timeout), and Unreachable.
        """
        return self._one(self._flows.ended(operation_id, timeout))

    def wait_until_settled(self, deployment: Deployment, timeout: float | None = None) -> Deployment:
        """Block until nothing is under way any more for a deployment, and give it as it then is. Raises as ``wait``."""
        return self._one(self._flows.settled(deployment, timeout))

    def follow(self, operation_id: str, *, timeout: float | None = None, every: float = 2.0) -> Iterator[Operation]:
        """The operation as it is now, then every so many seconds, and at once when it has ended, which ends this.

        Raises WaitTimeout and Unreachable as ``wait``; that it failed is not raised.
        """
        return self._each(self._flows.follow(operation_id, timeout=timeout, every=every))

    def events(self, operation_id: str, *, after: int = 0) -> Iterator[Event]:
        """The history of an operation from the event after number ``after``, as it happens, until it has ended.

        A broken connection is taken up where it broke, so every event comes once and in order.
        """
        return self._each(self._flows.events(operation_id, after))
