"""Targets: where models can be deployed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelport.blocking.driver import Driver
from modelport.types import Check, Kind, Target


class Targets(Driver):
    """The methods that concern targets."""

    def targets(self) -> Iterator[Target]:
        """The targets that are registered."""
        return self._all(self._calls.targets())

    def target_kinds(self) -> list[Kind]:
        """The kinds of target that can be registered: modelport's own, and every plugin that is installed."""
        return self._ask(self._calls.target_kinds())

    def target(self, name: str) -> Target:
        """One target. Raises NotFound."""
        return self._ask(self._calls.target(name))

    def put_target(
        self,
        name: str,
        uri: str,
        *,
        settings: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        credentials: str | None = None,
        key: str | None = None,
    ) -> Target:
        """Register a target, or change it. ``credentials`` is a reference (``env:NAME``, ``file:PATH``), no secret."""
        return self._ask(
            self._calls.put_target(name, uri, settings=settings, limits=limits, credentials=credentials, key=key)
        )

    def delete_target(self, name: str, *, key: str | None = None) -> None:
        """Take a target off the register; what it serves is left alone."""
        return self._ask(self._calls.delete_target(name, key=key))

    def check_target(self, name: str, *, key: str | None = None) -> Check:
        """Have a worker reach the target with its credentials, and give what it found."""
        return self._ask(self._calls.check_target(name, key=key))

    def target_help(self, name: str) -> str:
        """What can be configured on this target, as text."""
        return self._ask(self._calls.target_help(name))
