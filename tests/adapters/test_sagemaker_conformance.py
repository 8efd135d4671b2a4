"""The conformance suite over the ``sagemaker`` target and its fake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.conformance import Conformance
from tests.adapters.sagemaker_target import ACCESS_KEY, SECRET, SageMakerHarness
from tests.fakes.sagemaker import SageMaker


@pytest.fixture(scope="module")
def fake() -> Iterator[SageMaker]:
    with SageMaker(looks=2) as running:
        yield running


@pytest.fixture
def harness(fake: SageMaker, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerHarness]:
    fake.reset()
    monkeypatch.setenv("SAGEMAKER_TEST_KEYS", f"{ACCESS_KEY}:{SECRET}")
    harness = SageMakerHarness(fake)
    yield harness
    harness.close()


class TestSageMaker(Conformance):
    pass
