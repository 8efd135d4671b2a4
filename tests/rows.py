"""Rows as submitting makes them, for tests of what comes after."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from operations.clock import instant
from operations.models import Deployment, Event, Operation, Revision, Target
from operations.states import FINAL, Kind


def spec(model: str = "models:/iris/1", **config: Any) -> dict[str, Any]:
    return {
        "variants": [{"name": "main", "model_uri": model, "flavor": None, "config": config}],
        "traffic": {"main": 100},
    }


def target(session: Session, name: str = "here", uri: str = "memory:/one", **values: Any) -> Target:
    row = session.scalars(select(Target).where(Target.name == name)).one_or_none()
    if row is None:
        row = Target(name=name, uri=uri, requires=uri.split(":")[0], **values)
        session.add(row)
        session.flush()
    return row


def submit(
    session: Session, kind: Kind, name: str = "iris", document: dict[str, Any] | None = None, **values: Any
) -> Operation:
    """An operation of this kind behind those that the deployment has."""
    place = values.pop("target", None) or target(session)
    deployment = session.scalars(
        select(Deployment).where(Deployment.target_id == place.id, Deployment.name == name)
    ).one_or_none()
    if deployment is None:
        deployment = Deployment(target_id=place.id, name=name)
        session.add(deployment)
        session.flush()
    deployment.last_seq += 1
    revision = None
    if kind != Kind.DELETE:
        deployment.last_revision += 1
        revision = Revision(deployment_id=deployment.id, number=deployment.last_revision, spec=document or spec())
        session.add(revision)
        session.flush()
    unfinished = session.scalars(
        select(Operation.id).where(Operation.deployment_id == deployment.id, Operation.state.not_in(FINAL))
    ).first()
    row = Operation(
        deployment_id=deployment.id,
        target_id=place.id,
        seq=deployment.last_seq,
        kind=kind,
        desired_id=revision.id if revision else None,
        due_at=None if unfinished else instant(session),
        fence=deployment.fence,
        principal="tests",
        last_event=1,
        **{"deadline_seconds": 3600.0, **values},
    )
    session.add(row)
    session.flush()
    session.add(Event(operation_id=row.id, number=1, state=row.state, by="tests"))
    session.flush()
    return row
