"""Who may do what: a principal has grants, each a role on some targets and on the deployments with some labels.

A grant without targets is for every target, one without labels for every deployment. An administrator's grant has
neither: who registers targets and makes keys reaches everything anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, true

from operations.models import Deployment, Target
from operations.problems import DeploymentNotFound, Forbidden, InvalidField

Document = dict[str, Any]


class Permission(StrEnum):
    """What a route asks for. *known*: to be anybody that has a name here."""

    KNOWN = "known"
    READ = "read"
    PREDICT = "predict"
    DEPLOY = "deploy"
    ADMINISTER = "administer"


class Role(StrEnum):
    """What a grant allows, see ``ALLOWS``."""

    VIEWER = "viewer"
    PREDICTOR = "predictor"
    DEPLOYER = "deployer"
    ADMIN = "admin"


ALLOWS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.KNOWN, Permission.READ}),
    Role.PREDICTOR: frozenset({Permission.KNOWN, Permission.PREDICT}),
    Role.DEPLOYER: frozenset({Permission.KNOWN, Permission.READ, Permission.PREDICT, Permission.DEPLOY}),
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True)
class Grant:
    """A role, and where: ``targets`` by name and ``labels`` as key and value, each of them everywhere when empty."""

    role: Role
    targets: frozenset[str] = frozenset()
    labels: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def from_json(cls, document: Mapping[str, Any], field: str = "grants") -> Grant:
        """The grant of this document. Raises InvalidField for a limited administrator."""
        grant = cls(
            Role(document["role"]),
            frozenset(document.get("targets") or ()),
            frozenset((document.get("labels") or {}).items()),
        )
        if grant.role == Role.ADMIN and (grant.targets or grant.labels):
            raise InvalidField.one(
                field,
                "limits an admin, who registers targets and makes keys and so reaches everything",
                "Leave targets and labels out, or give the role deployer.",
            )
        return grant

    def to_json(self) -> Document:
        """The document that ``from_json`` reads."""
        return {"role": self.role.value, "targets": sorted(self.targets), "labels": dict(sorted(self.labels))}

    def covers(self, target: str) -> bool:
        """Whether it says anything about this target."""
        return not self.targets or target in self.targets


@dataclass(frozen=True)
class Principal:
    """Who asks. ``name`` is the same for all keys that took each other's place, and is nobody else's ever."""

    name: str
    grants: tuple[Grant, ...]

    def reaches(self, permission: Permission, target: str | None = None) -> bool:
        """Whether it has the permission for something at all, on this target where one is named."""
        return any(
            permission in ALLOWS[grant.role] and (target is None or grant.covers(target)) for grant in self.grants
        )

    def may(self, permission: Permission, target: str, labels: Mapping[str, Any]) -> bool:
        """Whether it has the permission for a deployment with these labels on this target."""
        found = labels.items()
        return any(
            permission in ALLOWS[grant.role] and grant.covers(target) and grant.labels <= found for grant in self.grants
        )

    def everywhere(self, permission: Permission) -> bool:
        """Whether it has the permission without any limit."""
        return any(permission in ALLOWS[grant.role] and not grant.targets and not grant.labels for grant in self.grants)

    def on_whole(self, permission: Permission, target: str) -> bool:
        """Whether it has the permission for everything on this target, whatever its labels."""
        return any(
            permission in ALLOWS[grant.role] and grant.covers(target) and not grant.labels for grant in self.grants
        )

    def visible(self, permission: Permission) -> ColumnElement[bool]:
        """The deployments for which it has the permission, as a condition on ``Deployment``."""
        if self.everywhere(permission):
            return true()
        return or_(false(), *(_condition(grant) for grant in self.grants if permission in ALLOWS[grant.role]))

    def visible_targets(self, permission: Permission) -> ColumnElement[bool]:
        """The targets on which it has the permission for something, as a condition on ``Target``."""
        grants = [grant for grant in self.grants if permission in ALLOWS[grant.role]]
        return or_(false(), *(Target.name.in_(grant.targets) if grant.targets else true() for grant in grants))

    def to_json(self) -> list[Document]:
        """The grants as they are recorded with what outlives the request."""
        return [grant.to_json() for grant in self.grants]


def principal(name: str, grants: Iterable[Mapping[str, Any]]) -> Principal:
    """The principal of recorded grants."""
    return Principal(name, tuple(Grant.from_json(grant) for grant in grants))


def check_target(who: Principal | None, permission: Permission, target: str | None) -> None:
    """Raises Forbidden unless ``who`` has the permission for something on this target; None is the service itself."""
    if who is not None and not who.reaches(permission, target):
        place = f" on target {target[:80]!r}" if target is not None else ""
        raise Forbidden(f"{who.name} may not {permission.value}{place}")


def check_whole_target(who: Principal | None, permission: Permission, target: str) -> None:
    """Raises Forbidden unless the permission is for everything on the target: labels say nothing of what is adopted."""
    if who is not None and not who.on_whole(permission, target):
        raise Forbidden(f"{who.name} may {permission.value} with some labels only on {target}, and this has none yet")


def check_deployment(who: Principal | None, permission: Permission, target: str, deployment: Deployment) -> None:
    """Raises Forbidden, or DeploymentNotFound where ``who`` may not know that there is one."""
    if who is None or who.may(permission, target, deployment.labels):
        return
    if who.may(Permission.READ, target, deployment.labels):
        raise Forbidden(f"{who.name} may not {permission.value} {target}/{deployment.name}")
    raise DeploymentNotFound(f"there is no {target}/{deployment.name}")


def check_labels(who: Principal | None, target: str, name: str, labels: Mapping[str, Any]) -> None:
    """Raises Forbidden where the deployment's new labels would take it out of reach of who asks."""
    if who is not None and not who.may(Permission.DEPLOY, target, labels):
        wanted = " or ".join(
            ", ".join(f"{key}={value}" for key, value in sorted(grant.labels)) or "any"
            for grant in who.grants
            if Permission.DEPLOY in ALLOWS[grant.role] and grant.covers(target)
        )
        raise Forbidden(f"{who.name} may deploy {target}/{name} only with the labels {wanted}")


def _condition(grant: Grant) -> ColumnElement[bool]:
    wanted: list[ColumnElement[bool]] = [true()]
    if grant.targets:
        wanted.append(Deployment.target.has(Target.name.in_(grant.targets)))
    wanted += [Deployment.labels[key].as_string() == value for key, value in sorted(grant.labels)]
    return and_(*wanted)
