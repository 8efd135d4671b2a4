"""Commands for who holds the database: ``python -m operations migrate``, ``python -m operations admin-key``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from operations import keys
from operations.access import Grant
from operations.database import database
from operations.migrate import migrate
from operations.settings import settings


def main(arguments: list[str]) -> int:
    """Run one command. Returns the exit code; wrong use ends with 2."""
    parser = argparse.ArgumentParser(prog="python -m operations")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="bring the database that the settings name up to date")
    made = commands.add_parser(
        "admin-key", help="make the first administrator's API key, if there is no live one, and print it once"
    )
    made.add_argument("--file", type=Path, help="write it there instead, with mode 0600")
    made.add_argument("--name", help="make one of this name whatever there is, as when the last one was lost")
    chosen = parser.parse_args(arguments)
    if chosen.command == "migrate":
        migrate(database())
        return _admin_key(settings().first_key_file, None) if settings().first_key_file else 0
    return _admin_key(chosen.file, chosen.name)


def _admin_key(file: Path | None, name: str | None) -> int:
    """0 with a new key, 0 and words on standard error where an administrator has one."""
    with database().write() as session:
        if name is None:
            found = keys.first(session)
        else:
            found = keys.create(session, name, [Grant.from_json({"role": "admin"})], expires_in=None, by="database")
        if found is None:
            sys.stderr.write("there is an administrator's key already; with --name another one is made\n")
            return 0
        # before the commit: a key that could not be handed over does not come to be
        if file is None:
            sys.stdout.write(f"{found.secret}\n")
        else:
            _write(file, found.secret)
    return 0


def _write(file: Path, secret: str) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(f"{secret}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
