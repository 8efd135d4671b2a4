"""The states of an operation, and the one table of what may follow what. ``docs/states.md`` draws it."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where an operation stands."""

    QUEUED = "queued"
    STARTING = "starting"
    WAITING = "waiting"
    UNDOING = "undoing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Kind(StrEnum):
    """What an operation does to its deployment."""

    CREATE = "create"
    UPDATE = "update"
    TRAFFIC = "traffic"
    ROLLBACK = "rollback"
    DELETE = "delete"
    RECONCILE = "reconcile"
    ADOPT = "adopt"


class Lane(StrEnum):
    """Which kind of worker node takes the next step; the value is the Celery queue's name."""

    WRITE = "operations"
    BULK = "bulk"
    LOOK = "poll"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

ALLOWED: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.STARTING, State.CANCELLED, State.FAILED}),
    State.STARTING: frozenset({State.WAITING, State.SUCCEEDED, State.UNDOING, State.FAILED}),
    State.WAITING: frozenset({State.SUCCEEDED, State.UNDOING, State.FAILED}),
    State.UNDOING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
