"""The fault matrix of ``kserve`` and ``kubernetes``: every change with every fault ends right, with nothing left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters import kserve_matrix as matrix
from tests.adapters.kserve_chances import lives
from tests.adapters.kserve_target import TOKEN, VARIABLE
from tests.fakes.kubernetes import Kubernetes

# what each change writes when nothing goes wrong, without KServe to the Service, which alone bears the deployment's
# name; a fault that is got over must not add to it
EFFECTS = {kind: {"delete" if kind == "delete" else "apply": 1} for kind in matrix.KINDS}
# all of it in Standard mode; elsewhere what depends on the way. ``kserve_matrix`` makes the whole of each table
ELSEWHERE = (
    "none",
    "dropped_after",
    "stale_after",
    "flaps_after",
    "fails",
    "rolls_back",
    "stuck",
    "dropped_then_fails",
)
WHICH: dict[matrix.Way, tuple[matrix.Kind, ...]] = {
    "Standard": matrix.KINDS,
    "Knative": ("update", "traffic"),
    "plain": ("create", "update", "delete"),
}
CASES = [
    pytest.param(way, kind, fault, id=f"{way}-{kind}-{fault}")
    for way, kinds in WHICH.items()
    for kind in kinds
    for fault in (matrix.FAULTS if way == "Standard" else ELSEWHERE)
]


@pytest.fixture(scope="module")
def running() -> Iterator[Kubernetes]:
    with Kubernetes(seconds=1, looks=2) as cluster:
        yield cluster


@pytest.mark.parametrize(("way", "kind", "fault"), CASES)
def test_it_ends_right(
    running: Kubernetes, monkeypatch: pytest.MonkeyPatch, way: matrix.Way, kind: matrix.Kind, fault: str
) -> None:
    monkeypatch.setenv(VARIABLE, TOKEN)

    outcome = matrix.run(matrix.harness_of(running, way), way, kind, fault)

    assert outcome.is_right, outcome
    if outcome.ended == "landed":
        assert outcome.effects == EFFECTS[kind]
    assert TOKEN not in outcome.message


def test_a_few_lives_under_faults_and_crashes(running: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, TOKEN)
    wrong, ended = lives(running, seed=7, count=6)
    assert wrong == []
    assert ended["done"] > ended["failed"] > 0
