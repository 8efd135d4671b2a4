"""Every change of a deployment against every fault of the workspace, and what comes of it.

``python -m tests.adapters.azureml_matrix`` prints the table as Markdown.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from adapters.contract import Permanent, Progress, Spec, Temporary, Toward
from tests.adapters.azureml_target import TOKEN, VARIABLE, AzureMlHarness, Life
from tests.adapters.harness import through_json
from tests.fakes.azureml import AzureMl

Kind = Literal["create", "update", "traffic", "rollback", "delete"]
KINDS: tuple[Kind, ...] = ("create", "update", "traffic", "rollback", "delete")
ATTEMPTS = 8  # as many temporary failures in a row as the engine takes
STEPS = 80  # a change that is not done by then has passed its deadline
WORDS = "the flux capacitor is missing"


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and how a change is to end: ``lands`` or ``undone``, by kind where ``ends`` is not for all.

    ``after`` is the write that has been made by then.
    """

    told: str
    faults: tuple[dict[str, Any], ...]
    ends: str = "lands"
    but: tuple[tuple[Kind, str], ...] = ()
    words: str = ""
    after: str = ""


def _each(kind: str, count: int | None, *verbs: str, **more: Any) -> tuple[dict[str, Any], ...]:
    return tuple({"kind": kind, "verb": verb, "count": count, "retry_after": 0, **more} for verb in verbs)


