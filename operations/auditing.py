"""Reading the audit, and finding out whether anybody changed it."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from operations import audit
from operations.models import AuditEntry, AuditHead
from operations.problems import InvalidField
from operations.queries import Page, make_token, read_token
from operations.views import time_of

Document = dict[str, Any]

CHECKED_AT_ONCE = 1000
COLUMNS = ("at", "principal", "action", "outcome", "target", "deployment")


@dataclass(frozen=True)
class Verdict:
    """Whether the chain holds, how far it goes, and, where it does not hold, the first thing that is wrong."""

    ok: bool
    entries: int
    head: str
    fault: str | None


def entries(session: Session, *, page_size: int, page_token: str | None, **wanted: str | None) -> Page:
    """Chained entries, in order; ``wanted`` narrows by column."""
    filters = {"of": "audit", **wanted}
    after = 0 if page_token is None else read_token(page_token, filters, int)[0]
    query = select(AuditEntry).where(AuditEntry.number > after)
    for column, value in wanted.items():
        if value is not None:
            query = query.where(getattr(AuditEntry, column) == value)
    rows = session.scalars(query.order_by(AuditEntry.number).limit(page_size + 1)).all()
    shown = rows[:page_size]
    more = make_token(filters, shown[-1].number or 0) if len(rows) > page_size else None
    return Page([view(row) for row in shown], more)


def view(row: AuditEntry) -> Document:
    """One entry, with what links it to the one before."""
    content = json.loads(row.content)
    at = content.pop("at")
    return {"number": row.number, "id": row.id, "at": time_of(at), **content, "digest": row.digest, "hash": row.hash}


class Check:
    """Walks the chain from its beginning; every step is one short transaction of the caller's.

    Found: an entry changed, removed, put in or out of place; the end cut off, unless the head's row was set back with
    it *and* whoever did it knows the audit key. ``known`` is a head that was noted elsewhere, as ``NUMBER:HASH``: with
    it a cut is found whatever was done in the database.
    """

    def __init__(self, known: str | None = None) -> None:
        self._number = 0
        self._last = audit.ORIGIN
        self._known = _head(known) if known else None
        self._seen = self._known is None

    def step(self, session: Session) -> Verdict | None:
        """Check a portion; the verdict once there is one."""
        rows = session.scalars(
            select(AuditEntry)
            .where(AuditEntry.number > self._number)
            .order_by(AuditEntry.number)
            .limit(CHECKED_AT_ONCE)
        ).all()
        for row in rows:
            fault = self._fault(row)
            if fault is not None:
                return self._verdict(fault)
        return None if rows else self._verdict(self._fault_of_the_end(session))

    def _fault(self, row: AuditEntry) -> str | None:
        expected = self._number + 1
        if row.number != expected:
            return f"entry {expected} is missing"
        if not hmac.compare_digest(row.digest, audit.digest(row.content)):
            return f"entry {expected} was changed"
        told = json.loads(row.content)
        wrong = [name for name in COLUMNS if getattr(row, name) != told.get(name)]
        if wrong:
            return f"entry {expected} was changed: {', '.join(wrong)}"
        last = audit.link(self._last, expected, row.digest)
        if row.hash is None or not hmac.compare_digest(row.hash, last):
            return f"entry {expected} does not follow the one before it"
        self._number, self._last = expected, last
        if self._known is not None and expected == self._known[0]:
            if last != self._known[1]:
                return f"entry {expected} is not the one that was noted elsewhere"
            self._seen = True
        return None

    def _fault_of_the_end(self, session: Session) -> str | None:
        head = session.get(AuditHead, 1)
        if head is None:
            return "the chain's head is missing"
        if not hmac.compare_digest(head.mac, audit.mac(head.number, head.hash)):
            return "the chain's head was changed"
        if (head.number, head.hash) != (self._number, self._last):
            return f"the chain ends at entry {self._number}, and its head is at {head.number}"
        if not self._seen and self._known is not None:
            return f"the chain ends before entry {self._known[0]}, which was noted elsewhere"
        unsealed = session.scalars(select(AuditEntry).where(AuditEntry.number.is_(None)).limit(CHECKED_AT_ONCE)).all()
        if any(row.digest != audit.digest(row.content) for row in unsealed):
            return "an entry that is not chained yet was changed"
        return None

    def _verdict(self, fault: str | None) -> Verdict:
        return Verdict(fault is None, self._number, f"{self._number}:{self._last}", fault)


def _head(text: str) -> tuple[int, str]:
    number, _, last = text.partition(":")
    if not (number.isdecimal() and len(number) < 16 and len(last) == 64):
        raise InvalidField.one("head", "is not of the form NUMBER:HASH", "Give it as an earlier verify printed it.")
    return int(number), last
