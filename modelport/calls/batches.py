"""Batches: many changes released together. They need no class of the client's own, so these are functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from modelport import answers
from modelport.calls.request import Call, Pages, get, pages, path, submit
from modelport.types import JSON, Batch, BatchItem, BatchPlan

Amount = int | str
"""A number of items, or a percentage of them: ``50``, ``"10%"``."""
Action = Literal["update", "apply", "rollback", "delete", "reconcile"]


class Selection(TypedDict, total=False):
    """Which deployments. All that is given must match.

    ``model`` is any version of a model (``models:/iris``), with ``below_version`` those before; ``model_uri`` is exact.
    """

    target: str | None
    names: Sequence[str] | None
    labels: Mapping[str, str] | None
    model: str | None
    below_version: int | None
    model_uri: str | None


class Change(TypedDict, total=False):
    """What happens to each deployment: an ``action`` (``update`` where it is not given) and its fields."""

    action: Action
    model_uri: str | None
    flavor: str | None
    config: Mapping[str, Any] | None
    variants: Sequence[Mapping[str, Any]] | Mapping[str, str] | None
    traffic: Mapping[str, int] | None
    labels: Mapping[str, str | None] | None
    revision: int | None


class BatchOperation(Change):
    """One operation of an explicit list."""

    target: str
    name: str


class Wave(TypedDict, total=False):
    """A part that goes before the rest, by ``size`` or ``labels``, and what holds between it and the next."""

    size: Amount | None
    labels: Mapping[str, str] | None
    soak_seconds: float
    approval: bool


class Strategy(TypedDict, total=False):
    """How a batch is released; what is not given is the server's default. ``start`` and ``end`` are instants."""

    max_concurrent: Amount | None
    max_failures: Amount | None
    on_failure: Literal["stop", "continue", "roll_back_changed"] | None
    on_conflict: Literal["queue", "refuse"] | None
    waves: Sequence[Wave] | None
    start: datetime | str | None
    end: datetime | str | None
    deadline_seconds: float | None


def create(
    selection: Selection | None,
    change: Change | None,
    operations: Sequence[BatchOperation] | None,
    strategy: Strategy | None,
    *,
    key: str | None,
) -> Call[Batch]:
    """POST /v1/batches."""
    body = _body(selection, change, operations, strategy)
    return submit("POST", path("batches"), answers.one(Batch), body=body, key=key)


def plan(
    selection: Selection | None,
    change: Change | None,
    operations: Sequence[BatchOperation] | None,
    strategy: Strategy | None,
    *,
    key: str | None,
) -> Call[BatchPlan]:
    """POST /v1/batches/plan."""
    body = _body(selection, change, operations, strategy)
    return submit("POST", path("batches", "plan"), answers.one(BatchPlan), body=body, key=key)


def steer(batch_id: str, verb: str, *, key: str | None, body: JSON | None = None) -> Call[Batch]:
    """POST start, pause, resume, approve, reject, abort, retry or rollback."""
    return submit("POST", path("batches", batch_id, verb), answers.one(Batch), body=body, key=key)


def adjust(
    batch_id: str,
    *,
    max_concurrent: Amount | None,
    start: datetime | str | None,
    end: datetime | str | None,
    key: str | None,
) -> Call[Batch]:
    """PATCH a batch."""
    changes = {"max_concurrent": max_concurrent, "start": _instant(start), "end": _instant(end)}
    return submit("PATCH", path("batches", batch_id), answers.one(Batch), body=_given(changes), key=key)


def batch(batch_id: str) -> Call[Batch]:
    """GET a batch."""
    return get(path("batches", batch_id), answers.one(Batch))


def batches(*, page_size: int | None) -> Pages[Batch]:
    """GET batches."""
    return pages(path("batches"), answers.page(Batch), {"page_size": page_size})


def items(batch_id: str, *, state: str | None, page_size: int | None) -> Pages[BatchItem]:
    """GET the items of a batch."""
    query = {"state": state, "page_size": page_size}
    return pages(path("batches", batch_id, "items"), answers.page(BatchItem), query)


def event_stream(batch_id: str, after: int | None) -> Call[None]:
    """GET what moves after version ``after`` as a stream; reading it only tells whether the stream was opened."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    return Call("GET", path("batches", batch_id, "events"), answers.nothing, headers=headers)


def _body(
    selection: Selection | None,
    change: Change | None,
    operations: Sequence[BatchOperation] | None,
    strategy: Strategy | None,
) -> JSON:
    body: JSON = {
        "selection": None if selection is None else _given(selection),
        "change": None if change is None else _change(change),
        "operations": None if operations is None else [_change(each) for each in operations],
        "strategy": None if strategy is None else _strategy(strategy),
    }
    return _given(body)


def _change(change: Mapping[str, Any]) -> JSON:
    body = _given(change)
    if isinstance(body.get("variants"), Mapping):
        body["variants"] = [{"name": name, "model_uri": uri} for name, uri in body["variants"].items()]
    return body


def _strategy(strategy: Strategy) -> JSON:
    body = _given(strategy)
    return body | {key: _instant(body[key]) for key in ("start", "end") if key in body}


def _given(fields: Mapping[str, Any]) -> JSON:
    return {name: value for name, value in fields.items() if value is not None}


def _instant(moment: datetime | str | None) -> str | None:
    """RFC 3339; a time without a zone is this machine's."""
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.astimezone()).isoformat()
    return moment
