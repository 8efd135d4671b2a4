"""Taking in what is asked: each function checks against the deployment's tip and records one operation, or refuses.

All run in one transaction that holds the deployment's row, so that two requests at one moment are one after the other.
Nothing is sent from here; the caller hints after its commit. Refusals are the exceptions of ``operations.problems``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from operations import ledger, specs
from operations.clock import instant
from operations.ids import new_id
from operations.models import Deployment, Event, Operation, Revision, Target
from operations.problems import (
    Busy,
    DeploymentExists,
    DeploymentNotFound,
    NoPreviousRevision,
    NotRetryable,
    OperationNotFound,
    PreconditionRequired,
    QueueFull,
    RevisionNotFound,
    StaleGeneration,
    TooLate,
)
from operations.settings import settings
from operations.specs import Rules
from operations.states import FINAL, Kind, State
from operations.tips import Tip, tip

Document = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """Who asks, and how what is under way already shall be treated. ``if_match`` is the header as it came."""

    principal: str
    request_id: str | None = None
    if_match: str | None = None
    on_conflict: Literal["queue", "refuse", "supersede"] = "queue"
    deadline_seconds: float | None = None


@dataclass(frozen=True)
class Accepted:
    """What was recorded. ``operation`` is None when nothing had to be; it may be one that was there before."""

    deployment: Deployment
    operation: Operation | None

    @property
    def etag(self) -> str:
        """The deployment's generation as an entity tag."""
        return etag(self.deployment)


def etag(deployment: Deployment) -> str:
    """A deployment's generation as an entity tag."""
    return f'"{deployment.generation}"'


def create(
    session: Session, target: Target, rules: Rules, name: str, spec: Document, labels: Document, asked: Asked
) -> Accepted:
    """Create a deployment. Raises DeploymentExists unless its tip is absent; behind a queued delete it is taken."""
    specs.check_name(rules, name)
    deployment = _lock(session, target, name)
    at = _enter(session, deployment, asked, rules)
    if at.revision is not None:
        raise DeploymentExists(f"{target.name}/{name} exists or is on its way")
    specs.check_creation(rules, spec)
    deployment.labels = labels
    return _record(session, deployment, at, rules, asked, Kind.CREATE, _revision(session, deployment, spec))


def apply(
    session: Session, target: Target, rules: Rules, name: str, spec: Document, labels: Document | None, asked: Asked
) -> Accepted:
    """Make the deployment as specified, whatever it is now. Equal to the tip: nothing, or the operation under way."""
    specs.check_name(rules, name)
    deployment = _lock(session, target, name)
    at = _enter(session, deployment, asked, rules)
    relabelled = labels is not None and labels != deployment.labels
    if labels is not None:
        deployment.labels = labels
    if at.revision is not None and specs.content_hash(at.revision.spec) == specs.content_hash(spec):
        deployment.generation += relabelled
        return Accepted(deployment, at.unfinished[-1] if at.unfinished else None)
    kind = Kind.CREATE if at.revision is None else Kind.UPDATE
    if kind == Kind.CREATE:
        specs.check_creation(rules, spec)
    return _record(session, deployment, at, rules, asked, kind, _revision(session, deployment, spec))


def patch(session: Session, target: Target, rules: Rules, name: str, change: Document, asked: Asked) -> Accepted:
    """Change the fields that were sent, relative to the tip. Labels alone need no operation."""
    deployment, at, revision = _existing(session, target, name, asked, rules)
    labels = dict(deployment.labels)
    for key, value in (change.get("labels") or {}).items():
        labels[key] = value
    labels = {key: value for key, value in labels.items() if value is not None}
    relabelled = labels != deployment.labels
    deployment.labels = labels
    spec = revision.spec
    if change.keys() - {"labels", "deadline_seconds"}:
        spec = specs.build(rules, **specs.merged(revision.spec, change))
    if specs.content_hash(spec) == specs.content_hash(revision.spec):
        deployment.generation += relabelled
        return Accepted(deployment, at.unfinished[-1] if at.unfinished else None)
    made = _revision(session, deployment, spec)
    return _record(session, deployment, at, rules, asked, Kind.UPDATE, made, base=revision)


def traffic(
    session: Session, target: Target, name: str, split: Mapping[str, int], asked: Asked, *, rules: Rules
) -> Accepted:
    """Shift traffic between the tip's variants: a new revision that differs in nothing else, relative to the tip."""
    deployment, at, revision = _existing(session, target, name, asked, rules)
    names = [variant["name"] for variant in revision.spec["variants"]]
    shares = specs.split(rules, names, split)
    if shares == revision.spec["traffic"]:
        return Accepted(deployment, at.unfinished[-1] if at.unfinished else None)
    made = _revision(session, deployment, {**revision.spec, "traffic": shares})
    return _record(session, deployment, at, rules, asked, Kind.TRAFFIC, made, base=revision)


