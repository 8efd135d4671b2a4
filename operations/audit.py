"""Proof of who did what: one entry for every change that was accepted or refused, in a chain of hashes.

An entry is written in the transaction of its change, so that one is never there without the other, and unchained, so
that no submission waits for another. ``seal`` chains what has been committed, in one order, a moment later; see
``docs/decisions/0010``. Entries are never changed or removed afterwards: triggers of the database refuse it, and
``operations.auditing`` finds it where somebody got past them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from operations.clock import instant
from operations.ids import new_id
from operations.models import AuditEntry, AuditHead
from operations.settings import settings

Document = dict[str, Any]

SEALED_AT_ONCE = 500
ORIGIN = "0" * 64


@dataclass(frozen=True)
class Source:
    """Where a change came from: who, by what address, under which request id."""

    principal: str
    address: str
    request_id: str | None = None


@dataclass
class Note:
    """What a transaction tells of its change while it goes: the thing, and how it was before and is after."""

    target: str | None = None
    deployment: str | None = None
    subject: str | None = None
    before: Document | None = None
    after: Document | None = None
    more: Document = field(default_factory=dict)


def note(session: Session, **words: Any) -> None:
    """Say something of the change that this transaction makes; what is said later counts."""
    known = session.info.setdefault("audit", Note())
    for name, value in words.items():
        setattr(known, name, value)


def noted(session: Session) -> Note:
    """What was said."""
    found: Note = session.info.get("audit") or Note()
    return found


def write(session: Session, source: Source, action: str, outcome: str, *, what: Note, status: int) -> None:
    """Write the entry, in the transaction of the change that was accepted, or alone for one that was not.

    ``outcome`` is accepted, refused or failed; ``status`` is the HTTP status of the answer, 0 where there is none.
    """
    at = instant(session)
    content = canonical(
        {"at": at, "action": action, "outcome": outcome, "status": status, **vars(source), **asdict(what)}
    )
    session.add(
        AuditEntry(
            id=new_id(),
            at=at,
            principal=source.principal,
            action=action,
            outcome=outcome,
            target=what.target,
            deployment=what.deployment,
            content=content,
            digest=digest(content),
        )
    )


def seal(session: Session) -> int:
    """Chain a portion of what was committed and is not chained yet; how many. Twice at once is as once.

    The head's row is locked, so that numbers have no gaps and no doubles however many processes seal.
    """
    end = session.scalars(
        select(AuditHead).where(AuditHead.id == 1).with_for_update().execution_options(populate_existing=True)
    ).one()
    rows = session.execute(
        select(AuditEntry.id, AuditEntry.digest)
        .where(AuditEntry.number.is_(None))
        .order_by(AuditEntry.at, AuditEntry.id)
        .limit(SEALED_AT_ONCE)
    ).all()
    number, last = end.number, end.hash
    links = []
    for row in rows:
        number += 1
        last = link(last, number, row.digest)
        links.append({"id": row.id, "number": number, "hash": last})
    if links:
        session.execute(update(AuditEntry), links)
        end.number, end.hash, end.mac = number, last, mac(number, last)
    return len(links)


def waits(session: Session) -> bool:
    """Whether anything is to be chained."""
    return session.scalar(select(AuditEntry.id).where(AuditEntry.number.is_(None)).limit(1)) is not None


def head(session: Session) -> str:
    """The end of the chain, as ``NUMBER:HASH``."""
    found = session.get_one(AuditHead, 1)
    return f"{found.number}:{found.hash}"


def canonical(document: Mapping[str, Any]) -> str:
    """The one text of a document: what is kept is what was hashed, to the letter."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def digest(content: str) -> str:
    """The hash of an entry's content; with the installation's audit key where it has one."""
    return _hash(b"entry\n" + content.encode())


def link(before: str, number: int, entry_digest: str) -> str:
    """The chain's hash behind this entry."""
    return _hash(f"link\n{before}\n{number}\n{entry_digest}".encode())


def mac(number: int, last: str) -> str:
    """What tells a head that was set back from one that is true, for who knows no audit key."""
    return _hash(f"head\n{number}\n{last}".encode())


def _hash(data: bytes) -> str:
    key = settings().audit_key
    if key is None:
        return hashlib.sha256(data).hexdigest()
    return hmac.new(key.get_secret_value().encode(), data, hashlib.sha256).hexdigest()
