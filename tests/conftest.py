"""Real servers for the tests: SQLite and PostgreSQL by the same migrations, and the bundled broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations import database as database_module
from operations.database import Database
from operations.migrate import migrate
from operations.settings import settings
from tests.servers import Server, postgresql

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A PostgreSQL server of this test process."""
    with postgresql() as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'modelport.db'}"


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    """A database of its own on the session's PostgreSQL server."""
    url = postgresql_server.new_database()
    yield url
    postgresql_server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, once for each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def db(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A migrated, empty database; ``settings()`` and ``database()`` of this process mean this one."""
    monkeypatch.setenv("MODELPORT_DATABASE_URL", database_url)
    monkeypatch.setenv("MODELPORT_FOLDER", str(tmp_path))
    settings.cache_clear()
    database_module.database.cache_clear()
    database = database_module.database()
    migrate(database)
    yield database
    database.close()
    database_module.database.cache_clear()
    settings.cache_clear()


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """The bundled broker, started as the embedded stack starts it."""
    from stack.redis import Redis

    with Redis() as redis:
        yield redis.url
