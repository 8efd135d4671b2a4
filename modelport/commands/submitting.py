"""What happens after a submission: told at once, or followed to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from modelport import output
from modelport.commands.session import Session
from modelport.errors import raise_unless_succeeded
from modelport.exits import Exit, goes_on
from modelport.progress import described, followed

if TYPE_CHECKING:
    from modelport.blocking.handles import Deployment, Operation


def finish(session: Session, submitted: Operation | Deployment, *, wait: bool, timeout: float | None) -> None:
    """Tell what a submission came to, once it has ended if it shall be waited for.

    Raises OperationFailed and WaitTimeout, and ends the command on Ctrl-C saying how to go on.
    """
    from modelport.blocking.handles import Deployment

    if isinstance(submitted, Deployment):
        _tell_unchanged(session, submitted)
    elif wait:
        ended = until_ended(session, submitted.id, timeout)
        raise_unless_succeeded(ended)
        _tell_succeeded(session, ended)
    elif session.json:
        output.print_json(submitted.document)
    else:
        output.say(
            f"{submitted.id}  {submitted.kind} {submitted.target}/{submitted.deployment}: {described(submitted)}"
        )
        output.note(f"Follow it with: modelport status {submitted.id} --wait{session.options}")


def until_ended(session: Session, operation_id: str, timeout: float | None) -> Operation:
    """How the operation ended. Ctrl-C ends the command, and the operation goes on."""
    try:
        return followed(session.client, operation_id, timeout, silent=session.json)
    except KeyboardInterrupt:
        output.note(f"Interrupted. {goes_on(operation_id, session.options)}")
        raise typer.Exit(Exit.INTERRUPTED) from None


def _tell_unchanged(session: Session, deployment: Deployment) -> None:
    if session.json:
        output.print_json(deployment.document)
        return
    revision = f", revision {deployment.tip.number}" if deployment.tip else ""
    output.say(f"{deployment.target}/{deployment.name} is as asked for already{revision}; no operation was needed")


def _tell_succeeded(session: Session, operation: Operation) -> None:
    if session.json:
        output.print_json(operation.document)
        return
    thing = f"{operation.target}/{operation.deployment}"
    lasted = (operation.finished_at or operation.updated_at) - operation.created_at
    took = f" ({operation.kind} took {output.duration(lasted.total_seconds())})"
    if operation.kind == "delete":
        output.say(f"{thing} is deleted{took}")
    else:
        output.say(f"{thing} serves revision {operation.revision}{took}")
    for it in operation.leftovers:
        output.note(f"{it.kind} {it.name} stayed behind on the target: {it.why}")
