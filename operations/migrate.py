"""Bringing the tables up to date. Safe while other processes run, and when several begin at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from operations.database import Database

LOCK = 0x6D6F64656C  # one migration at a time on PostgreSQL; SQLite's write transaction does it there


def migrate(database: Database) -> None:
    """Bring the schema to the newest revision. Twice is the same as once."""
    with database.engine.execution_options(begin_to_write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config = config_for()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def config_for() -> Config:
    """Alembic's configuration, without a file: everything that it needs is known here."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
