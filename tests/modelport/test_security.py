"""``modelport keys`` and ``modelport audit`` against the real server, and the key of a server of this machine."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import text
from typer.testing import CliRunner, Result

import modelport
from modelport import local_keys
from modelport.async_client import AsyncClient
from modelport.cli import app
from modelport.exits import Exit
from operations import keys, queue
from operations import settings as settings_module
from operations.database import Database
from tests.api.serving import serving

Run = Callable[..., Result]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELPORT_ANONYMOUS_ROLE")
    monkeypatch.setenv("MODELPORT_KEY_CACHE_SECONDS", "0")
    monkeypatch.setattr(queue, "hint", lambda *_: None)
    monkeypatch.setattr(queue, "announce", lambda *_: None)
    settings_module.settings.cache_clear()


@pytest.fixture
def url(closed: None, db: Database) -> Iterator[str]:
    # standard output is the command line's
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with serving() as url:
        yield url
    structlog.reset_defaults()


@pytest.fixture
def run(url: str, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The command line on the machine whose stack made the first key: nobody hands it over."""
    with db.write() as session:
        made = keys.first(session)
    assert made is not None
    monkeypatch.setenv("MODELPORT_URL", url)
    with local_keys.kept(url, made.secret):
        yield lambda *arguments: CliRunner().invoke(app, arguments)


def test_keys_from_create_to_revoke(run: Run, url: str) -> None:
    made = run(
        "keys", "create", "ci", "--role", "deployer", "--target", "local", "--label", "team=ml", "--expires", "30"
    )
    assert made.exit_code == Exit.OK, made.output
    secret = made.stdout.strip()
    assert keys.PATTERN.fullmatch(secret)
    assert "deployer on local with team=ml" in made.stderr
    with modelport.Client(url, secret) as client:
        assert next(iter(client.targets())).name == "local"
        with pytest.raises(modelport.Forbidden):
            client.keys()
    listed = run("keys", "ls").stdout
    assert "deployer on local with team=ml" in listed
    assert secret not in listed
    again = run("keys", "rotate", "ci", "--overlap", "0", "--expires", "never").stdout.strip()
    assert again != secret
    assert run("keys", "revoke", "ci").exit_code == Exit.OK
    assert run("ls", "--api-key", again).exit_code == Exit.REFUSED
    states = [row["state"] for row in json.loads(run("keys", "ls", "--json").stdout)["items"] if row["name"] == "ci"]
    assert sorted(states) in (["expired", "revoked"], ["revoked", "revoked"])
    assert run("keys", "create", "x", "--role", "king").exit_code == Exit.REFUSED
    assert run("keys", "create", "x", "--role", "viewer", "--expires", "soon").exit_code == Exit.USAGE


def test_the_audit_from_ls_to_a_tampered_verify(run: Run, db: Database) -> None:
    run("keys", "create", "ci", "--role", "viewer")
    run("keys", "create", "ci", "--role", "viewer")
    found = run("audit", "verify")
    assert (found.exit_code, found.stdout.startswith("ok: 2 entries")) == (Exit.OK, True)
    head = found.stdout.split()[-1]
    shown = run("audit", "ls", "--outcome", "refused").stdout
    assert "keys.create" in shown
    assert "key:first-admin" in shown
    lines = [json.loads(line) for line in run("audit", "export").stdout.splitlines()]
    assert [line["outcome"] for line in lines] == ["accepted", "refused"]
    assert run("audit", "verify", "--head", head).exit_code == Exit.OK
    with db.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_kept"))
        connection.execute(text("UPDATE audit SET principal = 'key:somebody' WHERE number = 1"))
    found = run("audit", "verify")
    assert (found.exit_code, "entry 1 was changed" in found.stdout) == (Exit.FAILED, True)


def test_asynchronously_too(run: Run, url: str) -> None:
    async def everything() -> list[str]:
        async with AsyncClient(url) as client:
            made = await client.create_key("ci", [{"role": "viewer"}], expires_seconds=60)
            assert (await client.rotate_key("ci")).key != made.key
            assert len(await client.keys()) == 3
            assert len(await client.revoke_key("ci")) == 2
            assert (await client.verify_audit()).ok
            return [entry.action async for entry in client.audit(target=None)]

    assert asyncio.run(everything()) == ["keys.create", "keys.rotate", "keys.revoke"]


def test_a_local_key_is_for_this_machine_while_its_server_is_there(tmp_path: Path) -> None:
    with local_keys.kept("http://127.0.0.1:8123", "secret"):
        assert local_keys.read("http://localhost:8123") == "secret"
        (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert file.stat().st_mode & 0o777 == 0o600
        for elsewhere in ("http://127.0.0.1:8124", "https://127.0.0.1:8123", "http://192.0.2.1:8123"):
            assert local_keys.read(elsewhere) is None
    assert local_keys.read("http://127.0.0.1:8123") is None


def test_a_key_has_a_text_that_hides_it(run: Run, url: str) -> None:
    with modelport.Client(url) as client:
        made = client.create_key("quiet", [{"role": "viewer"}])
    assert made.key
    assert made.key not in repr(made)
