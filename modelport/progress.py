"""Shows an operation on its way: one live line on a terminal, a line per change elsewhere. On standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from modelport.output import clean, note

if TYPE_CHECKING:
    from modelport.applying import Change, Watcher
    from modelport.blocking.handles import Operation as Handle
    from modelport.client import Client
    from modelport.types import Operation

LOOK_SECONDS = 2.0


class _Show(Protocol):
    def __call__(self, operation: Operation) -> None: ...


def followed(client: Client, operation_id: str, timeout: float | None, *, silent: bool) -> Handle:
    """Block until the operation has ended, showing how it goes unless ``silent``, and give how it ended.

    Raises as ``Client.follow``.
    """
    with _shown(silent) as show:
        for operation in client.follow(operation_id, timeout=timeout, every=LOOK_SECONDS):
            show(operation)
    return operation


def described(operation: Operation) -> str:
    """Where an operation stands, and the target's own words."""
    words = operation.message
    if operation.waits_for:
        words = f"{words} (waits for {operation.waits_for})".strip()
    return f"{operation.state}  {words}".rstrip()


@contextmanager
def followed_together(total: int, *, silent: bool) -> Iterator[Watcher]:
    """Shows how so many changes go: one bar on a terminal, a line for each that ends elsewhere."""
    if silent or not total:
        yield _Silent()
    elif sys.stderr.isatty():
        with _bar(total) as watcher:
            yield watcher
    else:
        yield _LinePerChange()


@contextmanager
def _shown(silent: bool) -> Iterator[_Show]:
    if silent:
        yield _nothing
    elif sys.stderr.isatty():
        with _live_line() as show:
            yield show
    else:
        yield _Lines()


def _nothing(operation: Operation) -> None:
    del operation


class _Lines:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last = ""

    def __call__(self, operation: Operation) -> None:
        text = described(operation)
        if text != self._last:
            self._last = text
            note(f"{time.monotonic() - self._began:6.1f}s  {text}")


@contextmanager
def _live_line() -> Iterator[_Show]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")

        def show(operation: Operation) -> None:
            thing = f"{operation.kind} {operation.target}/{operation.deployment}"
            progress.update(task, description=clean(f"{thing}  {described(operation)}"))

        yield show


class _Silent:
    def begun(self, change: Change) -> None:
        pass

    def ended(self, change: Change) -> None:
        pass


class _LinePerChange(_Silent):
    def __init__(self) -> None:
        self._began = time.monotonic()

    def ended(self, change: Change) -> None:
        note(f"{time.monotonic() - self._began:6.1f}s  {change.address}  {change.kind}  {change.outcome}")


@contextmanager
def _bar(total: int) -> Iterator[Watcher]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("submitting", total=total)

        class Bar(_Silent):
            failed = 0

            def begun(self, change: Change) -> None:
                self._tell(change)

            def ended(self, change: Change) -> None:
                self.failed += change.error is not None
                self._tell(change)
                progress.advance(task)

            def _tell(self, change: Change) -> None:
                failed = f"{self.failed} failed  " if self.failed else ""
                progress.update(task, description=clean(f"{failed}{change.address}  {change.kind}  {change.outcome}"))

        yield Bar()
