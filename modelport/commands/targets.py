"""``modelport targets``: where models can be deployed."""

from __future__ import annotations

from typing import Annotated

import typer

from modelport import output
from modelport.commands import arguments, rendering
from modelport.commands.session import Session, command
from modelport.exits import Exit

TargetArgument = Annotated[str, typer.Argument(metavar="TARGET", help="The target's name.")]


def group() -> typer.Typer:
    """The group with its commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(app, "ls")(ls)
    command(app, "kinds")(kinds)
    command(app, "show")(show)
    command(app, "add")(add)
    command(app, "rm")(rm)
    command(app, "check")(check)
    command(app, "help")(show_help)
    return app


def ls(session: Session) -> None:
    """List targets."""
    rendering.targets(session, session.client.targets())


def kinds(session: Session) -> None:
    """List the kinds of target that can be added, the plugins of MLflow that are installed included."""
    rendering.kinds(session, session.client.target_kinds())


def show(session: Session, target: TargetArgument) -> None:
    """All about one target."""
    rendering.target(session, session.client.target(target))


def add(
    session: Session,
    target: TargetArgument,
    uri: Annotated[str, typer.Argument(metavar="URI", help="As in local, sagemaker:/us-east-1, databricks.")],
    setting: Annotated[
        list[str] | None,
        typer.Option("-s", "--setting", metavar="KEY=VALUE", help="A setting, see targets help; repeatable."),
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="KEY=VALUE", help="A limit, as in writes=5; repeatable.")
    ] = None,
    credentials: Annotated[
        str | None, typer.Option(metavar="REFERENCE", help="Where workers find them: env:NAME or file:PATH.")
    ] = None,
) -> None:
    """Register a target, or change it."""
    found = session.client.put_target(
        target,
        uri,
        settings=arguments.settings(setting, "--setting") if setting else None,
        limits=arguments.settings(limit, "--limit") if limit else None,
        credentials=credentials,
    )
    rendering.target(session, found)


def rm(session: Session, target: TargetArgument) -> None:
    """Take a target off the register; what it serves is left alone."""
    session.client.delete_target(target)
    if session.json:
        output.print_json({})
    else:
        output.say(f"target {target} is no longer registered")


def check(session: Session, target: TargetArgument) -> None:
    """Have a worker reach the target with its credentials."""
    found = session.client.check_target(target)
    if session.json:
        output.print_json(found.document)
    else:
        output.say(f"{target}: {'ok' if found.ok else 'not ok'}: {found.message}")
    if not found.ok:
        raise typer.Exit(Exit.FAILED)


def show_help(session: Session, target: TargetArgument) -> None:
    """What can be configured on a target."""
    text = session.client.target_help(target)
    if session.json:
        output.print_json(text)
        return
    for line in text.splitlines():
        output.say(line)
