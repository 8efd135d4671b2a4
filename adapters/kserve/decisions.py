"""What a step comes to: one write or none, and what the handle knows after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Handle, Progress
from adapters.kserve.shapes import Shape, list_of, shape_of


@dataclass(frozen=True)
class Effect:
    """The one write of a step: apply a shape, adopt, or delete."""

    verb: Literal["apply", "adopt", "delete"]
    goal: JSON | None = None
    shape: Shape | None = None


@dataclass(frozen=True)
class Decision:
    """What to write, if anything; without a write, ``progress`` is what the step came to."""

    progress: Progress
    effect: Effect | None = None


@dataclass(frozen=True)
class Pace:
    """Seconds between looks, and how many looks a split that is settled may take until it is in force."""

    look_seconds: float
    stalled_looks: int = 20


def accepted(handle: Handle, effect: Effect, before: JSON | None, shown: JSON | None) -> Handle:
    """The handle once the API server took the write: ``before`` was seen, ``shown`` is its answer."""
    handle = {**handle, "absent": 0, "late": 0, "stalled": 0}
    if effect.verb == "delete":
        return {**handle, "deleted": True}
    if shown is None:
        return handle
    metadata = shown["metadata"]
    sent = {
        "toward": handle["toward"],
        "uid": metadata.get("uid"),
        "generation": metadata.get("generation") or 0,
        # what was told of a failure before this write is no failure of it
        "mark": before["mark"] if before else None,
        "before": list_of(shape_of(before)) if before else None,
    }
    return {**handle, "sent": sent}


def route_of(handle: Handle, goal: JSON, facts: JSON) -> JSON:
    """Where predictions go: the host that traffic is split at, and by variant where it can be asked past the split."""
    protocols = set(goal["protocols"].values())
    return {
        "name": handle["name"],
        "url": facts["url"],
        "protocol": "v1" if protocols == {"v1"} else "v2",
        "variants": sorted(goal["digests"]),
        "pins": facts["pins"],
    }
