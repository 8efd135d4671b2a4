"""``modelport audit``: who changed what, and whether the record of it holds."""

from __future__ import annotations

from typing import Annotated

import typer

from modelport import output
from modelport.commands.session import Session, command
from modelport.exits import Exit

EXPORTED_AT_ONCE = 1000

Principal = Annotated[str | None, typer.Option("--principal", help="By this one only, as in key:ci.")]
Action = Annotated[str | None, typer.Option("--action", help="Of this kind only, as in deployments.create.")]
Outcome = Annotated[str | None, typer.Option("--outcome", help="accepted, refused or failed.")]
Target = Annotated[str | None, typer.Option("--target", help="On this target only.")]
DeploymentName = Annotated[str | None, typer.Option("--deployment", help="Of deployments of this name only.")]


def group() -> typer.Typer:
    """The group with its commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(app, "ls")(ls)
    command(app, "verify")(verify)
    command(app, "export")(export)
    return app


def ls(
    session: Session,
    principal: Principal = None,
    action: Action = None,
    outcome: Outcome = None,
    target: Target = None,
    deployment: DeploymentName = None,
) -> None:
    """List entries, the oldest first."""
    found = session.client.audit(
        principal=principal, action=action, outcome=outcome, target=target, deployment=deployment
    )
    if session.json:
        output.print_items(each.document for each in found)
        return
    rows = [
        [
            str(each.number),
            each.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            each.principal,
            each.address,
            each.action,
            each.outcome,
            "/".join(part for part in (each.target, each.deployment) if part) or each.subject or "",
        ]
        for each in found
    ]
    output.print_table(["No", "At", "Who", "From", "What", "Outcome", "On"], rows, empty="No entries.")


def verify(
    session: Session,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="NUMBER:HASH", help="A head that was noted before; finds what was cut off."),
    ] = None,
) -> None:
    """Walk the whole chain; exit code 1 if anything in it was changed."""
    found = session.client.verify_audit(head=head)
    if session.json:
        output.print_json(found.document)
    elif found.ok:
        output.say(f"ok: {found.entries} entries; note this head elsewhere: {found.head}")
    else:
        output.say(f"NOT ok: {found.fault}; the {found.entries} entries before it hold")
    if not found.ok:
        raise typer.Exit(Exit.FAILED)


def export(session: Session) -> None:
    """Print every entry as a line of JSON, with the hashes that link them."""
    for each in session.client.audit(page_size=EXPORTED_AT_ONCE):
        output.print_json_line(each.document)
