"""The conformance suite over the ``kserve`` target in both of its modes, and the fake cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.conformance import Conformance
from tests.adapters.kserve_target import TOKEN, VARIABLE, KServeHarness
from tests.fakes.kubernetes import Kubernetes


@pytest.fixture(scope="module")
def running() -> Iterator[Kubernetes]:
    with Kubernetes(seconds=0.1, looks=2) as cluster:
        yield cluster


@pytest.fixture(params=["Standard", "Knative"])
def harness(
    running: Kubernetes, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[KServeHarness]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    running.conduct(mode=request.param)
    harness = KServeHarness(running)
    yield harness
    harness.close()


class TestConformance(Conformance):
    pass
