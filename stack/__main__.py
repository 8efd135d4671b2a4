"""``python -m stack up`` keeps the system running until Ctrl-C; ``python -m stack demo`` shows what it does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from modelport import local_keys
from stack.supervisor import ChildEnded
from stack.up import Stack, StackFailed

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option(envvar="MODELPORT_FOLDER", help="where database, logs and local models live")]


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, handled as Ctrl-C is."""


@app.command()
def up(folder: Folder = Path(".modelport")) -> None:
    """Run everything on this machine until Ctrl-C, printing what every process says.

    MODELPORT_DATABASE_URL and MODELPORT_BROKER_URL replace SQLite and the bundled broker.
    """
    stack = Stack(folder, os.environ.get("MODELPORT_DATABASE_URL"), os.environ.get("MODELPORT_BROKER_URL"), echo=True)
    try:
        with stack, local_keys.kept(stack.api_url, stack.admin_key):
            _welcome(stack)
            stack.wait()
    except Terminated:
        sys.exit(143)
    except KeyboardInterrupt:
        print("stopped")
    except (StackFailed, ChildEnded) as reason:
        sys.exit(f"error: {reason}")


@app.command()
def demo() -> None:
    """Train, deploy, predict, update without a failed request, split traffic, delete; then stop everything."""
    from stack.demo import run

    try:
        sys.exit(run())
    except Terminated:
        sys.exit(143)
    except KeyboardInterrupt:
        sys.exit(130)
    except (StackFailed, ChildEnded) as reason:
        sys.exit(f"error: {reason}")


def _welcome(stack: Stack) -> None:
    user, password = stack.flower_auth
    secret = password if stack.new_password else f"see {stack.flower_password_file}"
    key = stack.admin_key if stack.new_key else f"see {stack.admin_key_file}" if stack.admin_key else "as before"
    print(
        f"\n  API and its documents  {stack.api_url}/docs"
        f"\n  administrator's key    {key}"
        f"\n  Flower                 {stack.flower_url}   user {user}, password {secret}"
        f"\n  logs                   {stack.logs}"
        f"\n\n  for the command line: export MODELPORT_URL={stack.api_url}; .venv/bin/modelport --help"
        f"\n  it finds the key by itself; others send Authorization: Bearer KEY"
        f"\n  Ctrl-C stops everything\n",
        flush=True,
    )


def _terminate(*_: object) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    app()
