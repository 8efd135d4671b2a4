"""Shows a batch on its way: live bars on a terminal, a line per change elsewhere. On standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelport.output import clean, duration, note

if TYPE_CHECKING:
    from modelport.client import Client
    from modelport.types import Batch

MOST_BARS = 12  # so that they fit on a small terminal; the first one counts all targets


Show = Callable[["Batch"], None]


def followed(client: Client, batch_id: str, timeout: float | None, *, silent: bool, show: Show | None = None) -> Batch:
    """Block until the batch has ended, and give how it ended; shows how it goes, unless ``silent``, or with ``show``.

    Raises as ``Client.batch_events``.
    """
    with _shown(silent) as usual:
        show = show or usual
        for batch in client.batch_events(batch_id, timeout=timeout):
            show(batch)
    return batch


def described(batch: Batch) -> str:
    """Where a batch stands: state, wave, how many of how many, and what holds it back."""
    parts = [batch.words]
    if len(batch.waves) > 1 and not batch.final:
        parts.append(f"wave {batch.wave}")
    parts += [f"{batch.done} of {batch.total}", batch.counted]
    if batch.seconds_left and batch.state == "running":
        parts.append(f"about {duration(batch.seconds_left)} left")
    if batch.reason:
        parts.append(batch.reason)
    if batch.waits_for and not batch.final:
        first = batch.waits_for[0]
        parts.append(f"{first.get('count')} wait for {first.get('reason')}")
    return "  ".join(parts)


@contextmanager
def _shown(silent: bool) -> Iterator[Show]:
    if silent:
        yield _nothing
    elif sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield _Lines()


def _nothing(batch: Batch) -> None:
    del batch


class _Lines:
    """A line when the batch goes into another state or wave, another item failed, or a further percent is done."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last: object = None

    def __call__(self, batch: Batch) -> None:
        failed = batch.counters.get("failed", 0) + batch.counters.get("refused", 0)
        now = (batch.state, batch.reason, batch.wave, failed, int(batch.percent))
        if now != self._last:
            self._last = now
            note(f"{time.monotonic() - self._began:6.1f}s  {described(batch)}")


@contextmanager
def _bars() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.fields[place]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        whole = progress.add_task("", place="all", total=None)
        bars: dict[str, TaskID] = {}

        def show(batch: Batch) -> None:
            progress.update(whole, total=batch.total, completed=batch.done, description=clean(described(batch)))
            for each in batch.targets[: MOST_BARS - 1] if len(batch.targets) > 1 else ():
                name = str(each["target"])
                if name not in bars:
                    bars[name] = progress.add_task("", place=clean(name))
                counters = {state: count for state, count in each.items() if state != "target"}
                total = sum(counters.values())
                done = total - counters.get("pending", 0) - counters.get("released", 0)
                failed = counters.get("failed", 0) + counters.get("refused", 0)
                told = f"{failed} failed" if failed else ""
                progress.update(bars[name], total=total, completed=done, description=told)

        yield show
