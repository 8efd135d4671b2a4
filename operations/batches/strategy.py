"""How a batch is released, decided from numbers alone: shares, waves, how many may be under way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Document = dict[str, Any]
Amount = int | str

DEFAULT: Document = {
    "max_concurrent": "100%",
    "max_failures": "10%",
    "on_failure": "stop",
    "on_conflict": "queue",
    "waves": [],
    "start": None,
    "end": None,
    "deadline_seconds": None,
}


def share(amount: Amount, total: int, *, up: bool) -> int:
    """A number, or a percentage of ``total`` rounded ``up`` or down; at least 1."""
    if isinstance(amount, int):
        return max(1, amount)
    part = float(amount.rstrip("%")) * total / 100
    return max(1, math.ceil(part - 1e-9) if up else math.floor(part + 1e-9))


def tolerance(strategy: Document, total: int) -> int | None:
    """The most items that may fail; None where failures never stop the batch."""
    if strategy["on_failure"] == "continue" or strategy["max_failures"] is None:
        return None
    return share(strategy["max_failures"], total, up=False)


def room(strategy: Document, total: int, *, active: int, failed: int) -> int:
    """How many more may be released now.

    Those under way may all fail, so they count against the tolerance: it can never be exceeded.
    """
    limit = share(strategy["max_concurrent"], total, up=True)
    most = tolerance(strategy, total)
    if most is not None:
        limit = min(limit, most - failed)
    return max(0, limit - active)


def waves(strategy: Document, labels: Sequence[Mapping[str, str]]) -> list[int]:
    """The wave of each item, given each item's labels: by label, then by size, what is left in a last one.

    A wave that gets no item keeps its number and is passed at once.
    """
    total = len(labels)
    assigned: list[int | None] = [None] * total
    for wave, asked in enumerate(strategy["waves"]):
        wanted = asked.get("labels") or {}
        left = [
            place
            for place in range(total)
            if assigned[place] is None and all(labels[place].get(key) == value for key, value in wanted.items())
        ]
        size = asked.get("size")
        for place in left if size is None else left[: share(size, total, up=True)]:
            assigned[place] = wave
    last = len(strategy["waves"])
    return [last if wave is None else wave for wave in assigned]


def rules_of_wave(strategy: Document, wave: int) -> Document:
    """What holds between this wave and the next: ``soak_seconds`` and ``approval``."""
    asked = strategy["waves"][wave] if wave < len(strategy["waves"]) else {}
    return {"soak_seconds": asked.get("soak_seconds") or 0.0, "approval": bool(asked.get("approval"))}
