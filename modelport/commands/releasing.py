"""Reading of a batch's limits, and what happens once it has begun: told at once, or followed to its end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport import output
from modelport.commands import arguments, batch_rendering
from modelport.commands.session import Session
from modelport.exits import Exit

if TYPE_CHECKING:
    from modelport.types import Batch

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the batch has ended.")]
Timeout = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="Stop waiting after this long (exit code 6); the batch goes on."),
]
MaxConcurrent = Annotated[
    str | None, typer.Option(metavar="NUMBER|PERCENT", help="Under way at once, as in 50 or 10%.")
]
Start = Annotated[str | None, typer.Option(metavar="TIME", help="Nothing starts before, as in 2030-01-31T22:00+01:00.")]
End = Annotated[str | None, typer.Option(metavar="TIME", help="Nothing starts from then on: the batch pauses.")]

AMOUNT = re.compile(r"\d+(\.\d+)?%|\d+")


def amount(text: str | None, option: str) -> int | str | None:
    """Reads ``50`` or ``10%``."""
    if text is None:
        return None
    if not AMOUNT.fullmatch(text):
        raise typer.BadParameter(f"{text!r} should be a number or a percentage, as in 50 or 10%", param_hint=option)
    return text if text.endswith("%") else int(text)


def instant(text: str | None, option: str) -> str | None:
    """Reads a time of ISO 8601, without a zone as this machine's, and gives it with its zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        told = f"{text!r} is no time, as in 2030-01-31T22:00 or 2030-01-31T22:00+01:00"
        raise typer.BadParameter(told, param_hint=option) from error
    return (moment if moment.tzinfo else moment.astimezone()).isoformat()


def waves(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Reads waves in order: ``1``, ``10%``, ``label=KEY=VALUE``, and what holds behind them: ``soak=600``, ``approve``.

    What belongs to one wave is joined by colons, as in ``10%:soak=600:approve``; what holds may also stand alone, and
    then belongs to the wave before.
    """
    found: list[dict[str, Any]] = []
    for text in texts:
        wave: dict[str, Any] = {}
        for part in text.split(":"):
            _add(wave, part.strip(), text)
        if {"size", "labels"} & wave.keys():
            found.append(wave)
        elif found:
            found[-1] |= wave
        else:
            told = f"{text!r} holds what comes behind a wave, and there is none before it"
            raise typer.BadParameter(told, param_hint="--wave")
    return found


def finish(session: Session, begun: Batch, *, wait: bool, timeout: float | None) -> None:
    """Tell what a batch came to, once it has ended if it shall be waited for.

    Ends the command as failed unless it succeeded, and on Ctrl-C and after ``timeout`` seconds saying how to go on.
    """
    if not wait:
        batch_rendering.batch_line(session, begun)
        if not session.json:
            output.note(f"Follow it with: modelport batch watch {begun.id}{session.options}")
        return
    if not session.json:
        output.note(f"Batch {begun.id}: {begun.total} deployments")
    ended = until_ended(session, begun.id, timeout)
    batch_rendering.batch_line(session, ended)
    if ended.state != "succeeded":
        if not session.json:
            batch_rendering.failures(ended)
        raise typer.Exit(failed(session, ended))


def until_ended(session: Session, batch_id: str, timeout: float | None, *, lines: bool = False) -> Batch:
    """How the batch ended. Ctrl-C and ``timeout`` end the command, and the batch goes on.

    ``lines`` prints, with ``--json``, a line each time that it has moved.
    """
    from modelport.batch_errors import BatchTimeout
    from modelport.batch_progress import followed

    lines = lines and session.json
    show = (lambda moved: output.print_json_line(moved.document)) if lines else None
    try:
        return followed(session.client, batch_id, timeout, silent=session.json, show=show)
    except BatchTimeout as error:
        if session.json and not lines:
            output.print_json(error.batch.document)
        output.note(f"Error: {error}. {goes_on(session, batch_id)}")
        raise typer.Exit(Exit.TIMED_OUT) from None
    except KeyboardInterrupt:
        output.note(f"Interrupted. {goes_on(session, batch_id)}")
        raise typer.Exit(Exit.INTERRUPTED) from None


def failed(session: Session, ended: Batch) -> Exit:
    """Tell what to do about a batch that did not succeed."""
    options = session.options
    output.note(
        f"Error: batch {ended.id} {ended.words}. "
        f"What did not go well: modelport batch items {ended.id} --state failed{options}. "
        f"Try that again with: modelport batch retry {ended.id}{options}. "
        f"Restore what served before with: modelport batch rollback {ended.id}{options}"
    )
    return Exit.FAILED


def goes_on(session: Session, batch_id: str) -> str:
    """How to go on with a batch that is no longer waited for."""
    options = session.options
    return (
        f"The batch goes on. Follow it with: modelport batch watch {batch_id}{options}. "
        f"Hold it with: modelport batch pause {batch_id}{options}. "
        f"End it with: modelport batch abort {batch_id}{options}"
    )


def _add(wave: dict[str, Any], part: str, text: str) -> None:
    word, _, value = part.partition("=")
    if AMOUNT.fullmatch(part) and "size" not in wave:
        wave["size"] = amount(part, "--wave")
    elif part == "approve":
        wave["approval"] = True
    elif word == "label" and value:
        wave.setdefault("labels", {}).update(arguments.pairs([value], "--wave"))
    elif word == "soak" and re.fullmatch(r"\d+(\.\d+)?", value):
        wave["soak_seconds"] = float(value)
    else:
        told = f"{part!r} of {text!r} should be 1, 10%, label=KEY=VALUE, soak=SECONDS or approve"
        raise typer.BadParameter(told, param_hint="--wave")
