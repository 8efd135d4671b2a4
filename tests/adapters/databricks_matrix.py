"""Every change of a deployment against every fault of the workspace, and what comes of it.

``python -m tests.adapters.databricks_matrix`` prints the table as Markdown.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from adapters.contract import Permanent, Progress, Spec, Temporary, Toward
from tests.adapters.databricks_target import TOKEN, VARIABLE, DatabricksHarness, Life
from tests.adapters.harness import through_json
from tests.fakes.databricks import Databricks

Kind = Literal["create", "update", "traffic", "rollback", "delete"]
KINDS: tuple[Kind, ...] = ("create", "update", "traffic", "rollback", "delete")
ATTEMPTS = 8  # as many temporary failures in a row as the engine takes
STEPS = 60  # a change that is not done by then has passed its deadline
WORDS = "the flux capacitor is missing"


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and how a change of each kind is to end: ``lands``, or ``undone``."""

    told: str
    faults: tuple[dict[str, Any], ...]
    ends: str = "lands"
    delete_ends: str = "lands"
    words: str = ""
    after_the_write: bool = False


READS, WRITES = ("GET", "LIST"), ("WRITE",)


def _each(kind: str, verbs: tuple[str, ...], count: int, **more: Any) -> tuple[dict[str, Any], ...]:
    return tuple({"kind": kind, "verb": verb, "count": count, "retry_after": 0, **more} for verb in verbs)


FAULTS: dict[str, Fault] = {
    "none": Fault("nothing", ()),
    "throttled": Fault("writes throttled 3 times", _each("throttled", WRITES, 3)),
    "reads_throttled": Fault("reads throttled 3 times", _each("throttled", READS, 3)),
    "unavailable": Fault("503, twice", _each("unavailable", WRITES, 2)),
    "dropped_before": Fault("connection dropped before anything was done", _each("drop_before", WRITES, 2)),
    "dropped_after": Fault("connection dropped after the change was made", _each("drop_after", WRITES, 1)),
    "conflict": Fault("conflict while updating, 3 times", _each("conflict", WRITES, 3)),
    "quota": Fault("over a quota, twice", _each("quota", WRITES, 2)),
    "stale": Fault("stale reads before the write, 3 times", _each("stale", READS, 3)),
    "stale_after": Fault("stale reads after the write, 3 times", _each("stale", READS, 3), after_the_write=True),
    "flaps": Fault("404 that flaps", _each("not_found", READS, 1)),
    "flaps_after": Fault("404 that flaps after the write", _each("not_found", READS, 3), after_the_write=True),
    "fails": Fault("the update fails", _each("fails", WRITES, 1, message=WORDS), "undone", words=WORDS),
    "canceled": Fault("the update is stopped", _each("canceled", WRITES, 1, message=WORDS), "undone", words=WORDS),
    "stuck": Fault("the update never ends", _each("stuck", WRITES, 1), "undone", words="deadline"),
    "denied": Fault("not allowed", _each("denied", WRITES, 1), "undone", "undone", words="403"),
    "refused": Fault("refused as invalid", _each("refused", WRITES, 1, message=WORDS), "undone", "undone", WORDS),
    "dropped_then_fails": Fault(
        "answer lost and the update fails",
        (*_each("drop_after", WRITES, 1), *_each("fails", WRITES, 2, message=WORDS)),
        "undone",
        words=WORDS,
    ),
}


@dataclass(frozen=True)
class Outcome:
    """How it ended: what was done, whether that is right, the words, and what was written for it."""

    ended: str
    is_right: bool
    message: str
    effects: dict[str, int]

    def __str__(self) -> str:
        return f"{self.ended}{'' if self.is_right else ' WRONG'}"


