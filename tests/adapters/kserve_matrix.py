"""Every change of a deployment against every fault of the cluster, and what comes of it, with KServe and without.

``python -m tests.adapters.kserve_matrix`` prints a table for each of KServe's modes and one for plain Kubernetes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from adapters.contract import Permanent, Progress, Spec, Temporary, Toward
from tests.adapters.harness import through_json
from tests.adapters.kserve_target import TOKEN, VARIABLE, KServeHarness, Life
from tests.adapters.kubernetes_target import KubernetesHarness
from tests.fakes.kubernetes import Kubernetes

Kind = Literal["create", "update", "traffic", "rollback", "delete"]
Way = Literal["Standard", "Knative", "plain"]
KINDS: tuple[Kind, ...] = ("create", "update", "traffic", "rollback", "delete")
WAYS: tuple[Way, ...] = ("Standard", "Knative", "plain")
ATTEMPTS = 8  # as many temporary failures in a row as the engine takes
STEPS = 30  # a change that is not done by then has passed its deadline
WORDS = "the flux capacitor is missing"
Target = KServeHarness | KubernetesHarness


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and how a change of each kind is to end: ``lands``, or ``undone``.

    A change of traffic starts nothing that could fail to start, so that it ends as ``traffic_ends`` says.
    """

    told: str
    faults: tuple[dict[str, Any], ...]
    ends: str = "lands"
    delete_ends: str = "lands"
    words: str = ""
    after_the_write: bool = False
    traffic_ends: str | None = None
    create_ends: str | None = None

    def expected(self, kind: Kind, way: Way) -> str:
        if kind == "delete":
            return self.delete_ends
        if kind == "traffic" and self.traffic_ends:
            return self.traffic_ends
        if kind == "create" and self.create_ends:
            return self.create_ends
        # what somebody puts back without KServe is a Service, and it is put right
        return "lands" if way == "plain" and self.told == ROLLED_BACK else self.ends


READS, WRITES = ("GET", "LIST"), ("WRITE",)
ROLLED_BACK = "somebody puts back what was before"


def _each(kind: str, verbs: tuple[str, ...], count: int | None, **more: Any) -> tuple[dict[str, Any], ...]:
    return tuple({"kind": kind, "verb": verb, "count": count, "retry_after": 0, **more} for verb in verbs)


