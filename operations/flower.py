"""One operation as one row in Flower: a full picture each time, so that any order of arrival ends in the same row."""

from __future__ import annotations

import json
import time
from typing import Any

from operations.models import Operation
from operations.states import State

# Flower knows Celery's states only; several of ours share one, and the target's own words tell them apart.
EVENTS = {
    State.QUEUED: "task-received",
    State.STARTING: "task-started",
    State.WAITING: "task-started",
    State.UNDOING: "task-started",
    State.SUCCEEDED: "task-succeeded",
    State.FAILED: "task-failed",
    State.CANCELLED: "task-revoked",
}


def picture(operation: Operation, worker: str) -> dict[str, Any]:
    """The Celery event that shows this operation as it is now. It holds names and the target's words, no config."""
    event: dict[str, Any] = {
        "type": EVENTS[operation.state],
        "uuid": operation.id,
        "hostname": worker,
        "pid": 0,
        "utcoffset": 0,
        "clock": operation.last_event,
        "name": f"deployments.{operation.kind.value}",
        "args": json.dumps([operation.deployment.target.name, operation.deployment.name, *_models(operation)]),
        "kwargs": json.dumps({"state": operation.state.value, "phase": operation.phase}),
        "retries": operation.attempts,
        "received": operation.created_at,
        "timestamp": _instant(operation),
    }
    if operation.started_at is not None:
        event["started"] = operation.started_at
    if operation.state == State.SUCCEEDED:
        event["succeeded"] = operation.finished_at
        event["result"] = operation.message or "done"
        event["runtime"] = (operation.finished_at or 0.0) - (operation.started_at or operation.created_at)
    elif operation.state == State.FAILED:
        reason = (operation.error or {}).get("detail") or operation.message
        event["failed"] = operation.finished_at
        event["exception"] = reason
        event["result"] = reason
        event["runtime"] = (operation.finished_at or 0.0) - (operation.started_at or operation.created_at)
    elif operation.state == State.CANCELLED:
        event["revoked"] = operation.finished_at
        event["result"] = operation.message
    else:
        event["result"] = f"{operation.state.value}: {operation.message}"
    return event


def _models(operation: Operation) -> list[str]:
    return [variant["model_uri"] for variant in operation.desired.spec["variants"]] if operation.desired else []


def _instant(operation: Operation) -> float:
    return operation.finished_at or operation.started_at or operation.created_at or time.time()