def rollback(
    session: Session, target: Target, name: str, number: int | None, asked: Asked, *, rules: Rules
) -> Accepted:
    """Go back to revision ``number``, or relative to the tip to the last that served before it."""
    deployment, at, revision = _existing(session, target, name, asked, rules)
    of_this = select(Revision).where(Revision.deployment_id == deployment.id)
    if number is not None:
        wanted = session.scalars(of_this.where(Revision.number == number)).one_or_none()
        if wanted is None:
            raise RevisionNotFound(f"{target.name}/{name} has no revision {number}")
    else:
        earlier = of_this.where(Revision.number < revision.number, Revision.landed_at.is_not(None))
        wanted = session.scalars(earlier.order_by(Revision.number.desc()).limit(1)).one_or_none()
        if wanted is None:
            raise NoPreviousRevision(f"no revision of {target.name}/{name} served before revision {revision.number}")
    if wanted.id == revision.id:
        return Accepted(deployment, at.unfinished[-1] if at.unfinished else None)
    base = revision if number is None else None
    return _record(session, deployment, at, rules, asked, Kind.ROLLBACK, wanted, base=base)


def delete(
    session: Session, target: Target, name: str, asked: Asked, *, rules: Rules, cancel_pending: bool = False
) -> Accepted:
    """Delete the deployment. Twice is the same as once; ``cancel_pending`` cancels what has not ended before it."""
    deployment = _find(session, target, name)
    at = _enter(session, deployment, asked, rules)
    if at.revision is None:
        if at.unfinished:
            return Accepted(deployment, at.unfinished[-1])
        raise DeploymentNotFound(f"there is no {target.name}/{name}")
    if cancel_pending:
        _cancel_all(session, at, asked)
    return _record(session, deployment, at, rules, asked, Kind.DELETE, None)


def reconcile(session: Session, target: Target, name: str, asked: Asked, *, rules: Rules) -> Accepted:
    """Bring the target back to what the records say of this deployment, whatever was changed there by other hands."""
    deployment, at, revision = _existing(session, target, name, asked, rules)
    return _record(session, deployment, at, rules, asked, Kind.RECONCILE, revision)


def adopt(session: Session, target: Target, rules: Rules, name: str, labels: Document, asked: Asked) -> Accepted:
    """Take what the target serves under this name under management; the worker finds out what it is."""
    specs.check_name(rules, name)
    deployment = _lock(session, target, name)
    at = _enter(session, deployment, asked, rules)
    if at.revision is not None or at.unfinished:
        raise DeploymentExists(f"{target.name}/{name} is managed already, or an operation is under way for it")
    deployment.labels = labels
    return _record(session, deployment, at, rules, asked, Kind.ADOPT, None)


def take_back(session: Session, operation_id: str, asked: Asked) -> Accepted:
    """Ask again that what an operation left behind is removed: restores what the records say. Twice is once.

    Raises NotRetryable where nothing was left behind, or a later operation of the deployment has taken over.
    """
    old = _operation(session, operation_id)
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
    return _record(session, deployment, at, None, asked, kind, desired, retry_of=old)


def cancel(session: Session, operation_id: str, asked: Asked) -> Operation:
    """Cancel an operation. Twice is the same as once. Raises TooLate, OperationNotFound."""
    _operation(session, operation_id)
    try:
        return ledger.cancel(session, operation_id, by=asked.principal)
    except ledger.TooLate as error:
        raise TooLate(f"operation {operation_id} has ended, or what it changed already serves") from error


