"""The way from what an InferenceService asks for to what it should ask for, one write at a time.

A shape is what the specification asks for: a base, maybe a second variant beside it, and that one's share. Neither
mode takes every change at once without a failed request:

* **Knative.** Traffic that the latest revision is to have goes to the latest *ready* one until it is up. So while a
  split is in force, another model comes in as the latest with a share, and is promoted once it is ready.
* **Standard.** KServe deletes a canary's Deployment as soon as its entry is gone, whatever the routes still say. So a
  canary leaves at 0 %, once the routes say so, and is promoted at 100 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.contract import JSON

SLOTS = ("second", "first")


@dataclass(frozen=True)
class Shape:
    """``base`` and ``side`` are a variant's name and digest. In Standard mode each has a slot, a Deployment's name."""

    base: tuple[str, str] | None
    side: tuple[str, str] | None = None
    share: int = 0
    base_slot: str | None = None
    side_slot: str | None = None


def shape_of(facts: JSON) -> Shape:
    """What it asks for now."""
    return Shape(_id(facts["base"]), _id(facts["side"]), facts["share"] or 0, facts["base_slot"], facts["side_slot"])


def list_of(shape: Shape) -> list[object]:
    """The shape as JSON has it."""
    pairs = (list(each) if each else None for each in (shape.base, shape.side))
    return [*pairs, shape.share, shape.base_slot, shape.side_slot]


def serves(facts: JSON, goal: JSON) -> bool:
    """Whether this goal is what it asks for, whichever of its variants is the base."""
    if facts["adopted"] is not None:
        return bool(facts["adopted"] == goal["content"])
    there, wanted = shape_of(facts), _shares(goal)
    if not frames(facts, goal):
        return False
    if len(wanted) == 1:
        return facts["share"] is None and there.side is None and there.base in wanted
    if there.side is None or there.base is None:
        return False
    return wanted == {there.base: 100 - there.share, there.side: there.share}


def frames(facts: JSON, goal: JSON) -> bool:
    """Whether its labels and annotations are those that the goal asks for."""
    return bool(facts["frame"] == goal["content"].partition(".")[2])


def needed(shape: Shape, mode: str) -> set[tuple[str, str] | None]:
    """The variants whose predictors its document holds; in Knative mode the base is a Revision that is there."""
    if shape.side is None:
        return {shape.base}
    return {shape.side} if mode == "Knative" else {shape.base, shape.side}


def following(facts: JSON, goal: JSON) -> Shape:
    """The next shape on the way to the goal; the one that is there where it has to be waited for."""
    wanted = _shares(goal)
    if len(wanted) == 1:
        return _towards_one(facts, next(iter(wanted)))
    return _towards_split(facts, wanted)


def _towards_one(facts: JSON, one: tuple[str, str]) -> Shape:
    there = shape_of(facts)
    if there.side is None and facts["share"] is None:
        return Shape(one, base_slot=there.base_slot)
    if facts["mode"] == "Knative":
        if there.side != one:
            # back to the base: it starts anew as the latest, without a share; another model takes over the share
            share = 0 if there.base == one else there.share
            return Shape(there.base, one, share)
        return Shape(one) if facts["side_ready"] else there
    if there.side == one:
        if facts["actual"] != 100:
            return _shared(there, 100)
        return Shape(one, base_slot=there.side_slot)
    if facts["actual"] != 0 or there.share != 0:
        return _shared(there, 0)
    return Shape(there.base, base_slot=there.base_slot)


def _towards_split(facts: JSON, wanted: dict[tuple[str, str], int]) -> Shape:
    there = shape_of(facts)
    first = next(iter(wanted))
    if there.side is None and facts["share"] is None:
        if there.base not in wanted:
            return Shape(first, base_slot=there.base_slot)
        other = next(each for each in wanted if each != there.base)
        if wanted[other] == 100 and facts["mode"] == "Knative":
            return Shape(other)  # with 100 % Knative forgets the revision before, and it could not come back
        if not facts["base_ready"] or not facts["settled"]:
            return there
        return Shape(there.base, other, wanted[other], there.base_slot, _free(there.base_slot))
    if there.base in wanted and there.side in wanted:
        share = wanted[there.side]
        if share == 100 and facts["mode"] == "Knative":
            return _towards_one(facts, there.side)
        return _shared(there, share)
    if there.base in wanted:
        other = next(each for each in wanted if each != there.base)
        if wanted[other] == 100 and facts["mode"] == "Knative":
            return _towards_one(facts, other)
        return Shape(there.base, other, wanted[other], there.base_slot, there.side_slot)
    return _towards_one(facts, there.side if there.side in wanted else first)


def _shared(there: Shape, share: int) -> Shape:
    return Shape(there.base, there.side, share, there.base_slot, there.side_slot)


def _free(slot: str | None) -> str:
    return next(each for each in SLOTS if each != slot)


def _shares(goal: JSON) -> dict[tuple[str, str], int]:
    traffic = goal["spec"]["traffic"]
    return {(name, digest): int(traffic.get(name, 0)) for name, digest in goal["digests"].items()}


def _id(found: list[str] | None) -> tuple[str, str] | None:
    return (found[0], found[1]) if found is not None else None
