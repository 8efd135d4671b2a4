"""Keys and the audit; for administrators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelport.blocking.driver import Driver
from modelport.types import AuditEntry, Key, Verdict


class Security(Driver):
    """The methods that concern who may do what, and the proof of who did."""

    def keys(self) -> list[Key]:
        """Every key that there is or was, without secrets."""
        return self._ask(self._calls.keys()).items

    def create_key(
        self, name: str, grants: Sequence[Mapping[str, Any]], *, expires_seconds: float | None = None
    ) -> Key:
        """Make a key; its ``key`` is the secret, which nobody can read again.

        A grant is ``{"role": ..., "targets": [...], "labels": {...}}``. Without ``expires_seconds`` the server decides;
        ``inf`` means never.
        """
        return self._ask(self._calls.create_key(name, grants, expires(expires_seconds)))

    def rotate_key(
        self, name: str, *, overlap_seconds: float | None = None, expires_seconds: float | None = None
    ) -> Key:
        """Make another key of this name; the old one goes on for ``overlap_seconds``."""
        return self._ask(self._calls.rotate_key(name, overlap_seconds, expires(expires_seconds)))

    def revoke_key(self, name: str) -> list[Key]:
        """End every key of this name."""
        return self._ask(self._calls.revoke_key(name)).items

    def audit(
        self,
        *,
        principal: str | None = None,
        action: str | None = None,
        outcome: str | None = None,
        target: str | None = None,
        deployment: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[AuditEntry]:
        """The entries, from the first on."""
        query = {
            "principal": principal,
            "action": action,
            "outcome": outcome,
            "target": target,
            "deployment": deployment,
            "page_size": page_size,
        }
        return self._all(self._calls.audit(query))

    def verify_audit(self, *, head: str | None = None) -> Verdict:
        """Whether the chain holds. ``head`` is one that was noted before, and finds a chain that was cut."""
        return self._ask(self._calls.verify_audit(head))


def expires(seconds: float | None) -> dict[str, Any]:
    """The part of a body that says how long a key lives."""
    if seconds is None:
        return {}
    return {"expires_seconds": None if seconds == float("inf") else seconds}
