"""What the routes of every noun need: deployments and operations, read into the client's own classes."""

from __future__ import annotations

from typing import Generic

from modelport import answers
from modelport.calls.request import D, O


class Reading(Generic[D, O]):
    """How deployments and operations are read; each is told whose it is."""

    def __init__(self, deployment: type[D], operation: type[O]) -> None:
        self._deployment = answers.one(deployment)
        self._deployments = answers.page(deployment)
        self._operation = answers.one(operation)
        self._operations = answers.page(operation)
        self._either = answers.operation_or_deployment(operation, deployment)
