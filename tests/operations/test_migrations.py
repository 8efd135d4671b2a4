"""The migrations make what the models say."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from operations.database import Database
from operations.migrate import migrate
from operations.models import Base


def test_migrated_tables_are_those_of_the_models(db: Database) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = [
            difference
            for difference in compare_metadata(context, Base.metadata)
            # SQLite reports no names for foreign keys made while a table was rebuilt
            if not (connection.dialect.name == "sqlite" and difference[0] in {"add_fk", "remove_fk"})
        ]
    assert differences == []


def test_migrating_twice_changes_nothing(db: Database) -> None:
    before = inspect(db.engine).get_table_names()
    migrate(db)
    assert inspect(db.engine).get_table_names() == before
