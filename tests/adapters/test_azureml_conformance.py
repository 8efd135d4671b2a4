"""The conformance suite over the ``azureml`` target and its fake workspace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters import conformance
from tests.adapters.azureml_target import TOKEN, VARIABLE, AzureMlHarness
from tests.adapters.conformance import Conformance
from tests.fakes.azureml import AzureMl


@pytest.fixture(scope="module")
def running() -> Iterator[AzureMl]:
    with AzureMl(seconds=0.1, looks=1) as workspace:
        yield workspace


@pytest.fixture
def harness(running: AzureMl, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureMlHarness]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    # what a test begins with is planted; the creates that are under test are driven
    monkeypatch.setattr(conformance, "create", lambda harness, name, spec: harness.given(name, spec))
    running.reset()
    harness = AzureMlHarness(running)
    yield harness
    harness.close()


class TestConformance(Conformance):
    pass
