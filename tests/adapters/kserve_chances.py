"""Lives of deployments under faults and crashes at random: whatever happens, what is recorded is what serves.

``python -m tests.adapters.kserve_chances SEED LIVES [Standard|Knative|plain ...]`` lives so many and prints what went
wrong; the same seed gives the same lives.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from adapters.contract import AdapterError, Fence, Handle, Permanent, Progress, Spec, Temporary, Toward
from tests.adapters.harness import through_json
from tests.adapters.kserve_matrix import WAYS, Target, Way, harness_of
from tests.adapters.kserve_target import TOKEN, VARIABLE, Life, variant
from tests.fakes.kubernetes import Kubernetes

READS = ("stale", "not_found")
FAULTS = ("throttled", "unavailable", "drop_before", "drop_after", "conflict", "webhook", *READS)
OPERATIONS, STEPS = 6, 120


class Chance:
    """One deployment's life on one target."""

    def __init__(self, target: Target, way: Way, dice: random.Random) -> None:
        self.target, self.way, self.dice, self.life = target, way, dice, Life(target)
        self.ended: Counter[str] = Counter()

    def live(self) -> Iterator[str]:
        """Some changes one after the other; what is wrong after each of them."""
        for _ in range(OPERATIONS):
            desired = self._desired()
            if desired is not None or self.life.current is not None:
                yield from self._change(desired)

    def _change(self, desired: Spec | None) -> Iterator[str]:
        before, life = self.life.current, self.life
        ended = self._drive(through_json(life.plan(desired)), "forward")
        self.ended[ended.outcome] += 1
        if ended.outcome == "failed":
            if "broken" not in str(desired):
                yield f"{_shares(before)} to {_shares(desired)} failed for no reason: {ended.message}"
            ended = self._drive(ended.handle, "back")
        if ended.outcome == "failed":
            yield f"{_shares(before)} to {_shares(desired)} was not taken back: {ended.message}"
        kept = ended.outcome == "done" and ended.handle["toward"] == "back"
        life.current, life.placed = before if kept else desired, ended.handle
        yield from self._wrong(f"{_shares(before)} to {_shares(desired)}: {ended.outcome}, {ended.message}")

    def _wrong(self, told: str) -> Iterator[str]:
        life, target = self.life, self.target
        serves = {model: share for model, share in target.models(life.name).items() if share}
        if serves != _shares(life.current):
            yield f"{told}; on record is {_shares(life.current)}, and {serves} serves"
        left, wanted = target.things(life.name), 0
        if life.current is not None:
            wanted = {"plain": 2, "Knative": 1, "Standard": 1 + len(life.current.variants)}[self.way]
            observed = {each.name: each.content for each in life.adapter.observe_all()}
            if observed.get(life.name) != life.plan(life.current)["content"]:
                yield f"{told}; it is shown as drifted"
        if len(left) != wanted:
            yield f"{told}; there are {sorted(left)}"

    def _drive(self, handle: Handle, toward: Toward) -> Progress:
        """As the engine does, with its luck; a handle is forgotten now and then, as after a crash."""
        for _ in range(STEPS):
            self._tempt()
            adapter = self.target.open() if self.dice.random() < 0.1 else self.life.adapter
            try:
                seen = adapter.look_many({"one": handle})["one"]
                if isinstance(seen, AdapterError):
                    raise seen
                progress = adapter.step(through_json(handle), seen, toward, Fence(1))
            except Temporary:
                continue
            except Permanent as error:
                progress = Progress(handle, "failed", message=error.message)
            if progress.outcome != "again":
                self.target.cluster.faults()
                return progress
            if self.dice.random() < 0.85:
                handle = through_json(progress.handle)
        self.target.cluster.faults()
        return Progress(handle, "failed", message="past its deadline")

    def _tempt(self) -> None:
        if self.dice.random() < 0.25:
            kind = self.dice.choice(FAULTS)
            verb = self.dice.choice(("GET", "LIST") if kind in READS else ("WRITE", "GET", "LIST", "*"))
            count = self.dice.choice((1, 2))
            self.target.cluster.faults({"kind": kind, "verb": verb, "count": count, "retry_after": 0})

    def _desired(self) -> Spec | None:
        chance, (one, other) = self.dice.random(), self.dice.sample("abc", 2)
        if chance < 0.12:
            return None
        if chance < 0.3:
            return self.target.broken()
        if self.way == "plain":
            return self.target.spec(one, replicas=self.dice.choice((1, 2, 3)))
        if chance < 0.6:
            return Spec((variant(one, one),), {one: 100})
        share = self.dice.choice((0, 10, 50, 90, 100))
        return Spec((variant(one, one), variant(other, other)), {one: share, other: 100 - share})


def lives(cluster: Kubernetes, seed: int, count: int, ways: Sequence[Way] = WAYS) -> tuple[list[str], Counter[str]]:
    """What went wrong in so many lives, and how their changes ended."""
    wrong, ended = [], Counter[str]()
    for number in range(count):
        way = ways[number % len(ways)]
        dice = random.Random(f"{seed}-{number}-{way}")
        target = harness_of(cluster, way)
        chance = Chance(target, way, dice)
        wrong += [f"seed {seed}, life {number}, {way}: {told}" for told in chance.live()]
        ended += chance.ended
        target.close()
    return wrong, ended


def _shares(spec: Spec | None) -> dict[str, int]:
    if spec is None:
        return {}
    return {each.model_uri: spec.traffic[each.name] for each in spec.variants if spec.traffic[each.name]}


def main(seed: int, count: int, ways: Sequence[Way]) -> None:
    os.environ[VARIABLE] = TOKEN
    with Kubernetes(seconds=1, looks=2) as cluster:
        wrong, ended = lives(cluster, seed, count, ways or WAYS)
    print(*wrong, f"{len(wrong)} wrong; changes: {dict(ended)}", sep="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])  # type: ignore[arg-type]
