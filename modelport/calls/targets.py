"""Targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelport import answers
from modelport.calls.reading import Reading
from modelport.calls.request import Call, D, O, Pages, get, pages, path, submit
from modelport.types import Check, Kind, Target


class TargetCalls(Reading[D, O]):
    """The routes under ``/v1/targets``."""

    def targets(self) -> Pages[Target]:
        """GET targets."""
        return pages(path("targets"), answers.page(Target))

    def target_kinds(self) -> Call[list[Kind]]:
        """GET targets, for the kinds beside them."""
        return get(path("targets"), answers.each_of("kinds", Kind))

    def target(self, name: str) -> Call[Target]:
        """GET a target."""
        return get(path("targets", name), answers.one(Target))

    def put_target(
        self,
        name: str,
        uri: str,
        *,
        settings: Mapping[str, Any] | None,
        limits: Mapping[str, Any] | None,
        credentials: str | None,
        key: str | None,
    ) -> Call[Target]:
        """PUT a target: register or change."""
        given: dict[str, Any] = {
            "uri": uri,
            "settings": None if settings is None else dict(settings),
            "limits": None if limits is None else dict(limits),
            "credentials": credentials,
        }
        body = {name: value for name, value in given.items() if value is not None}
        return submit("PUT", path("targets", name), answers.one(Target), body=body, key=key)

    def delete_target(self, name: str, *, key: str | None) -> Call[None]:
        """DELETE a target."""
        return submit("DELETE", path("targets", name), answers.nothing, key=key)

    def check_target(self, name: str, *, key: str | None) -> Call[Check]:
        """POST a check of a target."""
        return submit("POST", path("targets", name, "check"), answers.one(Check), key=key)

    def target_help(self, name: str) -> Call[str]:
        """GET a target's help."""
        return get(path("targets", name, "help"), answers.text)
