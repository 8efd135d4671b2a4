"""Real servers for the tests: SQLite and PostgreSQL by the same migrations, and the bundled broker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations import database as database_module
from operations.database import Database
from operations.migrate import migrate
from operations.settings import settings
from tests.servers import Server, postgresql

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# who comes without a key may do everything, but in the tests of who may do what
os.environ.setdefault("MODELPORT_ANONYMOUS_ROLE", "admin")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A PostgreSQL server of this test process."""
    with postgresql() as server:
        server.forget_on_power_failure()
        yield server


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a migrated, empty database, to be copied: a migration takes a second, a copy a hundredth."""
    path = tmp_path_factory.mktemp("migrated") / "modelport.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server: Server) -> str:
    """The URL of a migrated, empty database, to be copied."""
    url = postgresql_server.new_database()
    _migrate(url)
    return url


def _migrate(url: str) -> None:
    database = Database(url)
    migrate(database)
    database.close()


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """The URL of a migrated, empty database of this test."""
    return f"sqlite:///{shutil.copyfile(migrated_sqlite, tmp_path / 'modelport.db')}"


@pytest.fixture
def postgresql_url(postgresql_server: Server, migrated_postgresql: str) -> Iterator[str]:
    """The URL of a migrated, empty database of this test on the session's PostgreSQL server."""
    url = postgresql_server.new_database(migrated_postgresql)
    yield url
    postgresql_server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database, once for each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def db(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A migrated, empty database; ``settings()`` and ``database()`` of this process mean this one."""
    monkeypatch.setenv("MODELPORT_DATABASE_URL", database_url)
    monkeypatch.setenv("MODELPORT_FOLDER", str(tmp_path))
    settings.cache_clear()
    database_module.database.cache_clear()
    database = database_module.database()
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
