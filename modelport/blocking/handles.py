"""What a client gives for deployments and operations: the document as it was read, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from modelport import types
from modelport.types import Event, Prediction

if TYPE_CHECKING:
    from modelport.client import Client


class Operation(types.Operation):
    """An operation as it was when it was read, and what can be done about it."""

    _client: Client | None = PrivateAttr(default=None)

    def refresh(self) -> Operation:
        """How it stands now."""
        return self._owner.operation(self.id)

    def wait(self, timeout: float | None = None) -> Operation:
        """As ``Client.wait``."""
        return self._owner.wait(self.id, timeout)

    def follow(self, *, timeout: float | None = None, every: float = 2.0) -> Iterator[Operation]:
        """As ``Client.follow``."""
        return self._owner.follow(self.id, timeout=timeout, every=every)

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """As ``Client.events``."""
        return self._owner.events(self.id, after=after)

    def cancel(self) -> Operation:
        """As ``Client.cancel``."""
        return self._owner.cancel(self.id)

    def retry(self) -> Operation:
        """As ``Client.retry``."""
        return self._owner.retry(self.id)

    @property
    def _owner(self) -> Client:
        if self._client is None:
            raise RuntimeError("this operation did not come from a client")
        return self._client


class Deployment(types.Deployment):
    """A deployment as it was when it was read, and what can be done about it."""

    _client: Client | None = PrivateAttr(default=None)

    def refresh(self) -> Deployment:
        """How it stands now."""
        return self._owner.get(self.target, self.name)

    def wait(self, timeout: float | None = None) -> Deployment:
        """Block until nothing is under way any more, and give the deployment as it then is.

        So ``apply(...).wait()`` does the same whether there was something to do or not. Raises as ``Client.wait``.
        """
        return self._owner.wait_until_settled(self, timeout)

    def predict(self, data: Any, *, variant: str | None = None, content_type: str | None = None) -> Prediction:
        """As ``Client.predict``."""
        return self._owner.predict(self.target, self.name, data, variant=variant, content_type=content_type)

    @property
    def _owner(self) -> Client:
        if self._client is None:
            raise RuntimeError("this deployment did not come from a client")
        return self._client
