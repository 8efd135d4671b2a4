"""``modelport ops``: what was asked for, and how it goes."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from modelport import output
from modelport.commands import rendering
from modelport.commands.arguments import OperationArgument, Timeout, Wait
from modelport.commands.session import Session, command
from modelport.commands.submitting import finish, until_ended
from modelport.errors import raise_unless_succeeded
from modelport.exits import Exit, goes_on


def group() -> typer.Typer:
    """The group with its commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(app, "ls")(ls)
    command(app, "show")(show)
    command(app, "wait")(wait_for)
    command(app, "watch")(watch)
    command(app, "cancel")(cancel)
    command(app, "retry")(retry)
    command(app, "undo")(undo)
    return app


def ls(
    session: Session,
    state: Annotated[str | None, typer.Option(metavar="STATE", help="Only queued, waiting, failed...")] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="Only on this target.")] = None,
    deployment: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this deployment.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only create, update, delete...")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="At most so many.")] = 100,
) -> None:
    """List operations."""
    found = session.client.operations(
        state=state, target=target, deployment=deployment, kind=kind, page_size=min(limit, 100)
    )
    rendering.operations(session, islice(found, limit))


def show(session: Session, operation: OperationArgument) -> None:
    """All about one operation."""
    rendering.operation(session, session.client.operation(operation))


def wait_for(session: Session, operation: OperationArgument, timeout: Timeout = None) -> None:
    """Wait until an operation has ended."""
    ended = until_ended(session, operation, timeout)
    raise_unless_succeeded(ended)
    rendering.operation_line(session, ended)


def watch(session: Session, operation: OperationArgument) -> None:
    """Show an operation's history, and what happens as it happens, until it has ended."""
    try:
        for event in session.client.events(operation):
            rendering.event(session, event)
    except KeyboardInterrupt:
        output.note(f"Interrupted. {goes_on(operation, session.options)}")
        raise typer.Exit(Exit.INTERRUPTED) from None
    ended = session.client.operation(operation)
    if ended.state != "succeeded":
        raise typer.Exit(Exit.FAILED)


def cancel(
    session: Session,
    operation: OperationArgument,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has been taken back.")] = True,
    timeout: Timeout = None,
) -> None:
    """Cancel an operation: what it did is taken back."""
    found = session.client.cancel(operation)
    if wait and not found.final:
        found = until_ended(session, operation, timeout)
    rendering.operation_line(session, found)
    if wait and found.state != "cancelled":
        output.note(f"Error: the operation could not be cancelled any more; it {found.state}.")
        raise typer.Exit(Exit.FAILED)


def retry(session: Session, operation: OperationArgument, wait: Wait = True, timeout: Timeout = None) -> None:
    """Try again what failed or was cancelled, as a new operation."""
    finish(session, session.client.retry(operation), wait=wait, timeout=timeout)


def undo(session: Session, operation: OperationArgument, wait: Wait = True, timeout: Timeout = None) -> None:
    """Remove what an ended operation left behind, as a new operation."""
    finish(session, session.client.undo(operation), wait=wait, timeout=timeout)
