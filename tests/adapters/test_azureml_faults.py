"""The fault matrix of the ``azureml`` target: every change with every fault ends right, with nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters import azureml_matrix as matrix
from tests.adapters.azureml_target import TOKEN, VARIABLE, AzureMlHarness
from tests.fakes.azureml import AzureMl

# what each change writes when nothing goes wrong; a fault that is got over must not add to it
PLAIN = {
    "create": {"endpoint": 1, "deployment": 1, "traffic": 1},
    "update": {"deployment": 1, "traffic": 1, "drop": 1},
    "traffic": {"traffic": 1},
    "rollback": {"deployment": 1, "traffic": 1, "drop": 1},
    "delete": {"delete": 1},
}
# what Azure takes and then gives up is asked for again
TRIED_AGAIN = {("delete_fails", "delete"): {"delete": 3}, ("stuck", "delete"): {"delete": 2}}


@pytest.fixture(scope="module")
def running() -> Iterator[AzureMl]:
    with AzureMl(seconds=1, looks=1) as workspace:
        yield workspace


@pytest.fixture
def harness(running: AzureMl, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureMlHarness]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    harness = AzureMlHarness(running, {"quota_seconds": 0.01})
    yield harness
    harness.close()


@pytest.mark.parametrize("fault", matrix.FAULTS)
@pytest.mark.parametrize("kind", matrix.KINDS)
def test_it_ends_right(harness: AzureMlHarness, kind: matrix.Kind, fault: str) -> None:
    outcome = matrix.run(harness, kind, fault)

    assert outcome.is_right, outcome
    if outcome.ended.startswith("landed"):
        assert outcome.effects == TRIED_AGAIN.get((fault, kind), PLAIN[kind])
    assert TOKEN not in outcome.message


def test_the_table_has_a_line_for_every_fault(harness: AzureMlHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "FAULTS", {"none": matrix.FAULTS["none"]})
    lines = matrix.table(harness).splitlines()
    assert lines[-1] == "| nothing | landed | landed | landed | landed | landed |"
