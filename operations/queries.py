"""Lists and single records. Pages are keyed by the last row seen, so that a growing table costs no more to page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, tuple_
from sqlalchemy.orm import Session

from operations import access
from operations.access import Permission, Principal
from operations.batches.models import Batch, BatchItem, ItemState
from operations.models import Deployment, Event, Operation, Revision, Target
from operations.problems import DeploymentNotFound, InvalidField, InvalidPageToken, OperationNotFound, RevisionNotFound
from operations.states import Kind, State

UNFINISHED = Operation.finished_at.is_(None)


@dataclass(frozen=True)
class Page:
    """Some rows, and the token of the next page; None on the last."""

    items: Sequence[Any]
    next_page_token: str | None


def get_deployment(
    session: Session,
    target: Target,
    name: str,
    who: Principal | None = None,
    permission: Permission = Permission.READ,
) -> Deployment:
    """The deployment, if it is there, or should not be and is, or something is under way, and ``who`` may see it.

    Raises DeploymentNotFound, and Forbidden where it may be seen but not what ``permission`` says.
    """
    row = session.scalars(
        select(Deployment).where(Deployment.target_id == target.id, Deployment.name == name, _there())
    ).one_or_none()
    if row is None:
        raise DeploymentNotFound(f"there is no {target.name}/{name}")
    access.check_deployment(who, permission, target.name, row)
    return row


def deployments(
    session: Session,
    *,
    target: str | None = None,
    labels: Mapping[str, str] | None = None,
    status: str | None = None,
    who: Principal | None = None,
    page_size: int,
    page_token: str | None = None,
) -> Page:
    """The deployments that are there or on their way, the oldest first."""
    query = select(Deployment).where(_there())
    if who is not None:
        query = query.where(who.visible(Permission.READ))
    if target is not None:
        query = query.where(Deployment.target.has(Target.name == target))
    for key, value in (labels or {}).items():
        query = query.where(Deployment.labels[key].as_string() == value)
    if status is not None:
        query = query.where(_status(status))
    filters = {"of": "deployments", "target": target, "labels": dict(labels or {}), "status": status}
    return _page(session, query, Deployment, filters, page_size, page_token)


def revisions(session: Session, deployment: Deployment, page_size: int, page_token: str | None = None) -> Page:
    """A deployment's revisions, the newest first."""
    query = select(Revision).where(Revision.deployment_id == deployment.id)
    filters = {"of": "revisions", "deployment": deployment.id}
    return _page(session, query, Revision, filters, page_size, page_token, newest_first=True)


def revision(session: Session, deployment: Deployment, number: int) -> Revision:
    """One revision. Raises RevisionNotFound."""
    row = session.scalars(
        select(Revision).where(Revision.deployment_id == deployment.id, Revision.number == number)
    ).one_or_none()
    if row is None:
        raise RevisionNotFound(f"{deployment.name} has no revision {number}")
    return row


def operations(
    session: Session,
    *,
    state: str | None = None,
    target: str | None = None,
    deployment: str | None = None,
    kind: str | None = None,
    who: Principal | None = None,
    page_size: int,
    page_token: str | None = None,
) -> Page:
    """The operations, the newest first."""
    query = select(Operation)
    if who is not None and not who.everywhere(Permission.READ):
        query = query.where(Operation.deployment.has(who.visible(Permission.READ)))
    if state is not None:
        query = query.where(Operation.state == State(state))
    if kind is not None:
        query = query.where(Operation.kind == Kind(kind))
    if target is not None:
        query = query.where(Operation.target_id.in_(select(Target.id).where(Target.name == target)))
    if deployment is not None:
        query = query.where(Operation.deployment_id.in_(select(Deployment.id).where(Deployment.name == deployment)))
    filters = {"of": "operations", "state": state, "target": target, "deployment": deployment, "kind": kind}
    return _page(session, query, Operation, filters, page_size, page_token, newest_first=True)


def get_operation(session: Session, operation_id: str, who: Principal | None = None) -> Operation:
    """One operation. Raises OperationNotFound."""
    row = session.scalars(select(Operation).where(Operation.id == operation_id)).unique().one_or_none()
    hidden = (
        row is not None
        and who is not None
        and not who.may(Permission.READ, row.deployment.target.name, row.deployment.labels)
    )
    if row is None or hidden:
        raise OperationNotFound(f"there is no operation {operation_id[:80]!r}")
    return row


def events(session: Session, operation_id: str, after: int = 0) -> Sequence[Event]:
    """An operation's events behind number ``after``, in order."""
    return session.scalars(
        select(Event).where(Event.operation_id == operation_id, Event.number > after).order_by(Event.number)
    ).all()