FAULTS: dict[str, Fault] = {
    "none": Fault("nothing", ()),
    "throttled": Fault("writes throttled 3 times", _each("throttled", WRITES, 3)),
    "reads_throttled": Fault("reads throttled 3 times", _each("throttled", READS, 3)),
    "unavailable": Fault("503, twice", _each("unavailable", WRITES, 2)),
    "webhook": Fault("a webhook cannot be called, twice", _each("webhook", WRITES, 2)),
    "dropped_before": Fault("connection dropped before anything was done", _each("drop_before", WRITES, 2)),
    "dropped_after": Fault("connection dropped after the change was made", _each("drop_after", WRITES, 1)),
    "conflict": Fault("stale resourceVersion (409), 3 times", _each("conflict", WRITES, 3)),
    "quota": Fault("over a quota, twice", _each("quota", WRITES, 2)),
    "stale": Fault("stale reads before the write, 3 times", _each("stale", READS, 3)),
    "stale_after": Fault("stale reads after the write, 3 times", _each("stale", READS, 3), after_the_write=True),
    "flaps": Fault("404 that flaps", _each("not_found", READS, 1)),
    "flaps_after": Fault("404 that flaps after the write", _each("not_found", READS, 3), after_the_write=True),
    "fails": Fault(
        "the model does not load", _each("fails", ("APPLY",), 1, message=WORDS), "undone", "lands", WORDS,
        traffic_ends="lands",
    ),
    "rolls_back": Fault(
        ROLLED_BACK, _each("rolls_back", ("APPLY",), 1), "undone", "lands", "put back by somebody else",
        create_ends="lands",
    ),
    "stuck": Fault("what is asked for never ends", _each("stuck", ("APPLY",), 1), "undone", words=""),
    "denied": Fault("not allowed", _each("denied", WRITES, 1), "undone", "undone", words="403"),
    "refused": Fault("refused by a webhook", _each("refused", WRITES, 1, message=WORDS), "undone", "undone", WORDS),
    "dropped_then_fails": Fault(
        "answer lost and the model does not load",
        (*_each("drop_after", WRITES, 1), *_each("fails", ("APPLY",), 2, message=WORDS)), "undone", "lands", WORDS,
        traffic_ends="lands",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How it ended: what was done, whether that is right, the words, and what was written for it."""

    ended: str
    is_right: bool
    message: str
    effects: dict[str, int]

    def __str__(self) -> str:
        return f"{self.ended}{'' if self.is_right else ' WRONG'}"


def run(target: Target, way: Way, kind: Kind, name: str) -> Outcome:
    """Bring a change of this kind about while this fault happens, taking it back where it cannot be."""
    fault, cluster = FAULTS[name], target.cluster
    life, desired = _prepared(target, kind)
    before, written = target.models(life.name), life.effects()
    begun = Progress(through_json(life.plan(desired)), "again")
    while fault.after_the_write and life.effects() == written and begun.outcome == "again":
        begun = life.step(through_json(begun.handle))
    cluster.faults(*fault.faults)
    forward = _drive(life, begun, "forward")
    message, ended = forward.message, "landed" if forward.outcome == "done" else "failed"
    if ended == "failed":
        cluster.faults()
        undone = _drive(life, Progress(forward.handle, "again"), "back")
        if undone.outcome == "landed" and kind == "delete":
            ended = "landed"
        elif undone.outcome == "done":
            ended = "failed and undone"
        message = f"{message}; {undone.message}"
    cluster.faults()
    there = target.models(life.name)
    effects = {
        key: count - written.get(key, 0) for key, count in life.effects().items() if count != written.get(key, 0)
    }
    expected = fault.expected(kind, way)
    ends_right = ended == {"lands": "landed", "undone": "failed and undone"}[expected]
    serves_right = there == (_wanted(desired) if ended == "landed" else before)
    told = not fault.words or expected == "lands" or fault.words in forward.message
    return Outcome(ended, bool(serves_right and ends_right and told), message, effects)


def harness_of(cluster: Kubernetes, way: Way) -> Target:
    """A target of this way on the cluster, which is as new after it."""
    cluster.reset()
    if way == "plain":
        return KubernetesHarness(cluster, {"drain_seconds": 0, "failure_log_lines": 0})
    cluster.conduct(mode=way)
    return KServeHarness(cluster)


def kinds(way: Way) -> tuple[Kind, ...]:
    """Without KServe there is no traffic to split."""
    return tuple(kind for kind in KINDS if kind != "traffic" or way != "plain")


def table(cluster: Kubernetes, way: Way) -> str:
    """All of it as a table in Markdown."""
    lines = [f"| {way} | " + " | ".join(kinds(way)) + " |", "|---" * (len(kinds(way)) + 1) + "|"]
    for name, fault in FAULTS.items():
        cells = [str(run(harness_of(cluster, way), way, kind, name)) for kind in kinds(way)]
        lines.append(f"| {fault.told} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _prepared(target: Target, kind: Kind) -> tuple[Life, Spec | None]:
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


def _wanted(desired: Spec | None) -> dict[str, int]:
    if desired is None:
        return {}
    return {variant.model_uri: desired.traffic[variant.name] for variant in desired.variants}


def main() -> None:
    os.environ[VARIABLE] = TOKEN
    with Kubernetes(seconds=1, looks=2) as cluster:
        print("\n\n".join(table(cluster, way) for way in WAYS))


if __name__ == "__main__":
    main()
