"""Questions that only a worker can answer, since only workers open adapters: the API asks, a look node answers.

``due_at`` carries the lease, as it does of operations: an open question is due when it was asked, while a worker works
on it when that worker's turn ends, and an answered one never. Nobody waits longer for an answer than the settings
allow, so an older question is left alone; after an hour it is gone, with its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from operations.clock import instant, now
from operations.models import Deployment, Operation, Question, QuestionKind, Revision, Target
from operations.settings import settings

Document = dict[str, Any]

KEPT_SECONDS = 3600.0
TEXT_KEPT = 4 * 1024 * 1024  # characters of an answer, its last: a line of a log has no bound


@dataclass(frozen=True)
class Taken:
    """One question in the hands of a worker. ``handle`` is that of the deployment it is about, ``{}`` without one."""

    id: str
    kind: QuestionKind
    target: Target
    ask: Document
    handle: Document


@dataclass(frozen=True)
class Answer:
    """What a worker found out, or, where it is not ``ok``, why it could not."""

    ok: bool
    text: str
    at: float


@dataclass(frozen=True)
class Servers:
    """The handle that an adapter knows a deployment's servers by, and the names of its variants."""

    handle: Document
    variants: tuple[str, ...]

    @classmethod
    def of(cls, handle: Document, revision: Revision | None) -> Servers:
        """Those of this handle, which serve this revision."""
        return cls(handle, tuple(variant["name"] for variant in revision.spec["variants"]) if revision else ())


def ask(
    session: Session, kind: QuestionKind, target: Target, deployment: Deployment | None = None, **words: Any
) -> str:
    """Ask, and give the question's id. One that nobody has begun to answer is shared by all who ask the same."""
    deployment_id = deployment.id if deployment else None
    open_ones = session.scalars(
        select(Question).where(
            Question.kind == kind,
            Question.target_id == target.id,
            Question.deployment_id.is_not_distinct_from(deployment_id),
            Question.due_at == Question.asked_at,
            _wanted(),
        )
    )
    for known in open_ones:
        if known.ask == words:
            return known.id
    at = instant(session)
    row = Question(kind=kind, target_id=target.id, deployment_id=deployment_id, ask=words, asked_at=at, due_at=at)
    session.add(row)
    session.flush()
    return row.id


def any_due(session: Session) -> bool:
    """Whether a question waits for a worker."""
    return session.scalar(select(Question.id).where(_due()).limit(1)) is not None


def take(session: Session, offers: Sequence[str], *, limit: int, turn_seconds: float) -> list[Taken]:
    """The oldest due questions that this worker can answer; no other gets them for ``turn_seconds``."""
    rows = session.scalars(
        select(Question)
        .join(Target, Target.id == Question.target_id)
        .where(_due(), Target.requires.in_(offers))
        .order_by(Question.asked_at)
        .limit(limit)
        .with_for_update(of=Question, skip_locked=True)
    ).all()
    taken = []
    for row in rows:
        row.due_at = instant(session) + turn_seconds
        deployment = session.get(Deployment, row.deployment_id) if row.deployment_id else None
        servers = servers_of(session, deployment) if deployment else None
        handle = servers.handle if servers else {}
        taken.append(Taken(row.id, row.kind, session.get_one(Target, row.target_id), row.ask, handle))
    return taken


def answered(session: Session, question_id: str, *, ok: bool, text: str) -> None:
    """Record what a worker found out. Of several who took a question one after the other, the first to answer counts.

    What a check came to stays with its target.
    """
    at = instant(session)
    row = session.execute(
        update(Question)
        .where(Question.id == question_id, Question.answered_at.is_(None))
        .values(answered_at=at, due_at=None, answer={"ok": ok, "text": _storable(text)})
        .returning(Question.kind, Question.target_id)
    ).one_or_none()
    if row is not None and row.kind == QuestionKind.CHECK:
        session.execute(
            update(Target)
            .where(Target.id == row.target_id)
            .values(checked_at=at, checked={"ok": ok, "message": _storable(text)})
        )


def answer_to(session: Session, question_id: str) -> Answer | None:
    """The answer, once there is one."""
    row = session.get(Question, question_id)
    if row is None or row.answered_at is None or row.answer is None:
        return None
    return Answer(row.answer["ok"], row.answer["text"], row.answered_at)


def servers_of(session: Session, deployment: Deployment) -> Servers | None:
    """What is there of a deployment, or, before its first success, what is being made; None while there is nothing."""
    if deployment.placed:
        return Servers.of(deployment.placed, deployment.current)
    first = session.scalars(
        select(Operation)
        .where(Operation.deployment_id == deployment.id, Operation.finished_at.is_(None), Operation.handle.is_not(None))
        .order_by(Operation.seq)
        .limit(1)
    ).first()
    return Servers.of(first.handle, first.desired) if first is not None and first.handle else None


def prune(session: Session) -> None:
    """Remove the questions of more than an hour ago: an answer may hold what should not be kept."""
    session.execute(delete(Question).where(Question.asked_at < now() - KEPT_SECONDS))


def _due() -> ColumnElement[bool]:
    return _wanted() & (Question.due_at <= now())


def _wanted() -> ColumnElement[bool]:
    return Question.asked_at > now() - max(settings().wait_seconds_max, settings().check_seconds)


def _storable(text: str) -> str:
    """The end of the text, without what PostgreSQL cannot keep: NUL and halves of surrogate pairs."""
    kept = text[-TEXT_KEPT:].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return kept.encode("utf-8", "replace").decode()
