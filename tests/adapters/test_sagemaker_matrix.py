"""Every verb of the ``sagemaker`` target with every fault of SageMaker: where it ends, and that nothing is left behind.

``python -m tests.adapters.test_sagemaker_matrix`` runs all of it and prints the table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.contract import AdapterError, Fence, Handle, Permanent, Progress, Seen, Spec, Temporary, Toward
from tests.adapters.harness import look, through_json
from tests.adapters.sagemaker_target import ACCESS_KEY, SECRET, Life, SageMakerHarness
from tests.fakes.sagemaker import SageMaker

WORDS = "no room left"
PATIENCE = 80

DONE, BACK, STAYS = "serves the new", "serves the old, says why", "fails, all stays"
GONE, NOTHING, AGAIN = "is gone", "is taken back, says why", "fails, goes at the next try"

# what the call that switches is called, and the end where SageMaker does its part
VERBS = {
    "create": ("CreateEndpoint", DONE),
    "update": ("UpdateEndpoint", DONE),
    "traffic": ("UpdateEndpointWeightsAndCapacities", DONE),
    "rollback": ("UpdateEndpoint", DONE),
    "delete": ("DeleteEndpoint", GONE),
}


@dataclass(frozen=True)
class Fault:
    """What is wrong: before anything was done, or (``late``) once the switching call was taken."""

    kind: str
    action: str = "{switch}"
    count: int | None = 1
    late: bool = False


FAULTS = {
    "throttled 3 times": Fault("throttled", "*", 3),
    "503 3 times": Fault("unavailable", "*", 3),
    "over quota, then not": Fault("quota", "{switch}", 2),
    "dropped before": Fault("drop_before", "*"),
    "every write dropped before, once": Fault("drop_before", "{writes}"),
    "dropped after the change": Fault("drop_after"),
    "every write dropped after it was made": Fault("drop_after", "{writes}"),
    "conflict while updating": Fault("conflict", "{switch}", 2),
    "what was made does not show yet": Fault("unseen", "*", 2),
    "rolls back": Fault("rolls_back"),
    "fails": Fault("fails"),
    "stuck": Fault("stuck"),
    "stale reads after the change": Fault("stale", "DescribeEndpoint", 3, late=True),
    "stale reads from the start": Fault("stale", "DescribeEndpoint", 2),
    "404 that flaps after the change": Fault("not_found", "DescribeEndpoint", 3, late=True),
    "404 that flaps from the start": Fault("not_found", "DescribeEndpoint", 2),
    "stale listings after the change": Fault("stale", "ListEndpoints", 3, late=True),
    "stale listings from the start": Fault("stale", "ListEndpoints", 2),
    "missing from listings after the change": Fault("not_found", "ListEndpoints", 3, late=True),
    "missing from listings from the start": Fault("not_found", "ListEndpoints", 2),
    "denied": Fault("denied", "{switch}", None),
}

EXPECTED = {(verb, fault): end for verb, (_, end) in VERBS.items() for fault in FAULTS}
for _verb, _end in (("create", NOTHING), ("update", BACK), ("traffic", BACK), ("rollback", BACK), ("delete", AGAIN)):
    EXPECTED |= {(_verb, fault): _end for fault in ("rolls back", "fails", "stuck")}
    EXPECTED[_verb, "denied"] = STAYS if _verb == "delete" else _end


class Cell:
    """One deployment, one fault, and the loop that the engine is."""

    def __init__(self, target: SageMakerHarness, verb: str, fault: Fault) -> None:
        self.life = Life(target)
        self.target, self.verb, self.fault = target, verb, fault
        self.switch, _ = VERBS[verb]
        self.old, self.new = self._revisions()

    def run(self) -> str:
        """Bring the verb about under the fault, and tell where it ended, by the target's own account."""
        fake = self.target.fake
        handle = self.life.plan(self.new)
        if not self.fault.late:
            self._inject()
        progress = self._drive(handle, "forward")
        words = progress.message if progress is not None else ""
        if progress is not None and progress.outcome == "done":
            fake.faults()
            return self._judge(self.new, GONE if self.new is None else DONE)
        if self.fault.kind == "stuck":
            assert self._drive(self._handle, "back") is None, "what is stuck cannot be taken back"
            fake.release(self.life.name, words=WORDS)
            words = WORDS
        assert any(each in words for each in (WORDS, "AccessDenied")), f"it does not say why: {words!r}"
        if self.verb == "delete":
            fake.faults()
            if self.fault.kind == "denied":
                return self._judge(self.old, STAYS)
            assert self.life.served() is not None
            self.life.settle(None)
            return self._judge(None, AGAIN)
        undone = self._drive(self._handle, "back")
        fake.faults()
        assert undone is not None
        assert undone.outcome == "done", undone
        return self._judge(self.old, NOTHING if self.old is None else BACK)

    def _revisions(self) -> tuple[Spec | None, Spec | None]:
        a, b = self.target.spec("a"), self.target.spec("b")
        if self.verb == "create":
            return None, a
        if self.verb == "traffic":
            self.life.settle(self.target.split(80, 20))
            return self.life.current, self.target.split(30, 70)
        self.life.settle(a)
        if self.verb == "rollback":
            self.life.settle(b)
            return b, a
        return a, (None if self.verb == "delete" else b)

    def _inject(self) -> None:
        count, kind, words = self.fault.count, self.fault.kind, WORDS
        if self.fault.action == "{writes}":
            actions = ["CreateModel", "CreateEndpointConfig", self.switch, "DeleteEndpointConfig", "DeleteModel"]
        else:
            actions = [self.fault.action.format(switch=self.switch)]
        self.target.fake.faults(*({"kind": kind, "action": a, "count": count, "message": words} for a in actions))

    def _drive(self, handle: Handle, toward: Toward) -> Progress | None:
        """None where it did not end within so many steps; what it raises for good is a failed progress."""
        adapter, waiting = self.life.adapter, self.fault.late and toward == "forward"
        for _ in range(PATIENCE):
            switched = self.target.fake.counts()["effects"].get(self.switch, 0)
            try:
                progress = adapter.step(handle, self._look(handle), toward, Fence(1))
            except Temporary:
                continue
            except Permanent as error:
                self._handle = handle
                return Progress(handle, "failed", message=error.message)
            handle = through_json(progress.handle)
            if progress.outcome != "again":
                self._handle = handle
                return progress
            if waiting and self.target.fake.counts()["effects"].get(self.switch, 0) > switched:
                self._inject()
                waiting = False
        self._handle = handle
        return None

    def _look(self, handle: Handle) -> Seen:
        """Alone, or in the company that makes it a listing."""
        if self.fault.action != "ListEndpoints":
            return look(self.target, self.life.adapter, handle)
        others = {f"other-{number}": {**handle, "name": f"other-{number}"} for number in range(3)}
        seen = self.life.adapter.look_many({"one": handle, **others})["one"]
        if isinstance(seen, AdapterError):
            raise seen
        return seen

    def _judge(self, spec: Spec | None, end: str) -> str:
        """``end``, if that is true: what is there is what this revision is made of, once, and no more."""
        there = self.life.served()
        if spec is None:
            assert there is None
            assert self.life.things() == set()
            return end
        assert there is not None
        assert there["EndpointStatus"] == "InService"
        goal = self.life.plan(spec)["desired"]
        weights = {each["VariantName"]: each["CurrentWeight"] for each in there["ProductionVariants"]}
        assert weights == goal["traffic"]
        config = there["EndpointConfigName"]
        assert config.rsplit("-", 1)[0] == goal["config"].rsplit("-", 1)[0]
        expected = {f"endpoints/{self.life.name}", f"configs/{config}", *(f"models/{name}" for name in goal["models"])}
        assert self.life.things() == expected
        seen: Any = {each.name: each for each in self.target.open().observe_all()}[self.life.name]
        assert (seen.uid, seen.content) == (f"uid-{self.life.name}", goal["content"])
        return end