def run(target: DatabricksHarness, kind: Kind, name: str) -> Outcome:
    """Bring a change of this kind about while this fault happens, taking it back where it cannot be."""
    fault, workspace = FAULTS[name], target.workspace
    life, desired = _prepared(target, kind)
    before, written = life.serves(), life.effects()
    begun = Progress(through_json(life.plan(desired)), "again")
    while fault.after_the_write and life.effects() == written and begun.outcome == "again":
        begun = life.step(through_json(begun.handle))
    workspace.faults(*fault.faults)
    forward = _drive(life, begun, "forward")
    message, ended = forward.message, "landed" if forward.outcome == "done" else "failed"
    if ended == "failed":
        if name == "stuck" and kind != "create":
            _person_stops_it(life)
        workspace.faults()
        undone = _drive(life, Progress(forward.handle, "again"), "back")
        if undone.outcome == "landed" and kind == "delete":
            ended = "landed"
        elif undone.outcome == "done":
            ended = "failed and undone"
        message = f"{message}; {undone.message}"
    workspace.faults()
    wanted = (
        _serving(life, desired)
        if ended == "landed"
        else (life.serves() is None if before is None else _same(life, before))
    )
    effects = {
        key: count - written.get(key, 0) for key, count in life.effects().items() if count != written.get(key, 0)
    }
    expected = fault.delete_ends if kind == "delete" else fault.ends
    ends_right = ended == {"lands": "landed", "undone": "failed and undone"}[expected]
    told = not fault.words or expected == "lands" or fault.words in forward.message
    return Outcome(ended, bool(wanted and ends_right and told), message, effects)


def table(harness: DatabricksHarness) -> str:
    """All of it as a table in Markdown."""
    lines = ["| fault | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for name, fault in FAULTS.items():
        cells = [str(_fresh(harness, lambda kind=kind, name=name: run(harness, kind, name))) for kind in KINDS]
        lines.append(f"| {fault.told} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _fresh(harness: DatabricksHarness, call: Callable[[], Outcome]) -> Outcome:
    harness.workspace.reset()
    return call()


def _prepared(target: DatabricksHarness, kind: Kind) -> tuple[Life, Spec | None]:
    """A deployment on which a change of this kind can be made, and what it asks for."""
    life, a, b = Life(target), target.spec("a"), target.spec("b")
    if kind == "create":
        return life, a
    if kind == "traffic":
        life.settle(target.split(80, 20))
        return life, target.split(30, 70)
    life.settle(a)
    if kind == "rollback":
        life.settle(b)
        return life, a
    return life, None if kind == "delete" else b


def _drive(life: Life, progress: Progress, toward: Toward) -> Progress:
    """Look and step as the engine does; a failure of any kind ends as *failed* with its words."""
    attempts = 0
    for _ in range(STEPS):
        if progress.outcome != "again":
            return progress
        try:
            progress = life.step(through_json(progress.handle), toward)
            attempts = 0
        except Temporary as error:
            attempts += 1
            if attempts == ATTEMPTS:
                return Progress(progress.handle, "failed", message=error.message)
        except Permanent as error:
            return Progress(progress.handle, "failed", message=error.message)
    return Progress(progress.handle, "failed", message=f"past its deadline: {progress.message}")


def _person_stops_it(life: Life) -> None:
    """An update that is under way cannot be interrupted by any call: taking it back waits for this."""
    life.target.workspace.cancel(life.name)


def _serving(life: Life, desired: Spec | None) -> bool:
    there = life.serves()
    if desired is None:
        return there is None
    asked = life.plan(desired)["desired"]["rows"]
    return there is not None and sorted(asked) == sorted(_rows(there))


def _same(life: Life, before: Any) -> bool:
    there = life.serves()
    return there is not None and sorted(_rows(there)) == sorted(_rows(before))


def _rows(config: dict[str, Any]) -> list[list[Any]]:
    shares = {r["served_entity_name"]: r["traffic_percentage"] for r in config["traffic_config"]["routes"]}
    return [[e["name"], e["entity_name"], e["entity_version"], shares[e["name"]]] for e in config["served_entities"]]


def main() -> None:
    os.environ[VARIABLE] = TOKEN
    with Databricks(seconds=1, looks=1) as workspace:
        harness = DatabricksHarness(workspace, {"quota_seconds": 0.01})
        print(table(harness))
        harness.close()


if __name__ == "__main__":
    main()
