"""``modelport batch``: many changes released together, and how to steer them."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from modelport.commands import batch_rendering, releasing
from modelport.commands.releasing import End, MaxConcurrent, Start, Timeout, Wait
from modelport.commands.session import Session, command

BatchArgument = Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id.")]


def group() -> typer.Typer:
    """The group with its commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(app, "ls")(ls)
    command(app, "show")(show)
    command(app, "items")(items)
    command(app, "watch")(watch)
    command(app, "start")(start)
    command(app, "pause")(pause)
    command(app, "resume")(resume)
    command(app, "approve")(approve)
    command(app, "reject")(reject)
    command(app, "abort")(abort)
    command(app, "retry")(retry)
    command(app, "rollback")(rollback)
    command(app, "set")(set_)
    return app


def ls(
    session: Session,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="At most so many.")] = 100,
) -> None:
    """List batches, the newest first."""
    batch_rendering.batches(session, islice(session.client.batches(page_size=min(limit, 100)), limit))


def show(session: Session, batch: BatchArgument) -> None:
    """All about one batch: counters by wave and target, and why items failed."""
    batch_rendering.batch(session, session.client.batch(batch))


def items(
    session: Session,
    batch: BatchArgument,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only pending, released, succeeded, failed, refused...")
    ] = None,
) -> None:
    """List what a batch consists of."""
    batch_rendering.items(session, session.client.batch_items(batch, state=state))


def watch(session: Session, batch: BatchArgument, timeout: Timeout = None) -> None:
    """Follow a batch until it has ended."""
    ended = releasing.until_ended(session, batch, timeout, lines=True)
    if not session.json:
        batch_rendering.batch_line(session, ended)
    if ended.state != "succeeded":
        raise typer.Exit(releasing.failed(session, ended))


def start(session: Session, batch: BatchArgument, wait: Wait = True, timeout: Timeout = None) -> None:
    """Begin what was planned, if nothing of it has changed since."""
    releasing.finish(session, session.client.start_batch(batch), wait=wait, timeout=timeout)


def pause(session: Session, batch: BatchArgument) -> None:
    """Start nothing more for now; what runs ends."""
    batch_rendering.batch_line(session, session.client.pause_batch(batch))


def resume(session: Session, batch: BatchArgument) -> None:
    """Go on after a pause."""
    batch_rendering.batch_line(session, session.client.resume_batch(batch))


def approve(
    session: Session,
    batch: BatchArgument,
    wave: Annotated[
        int | None,
        typer.Option(min=0, metavar="NUMBER", help="Counted from 0. Default: the one that waits."),
    ] = None,
) -> None:
    """Let what comes behind a wave begin."""
    client = session.client
    batch_rendering.batch_line(session, client.approve_batch(batch, client.batch(batch).wave if wave is None else wave))


def reject(session: Session, batch: BatchArgument) -> None:
    """Refuse what awaits approval: the batch stops."""
    batch_rendering.batch_line(session, session.client.reject_batch(batch))


def abort(session: Session, batch: BatchArgument) -> None:
    """Cancel what is queued, let what runs end, and start nothing more."""
    batch_rendering.batch_line(session, session.client.abort_batch(batch))


def retry(session: Session, batch: BatchArgument, wait: Wait = True, timeout: Timeout = None) -> None:
    """Try again what failed, was refused or was cancelled, as a new batch."""
    releasing.finish(session, session.client.retry_batch(batch), wait=wait, timeout=timeout)


def rollback(session: Session, batch: BatchArgument, wait: Wait = True, timeout: Timeout = None) -> None:
    """Restore what served before on all that a batch changed, as a new batch."""
    releasing.finish(session, session.client.roll_back_batch(batch), wait=wait, timeout=timeout)


def set_(
    session: Session,
    batch: BatchArgument,
    max_concurrent: MaxConcurrent = None,
    start: Start = None,
    end: End = None,
) -> None:
    """Change the limits of a batch while it runs."""
    at_once = releasing.amount(max_concurrent, "--max-concurrent")
    if at_once is None and start is None and end is None:
        told = "say what to change: --max-concurrent, --start or --end"
        raise typer.BadParameter(told, param_hint="--max-concurrent")
    begin, stop = releasing.instant(start, "--start"), releasing.instant(end, "--end")
    changed = session.client.adjust_batch(batch, max_concurrent=at_once, start=begin, end=stop)
    batch_rendering.batch_line(session, changed)
