"""The methods of ``modelport.blocking.security``, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from modelport.awaiting.driver import AsyncDriver
from modelport.blocking.security import expires
from modelport.types import AuditEntry, Key, Verdict


class AsyncSecurity(AsyncDriver):
    """The methods that concern who may do what, and the proof of who did."""

    async def keys(self) -> list[Key]:
        """As ``Client.keys``."""
        return (await self._ask(self._calls.keys())).items

    async def create_key(
        self, name: str, grants: Sequence[Mapping[str, Any]], *, expires_seconds: float | None = None
    ) -> Key:
        """As ``Client.create_key``."""
        return await self._ask(self._calls.create_key(name, grants, expires(expires_seconds)))

    async def rotate_key(
        self, name: str, *, overlap_seconds: float | None = None, expires_seconds: float | None = None
    ) -> Key:
        """As ``Client.rotate_key``."""
        return await self._ask(self._calls.rotate_key(name, overlap_seconds, expires(expires_seconds)))

    async def revoke_key(self, name: str) -> list[Key]:
        """As ``Client.revoke_key``."""
        return (await self._ask(self._calls.revoke_key(name))).items

    def audit(
        self,
        *,
        principal: str | None = None,
        action: str | None = None,
        outcome: str | None = None,
        target: str | None = None,
        deployment: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[AuditEntry]:
        """As ``Client.audit``."""
        query = {
            "principal": principal,
            "action": action,
            "outcome": outcome,
            "target": target,
            "deployment": deployment,
            "page_size": page_size,
        }
        return self._all(self._calls.audit(query))

    async def verify_audit(self, *, head: str | None = None) -> Verdict:
        """As ``Client.verify_audit``."""
        return await self._ask(self._calls.verify_audit(head))
