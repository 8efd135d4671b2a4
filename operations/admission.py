"""How a request is let in: its deployment is locked, its precondition checked, its place in the queue recorded.

What it asks for is decided in ``operations.submit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from operations import access, audit, ledger
from operations.access import Permission, Principal
from operations.clock import instant
from operations.ids import new_id
from operations.models import Deployment, Event, Operation, Revision, Target
from operations.problems import Busy, DeploymentNotFound, Forbidden, PreconditionRequired, QueueFull, StaleGeneration
from operations.settings import settings
from operations.specs import Rules
from operations.states import Kind, Lane, State
from operations.tips import Tip, tip

Document = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """Who asks, and how what is under way already shall be treated. ``if_match`` is the header as it came.

    What a batch asks for goes by the lane of bulk work. ``who`` is what the principal may; None is the service itself.
    """

    principal: str
    request_id: str | None = None
    if_match: str | None = None
    on_conflict: Literal["queue", "refuse", "supersede"] = "queue"
    deadline_seconds: float | None = None
    batch_id: str | None = None
    who: Principal | None = None


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


def record(
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
    """Record one operation toward ``desired`` (None: nothing shall be there) behind those that ``at`` has.

    With ``base`` it is relative: it fails if that is not what serves when it starts. Raises Busy, QueueFull.
    """
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
        lane=Lane.BULK if asked.batch_id else Lane.WRITE,
        bulk=asked.batch_id is not None,
        batch_id=asked.batch_id,
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
    after = {
        "generation": deployment.generation,
        "labels": deployment.labels,
        "operation": {"id": operation.id, "kind": kind.value, "retry_of": operation.retry_of},
        "revision": desired.number if desired else None,
        "spec": desired.spec if desired else None,
    }
    audit.note(session, target=deployment.target.name, deployment=deployment.name, subject=operation.id, after=after)
    return Accepted(deployment, operation)


def new_revision(session: Session, deployment: Deployment, spec: Document) -> Revision:
    """The deployment's next revision."""
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


def lock(session: Session, target: Target, name: str, asked: Asked, labels: Document | None) -> Deployment:
    """The deployment's row, made if it was never there, locked, for who may change it and give it these labels.

    A name keeps its labels when its deployment is deleted, so that its history is shown to nobody else.
    Raises Forbidden.
    """
    deployment = _locked(session, target, name)
    who = asked.who
    if who is not None and deployment.last_seq and not who.may(Permission.DEPLOY, target.name, deployment.labels):
        raise Forbidden(f"{target.name}/{name} is, or was, out of the reach of {who.name}; choose another name")
    access.check_labels(who, target.name, name, deployment.labels if labels is None else labels)
    return deployment


def _locked(session: Session, target: Target, name: str) -> Deployment:
    of_name = (Deployment.target_id == target.id, Deployment.name == name)
    deployment = ledger.lock_one(session, *of_name)
    if deployment is not None:
        return deployment
    # where another request made it at the same moment, both go on with that row
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    session.execute(dialect.insert(Deployment).values(target_id=target.id, name=name).on_conflict_do_nothing())
    deployment = ledger.lock_one(session, *of_name)
    assert deployment is not None  # noqa: S101  # rows of deployments are never removed
    return deployment


def find(session: Session, target: Target, name: str, asked: Asked) -> Deployment:
    """The deployment's row, locked. Raises DeploymentNotFound where there never was one, and Forbidden."""
    deployment = ledger.lock_one(session, Deployment.target_id == target.id, Deployment.name == name)
    if deployment is None:
        raise DeploymentNotFound(f"there is no {target.name}/{name}")
    access.check_deployment(asked.who, Permission.DEPLOY, target.name, deployment)
    return deployment


def existing(
    session: Session, target: Target, name: str, asked: Asked, rules: Rules
) -> tuple[Deployment, Tip, Revision]:
    """A deployment that is there or will be, its tip, and the tip\'s revision. Raises DeploymentNotFound."""
    deployment = find(session, target, name, asked)
    at = enter(session, deployment, asked, rules)
    if at.revision is None:
        raise DeploymentNotFound(f"there is no {target.name}/{name}, or it is being deleted")
    return deployment, at, at.revision


def enter(session: Session, deployment: Deployment, asked: Asked, rules: Rules) -> Tip:
    """The tip that the request builds on, after its precondition held and what it supersedes was cancelled."""
    at = tip(session, deployment)
    before = {
        "generation": deployment.generation,
        "labels": deployment.labels,
        "revision": at.revision.number if at.revision else None,
        "spec": at.revision.spec if at.revision else None,
    }
    audit.note(session, target=deployment.target.name, deployment=deployment.name, before=before)
    _check_generation(deployment, at, asked, rules)
    if at.unfinished and asked.on_conflict == "supersede":
        cancel_all(session, at, asked)
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


def cancel_all(session: Session, at: Tip, asked: Asked) -> None:
    """Cancel from the last to the first, so that none starts because the one before it was cancelled."""
    for operation in reversed(at.unfinished):
        try:
            ledger.cancel(session, operation.id, by=asked.principal)
        except ledger.TooLate:
            continue
