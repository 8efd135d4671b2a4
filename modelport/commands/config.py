"""``modelport config``: servers by name, with their keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from modelport import output, profiles
from modelport.commands.session import Session, command

ProfileArgument = Annotated[str, typer.Argument(metavar="NAME", help="The profile's name.")]


def group() -> typer.Typer:
    """The group with its commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(app, "show")(show)
    command(app, "ls")(ls)
    command(app, "set")(put)
    command(app, "use")(use)
    command(app, "rm")(rm)
    return app


def show(session: Session) -> None:
    """Which server is asked, and where that comes from."""
    found = session.connection
    if session.json:
        output.print_json({"url": found.url, "origin": found.origin, "has_api_key": found.api_key is not None})
        return
    output.print_fields(
        {
            "URL": found.url,
            "From": found.origin,
            "API key": "set" if found.api_key else "none",
            "File": str(profiles.path()),
        }
    )


def ls(session: Session) -> None:
    """List profiles; their keys are not shown."""
    with _readable():
        found = profiles.read()
    if session.json:
        output.print_items(
            {"name": name, "url": each.url, "has_api_key": each.api_key is not None, "in_use": name == found.current}
            for name, each in found.by_name.items()
        )
        return
    rows = [
        [name, each.url, "set" if each.api_key else "none", "yes" if name == found.current else ""]
        for name, each in found.by_name.items()
    ]
    output.print_table(["Profile", "URL", "API key", "In use"], rows, empty="No profiles.")


def put(
    session: Session,
    name: ProfileArgument,
    ask_api_key: Annotated[
        bool, typer.Option("--ask-api-key", help="Ask for the key, so that nobody reads it in the list of processes.")
    ] = False,
) -> None:
    """Make a profile or change it: --url, and --api-key or --ask-api-key. The first is used at once."""
    with _readable():
        known = profiles.read()
        before = known.by_name.get(name)
        url = session.url or (before.url if before else None)
        if not url:
            raise typer.BadParameter("a new profile needs the server's URL", param_hint="--url")
        session.url = url
        key = typer.prompt("API key", hide_input=True, err=True) if ask_api_key else session.api_key
        # a key is kept for the server that it was given for, and for no other
        kept = before.api_key if before and before.url == session.connection.url else None
        made = profiles.Profile(session.connection.url, key or kept)
        changed = known.with_profile(name, made)
        profiles.write(changed)
    _tell(session, changed, f"profile {name}: {made.url}{', in use' if changed.current == name else ''}")


def use(session: Session, name: ProfileArgument) -> None:
    """Use a profile wherever nothing else is said."""
    with _readable():
        changed = profiles.read().using(name)
        profiles.write(changed)
    _tell(session, changed, f"profile {name} is in use: {changed.by_name[name].url}")


def rm(session: Session, name: ProfileArgument) -> None:
    """Forget a profile and its key."""
    with _readable():
        changed = profiles.read().without(name)
        profiles.write(changed)
    _tell(session, changed, f"profile {name} is forgotten")


def _tell(session: Session, changed: profiles.Profiles, text: str) -> None:
    if session.json:
        output.print_json({"in_use": changed.current})
    else:
        output.say(text)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except profiles.ProfileError as error:
        raise typer.BadParameter(str(error), param_hint="config") from error
