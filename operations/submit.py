"""Taking in what is asked: each function checks against the deployment's tip and records one operation, or refuses.

All run in one transaction that holds the deployment's row, so that two requests at one moment are one after the other.
Nothing is sent from here; the caller hints after its commit. Refusals are the exceptions of ``operations.problems``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from operations import access, admission, audit, ledger, specs
from operations.access import Permission
from operations.admission import Accepted, Asked, etag
from operations.models import Operation, Revision, Target
from operations.problems import (
    DeploymentExists,
    DeploymentNotFound,
    NoPreviousRevision,
    NotRetryable,
    OperationNotFound,
    RevisionNotFound,
    TooLate,
)
from operations.specs import Rules
from operations.states import FINAL, Kind, State
from operations.tips import previous, tip

__all__ = [
    "Accepted",
    "Asked",
    "adopt",
    "apply",
    "cancel",
    "create",
    "delete",
    "etag",
    "patch",
    "reconcile",
    "retry",
    "rollback",
    "take_back",
    "traffic",
]

Document = dict[str, Any]


def create(
    session: Session, target: Target, rules: Rules, name: str, spec: Document, labels: Document, asked: Asked
) -> Accepted:
    """Create a deployment. Raises DeploymentExists unless its tip is absent; behind a queued delete it is taken."""
    specs.check_name(rules, name)
    deployment = admission.lock(session, target, name, asked, labels)
    at = admission.enter(session, deployment, asked, rules)
    if at.revision is not None:
        raise DeploymentExists(f"{target.name}/{name} exists or is on its way")
    specs.check_creation(rules, spec)
    deployment.labels = labels
    return admission.record(
        session, deployment, at, rules, asked, Kind.CREATE, admission.new_revision(session, deployment, spec)
    )


def apply(
    session: Session, target: Target, rules: Rules, name: str, spec: Document, labels: Document | None, asked: Asked
) -> Accepted:
    """Make the deployment as specified, whatever it is now. Equal to the tip: nothing, or the operation under way."""
    specs.check_name(rules, name)
    deployment = admission.lock(session, target, name, asked, labels)
    at = admission.enter(session, deployment, asked, rules)
    relabelled = labels is not None and labels != deployment.labels
    if labels is not None:
        deployment.labels = labels
    if at.revision is not None and specs.content_hash(at.revision.spec) == specs.content_hash(spec):
        deployment.generation += relabelled
        return Accepted(deployment, at.unfinished[-1] if at.unfinished else None)
    kind = Kind.CREATE if at.revision is None else Kind.UPDATE
    if kind == Kind.CREATE:
        specs.check_creation(rules, spec)
    return admission.record(
        session, deployment, at, rules, asked, kind, admission.new_revision(session, deployment, spec)
    )


def patch(session: Session, target: Target, rules: Rules, name: str, change: Document, asked: Asked) -> Accepted:
    """Change the fields that were sent, relative to the tip. Labels alone need no operation."""
    deployment, at, revision = admission.existing(session, target, name, asked, rules)
    labels = dict(deployment.labels)
    for key, value in (change.get("labels") or {}).items():
        labels[key] = value
    labels = {key: value for key, value in labels.items() if value is not None}
    access.check_labels(asked.who, target.name, name, labels)
    relabelled = labels != deployment.labels
    deployment.labels = labels
    spec = revision.spec
    if change.keys() - {"labels", "deadline_seconds"}:
        spec = specs.build(rules, **specs.merged(revision.spec, change))
    if specs.content_hash(spec) == specs.content_hash(revision.spec):
        deployment.generation += relabelled
        return Accepted(deployment, at.unfinished[-1] if at.unfinished else None)
    made = admission.new_revision(session, deployment, spec)
    return admission.record(session, deployment, at, rules, asked, Kind.UPDATE, made, base=revision)


def traffic(
    session: Session, target: Target, name: str, split: Mapping[str, int], asked: Asked, *, rules: Rules
) -> Accepted:
    """Shift traffic between the tip's variants: a new revision that differs in nothing else, relative to the tip."""
    deployment, at, revision = admission.existing(session, target, name, asked, rules)
    names = [variant["name"] for variant in revision.spec["variants"]]
    shares = specs.split(rules, names, split)
    if shares == revision.spec["traffic"]:
        return Accepted(deployment, at.unfinished[-1] if at.unfinished else None)
    made = admission.new_revision(session, deployment, {**revision.spec, "traffic": shares})
    return admission.record(session, deployment, at, rules, asked, Kind.TRAFFIC, made, base=revision)


def rollback(
    session: Session, target: Target, name: str, number: int | None, asked: Asked, *, rules: Rules
) -> Accepted:
    """Go back to revision ``number``, or relative to the tip to the last that served before it."""
    deployment, at, revision = admission.existing(session, target, name, asked, rules)
    if number is not None:
        of_this = select(Revision).where(Revision.deployment_id == deployment.id, Revision.number == number)
        wanted = session.scalars(of_this).one_or_none()
        if wanted is None:
            raise RevisionNotFound(f"{target.name}/{name} has no revision {number}")
    else:
        wanted = previous(session, revision)
        if wanted is None:
            raise NoPreviousRevision(f"no revision of {target.name}/{name} served before revision {revision.number}")
    if wanted.id == revision.id:
        return Accepted(deployment, at.unfinished[-1] if at.unfinished else None)
    base = revision if number is None else None
    return admission.record(session, deployment, at, rules, asked, Kind.ROLLBACK, wanted, base=base)


