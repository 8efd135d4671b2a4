"""The registered targets. A target that has deployments keeps its URI, because what was deployed lives there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from operations import audit
from operations.models import Deployment, Target
from operations.problems import InvalidField, TargetInUse, UnknownTarget

Document = dict[str, Any]

OUR_SETTINGS = frozenset({"require_if_match"})
"""Settings that any target takes and that are not for its adapter."""


def get(session: Session, name: str) -> Target:
    """The target of this name. Raises UnknownTarget."""
    target = session.scalars(select(Target).where(Target.name == name)).one_or_none()
    if target is None:
        raise UnknownTarget(f"there is no target {name[:80]!r}")
    return target


def put(
    session: Session,
    *,
    name: str,
    uri: str,
    requires: str,
    settings: Document,
    limits: Document,
    credentials: str | None,
) -> tuple[Target, bool]:
    """Register the target, or change it. True beside it when it is new. Twice is the same as once."""
    target = session.scalars(select(Target).where(Target.name == name).with_for_update()).one_or_none()
    created = target is None
    audit.note(session, target=name, before=_told(target) if target else None)
    if target is None:
        target = Target(name=name)
        session.add(target)
    elif target.uri != uri and _used(session, target):
        raise InvalidField.one("uri", "cannot change while the target has deployments", "register another target")
    target.uri, target.requires = uri, requires
    target.settings, target.limits, target.credentials = settings, limits, credentials
    session.flush()
    session.refresh(target)
    audit.note(session, after=_told(target))
    return target, created


def remove(session: Session, name: str) -> None:
    """Remove a target without deployments. Raises UnknownTarget, TargetInUse."""
    target = get(session, name)
    if _used(session, target):
        raise TargetInUse(f"the target {name} has, or had, deployments whose history it keeps")
    audit.note(session, target=name, before=_told(target))
    session.execute(delete(Target).where(Target.id == target.id))


def adapter_settings(settings: Mapping[str, Any]) -> Document:
    """The part of a target's settings that its adapter knows."""
    return {key: value for key, value in settings.items() if key not in OUR_SETTINGS}


def _told(target: Target) -> Document:
    return {
        "uri": target.uri,
        "settings": target.settings,
        "limits": target.limits,
        "credentials": target.credentials,
    }


def _used(session: Session, target: Target) -> bool:
    return session.scalar(select(Deployment.id).where(Deployment.target_id == target.id).limit(1)) is not None
