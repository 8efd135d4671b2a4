"""Identifiers: UUIDv7, for people to read and indexes to like. They order nothing; ``seq`` and events' numbers do."""

from uuid6 import uuid7


def new_id() -> str:
    """A new UUIDv7 in its usual text form."""
    return str(uuid7())
