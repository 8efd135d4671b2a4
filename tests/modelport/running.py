"""Reading of what the command line printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from typer.testing import Result

Run = Callable[..., Result]


def documents(result: Result) -> list[Any]:
    """Every JSON document on standard output; anything else there fails the test."""
    found, rest = [], result.stdout.strip()
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found
