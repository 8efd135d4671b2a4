"""Changes to one target: sent as what they shall come to, and waited for as config and URI say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from modelport import output
from modelport.blocking.handles import Deployment, Operation
from modelport.client import Client
from modelport.errors import NotFound, Stale, raise_unless_succeeded
from modelport.exits import goes_on
from modelport.mlflow_target import shapes
from modelport.mlflow_target.address import Address
from modelport.mlflow_target.codes import Missing
from modelport.mlflow_target.config import Given, read
from modelport.mlflow_target.variants import Next
from modelport.progress import followed
from modelport.types import Revision, Target

JSON = dict[str, Any]
Config = Mapping[str, Any] | None

TRIES = 5  # to change what somebody else changes at the same moment


class Changes:
    """``client`` asks the server; ``options`` is what its command line needs to reach the same one."""

    def __init__(self, client: Client, address: Address, options: str) -> None:
        self.client = client
        self.target = address.target
        self._address = address
        self._options = options

    def read(self, config: Config, ours: frozenset[str]) -> Given:
        """As ``config.read``, by the schema of the target where that is needed."""
        texts = any(isinstance(value, str) for key, value in (config or {}).items() if key not in ours - {"variants"})
        return read(config, ours, self._schema if texts else None)

    def find(self, name: str) -> Deployment | None:
        """A deployment that is there or will be; None where it is not, or is being deleted."""
        try:
            found = self.client.get(self.target, name)
        except NotFound as error:
            raise_unless_absent(error)
            return None
        return None if found.tip is None else found

    def change(self, name: str, given: Given, decide: Callable[[Revision], Next]) -> Operation | Deployment:
        """Bring a deployment from what it will be to what ``decide`` makes of that, whoever else changes it meanwhile.

        Raises Missing, and Stale where ``if_match`` was given or others are too quick.
        """
        for left in reversed(range(TRIES)):
            found = self.find(name)
            if found is None or found.tip is None:
                raise Missing(f"there is no {name!r} on target {self.target!r}")
            variants, traffic = decide(found.tip)
            try:
                return self.client.update(
                    self.target,
                    name,
                    variants=variants,
                    traffic=traffic,
                    labels=given.labels,
                    deadline_seconds=given.deadline_seconds,
                    if_match=given.if_match or found,
                )
            except Stale:
                if given.if_match or not left:
                    raise
        raise AssertionError("the last try returned or raised")

    def delete(self, name: str, given: Given) -> JSON | None:
        """Delete a deployment; what is not there counts as deleted. What was begun, unless it was waited for."""
        try:
            begun = self.client.delete(self.target, name, cancel_pending=given.cancel_pending, if_match=given.if_match)
        except NotFound as error:
            raise_unless_absent(error)
            return None
        waiting = self.unended(begun, given)
        return shapes.begun(name, None, waiting, None) if waiting else None

    def unended(self, begun: Operation | Deployment, given: Given) -> Operation | None:
        """Wait for what was begun. The operation, where it shall not be waited for.

        Raises OperationFailed, OperationCancelled and WaitTimeout. Ctrl-C tells how to go on with what goes on.
        """
        if isinstance(begun, Deployment):
            return None
        if not (self._address.wait if given.wait is None else given.wait):
            return begun
        timeout = given.timeout_seconds or self._address.timeout_seconds
        try:
            ended = followed(self.client, begun.id, timeout, silent=not sys.stderr.isatty())
        except KeyboardInterrupt:
            output.note(f"Interrupted. {goes_on(begun.id, self._options)}")
            raise
        raise_unless_succeeded(ended)
        return None

    def is_target(self, value: str) -> bool:
        """Whether this is a part of the target's URI, or the value of one of its settings."""
        parts = self._described.uri.partition(":")[2].strip("/")
        return value in map(str, self._described.settings.values()) or f"/{value.strip('/')}/" in f"/{parts}/"

    @property
    def _schema(self) -> JSON | None:
        return self._described.config_schema

    @cached_property
    def _described(self) -> Target:
        return self.client.target(self.target)


def raise_unless_absent(error: NotFound) -> None:
    """Raises the error unless it says that the deployment is not there: a target that is not there is another thing."""
    if error.slug != "deployment-not-found":
        raise error
