"""The conformance suite over the ``kubernetes`` target and the fake cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.conformance import Conformance
from tests.adapters.kubernetes_target import TOKEN, VARIABLE, KubernetesHarness
from tests.fakes.kubernetes import Kubernetes


@pytest.fixture(scope="module")
def running() -> Iterator[Kubernetes]:
    with Kubernetes(seconds=0.1, looks=2) as cluster:
        yield cluster


@pytest.fixture
def harness(running: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesHarness]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    harness = KubernetesHarness(running)
    yield harness
    harness.close()


class TestConformance(Conformance):
    pass
