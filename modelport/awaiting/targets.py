"""The methods of ``modelport.blocking.targets``, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from modelport.awaiting.driver import AsyncDriver
from modelport.types import Check, Kind, Target


class AsyncTargets(AsyncDriver):
    """The methods that concern targets."""

    def targets(self) -> AsyncIterator[Target]:
        """As ``Client.targets``."""
        return self._all(self._calls.targets())

    async def target_kinds(self) -> list[Kind]:
        """As ``Client.target_kinds``."""
        return await self._ask(self._calls.target_kinds())

    async def target(self, name: str) -> Target:
        """As ``Client.target``."""
        return await self._ask(self._calls.target(name))

    async def put_target(
        self,
        name: str,
        uri: str,
        *,
        settings: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        credentials: str | None = None,
        key: str | None = None,
    ) -> Target:
        """As ``Client.put_target``."""
        return await self._ask(
            self._calls.put_target(name, uri, settings=settings, limits=limits, credentials=credentials, key=key)
        )

    async def delete_target(self, name: str, *, key: str | None = None) -> None:
        """As ``Client.delete_target``."""
        return await self._ask(self._calls.delete_target(name, key=key))

    async def check_target(self, name: str, *, key: str | None = None) -> Check:
        """As ``Client.check_target``."""
        return await self._ask(self._calls.check_target(name, key=key))

    async def target_help(self, name: str) -> str:
        """As ``Client.target_help``."""
        return await self._ask(self._calls.target_help(name))
