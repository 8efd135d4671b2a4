"""The records as JSON documents, the same in every answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from operations.clock import to_datetime
from operations.models import Deployment, Event, Operation, Revision, Target
from operations.states import FINAL, Kind
from operations.tips import Tip, tips

Document = dict[str, Any]


def deployment(session: Session, row: Deployment) -> Document:
    """A deployment with its current revision, its tip and what is under way."""
    return deployments(session, [row])[0]


def deployments(session: Session, rows: Sequence[Deployment]) -> list[Document]:
    """Deployments, with one query for what is under way for all of them."""
    return [_deployment(row, at) for row, at in zip(rows, tips(session, rows), strict=True)]


def status(row: Deployment, at: Tip) -> str:
    """In a word: creating, changing, deleting, serving or absent."""
    if at.unfinished:
        if at.unfinished[0].kind == Kind.DELETE:
            return "deleting"
        return "creating" if row.current_id is None else "changing"
    return "absent" if row.current_id is None else "serving"


def revision(row: Revision) -> Document:
    """A revision; each variant carries the URI that its model's URI was fixed to when the operation started."""
    resolved = {v["name"]: v["model_uri"] for v in (row.resolved or {}).get("variants", ())}
    return {
        "number": row.number,
        "variants": [{**variant, "resolved_uri": resolved.get(variant["name"])} for variant in row.spec["variants"]],
        "traffic": row.spec["traffic"],
        "created_at": time_of(row.created_at),
        "landed_at": time_of(row.landed_at),
    }


def operation(row: Operation) -> Document:
    """An operation as it stands."""
    return {
        "id": row.id,
        "target": row.deployment.target.name,
        "deployment": row.deployment.name,
        "kind": row.kind.value,
        "state": row.state.value,
        "phase": row.phase,
        "message": row.message,
        "revision": row.desired.number if row.desired else None,
        "from_revision": row.origin.number if row.origin else None,
        "attempts": row.attempts,
        "not_before": time_of(row.not_before),
        "waits_for": row.waits_for,
        "error": row.error,
        "leftovers": row.leftovers,
        "deadline_seconds": row.deadline_seconds,
        "deadline_at": time_of(row.deadline_at),
        "cancelled_by": row.cancelled_by,
        "retry_of": row.retry_of,
        "created_at": time_of(row.created_at),
        "started_at": time_of(row.started_at),
        "updated_at": time_of(row.updated_at),
        "finished_at": time_of(row.finished_at),
        "final": row.state in FINAL,
    }


def event(row: Event) -> Document:
    """One line of an operation's history."""
    return {
        "number": row.number,
        "at": time_of(row.at),
        "state": row.state.value,
        "message": row.message,
        "by": row.by,
    }


def target(
    row: Target, *, scheme: str, title: str, capabilities: Document, config_schema: Document, workers: int
) -> Document:
    """A target, without its credentials; ``workers`` counts the live ones that can serve it."""
    return {
        "name": row.name,
        "uri": row.uri,
        "scheme": scheme,
        "title": title,
        "capabilities": capabilities,
        "config_schema": config_schema,
        "settings": row.settings,
        "limits": row.limits,
        "workers": workers,
        "created_at": time_of(row.created_at),
    }


def time_of(seconds: float | None) -> str | None:
    """An instant of the database as RFC 3339 in UTC."""
    return None if seconds is None else to_datetime(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _deployment(row: Deployment, at: Tip) -> Document:
    first = at.unfinished[0] if at.unfinished else None
    return {
        "target": row.target.name,
        "name": row.name,
        "id": row.id,
        "generation": row.generation,
        "labels": row.labels,
        "status": status(row, at),
        "current": revision(row.current) if row.current else None,
        "tip": revision(at.revision) if at.revision else None,
        "operation": first.id if first else None,
        "unfinished": len(at.unfinished),
        "observed": row.observed,
        "observed_at": time_of(row.observed_at),
        "created_at": time_of(row.created_at),
        "updated_at": time_of(row.updated_at),
    }
