"""What a message must look like before Celery takes it apart: one of another shape would end the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default

from operations.states import Lane


def checked(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's own strategy for messages that name one lane and nothing else; the others are thrown away by it."""
    handle: Callable[..., Any] = default(task, app, consumer, **options)

    def strategy(message: Any, body: Any, *rest: Any, **more: Any) -> Any:
        if not _names_a_lane(message.payload):
            raise InvalidTaskError("a message that names no lane of work")
        return handle(message, body, *rest, **more)

    return strategy


def _names_a_lane(payload: Any) -> bool:
    if not isinstance(payload, list) or len(payload) != 3:
        return False
    arguments, named, options = payload
    return (
        isinstance(arguments, list)
        and len(arguments) == 1
        and isinstance(arguments[0], str)
        and arguments[0] in set(Lane)
        and named == {}
        and isinstance(options, dict)
        and not any(options.get(name) for name in ("callbacks", "errbacks", "chain", "chord"))
    )
