"""The conformance suite over the ``databricks`` target and its fake workspace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.conformance import Conformance
from tests.adapters.databricks_target import TOKEN, VARIABLE, DatabricksHarness
from tests.fakes.databricks import Databricks


@pytest.fixture(scope="module")
def running() -> Iterator[Databricks]:
    with Databricks(seconds=0.1, looks=2) as workspace:
        yield workspace


@pytest.fixture
def harness(running: Databricks, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabricksHarness]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    harness = DatabricksHarness(running)
    yield harness
    harness.close()


class TestConformance(Conformance):
    pass