def delete(
    session: Session, target: Target, name: str, asked: Asked, *, rules: Rules, cancel_pending: bool = False
) -> Accepted:
    """Delete the deployment. Twice is the same as once; ``cancel_pending`` cancels what has not ended before it.

    One that was deleted and was then observed on the target all the same can be deleted again.
    """
    deployment = admission.find(session, target, name, asked)
    at = admission.enter(session, deployment, asked, rules)
    if at.revision is None:
        if at.unfinished:
            return Accepted(deployment, at.unfinished[-1])
        if deployment.observed_at is None:
            raise DeploymentNotFound(f"there is no {target.name}/{name}")
    if cancel_pending:
        admission.cancel_all(session, at, asked)
    return admission.record(session, deployment, at, rules, asked, Kind.DELETE, None)


def reconcile(session: Session, target: Target, name: str, asked: Asked, *, rules: Rules) -> Accepted:
    """Bring the target back to what the records say of this deployment, whatever was changed there by other hands."""
    deployment, at, revision = admission.existing(session, target, name, asked, rules)
    return admission.record(session, deployment, at, rules, asked, Kind.RECONCILE, revision)


def adopt(session: Session, target: Target, rules: Rules, name: str, labels: Document, asked: Asked) -> Accepted:
    """Take what the target serves under this name under management; the worker finds out what it is."""
    specs.check_name(rules, name)
    access.check_whole_target(asked.who, Permission.DEPLOY, target.name)
    deployment = admission.lock(session, target, name, asked, labels)
    at = admission.enter(session, deployment, asked, rules)
    if at.revision is not None or at.unfinished:
        raise DeploymentExists(f"{target.name}/{name} is managed already, or an operation is under way for it")
    deployment.labels = labels
    return admission.record(session, deployment, at, rules, asked, Kind.ADOPT, None)


def take_back(session: Session, operation_id: str, asked: Asked) -> Accepted:
    """Ask again that what an operation left behind is removed: restores what the records say. Twice is once.

    Raises NotRetryable where nothing was left behind, or a later operation of the deployment has taken over.
    """
    old = _operation(session, operation_id, asked)
    deployment = ledger.lock_deployment(session, old.deployment_id)
    at = tip(session, deployment)
    again = next((o for o in at.unfinished if o.retry_of == old.id), None)
    if again is not None:
        return Accepted(deployment, again)
    if not old.leftovers or old.state not in FINAL or old.kind == Kind.ADOPT:
        raise NotRetryable(f"operation {operation_id} left nothing behind, or has not ended")
    if deployment.last_seq != old.seq:
        raise NotRetryable(f"a later operation of {deployment.name} has taken over")
    goes = old.kind == Kind.DELETE or deployment.current_id is None
    old.unclean = False
    kind, desired = (Kind.DELETE, None) if goes else (Kind.RECONCILE, deployment.current)
    return admission.record(session, deployment, at, None, asked, kind, desired, retry_of=old)


def cancel(session: Session, operation_id: str, asked: Asked) -> Operation:
    """Cancel an operation. Twice is the same as once. Raises TooLate, OperationNotFound."""
    before = _operation(session, operation_id, asked).state.value
    try:
        operation = ledger.cancel(session, operation_id, by=asked.principal)
    except ledger.TooLate as error:
        raise TooLate(f"operation {operation_id} has ended, or what it changed already serves") from error
    note_cancelled(session, operation, before)
    return operation


def note_cancelled(session: Session, operation: Operation, before: str) -> None:
    """Say for the audit what cancelling did."""
    deployment = operation.deployment
    audit.note(
        session,
        target=deployment.target.name,
        deployment=deployment.name,
        subject=operation.id,
        before={"state": before},
        after={"state": operation.state.value, "cancelled_by": operation.cancelled_by},
    )


def retry(session: Session, operation_id: str, asked: Asked) -> Accepted:
    """Ask once more for what a failed or cancelled operation was to do: a new operation that names the old one.

    A relative change is refused once the deployment is no longer what it built on, as it would bring that back.
    """
    old = _operation(session, operation_id, asked)
    if old.state not in {State.FAILED, State.CANCELLED}:
        raise NotRetryable(f"operation {operation_id} is {old.state}")
    deployment = ledger.lock_deployment(session, old.deployment_id)
    at = tip(session, deployment)
    again = next((o for o in at.unfinished if o.retry_of == old.id), None)
    if again is not None:
        return Accepted(deployment, again)
    base = session.get(Revision, old.base_id) if old.relative and old.base_id else None
    if old.relative and (base is None or at.revision is None or at.revision.id != base.id):
        raise NotRetryable(f"operation {operation_id} built on what the deployment is no longer; submit it anew")
    wanted = old.desired_id if old.kind != Kind.DELETE else None
    kind = old.kind
    if wanted is not None and kind in {Kind.CREATE, Kind.UPDATE}:
        kind = Kind.CREATE if at.revision is None else Kind.UPDATE
    asked = replace(asked, if_match=None, batch_id=None)
    return admission.record(
        session,
        deployment,
        at,
        None,
        asked,
        kind,
        session.get_one(Revision, wanted) if wanted else None,
        base=base,
        retry_of=old,
    )


def _operation(session: Session, operation_id: str, asked: Asked) -> Operation:
    operation = session.scalars(select(Operation).where(Operation.id == operation_id)).unique().one_or_none()
    if operation is None:
        raise OperationNotFound(f"there is no operation {operation_id[:80]!r}")
    try:
        access.check_deployment(asked.who, Permission.DEPLOY, operation.deployment.target.name, operation.deployment)
    except DeploymentNotFound:
        raise OperationNotFound(f"there is no operation {operation_id[:80]!r}") from None
    return operation
