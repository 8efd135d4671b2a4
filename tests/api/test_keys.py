"""Keys: made once, hashed, expiring, rotated with an overlap, revoked; and what is no key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, update

from api import authentication
from api.__main__ import _is_loopback
from operations import keys
from operations.database import Database
from operations.models import ApiKey
from operations.problems import Unauthorized
from operations.settings import settings
from tests.api.identities import client, key
from tests.api.serving import serving


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def admin(closed: None, db: Database, hints: object, announced: object) -> Iterator[httpx.Client]:
    with serving() as url, client(url, key(db, "admin", "root")) as http:
        yield http


def test_without_a_key_nothing_but_what_is_open_is_answered(admin: httpx.Client) -> None:
    with client(str(admin.base_url), None) as stranger:
        for path in ("/v1/deployments", "/v1/me", "/v1/keys", "/nothing", "/v1"):
            answer = stranger.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["errors"][0]["field"] == "Authorization"
        for path in ("/healthz", "/openapi.json", "/problems/unauthorized"):
            assert stranger.get(path).status_code == 200, path
        # refused before the body is read
        assert stranger.post("/v1/deployments", content=b"{" * 2_000_000).status_code == 401


def test_a_key_is_shown_once_and_only_its_hash_is_kept(admin: httpx.Client, db: Database) -> None:
    made = admin.post("/v1/keys", json={"name": "ci", "grants": [{"role": "deployer", "targets": ["here"]}]})
    assert made.status_code == 201, made.text
    secret = made.json()["key"]
    assert made.headers["Cache-Control"] == "no-store"
    assert keys.PATTERN.fullmatch(secret)
    with client(str(admin.base_url), secret) as ci:
        me = ci.get("/v1/me").json()
    assert me == {"principal": "key:ci", "grants": [{"role": "deployer", "targets": ["here"], "labels": {}}]}
    assert secret not in admin.get("/v1/keys").text
    with db.read() as session:
        row = session.scalars(select(ApiKey).where(ApiKey.name == "ci")).one()
    assert secret.rpartition("_")[2] not in str(vars(row))


@pytest.mark.parametrize(
    "spoil", [str.upper, lambda t: t[:-1], lambda t: f"{t}x", lambda t: t[:-1] + "~", lambda t: "x"]
)
def test_nothing_but_the_whole_key_opens(admin: httpx.Client, db: Database, spoil: Callable[[str], str]) -> None:
    token = spoil(key(db, "admin"))
    for header in (f"Bearer {token}", f"Basic {token}", token):
        assert admin.get("/v1/me", headers={"Authorization": header}).status_code == 401
    two = [("Authorization", f"Bearer {key(db, 'admin')}"), ("Authorization", "Bearer x")]
    with httpx.Client(base_url=admin.base_url, trust_env=False) as plain:
        assert plain.get("/v1/me", headers=two).status_code == 401


def test_rotation_overlaps_and_keeps_the_principal(admin: httpx.Client, db: Database) -> None:
    old = key(db, "viewer", "robot")
    answer = admin.post("/v1/keys/robot/rotate", json={"overlap_seconds": 3600})
    new = answer.json()["key"]
    for token in (old, new):
        with client(str(admin.base_url), token) as robot:
            assert robot.get("/v1/me").json()["principal"] == "key:robot"
    assert admin.post("/v1/keys/robot/rotate", json={"overlap_seconds": 0}).status_code == 201
    for token in (old, new):
        with client(str(admin.base_url), token) as robot:
            assert robot.get("/v1/me").status_code == 401


def test_revoked_and_expired_keys_open_nothing_and_their_names_are_not_given_again(
    admin: httpx.Client, db: Database
) -> None:
    gone, short = key(db, "viewer", "gone"), key(db, "viewer", "short")
    assert admin.delete("/v1/keys/gone").json()["items"][0]["state"] == "revoked"
    with db.write() as session:
        session.execute(update(ApiKey).where(ApiKey.name == "short").values(expires_at=1.0))
    for token in (gone, short):
        with client(str(admin.base_url), token) as robot:
            assert robot.get("/v1/me").status_code == 401
    states = {row["name"]: row["state"] for row in admin.get("/v1/keys").json()["items"]}
    assert states == {"gone": "revoked", "short": "expired", "root": "live"}
    again = admin.post("/v1/keys", json={"name": "gone", "grants": [{"role": "viewer"}]})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/key-exists")
    assert admin.delete("/v1/keys/gone").status_code == 404


def test_an_administrator_cannot_be_limited(admin: httpx.Client) -> None:
    grants = [{"role": "admin", "targets": ["here"]}]
    refused = admin.post("/v1/keys", json={"name": "half", "grants": grants})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "grants[0]")


def test_the_last_use_is_shown_and_costs_no_write_for_each_request(closed: None, db: Database) -> None:
    token = key(db, "viewer", "busy")
    keyring = authentication.Keyring(cache_seconds=60.0)
    prefix = keys.prefix_of(token) or ""
    found = keyring.read(prefix)
    assert found is not None
    assert found.matches(token)
    for _ in range(3):
        keyring.used(found)
    with db.read() as session:
        assert keys.all_keys(session)[0].last_used_at is None
    keyring.note_uses()
    with db.read() as session:
        assert keys.all_keys(session)[0].last_used_at is not None
    # a key that is believed is not asked for again
    known = keyring.known(prefix)
    assert known is not None
    assert known.found is found


def test_the_first_key_is_made_once(db: Database, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "operations", "admin-key"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert keys.PATTERN.fullmatch(made.stdout.strip())
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (again.stdout, "already" in again.stderr) == ("", True)
    file = tmp_path / "key"
    subprocess.run([*command, "--name", "rescue", "--file", str(file)], check=True)
    assert file.stat().st_mode & 0o777 == 0o600
    with db.read() as session:
        assert {row.name for row in keys.all_keys(session)} == {"first-admin", "rescue"}


def test_another_address_than_loopback_needs_keys(closed: None, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert authentication.may_listen(host_is_loopback=True) is None
    assert isinstance(authentication.may_listen(host_is_loopback=False), Unauthorized)
    key(db, "viewer")
    assert authentication.may_listen(host_is_loopback=False) is None
    monkeypatch.setenv("MODELPORT_ANONYMOUS_ROLE", "viewer")
    settings.cache_clear()
    assert authentication.may_listen(host_is_loopback=False) is not None


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("192.0.2.1", False), ("::", False)]
)
def test_which_addresses_are_loopback(host: str, loopback: bool) -> None:
    assert _is_loopback(host) is loopback
