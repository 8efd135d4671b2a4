"""Bringing many deployments to what is declared: what has to change, and all of it at once.

Nothing here prints; ``Watcher`` is told what happens.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from modelport.async_client import AsyncClient
from modelport.awaiting.handles import AsyncDeployment, AsyncOperation
from modelport.declared import Declared
from modelport.differences import Difference, between, specification
from modelport.errors import MatchRequired, ModelportError, NotFound, WaitTimeout
from modelport.types import Deployment, Operation

Kind = Literal["create", "update", "delete", "none"]

SUBMISSIONS_AT_ONCE = 8
WAITS_AT_ONCE = 50
GETS_RATHER_THAN_A_LIST = 20
PAGE_SIZE = 500


@dataclass
class Change:
    """What one deployment needs, and what came of it.

    ``operation`` is the one that does it, as last seen; ``error`` is why there is none, or how it ended.
    """

    target: str
    name: str
    kind: Kind
    differences: list[Difference] = field(default_factory=list)
    declared: Declared | None = None
    found: Deployment | None = None
    operation: Operation | None = None
    error: ModelportError | None = None

    @property
    def address(self) -> str:
        """``target/name``."""
        return f"{self.target}/{self.name}"

    @property
    def is_under_way(self) -> bool:
        """Whether an operation has not ended as far as is known."""
        return self.operation is not None and not self.operation.final

    @property
    def outcome(self) -> str:
        """In a word or two: how it stands, or why it did not come about."""
        if self.operation is not None:
            return self.operation.state
        if self.error is not None:
            return "refused"
        return "unchanged" if self.kind == "none" else "done"

    @property
    def document(self) -> dict[str, Any]:
        """As JSON."""
        problem = getattr(self.error, "document", None)
        return {
            "target": self.target,
            "name": self.name,
            "change": self.kind,
            "differences": [each.document for each in self.differences],
            "operation": self.operation.document if self.operation else None,
            "problem": problem or ({"detail": str(self.error)} if self.error and not self.operation else None),
        }


class Watcher(Protocol):
    """Is told how changes go."""

    def begun(self, change: Change) -> None:
        """An operation was submitted."""

    def ended(self, change: Change) -> None:
        """It ended, was refused, or turned out not to be needed."""


async def find(client: AsyncClient, declared: Sequence[Declared]) -> dict[str, Deployment]:
    """The deployments of these addresses that are there, by address."""
    found: dict[str, Deployment] = {}
    for target, number in Counter(each.target for each in declared).items():
        names = [each.name for each in declared if each.target == target]
        if number > GETS_RATHER_THAN_A_LIST:
            there: list[AsyncDeployment] = [
                each async for each in client.list(target=target, page_size=PAGE_SIZE) if each.name in set(names)
            ]
        else:
            there = [each for name in names if (each := await _get(client, target, name)) is not None]
        found |= {f"{each.target}/{each.name}": each for each in there}
    return found


async def find_labelled(client: AsyncClient, labels: Mapping[str, str]) -> list[Deployment]:
    """All deployments that have these labels."""
    return [each async for each in client.list(labels=labels, page_size=PAGE_SIZE)]


def plan(
    declared: Iterable[Declared], found: Mapping[str, Deployment], labelled: Iterable[Deployment] = ()
) -> list[Change]:
    """What has to change; what is labelled, there and not declared is deleted."""
    changes = [_needed(each, found.get(each.address)) for each in declared]
    known = {each.address for each in changes}
    for each in labelled:
        if f"{each.target}/{each.name}" not in known and each.tip is not None:
            changes.append(Change(each.target, each.name, "delete", found=each))
    return changes


async def apply(
    client: AsyncClient, changes: Sequence[Change], watcher: Watcher, *, wait: bool, timeout: float | None
) -> None:
    """Submit what has to change and wait until it has ended, at most ``timeout`` seconds.

    Nothing is raised of what concerns one change: it is in its ``error``. What is not needed is not submitted, except
    that an operation which does it already is waited for.
    """
    submitting, waiting = asyncio.Semaphore(SUBMISSIONS_AT_ONCE), asyncio.Semaphore(WAITS_AT_ONCE)
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout

    async def one(change: Change) -> None:
        try:
            async with submitting:
                begun = await _submitted(client, change)
            if begun is None:
                watcher.ended(change)
                return
            change.operation = begun
            watcher.begun(change)
            if not wait:
                return
            async with waiting:
                left = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
                change.operation = await client.wait(begun.id, left)
        except ModelportError as error:
            change.error = error
            change.operation = getattr(error, "operation", change.operation)
        watcher.ended(change)

    needed = [change for change in changes if change.kind != "none" or (change.found and change.found.operation)]
    await asyncio.gather(*map(one, needed))


def timed_out(change: Change) -> bool:
    """Whether it goes on, and was not waited for any longer."""
    return isinstance(change.error, WaitTimeout)


def _needed(declared: Declared, found: Deployment | None) -> Change:
    wanted = specification([each.model_dump() for each in declared.variants], declared.traffic, declared.labels)
    if found is None or found.tip is None:
        return Change(declared.target, declared.name, "create", between({}, wanted), declared, found)
    labels = None if declared.labels is None else found.labels
    differences = between(specification(found.tip.variants, found.tip.traffic, labels), wanted)
    return Change(declared.target, declared.name, "update" if differences else "none", differences, declared, found)


async def _submitted(client: AsyncClient, change: Change) -> AsyncOperation | None:
    """The operation; None where the server finds that there is nothing to do."""
    if change.declared is None:
        try:
            return await client.delete(change.target, change.name, if_match=change.found)
        except NotFound as error:
            if error.slug != "deployment-not-found":
                raise
            return None
    given = change.declared.specification()
    try:
        begun = await client.apply(change.target, change.name, **given)
    except MatchRequired:
        begun = await client.apply(change.target, change.name, if_match=change.found, **given)
    if isinstance(begun, AsyncOperation):
        return begun
    if all(each.path.startswith("labels.") for each in change.differences):
        return None  # done at once, without an operation
    change.kind, change.differences = "none", []
    return None


async def _get(client: AsyncClient, target: str, name: str) -> AsyncDeployment | None:
    try:
        return await client.get(target, name)
    except NotFound as error:
        if error.slug != "deployment-not-found":
            raise
        return None
