"""What the command line prints: JSON for scripts, tables for people, and nothing that a terminal would obey."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer

Rows = Sequence[Sequence[str]]


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_line(document: Any) -> None:
    """One line of JSON, sent at once."""
    typer.echo(json.dumps(document, ensure_ascii=False))
    sys.stdout.flush()


def print_items(documents: Iterable[Any]) -> None:
    """A list, shaped as the API's own lists are; all pages in one."""
    print_json({"items": list(documents), "next_page_token": None})


def print_table(headings: Sequence[str], rows: Rows, *, empty: str) -> None:
    """A table; piped, it is aligned text, one row a line and nothing cut off. Without rows, ``empty`` is said aside."""
    shown = [[clean(cell) for cell in row] for row in rows]
    if not shown:
        note(empty)
    elif sys.stdout.isatty():
        _print_rich_table(headings, shown)
    else:
        _print_aligned([[heading.upper() for heading in headings], *shown])


def print_fields(fields: Mapping[str, str]) -> None:
    """Names and values, one a line; what is empty is left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value:
            typer.echo(f"{name.ljust(width)}  {clean(value)}")


def say(text: str) -> None:
    """A line of the result, for people."""
    typer.echo(clean(text))


def note(text: str) -> None:
    """A line beside the result: progress, hints, errors. On standard error."""
    typer.echo(clean(text), err=True)


def clean(text: str) -> str:
    """Without control characters: what targets and models say is shown, never obeyed by the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def ago(moment: datetime | None) -> str:
    """How long ago, in the largest unit that fits."""
    return "" if moment is None else duration((datetime.now(UTC) - moment).total_seconds())


def duration(seconds: float) -> str:
    """A length of time in the largest unit that fits: ``42s``, ``5m``, ``3h``, ``12d``."""
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _print_rich_table(headings: Sequence[str], rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console().print(table)


def _print_aligned(rows: Rows) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