@pytest.fixture(scope="module")
def fake() -> Iterator[SageMaker]:
    with SageMaker(looks=2) as running:
        yield running


@pytest.fixture
def target(fake: SageMaker, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerHarness]:
    fake.reset()
    monkeypatch.setenv("SAGEMAKER_TEST_KEYS", f"{ACCESS_KEY}:{SECRET}")
    harness = SageMakerHarness(fake)
    yield harness
    harness.close()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_every_verb_ends_well(target: SageMakerHarness, verb: str, fault: str) -> None:
    assert Cell(target, verb, FAULTS[fault]).run() == EXPECTED[verb, fault]


def test_what_cannot_be_removed_is_a_leftover_and_goes_with_the_next_operation(target: SageMakerHarness) -> None:
    life = Life(target)
    life.settle(target.spec("a"))
    target.fake.faults({"kind": "denied", "action": "DeleteModel", "count": None})
    updated = life.settle(target.spec("b"))
    assert [(each.kind, "AccessDenied" in each.why) for each in updated.leftovers] == [("model", True)]
    target.fake.faults()
    assert life.settle(target.spec("b")).leftovers == ()
    assert len(life.things()) == 3


def test_denied_everywhere_says_so(target: SageMakerHarness) -> None:
    target.fake.faults({"kind": "denied", "action": "*", "count": None})
    with pytest.raises(AdapterError, match="AccessDenied"):
        target.open().check()


def table() -> Iterator[str]:
    """The matrix as it comes out, in Markdown."""
    os.environ["SAGEMAKER_TEST_KEYS"] = f"{ACCESS_KEY}:{SECRET}"
    yield f"| fault | {' | '.join(VERBS)} |"
    yield f"|{'---|' * (len(VERBS) + 1)}"
    with SageMaker(looks=2) as fake:
        for name, fault in FAULTS.items():
            ends = []
            for verb in VERBS:
                fake.reset()
                target = SageMakerHarness(fake)
                ends.append(Cell(target, verb, fault).run())
                target.close()
                assert ends[-1] == EXPECTED[verb, name]
            yield f"| {name} | {' | '.join(ends)} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
