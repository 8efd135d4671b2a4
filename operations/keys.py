"""API keys: ``mp_PREFIX_SECRET``. The prefix finds the row; of the secret, 256 random bits, only a hash is kept.

A plain SHA-256 is enough, since nobody guesses 256 bits; a slow hash would be paid for by every request.
A key has a name, which is its principal: rotating makes another key of the same name and lets the old one live on for
a while. A name is never given to somebody else, since what was done under it stays on record.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from operations import audit
from operations.access import Grant, Permission, Principal, principal
from operations.clock import instant, now
from operations.models import ApiKey
from operations.problems import KeyExists, KeyNotFound

PATTERN = re.compile(r"mp_([a-z2-7]{13})_([A-Za-z0-9_-]{43})")
FIRST = "first-admin"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True)
class Made:
    """A new key, and the only time that its secret is there."""

    row: ApiKey
    secret: str


@dataclass(frozen=True)
class Found:
    """A live key as it is on record: what it takes to judge a secret, and for how many seconds that holds at most."""

    id: str
    digest: bytes
    principal: Principal
    seconds_left: float | None

    def matches(self, token: str) -> bool:
        """Whether this is the whole key; takes the same time whatever is wrong with it."""
        return hmac.compare_digest(self.digest, _digest(token))


def prefix_of(token: str) -> str | None:
    """The part that finds the key's row; None for what is no key of ours."""
    found = PATTERN.fullmatch(token)
    return found[1] if found else None


def find(session: Session, prefix: str) -> Found | None:
    """The live key of this prefix."""
    row = session.scalars(select(ApiKey).where(ApiKey.prefix == prefix, _live())).one_or_none()
    if row is None:
        return None
    left = None if row.expires_at is None else row.expires_at - instant(session)
    return Found(row.id, bytes.fromhex(row.hash), principal(f"key:{row.name}", row.grants), left)


def create(session: Session, name: str, grants: Sequence[Grant], *, expires_in: float | None, by: str) -> Made:
    """A key of a new name that lives for ``expires_in`` seconds, for ever with None. Raises KeyExists."""
    if session.scalar(select(ApiKey.id).where(ApiKey.name == name).limit(1)) is not None:
        raise KeyExists(f"there is, or was, a key {name[:80]!r}; what was done with it stays under that name")
    return _make(session, name, [grant.to_json() for grant in grants], expires_in, by)


def first(session: Session) -> Made | None:
    """The first administrator's key where no live key is one; None where there is one. For who holds the database."""
    rows = session.scalars(select(ApiKey).where(_live()))
    if any(principal(row.name, row.grants).everywhere(Permission.ADMINISTER) for row in rows):
        return None
    known = set(session.scalars(select(ApiKey.name).distinct()))
    name = next(name for name in (FIRST, *(f"{FIRST}-{n}" for n in range(2, len(known) + 3))) if name not in known)
    return _make(session, name, [Grant.from_json({"role": "admin"}).to_json()], None, "first start")


def rotate(session: Session, name: str, *, overlap: float, expires_in: float | None, by: str) -> Made:
    """Another key of this name; the ones before it end after ``overlap`` seconds. Raises KeyNotFound."""
    rows = _of(session, name)
    audit.note(session, before=_told(rows[-1]))
    ends = instant(session) + overlap
    for row in rows:
        row.expires_at = ends if row.expires_at is None else min(row.expires_at, ends)
    return _make(session, name, rows[-1].grants, expires_in, by)


def revoke(session: Session, name: str) -> Sequence[ApiKey]:
    """End every key of this name now. Raises KeyNotFound where none is live."""
    rows = _of(session, name)
    for row in rows:
        row.revoked_at = instant(session)
    audit.note(session, subject=name, before=_told(rows[-1]), after={"revoked": [row.prefix for row in rows]})
    return rows


def all_keys(session: Session) -> Sequence[ApiKey]:
    """Every key that there is or was, by name and age."""
    return session.scalars(select(ApiKey).order_by(ApiKey.name, ApiKey.created_at)).all()


def any_live(session: Session) -> bool:
    """Whether anybody has a key."""
    return session.scalar(select(ApiKey.id).where(_live()).limit(1)) is not None


def note_uses(session: Session, ages: Mapping[str, float]) -> None:
    """Record when keys, by id, were last used: so many seconds ago. Twice is the same as once."""
    for identity, age in sorted(ages.items()):
        session.execute(update(ApiKey).where(ApiKey.id == identity).values(last_used_at=now() - age))


def _make(session: Session, name: str, grants: list[dict[str, object]], expires_in: float | None, by: str) -> Made:
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(13))
    token = f"mp_{prefix}_{secrets.token_urlsafe(32)}"
    at = instant(session)
    row = ApiKey(
        name=name,
        prefix=prefix,
        hash=_digest(token).hex(),
        grants=grants,
        created_at=at,
        created_by=by,
        expires_at=None if expires_in is None else at + expires_in,
    )
    session.add(row)
    session.flush()
    audit.note(session, subject=name, after=_told(row))
    return Made(row, token)


def _told(row: ApiKey) -> dict[str, object]:
    return {"prefix": row.prefix, "grants": row.grants, "expires_at": row.expires_at}


def _of(session: Session, name: str) -> Sequence[ApiKey]:
    rows = session.scalars(
        select(ApiKey).where(ApiKey.name == name, _live()).order_by(ApiKey.created_at).with_for_update()
    ).all()
    if not rows:
        raise KeyNotFound(f"there is no live key {name[:80]!r}")
    return rows


def _live() -> ColumnElement[bool]:
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
