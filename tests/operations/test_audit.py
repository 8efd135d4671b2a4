"""The chain: every tampering is found, and many who write and seal at once make one chain without a gap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from operations import audit, auditing
from operations.audit import Note, Source
from operations.auditing import Verdict
from operations.database import Database
from operations.settings import settings

TRIGGERS = {
    "audit": ("audit_kept", "audit_there", "audit_delete", "audit_truncate"),
    "audit_head": ("audit_head_there",),
}


def write(db: Database, count: int, who: str = "key:ada") -> None:
    for number in range(count):
        with db.write() as session:
            what = Note(target="here", deployment=f"d{number}", after={"ä": number, "x": 1e20})
            audit.write(session, Source(who, "192.0.2.1", "r"), "deployments.create", "accepted", what=what, status=202)


def seal(db: Database) -> None:
    while True:
        with db.write() as session:
            if not audit.waits(session):
                return
            audit.seal(session)


def verify(db: Database, known: str | None = None) -> Verdict:
    check = auditing.Check(known)
    while True:
        with db.read() as session:
            verdict = check.step(session)
        if verdict is not None:
            return verdict


def tamper(db: Database, *statements: str) -> None:
    """As who owns the database can: past the triggers."""
    with db.engine.begin() as connection:
        for table, names in TRIGGERS.items():
            for name in names:
                on = f" ON {table}" if connection.dialect.name == "postgresql" else ""
                connection.execute(text(f"DROP TRIGGER IF EXISTS {name}{on}"))
        if connection.dialect.name == "postgresql":
            connection.execute(text("DROP TRIGGER IF EXISTS audit_head_delete ON audit_head"))
        for statement in statements:
            connection.execute(text(statement))


def test_the_chain_holds_and_the_database_itself_refuses_changes(db: Database) -> None:
    write(db, 5)
    assert verify(db).entries == 0
    seal(db)
    assert verify(db) == Verdict(True, 5, verify(db).head, None)
    write(db, 2)
    seal(db)
    assert verify(db).entries == 7
    refused = ["UPDATE audit SET content = '{}'", "UPDATE audit SET number = 9 WHERE number = 3", "DELETE FROM audit"]
    for statement in refused:
        with pytest.raises(DBAPIError, match="append-only"), db.engine.begin() as connection:
            connection.execute(text(statement))
    assert verify(db).ok


TAMPERINGS: dict[str, tuple[list[str], str]] = {
    "content": (["UPDATE audit SET content = replace(content, 'accepted', 'refused') WHERE number = 3"], "3 was"),
    "column": (["UPDATE audit SET principal = 'key:eve' WHERE number = 2"], "2 was changed: principal"),
    "digest": (["UPDATE audit SET digest = (SELECT digest FROM audit WHERE number = 1) WHERE number = 4"], "4 was"),
    "hash": (["UPDATE audit SET hash = digest WHERE number = 4"], "4 does not follow"),
    "deleted": (["DELETE FROM audit WHERE number = 3"], "3 is missing"),
    "deleted and closed": (
        ["DELETE FROM audit WHERE number = 3", "UPDATE audit SET number = -number WHERE number > 3",
         "UPDATE audit SET number = -number - 1 WHERE number < 0"], "3 does not follow"),
    "swapped": (
        ["UPDATE audit SET number = 0 WHERE number = 2", "UPDATE audit SET number = 2 WHERE number = 3",
         "UPDATE audit SET number = 3 WHERE number = 0"], "2 does not follow"),
    "the first": (["DELETE FROM audit WHERE number = 1"], "1 is missing"),
    "the last": (["DELETE FROM audit WHERE number = 6"], "ends at entry 5"),
    "all": (["DELETE FROM audit"], "ends at entry 0"),
    "the head": (["UPDATE audit_head SET number = 5"], "head was changed"),
    "no head": (["DELETE FROM audit_head"], "head is missing"),
    "unchained again": (["UPDATE audit SET number = NULL, hash = NULL WHERE number = 6"], "ends at entry 5"),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_found(db: Database, how: str) -> None:
    write(db, 6)
    seal(db)
    statements, fault = TAMPERINGS[how]
    tamper(db, *statements)
    verdict = verify(db)
    assert not verdict.ok
    assert fault in (verdict.fault or "")


def rewritten(db: Database) -> None:
    """Drop the last two entries and make a head that fits, with all that the database holds and the code."""
    with db.read() as session:
        last = session.execute(text("SELECT hash FROM audit WHERE number = 4")).scalar_one()
    tamper(
        db,
        "DELETE FROM audit WHERE number > 4",
        f"UPDATE audit_head SET number = 4, hash = '{last}', mac = '{audit.mac(4, last)}'",  # noqa: S608
    )


def test_a_cut_with_a_fitting_head_is_found_by_a_noted_head(db: Database) -> None:
    write(db, 6)
    seal(db)
    noted = verify(db).head
    rewritten(db)
    assert verify(db).ok, "without a key and a noted head nobody can tell"
    assert "noted elsewhere" in (verify(db, noted).fault or "")


def test_a_cut_with_a_fitting_head_is_found_where_the_key_is_not_in_the_database(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_key(key: str | None) -> Callable[[], Any]:
        chosen = settings().model_copy(update={"audit_key": SecretStr(key) if key else None})
        return lambda: chosen

    monkeypatch.setattr(audit, "settings", with_key("of the installation"))
    tamper(db, f"UPDATE audit_head SET mac = '{audit.mac(0, audit.ORIGIN)}'")  # noqa: S608  # as if migrated with it
    write(db, 6)
    seal(db)
    assert verify(db).ok
    monkeypatch.setattr(audit, "settings", with_key(None))
    rewritten(db)
    monkeypatch.setattr(audit, "settings", with_key("of the installation"))
    assert "head was changed" in (verify(db).fault or "")


def test_many_who_write_and_seal_at_once_make_one_chain(db: Database) -> None:
    url = db.engine.url.render_as_string(hide_password=False)
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(work: Callable[[Database], None]) -> None:
        # a database of its own, as another process has
        own = Database(url)
        try:
            work(own)
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    def sealing(own: Database) -> None:
        while not stop.is_set():
            seal(own)

    writers = [threading.Thread(target=run, args=(lambda own, n=n: write(own, 25, f"key:{n}"),)) for n in range(4)]
    sealers = [threading.Thread(target=run, args=(sealing,)) for _ in range(3)]
    for thread in (*writers, *sealers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in sealers:
        thread.join()
    seal(db)
    assert failures == []
    assert (verify(db).ok, verify(db).entries) == (True, 100)
