"""The tables. Instants are seconds since the epoch by the database's clock; ``docs/decisions/`` says why."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Boolean, Double, Enum, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from operations.clock import now
from operations.ids import new_id
from operations.states import Kind, Lane, State

Document = dict[str, Any]


class QuestionKind(StrEnum):
    """What a worker is asked to find out of a target."""

    CHECK = "check"
    LOGS = "logs"


def _word(kind: type[StrEnum]) -> Enum:
    return Enum(
        kind, native_enum=False, create_constraint=False, length=16, values_callable=lambda e: [m.value for m in e]
    )


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can change them on both databases."""

    type_annotation_map: ClassVar = {
        Document: JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
        list[Document]: JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
        float: Double(),
        int: Integer(),
        str: Text(),
        State: _word(State),
        Kind: _word(Kind),
        Lane: _word(Lane),
        QuestionKind: _word(QuestionKind),
    }


Base.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Target(Base):
    """A named place where models are served. ``requires`` is what a worker must offer to serve it."""

    __tablename__ = "targets"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    uri: Mapped[str]
    requires: Mapped[str]
    settings: Mapped[Document] = mapped_column(default=dict)
    limits: Mapped[Document] = mapped_column(default=dict)
    credentials: Mapped[str | None]
    created_at: Mapped[float] = mapped_column(default=now())
    tokens: Mapped[float] = mapped_column(default=0.0)
    tokens_at: Mapped[float] = mapped_column(default=0.0)
    looked_by: Mapped[str | None]
    look_until: Mapped[float] = mapped_column(default=0.0)
    checked_at: Mapped[float | None]
    checked: Mapped[Document | None]
    observe_due_at: Mapped[float | None]