# a change of traffic alone makes no deployment, and a delete makes nothing
NO_GREEN: tuple[tuple[Kind, str], ...] = (("traffic", "lands"), ("delete", "lands"))
DELETE_LANDS: tuple[tuple[Kind, str], ...] = (("delete", "lands"),)
FAULTS: dict[str, Fault] = {
    "none": Fault("nothing", ()),
    "throttled": Fault("writes throttled 3 times", _each("throttled", 3, "WRITE")),
    "reads_throttled": Fault("reads throttled 3 times", _each("throttled", 3, "READ")),
    "unavailable": Fault("503, twice", _each("unavailable", 2, "WRITE")),
    "dropped_before": Fault("connection dropped before anything was done", _each("drop_before", 2, "WRITE")),
    "dropped_after": Fault("connection dropped after the change was made", _each("drop_after", 1, "WRITE")),
    "every_answer": Fault(
        "the answer to the first write of every kind lost",
        _each("drop_after", 1, "ENDPOINT", "DEPLOYMENT", "DROP", "DELETE"),
    ),
    "conflict": Fault("409 although Succeeded was seen, 3 times", _each("conflict", 3, "WRITE")),
    "quota": Fault("over a quota, twice", _each("quota", 2, "WRITE")),
    "stale": Fault("stale reads before the write, 3 times", _each("stale", 3, "GET", "LIST", "DEPLOYMENTS")),
    "stale_after": Fault(
        "stale reads after the write, 3 times", _each("stale", 3, "GET", "LIST", "DEPLOYMENTS"), after="WRITE"
    ),
    "stale_switch": Fault(
        "stale reads after the switch, 3 times", _each("stale", 3, "GET", "LIST", "DEPLOYMENTS"), after="SWITCH"
    ),
    "flaps": Fault("404 that flaps", _each("not_found", 1, "GET", "LIST", "DEPLOYMENTS")),
    "flaps_after": Fault("404 that flaps after the write", _each("not_found", 3, "GET", "LIST"), after="WRITE"),
    "no_operation": Fault("operations cannot be read", _each("denied", None, "OPERATION")),
    "fails": Fault(
        "the new deployment fails", _each("fails", 1, "DEPLOYMENT", message=WORDS), "undone", NO_GREEN, WORDS
    ),
    "canceled": Fault(
        "the new deployment is stopped", _each("canceled", 1, "DEPLOYMENT", message=WORDS), "undone", NO_GREEN, WORDS
    ),
    "mute": Fault("the new deployment does not answer", _each("broken", None, "SCORE"), "undone", NO_GREEN, "500"),
    "switch_fails": Fault(
        "the switch fails", _each("fails", 1, "ENDPOINT", message=WORDS), "undone", DELETE_LANDS, WORDS, "CHECK"
    ),
    "reverts": Fault(
        "the switch succeeds, and what was before serves",
        _each("reverts", 1, "ENDPOINT"),
        "undone",
        DELETE_LANDS,
        "changed by somebody else",
        "CHECK",
    ),
    "old_stays": Fault("the old deployment cannot be deleted", _each("fails", None, "DROP", message=WORDS)),
    "delete_fails": Fault("deleting the endpoint fails, twice", _each("fails", 2, "DELETE", message=WORDS)),
    "stuck": Fault("the first write never ends", _each("stuck", 1, "WRITE"), "undone", DELETE_LANDS, "deadline"),
    "denied": Fault("not allowed", _each("denied", 1, "WRITE"), "undone", words="403"),
    "refused": Fault("refused as invalid", _each("refused", 1, "WRITE", message=WORDS), "undone", words=WORDS),
    "dropped_then_fails": Fault(
        "answer lost and the new deployment fails",
        (*_each("drop_after", 1, "DEPLOYMENT"), *_each("fails", 2, "DEPLOYMENT", message=WORDS)),
        "undone",
        NO_GREEN,
        WORDS,
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


def expected(name: str, kind: Kind) -> str:
    """How a change of this kind is to end: ``lands`` or ``undone``."""
    return dict(FAULTS[name].but).get(kind, FAULTS[name].ends)


def run(target: AzureMlHarness, kind: Kind, name: str) -> Outcome:
    """Bring a change of this kind about while this fault happens, taking it back where it cannot be."""
    fault, workspace = FAULTS[name], target.workspace
    life, desired = _prepared(target, kind)
    before, written = life.serves(), life.effects()
    begun = _led_up(life, Progress(through_json(life.plan(desired)), "again"), fault.after, written)
    workspace.faults(*fault.faults)
    forward = _drive(life, begun, "forward")
    message, ended = forward.message, "landed" if forward.outcome == "done" else "failed"
    if ended == "failed":
        workspace.faults()
        if name == "stuck" and life.serves() is not None:
            # what is under way cannot be interrupted by any call: taking it back waits until it ends
            workspace.cancel(life.name)
        undone = _drive(life, Progress(forward.handle, "again"), "back")
        if undone.outcome == "landed" and kind == "delete":
            ended = "landed"
        elif undone.outcome == "done":
            ended = "failed and undone"
        message = f"{message}; {undone.message}"
    workspace.faults()
    left = [leftover.name for leftover in forward.leftovers]
    there = life.serves()
    wanted = _serving(life, desired, there, left) if ended == "landed" else there == before
    effects = {key: count - written.get(key, 0) for key, count in life.effects().items()}
    ends = expected(name, kind)
    ends_right = ended == {"lands": "landed", "undone": "failed and undone"}[ends]
    told = not fault.words or ends == "lands" or fault.words in forward.message
    return Outcome(
        ended + (", the old one left behind" if left else ""),
        bool(wanted and ends_right and told),
        message,
        {key: count for key, count in effects.items() if count},
    )


def table(harness: AzureMlHarness) -> str:
    """All of it as a table in Markdown."""
    lines = ["| fault | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for name, fault in FAULTS.items():
        cells = [str(_fresh(harness, lambda kind=kind, name=name: run(harness, kind, name))) for kind in KINDS]
        lines.append(f"| {fault.told} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _fresh(harness: AzureMlHarness, call: Callable[[], Outcome]) -> Outcome:
    harness.reset()
    return call()


def _prepared(target: AzureMlHarness, kind: Kind) -> tuple[Life, Spec | None]:
    """A deployment on which a change of this kind can be made, and what it asks for."""
    life, a, b = Life(target), target.spec("a"), target.spec("b")
    given: dict[Kind, Spec] = {"update": a, "traffic": target.split(80, 20), "rollback": b, "delete": a}
    if kind in given:
        life.given(given[kind])
    wanted: dict[Kind, Spec | None] = {"create": a, "update": b, "traffic": target.split(30, 70), "rollback": a}
    return life, wanted.get(kind)


def _led_up(life: Life, begun: Progress, after: str, written: dict[str, int]) -> Progress:
    """The change at the point where the fault sets in: after its first write, its checks, or the switch of traffic."""

    def is_there() -> bool:
        done = life.effects()
        if after == "WRITE":
            return done != written
        if after == "SWITCH":
            return done.get("traffic", 0) > written.get("traffic", 0)
        names = begun.handle["desired"]["bodies"] if begun.handle["desired"] else {}
        serving = (life.serves() or {"traffic": {}})["traffic"]
        return set(names) <= {*begun.handle["checked"], *serving}

    while after and not is_there() and begun.outcome == "again":
        begun = life.step(through_json(begun.handle))
    return begun


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


def _serving(life: Life, desired: Spec | None, there: dict[str, Any] | None, left: list[str]) -> bool:
    if desired is None or there is None:
        return desired is None and there is None
    goal = life.plan(desired)["desired"]
    traffic = {name: share for name, share in goal["traffic"].items() if share}
    return there["traffic"] == traffic and set(there["models"]) == {*goal["bodies"], *left}


def main() -> None:
    os.environ[VARIABLE] = TOKEN
    with AzureMl(seconds=1, looks=1) as workspace:
        harness = AzureMlHarness(workspace, {"quota_seconds": 0.01})
        print(table(harness))
        harness.close()


if __name__ == "__main__":
    main()
