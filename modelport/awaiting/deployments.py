"""The methods of ``modelport.blocking.deployments``, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Unpack

from modelport.awaiting.driver import AsyncDriver
from modelport.awaiting.handles import AsyncDeployment, AsyncOperation
from modelport.calls.request import Match, Specification
from modelport.types import Prediction, Revision

OnConflict = Literal["queue", "refuse", "supersede"]


class AsyncDeployments(AsyncDriver):
    """The methods that concern deployments."""

    async def create(
        self,
        target: str,
        name: str,
        *,
        on_conflict: OnConflict | None = None,
        key: str | None = None,
        **given: Unpack[Specification],
    ) -> AsyncOperation:
        """As ``Client.create``."""
        return await self._ask(self._calls.create(target, name, given, on_conflict=on_conflict, key=key))

    async def apply(
        self, target: str, name: str, *, if_match: Match = None, key: str | None = None, **given: Unpack[Specification]
    ) -> AsyncOperation | AsyncDeployment:
        """As ``Client.apply``."""
        return await self._ask(self._calls.apply(target, name, given, if_match=if_match, key=key))

    async def update(
        self, target: str, name: str, *, if_match: Match = None, key: str | None = None, **given: Unpack[Specification]
    ) -> AsyncOperation | AsyncDeployment:
        """As ``Client.update``."""
        return await self._ask(self._calls.update(target, name, given, if_match=if_match, key=key))

    async def delete(
        self, target: str, name: str, *, cancel_pending: bool = False, if_match: Match = None, key: str | None = None
    ) -> AsyncOperation:
        """As ``Client.delete``."""
        return await self._ask(
            self._calls.delete(target, name, cancel_pending=cancel_pending, if_match=if_match, key=key)
        )

    async def rollback(
        self, target: str, name: str, *, revision: int | None = None, if_match: Match = None, key: str | None = None
    ) -> AsyncOperation | AsyncDeployment:
        """As ``Client.rollback``."""
        return await self._ask(self._calls.rollback(target, name, revision=revision, if_match=if_match, key=key))

    async def traffic(
        self, target: str, name: str, traffic: Mapping[str, int], *, if_match: Match = None, key: str | None = None
    ) -> AsyncOperation | AsyncDeployment:
        """As ``Client.traffic``."""
        return await self._ask(self._calls.traffic(target, name, traffic, if_match=if_match, key=key))

    async def reconcile(self, target: str, name: str, *, key: str | None = None) -> AsyncOperation:
        """As ``Client.reconcile``."""
        return await self._ask(self._calls.reconcile(target, name, key=key))

    async def adopt(
        self, target: str, name: str, *, labels: Mapping[str, str] | None = None, key: str | None = None
    ) -> AsyncOperation:
        """As ``Client.adopt``."""
        return await self._ask(self._calls.adopt(target, name, labels=labels, key=key))

    async def get(self, target: str, name: str) -> AsyncDeployment:
        """As ``Client.get``."""
        return await self._ask(self._calls.get(target, name))

    def list(
        self,
        *,
        target: str | None = None,
        labels: Mapping[str, str] | None = None,
        status: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[AsyncDeployment]:
        """As ``Client.list``."""
        return self._all(self._calls.list(target=target, labels=labels, status=status, page_size=page_size))

    async def revision(self, target: str, name: str, number: int) -> Revision:
        """As ``Client.revision``."""
        return await self._ask(self._calls.revision(target, name, number))

    def revisions(self, target: str, name: str, *, page_size: int | None = None) -> AsyncIterator[Revision]:
        """As ``Client.revisions``."""
        return self._all(self._calls.revisions(target, name, page_size=page_size))

    async def logs(self, target: str, name: str, *, variant: str | None = None, lines: int | None = None) -> str:
        """As ``Client.logs``."""
        return await self._ask(self._calls.logs(target, name, variant=variant, lines=lines))

    async def predict(
        self,
        target: str,
        name: str,
        data: Any,
        *,
        variant: str | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """As ``Client.predict``."""
        call = self._calls.predict(target, name, data, variant=variant, content_type=content_type)
        return await self._ask(call, timeout)

    def predict_stream(
        self,
        target: str,
        name: str,
        data: Any,
        *,
        variant: str | None = None,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """As ``Client.predict_stream``."""
        call = self._calls.predict_stream(target, name, data, variant=variant, content_type=content_type)
        return self._each(self._flows.pieces(call, timeout))
