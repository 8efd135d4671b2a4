"""The fault matrix of the ``databricks`` target: every change with every fault ends right, with nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters import databricks_matrix as matrix
from tests.adapters.databricks_target import TOKEN, VARIABLE, DatabricksHarness
from tests.fakes.databricks import Databricks

# what each change writes when nothing goes wrong; a fault that is got over must not add to it
PLAIN = {
    "create": {"create": 1},
    "update": {"config": 1},
    "traffic": {"config": 1},
    "rollback": {"config": 1},
    "delete": {"delete": 1},
}


@pytest.fixture(scope="module")
def running() -> Iterator[Databricks]:
    with Databricks(seconds=1, looks=1) as workspace:
        yield workspace


@pytest.fixture
def harness(running: Databricks, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabricksHarness]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    harness = DatabricksHarness(running, {"quota_seconds": 0.01})
    yield harness
    harness.close()


@pytest.mark.parametrize("fault", matrix.FAULTS)
@pytest.mark.parametrize("kind", matrix.KINDS)
def test_it_ends_right(harness: DatabricksHarness, kind: matrix.Kind, fault: str) -> None:
    outcome = matrix.run(harness, kind, fault)

    assert outcome.is_right, outcome
    if outcome.ended == "landed":
        assert outcome.effects == PLAIN[kind]
    assert TOKEN not in outcome.message


def test_the_table_has_a_line_for_every_fault(harness: DatabricksHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "FAULTS", {"none": matrix.FAULTS["none"]})
    lines = matrix.table(harness).splitlines()
    assert lines[-1] == "| nothing | landed | landed | landed | landed | landed |"
