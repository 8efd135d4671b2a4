"""``modelport keys``: who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport import output
from modelport.commands import arguments
from modelport.commands.session import Session, command

if TYPE_CHECKING:
    from modelport import types

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The key's name, which is who it stands for.")]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="DAYS", help="How long it lives, in days, or never. Default: a year.")
]


def group() -> typer.Typer:
    """The group with its commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(app, "create")(create)
    command(app, "ls")(ls)
    command(app, "rotate")(rotate)
    command(app, "revoke")(revoke)
    return app


def create(
    session: Session,
    name: NameArgument,
    role: Annotated[str, typer.Option("--role", help="viewer, predictor, deployer or admin.")],
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="TARGET", help="On this target only; repeatable.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="On deployments with this label only; repeatable."),
    ] = None,
    expires: Expires = None,
) -> None:
    """Make a key, and print it: it cannot be read again."""
    labels = arguments.pairs(label, "--label") if label else {}
    grant: dict[str, Any] = {"role": role, "targets": target or [], "labels": labels}
    _made(session, session.client.create_key(name, [grant], expires_seconds=_seconds(expires)))


def ls(session: Session) -> None:
    """List keys, with their last use."""
    found = session.client.keys()
    if session.json:
        output.print_json({"items": [each.document for each in found]})
        return
    rows = [
        [
            each.name,
            each.prefix,
            each.state,
            "; ".join(_told(grant) for grant in each.grants),
            output.ago(each.created_at),
            output.ago(each.last_used_at) or "never",
            each.expires_at.date().isoformat() if each.expires_at else "never",
        ]
        for each in found
    ]
    headings = ["Key", "Prefix", "State", "May", "Made", "Used", "Expires"]
    output.print_table(headings, rows, empty="No keys.")


def rotate(
    session: Session,
    name: NameArgument,
    overlap: Annotated[
        float | None, typer.Option("--overlap", metavar="SECONDS", help="How long the old one goes on. Default: a day.")
    ] = None,
    expires: Expires = None,
) -> None:
    """Make another key of this name, and print it; the old one goes on for a while."""
    seconds = _seconds(expires)
    _made(session, session.client.rotate_key(name, overlap_seconds=overlap, expires_seconds=seconds))


def revoke(session: Session, name: NameArgument) -> None:
    """End every key of this name now."""
    found = session.client.revoke_key(name)
    if session.json:
        output.print_json({"items": [each.document for each in found]})
    else:
        output.say(f"{len(found)} of {name} revoked; other API processes notice within seconds")


def _made(session: Session, found: types.Key) -> None:
    if session.json:
        output.print_json(found.document)
        return
    output.say(found.key or "")
    until = f"until {found.expires_at.date().isoformat()}" if found.expires_at else "for ever"
    output.note(f"{found.name} may {'; '.join(_told(grant) for grant in found.grants)}, {until}.")
    output.note("This is the only time that the key is shown. Use it with MODELPORT_API_KEY, or modelport config set.")


def _told(grant: types.Grant) -> str:
    places = f" on {', '.join(grant.targets)}" if grant.targets else ""
    labels = f" with {', '.join(f'{key}={value}' for key, value in grant.labels.items())}" if grant.labels else ""
    return f"{grant.role}{places}{labels}"


def _seconds(days: str | None) -> float | None:
    if days is None:
        return None
    if days == "never":
        return float("inf")
    try:
        seconds = float(days) * 86_400
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise typer.BadParameter(f"{days!r} is neither a number of days nor never", param_hint="--expires")
    return seconds
