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


@pytest.fixture
def cluster(running: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> Kubernetes:
    monkeypatch.setenv(VARIABLE, TOKEN)
    running.reset()
    return running


class TestStandard(Conformance):
    @pytest.fixture
    def harness(self, cluster: Kubernetes) -> Iterator[KServeHarness]:
        harness = KServeHarness(cluster)
        yield harness
        harness.close()


# what asks nothing of a mode
MODELESS = (
    "test_plan_is_deterministic_and_calls_nothing",
    "test_delete_of_what_is_absent_is_done",
    "test_a_foreign_thing_is_a_conflict_and_is_not_touched",
    "test_a_foreign_thing_is_not_touched_on_the_way_back",
    "test_a_deployment_of_the_same_installation_with_another_uid_is_foreign",
    "test_look_many_of_nothing",
    "test_back_of_a_delete_before_its_first_write_undoes_nothing",
    "test_check_says_what_answered_in_one_line",
    "test_resolve_is_the_same_for_what_is_resolved",
    "test_close_twice",
    "test_an_older_fence_changes_nothing",
    "test_an_older_fence_changes_nothing_after_a_create_was_taken_back",
    "test_a_late_call_of_a_lost_worker_is_refused",
)


class TestKnative(Conformance):
    @pytest.fixture
    def harness(self, cluster: Kubernetes) -> Iterator[KServeHarness]:
        cluster.conduct(mode="Knative")
        harness = KServeHarness(cluster)
        yield harness
        harness.close()


for name in MODELESS:
    assert callable(getattr(Conformance, name))
    setattr(TestKnative, name, None)