class Deployment(Base):
    """What answers under one stable name on one target. The row outlives a delete, so that numbers never repeat.

    ``current_id`` is the revision that serves, None while there is none. ``placed`` is the handle with which the last
    operation ended and ``route`` where predictions go. ``generation`` is the ETag. ``fence`` only ever grows.
    """

    __tablename__ = "deployments"
    __table_args__ = (UniqueConstraint("target_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    target_id: Mapped[str] = mapped_column(ForeignKey("targets.id"))
    name: Mapped[str]
    labels: Mapped[Document] = mapped_column(default=dict)
    generation: Mapped[int] = mapped_column(default=0)
    last_seq: Mapped[int] = mapped_column(default=0)
    last_revision: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    current_id: Mapped[str | None] = mapped_column(
        ForeignKey("revisions.id", use_alter=True, name="fk_deployments_current")
    )
    placed: Mapped[Document] = mapped_column(default=dict)
    route: Mapped[Document | None]
    observed: Mapped[Document] = mapped_column(default=dict)
    observed_at: Mapped[float | None]
    fence_floor: Mapped[int] = mapped_column(default=0)
    contested_until: Mapped[float | None]
    created_at: Mapped[float] = mapped_column(default=now())
    updated_at: Mapped[float] = mapped_column(default=now())

    target: Mapped[Target] = relationship(lazy="joined", innerjoin=True)
    current: Mapped[Revision | None] = relationship(foreign_keys=[current_id], lazy="joined")


class Revision(Base):
    """An immutable, numbered specification of a deployment. ``resolved`` has its model URIs fixed to versions."""

    __tablename__ = "revisions"
    __table_args__ = (UniqueConstraint("deployment_id", "number"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    number: Mapped[int]
    spec: Mapped[Document]
    resolved: Mapped[Document | None]
    landed_at: Mapped[float | None]
    created_at: Mapped[float] = mapped_column(default=now())


class Operation(Base):
    """One request to bring one deployment to a revision.

    ``due_at`` is the one thing that the sweep asks for: when the next step may be taken. It is NULL while an earlier
    operation of the deployment is unfinished, and while a worker holds the operation it is when its lease ends.
    ``fence`` grows with every claim and is written beside every record. ``writes`` counts the steps that may have
    changed the target. ``attempts`` counts temporary failures in a row.
    ``unclean`` means that its leftovers are still to be removed.
    """

    __tablename__ = "operations"
    __table_args__ = (
        UniqueConstraint("deployment_id", "seq"),
        Index(
            "ix_operations_due",
            "lane",
            "due_at",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
        Index(
            "ix_operations_unfinished",
            "deployment_id",
            "seq",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
        Index(
            "uq_operations_under_way",
            "deployment_id",
            unique=True,
            sqlite_where=text("finished_at IS NULL AND state <> 'queued'"),
            postgresql_where=text("finished_at IS NULL AND state <> 'queued'"),
        ),
        Index("ix_operations_created_at_id", "created_at", "id"),
        Index(
            "ix_operations_principal",
            "principal",
            sqlite_where=text("finished_at IS NULL AND batch_id IS NULL"),
            postgresql_where=text("finished_at IS NULL AND batch_id IS NULL"),
        ),
        Index(
            "ix_operations_unclean",
            "finished_at",
            sqlite_where=text("unclean = 1"),
            postgresql_where=text("unclean"),
        ),
        Index(
            "ix_operations_finished_at",
            "finished_at",
            sqlite_where=text("finished_at IS NOT NULL"),
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    target_id: Mapped[str] = mapped_column(ForeignKey("targets.id"))
    seq: Mapped[int]
    kind: Mapped[Kind]
    state: Mapped[State] = mapped_column(default=State.QUEUED)
    lane: Mapped[Lane] = mapped_column(default=Lane.WRITE)
    bulk: Mapped[bool] = mapped_column(Boolean, default=False)
    due_at: Mapped[float | None]
    leased_by: Mapped[str | None]
    fence: Mapped[int] = mapped_column(default=0)

    desired_id: Mapped[str | None] = mapped_column(ForeignKey("revisions.id"))
    from_id: Mapped[str | None] = mapped_column(ForeignKey("revisions.id"))
    base_id: Mapped[str | None] = mapped_column(ForeignKey("revisions.id"))
    relative: Mapped[bool] = mapped_column(Boolean, default=False)
    handle: Mapped[Document | None]
    phase: Mapped[str] = mapped_column(default="prepare")
    message: Mapped[str] = mapped_column(default="")
    writes: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[float | None]
    waits_for: Mapped[str | None]
    error: Mapped[Document | None]
    leftovers: Mapped[list[Document]] = mapped_column(default=list)
    unclean: Mapped[bool] = mapped_column(Boolean, default=False)

    deadline_seconds: Mapped[float]
    deadline_at: Mapped[float | None]
    undo_deadline_at: Mapped[float | None]
    cancelled_by: Mapped[str | None]
    retry_of: Mapped[str | None]
    batch_id: Mapped[str | None]
    principal: Mapped[str]
    request_id: Mapped[str | None]
    last_event: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float] = mapped_column(default=now())
    started_at: Mapped[float | None]
    updated_at: Mapped[float] = mapped_column(default=now())
    finished_at: Mapped[float | None]

    deployment: Mapped[Deployment] = relationship(lazy="joined", innerjoin=True)
    desired: Mapped[Revision | None] = relationship(foreign_keys=[desired_id], lazy="joined")
    origin: Mapped[Revision | None] = relationship(foreign_keys=[from_id], lazy="joined")


class Event(Base):
    """One append-only line of an operation's history, numbered within it from 1."""

    __tablename__ = "events"

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(default=now())
    state: Mapped[State]
    message: Mapped[str] = mapped_column(default="")
    by: Mapped[str]


class IdempotencyKey(Base):
    """The answer that a key was given. It belongs to principal, method and path."""

    __tablename__ = "idempotency_keys"

    principal: Mapped[str] = mapped_column(primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[str]
    status: Mapped[int]
    headers: Mapped[Document]
    body: Mapped[Document | None]
    created_at: Mapped[float] = mapped_column(default=now(), index=True)


class Worker(Base):
    """A worker node as it last announced itself: which targets it can serve, and why not the others."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str]
    host: Mapped[str]
    offers: Mapped[list[str]] = mapped_column(
        JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    )
    lacks: Mapped[Document] = mapped_column(default=dict)
    heard_at: Mapped[float] = mapped_column(default=now(), index=True)


class Question(Base):
    """What a request wants to know of a target and a worker finds out; see ``operations.questions``."""

    __tablename__ = "questions"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[QuestionKind]
    target_id: Mapped[str] = mapped_column(ForeignKey("targets.id", ondelete="CASCADE"))
    deployment_id: Mapped[str | None] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    ask: Mapped[Document] = mapped_column(default=dict)
    asked_at: Mapped[float] = mapped_column(index=True)
    due_at: Mapped[float | None]
    answered_at: Mapped[float | None]
    answer: Mapped[Document | None]


class ApiKey(Base):
    """One API key; several of one name are one principal. ``hash`` is of the whole key."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(index=True)
    prefix: Mapped[str] = mapped_column(unique=True)
    hash: Mapped[str]
    grants: Mapped[list[Document]]
    created_at: Mapped[float] = mapped_column(default=now())
    created_by: Mapped[str]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    last_used_at: Mapped[float | None]


class AuditEntry(Base):
    """One change that was accepted or refused. ``content`` is all of it, the other columns find it again.

    ``number`` and ``hash`` are there once it is chained; nothing else is ever written to a row.
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index(
            "ix_audit_unsealed",
            "at",
            "id",
            sqlite_where=text("number IS NULL"),
            postgresql_where=text("number IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    number: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    at: Mapped[float]
    principal: Mapped[str]
    action: Mapped[str]
    outcome: Mapped[str]
    target: Mapped[str | None]
    deployment: Mapped[str | None]
    content: Mapped[str]
    digest: Mapped[str]
    hash: Mapped[str | None]


class AuditHead(Base):
    """The end of the audit's chain: one row."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str]
    mac: Mapped[str]
