"""Principals for the tests of who may do what: keys as an administrator makes them, and clients that send them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import httpx

from operations import keys
from operations.access import Grant
from operations.database import Database

_numbers = itertools.count()


def key(db: Database, role: str, name: str | None = None, **limits: Any) -> str:
    """A new key's secret; ``targets`` and ``labels`` limit it."""
    with db.write() as session:
        grant = Grant.from_json({"role": role, **limits})
        return keys.create(session, name or f"{role}-{next(_numbers)}", [grant], expires_in=None, by="tests").secret


def client(url: str, token: str | None, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """A client that sends this key."""
    sent = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=url, timeout=30.0, trust_env=False, headers={**sent, **(headers or {})})