def event_page(session: Session, operation_id: str, page_size: int, page_token: str | None = None) -> Page:
    """An operation's events, in order."""
    filters = {"of": "events", "operation": operation_id}
    after = 0 if page_token is None else read_token(page_token, filters, int)[0]
    rows = session.scalars(
        select(Event)
        .where(Event.operation_id == operation_id, Event.number > after)
        .order_by(Event.number)
        .limit(page_size + 1)
    ).all()
    more = len(rows) > page_size
    rows = rows[:page_size]
    return Page(rows, make_token(filters, rows[-1].number) if more else None)


def batches(session: Session, page_size: int, page_token: str | None = None, who: Principal | None = None) -> Page:
    """The batches that ``who`` may see, the newest first: all, or without a role everywhere its own."""
    query = select(Batch)
    if who is not None and not who.everywhere(Permission.READ):
        query = query.where(Batch.principal == who.name)
    return _page(session, query, Batch, {"of": "batches"}, page_size, page_token, newest_first=True)


def batch_items(
    session: Session, batch_id: str, state: ItemState | None, page_size: int, page_token: str | None = None
) -> Page:
    """A batch's items, in order."""
    filters = {"of": "items", "batch": batch_id, "state": state}
    after = 0 if page_token is None else read_token(page_token, filters, int)[0]
    query = select(BatchItem).where(BatchItem.batch_id == batch_id, BatchItem.number > after)
    if state is not None:
        query = query.where(BatchItem.state == state)
    rows = session.scalars(query.order_by(BatchItem.number).limit(page_size + 1)).all()
    more = len(rows) > page_size
    rows = rows[:page_size]
    return Page(rows, make_token(filters, rows[-1].number) if more else None)


def all_targets(session: Session, page_size: int, page_token: str | None = None, who: Principal | None = None) -> Page:
    """The targets that ``who`` may see, the oldest first."""
    query = select(Target)
    if who is not None:
        query = query.where(who.visible_targets(Permission.READ))
    return _page(session, query, Target, {"of": "targets"}, page_size, page_token)


def _there() -> ColumnElement[bool]:
    busy = exists().where(Operation.deployment_id == Deployment.id, UNFINISHED)
    # what was deleted is observed only while the target has it all the same
    return or_(Deployment.current_id.is_not(None), busy, Deployment.observed_at.is_not(None))


def _status(status: str) -> ColumnElement[bool]:
    busy = exists().where(Operation.deployment_id == Deployment.id, UNFINISHED)
    # the one that may be claimed is the lowest unfinished: it alone has something due
    deleting = exists().where(
        Operation.deployment_id == Deployment.id, UNFINISHED, Operation.due_at.is_not(None), Operation.kind == "delete"
    )
    known = {
        "serving": and_(Deployment.current_id.is_not(None), ~busy),
        "creating": and_(Deployment.current_id.is_(None), busy, ~deleting),
        "changing": and_(Deployment.current_id.is_not(None), busy, ~deleting),
        "deleting": deleting,
    }
    if status not in known:
        raise InvalidField.one("status", f"{status[:40]!r} is no status", f"one of {', '.join(known)}")
    return known[status]


def _page(
    session: Session,
    query: Select[Any],
    entity: Any,
    filters: Mapping[str, Any],
    page_size: int,
    page_token: str | None,
    *,
    newest_first: bool = False,
) -> Page:
    key = tuple_(entity.created_at, entity.id)
    if page_token is not None:
        after = read_token(page_token, filters, float, str)
        query = query.where(key < tuple_(*after) if newest_first else key > tuple_(*after))
    order = (entity.created_at.desc(), entity.id.desc()) if newest_first else (entity.created_at, entity.id)
    rows = session.scalars(query.order_by(*order).limit(page_size + 1)).unique().all()
    more = len(rows) > page_size
    rows = rows[:page_size]
    return Page(rows, make_token(filters, rows[-1].created_at, rows[-1].id) if more else None)


def make_token(filters: Mapping[str, Any], *key: float | str) -> str:
    """The token of a page behind this key, for the list that these filters make."""
    document = json.dumps([_digest(filters), *key])
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


def read_token(token: str, filters: Mapping[str, Any], *kinds: type) -> tuple[Any, ...]:
    """The key in a token. Raises InvalidPageToken where it was not given out for this list."""
    refused = InvalidPageToken.one("page_token", "was not given out for this list", InvalidPageToken.remedy)
    try:
        digest, *key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise refused from None
    if digest != _digest(filters) or [type(part) for part in key] != list(kinds) or not all(map(_storable, key)):
        raise refused
    return tuple(key)


def _storable(part: float | str) -> bool:
    if isinstance(part, str):
        return part.isascii() and part.isprintable()
    return abs(part) < (2**31 if isinstance(part, int) else 2**53)


def _digest(filters: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(filters, sort_keys=True).encode()).hexdigest()[:16]