def retry(session: Session, operation_id: str, asked: Asked) -> Accepted:
    """Ask once more for what a failed or cancelled operation was to do: a new operation that names the old one.

    A relative change is refused once the deployment is no longer what it built on, as it would bring that back.
    """
    old = _operation(session, operation_id)
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
    asked = Asked(asked.principal, asked.request_id, None, asked.on_conflict, asked.deadline_seconds)
    return _record(
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


def _record(
    session: Session,
    deployment: Deployment,
    at: Tip,
    rules: Rules | None,
    asked: Asked,
    kind: Kind,
    desired: Revision | None,
    *,
    base: Revision | None = None,
    retry_of: Operation | None = None,
) -> Accepted:
    if at.unfinished and asked.on_conflict == "refuse":
        raise Busy(f"operation {at.unfinished[0].id} of this deployment is {at.unfinished[0].state}")
    # some may have been cancelled to make way
    unfinished = [operation for operation in at.unfinished if operation.finished_at is None]
    if len(unfinished) >= settings().queue_size:
        raise QueueFull(f"{len(unfinished)} operations wait already", retry_after=10.0)
    now = instant(session)
    deployment.last_seq += 1
    deployment.generation += 1
    deployment.updated_at = now
    deadline = asked.deadline_seconds or (rules.deadline_seconds if rules else None)
    operation = Operation(
        id=new_id(),
        deployment=deployment,
        target_id=deployment.target_id,
        seq=deployment.last_seq,
        kind=kind,
        state=State.QUEUED,
        due_at=None if unfinished else now,
        fence=deployment.fence,
        desired=desired,
        origin=None,
        base_id=base.id if base else None,
        relative=base is not None,
        deadline_seconds=deadline or (retry_of.deadline_seconds if retry_of else None),
        retry_of=retry_of.id if retry_of else None,
        principal=asked.principal,
        request_id=asked.request_id,
        created_at=now,
        updated_at=now,
        last_event=1,
    )
    session.add(operation)
    session.flush()
    submitted = Event(
        operation_id=operation.id, number=1, at=now, state=State.QUEUED, message="submitted", by=asked.principal
    )
    session.add(submitted)
    session.flush()
    return Accepted(deployment, operation)


def _revision(session: Session, deployment: Deployment, spec: Document) -> Revision:
    deployment.last_revision += 1
    revision = Revision(
        id=new_id(),
        deployment_id=deployment.id,
        number=deployment.last_revision,
        spec=spec,
        created_at=instant(session),
    )
    session.add(revision)
    return revision


def _lock(session: Session, target: Target, name: str) -> Deployment:
    """The deployment's row, made if it was never there, locked."""
    of_name = (Deployment.target_id == target.id, Deployment.name == name)
    deployment = ledger.lock_one(session, *of_name)
    if deployment is not None:
        return deployment
    try:
        with session.begin_nested():
            session.add(Deployment(target_id=target.id, name=name))
    except IntegrityError:
        pass  # another request made it at the same moment; both go on with that row
    deployment = ledger.lock_one(session, *of_name)
    assert deployment is not None  # noqa: S101  # rows of deployments are never removed
    return deployment


def _find(session: Session, target: Target, name: str) -> Deployment:
    deployment = ledger.lock_one(session, Deployment.target_id == target.id, Deployment.name == name)
    if deployment is None:
        raise DeploymentNotFound(f"there is no {target.name}/{name}")
    return deployment


def _existing(
    session: Session, target: Target, name: str, asked: Asked, rules: Rules
) -> tuple[Deployment, Tip, Revision]:
    deployment = _find(session, target, name)
    at = _enter(session, deployment, asked, rules)
    if at.revision is None:
        raise DeploymentNotFound(f"there is no {target.name}/{name}, or it is being deleted")
    return deployment, at, at.revision


def _enter(session: Session, deployment: Deployment, asked: Asked, rules: Rules) -> Tip:
    """The tip that the request builds on, after its precondition held and what it supersedes was cancelled."""
    at = tip(session, deployment)
    _check_generation(deployment, at, asked, rules)
    if at.unfinished and asked.on_conflict == "supersede":
        _cancel_all(session, at, asked)
        session.flush()
        return tip(session, deployment)
    return at


def _check_generation(deployment: Deployment, at: Tip, asked: Asked, rules: Rules) -> None:
    if asked.if_match is None:
        if rules.require_if_match and at.revision is not None:
            raise PreconditionRequired("this target takes changes with If-Match only")
        return
    wanted = {tag.strip() for tag in asked.if_match.split(",")}
    if "*" in wanted and at.revision is not None:
        return
    if at.revision is None or etag(deployment) not in wanted:
        raise StaleGeneration(f"the deployment's ETag is {etag(deployment)}, not {asked.if_match[:80]}")


def _cancel_all(session: Session, at: Tip, asked: Asked) -> None:
    """Cancel from the last to the first, so that none starts because the one before it was cancelled."""
    for operation in reversed(at.unfinished):
        try:
            ledger.cancel(session, operation.id, by=asked.principal)
        except ledger.TooLate:
            continue


def _operation(session: Session, operation_id: str) -> Operation:
    operation = session.scalars(select(Operation).where(Operation.id == operation_id)).unique().one_or_none()
    if operation is None:
        raise OperationNotFound(f"there is no operation {operation_id[:80]!r}")
    return operation
