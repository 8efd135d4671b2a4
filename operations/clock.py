"""Time is the database's: seconds since the epoch, as an SQL expression that deadlines and leases are compared with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Double, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import FunctionElement


class now(FunctionElement[float]):  # noqa: N801  # reads as the SQL function that it is
    """The database's present time in seconds since the epoch; the same value within one statement."""

    type = Double()
    inherit_cache = True


SQL = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "CAST(extract(epoch from clock_timestamp()) AS double precision)",
}


@compiles(now)
def _compile(element: now, compiler: Any, **kw: Any) -> str:
    return SQL[compiler.dialect.name]


def instant(session: Session) -> float:
    """The database's time when this transaction first asked, as a number; the same for all that it records."""
    at: float | None = session.info.get("instant")
    if at is None:
        at = session.info["instant"] = session.scalars(select(now())).one()
    return at


def to_datetime(seconds: float) -> datetime:
    """The UTC time of an instant from the database."""
    return datetime.fromtimestamp(seconds, UTC)
