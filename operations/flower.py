"""One operation as one row in Flower: a full picture each time, so that any order of arrival ends in the same row."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from operations.batches.models import Batch, BatchState, ItemState
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
    if operation.batch_id is not None:
        event["parent_id"] = event["root_id"] = operation.batch_id
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


BATCH_EVENTS = {
    BatchState.PLANNED: "task-received",
    BatchState.SUCCEEDED: "task-succeeded",
    BatchState.PARTLY_FAILED: "task-failed",
    BatchState.STOPPED: "task-failed",
    BatchState.ABORTED: "task-revoked",
}


def batch_picture(batch: Batch, counts: Mapping[ItemState, int], worker: str) -> dict[str, Any]:
    """The Celery event that shows a batch as it is now: its children are the operations' rows."""
    counted = ", ".join(f"{count} {state.value}" for state, count in sorted(counts.items()))
    event: dict[str, Any] = {
        "type": BATCH_EVENTS.get(batch.state, "task-started"),
        "uuid": batch.id,
        "hostname": worker,
        "pid": 0,
        "utcoffset": 0,
        "clock": batch.version,
        "name": f"batches.{batch.change['action']}",
        "args": json.dumps([f"{batch.total} items"]),
        "kwargs": json.dumps({"state": batch.state.value, "wave": batch.wave, "reason": batch.reason}),
        "retries": 0,
        "received": batch.created_at,
        "timestamp": batch.finished_at or batch.started_at or batch.created_at,
        "result": f"{batch.state.value}: {counted}",
    }
    if batch.started_at is not None:
        event["started"] = batch.started_at
    if batch.finished_at is not None:
        event["runtime"] = batch.finished_at - (batch.started_at or batch.created_at)
        event["exception"] = f"{batch.reason}; {counted}"
        event[event["type"].removeprefix("task-")] = batch.finished_at
    return event


def _models(operation: Operation) -> list[str]:
    return [variant["model_uri"] for variant in operation.desired.spec["variants"]] if operation.desired else []


def _instant(operation: Operation) -> float:
    return operation.finished_at or operation.started_at or operation.created_at or time.time()
