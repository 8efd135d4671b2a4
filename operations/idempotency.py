"""Idempotency keys: the same key brings the same answer. A key belongs to principal, method and path.

The row is written first in the submitting transaction, so that of many requests at one moment all but one wait for
the winner's commit and then repeat its answer; if the winner is refused, its row goes with it and the next one tries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from operations.models import IdempotencyKey
from operations.problems import IdempotencyKeyReuse


@dataclass(frozen=True)
class Key:
    """Whose key it is, for which request. ``body_hash`` tells another body under the same key."""

    principal: str
    method: str
    path: str
    key: str
    body_hash: str


@dataclass(frozen=True)
class Stored:
    """An answer as it was given."""

    status: int
    headers: dict[str, Any]
    body: dict[str, Any] | None


def begin(session: Session, key: Key) -> Stored | None:
    """Reserve the key, or return the answer that it already had. Raises IdempotencyKeyReuse for another body."""
    try:
        with session.begin_nested():
            session.execute(insert(IdempotencyKey).values(**vars(key), status=0, headers={}, body=None))
    except IntegrityError:
        row = session.scalars(select(IdempotencyKey).where(*_of(key))).one()
        if row.body_hash != key.body_hash:
            raise IdempotencyKeyReuse(f"the key {key.key!r} came before with another body") from None
        return Stored(row.status, row.headers, row.body)
    return None


def keep(session: Session, key: Key, stored: Stored) -> None:
    """Store the answer of the request that reserved the key, in its transaction."""
    session.execute(update(IdempotencyKey).where(*_of(key)).values(**vars(stored)))


def _of(key: Key) -> tuple[Any, ...]:
    return (
        IdempotencyKey.principal == key.principal,
        IdempotencyKey.method == key.method,
        IdempotencyKey.path == key.path,
        IdempotencyKey.key == key.key,
    )
