"""The ``local`` target's changes, each with real processes that serve a stand-in for MLflow's scoring server."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.contract import Progress
from tests.adapters.local_target import Load, LocalTarget, local_target, processes_of


@pytest.fixture
def target(tmp_path: Path) -> Iterator[LocalTarget]:
    with local_target(tmp_path) as target:
        yield target


def loading(progress: Progress) -> bool:
    return "loads its model" in progress.message


def test_a_created_deployment_serves(target: LocalTarget) -> None:
    progress = target.bring(target.spec(main=target.model("v1")))

    assert (progress.outcome, progress.message) == ("done", "serving main 100 %")
    assert target.answer() == "v1"


def test_no_route_before_the_servers_answer(target: LocalTarget) -> None:
    progress = target.bring(target.spec(main=target.model("v1", hang=True)), until=loading)

    assert progress.route is None


def test_the_same_spec_again_changes_nothing(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1"))
    target.bring(desired)
    before = (target.pids(), target.route)

    assert target.bring(desired).outcome == "done"
    assert (target.pids(), target.route) == before


def test_an_update_switches_drains_and_stops_the_old(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))
    old = target.pids()

    with Load(target.predict) as load:
        load.wait_for(lambda load: len(load.answers) > 5)
        target.bring(target.spec(main=target.model("v2")))
        asked = len(load.answers)
        load.wait_for(lambda load: len(load.answers) > asked + 5)

    assert load.failures == []
    assert {json.loads(answer.body)["predictions"][0] for answer in load.answers} == {"v1", "v2"}
    assert not old & target.pids()
    assert len(processes_of(target.folder)) == 1


def test_old_servers_stay_while_they_drain(tmp_path: Path) -> None:
    with local_target(tmp_path, drain_seconds=3600) as target:
        target.bring(target.spec(main=target.model("v1")))
        draining = target.bring(target.spec(main=target.model("v2")), until=lambda p: "draining" in p.message)

        again = target.step(draining.handle)

        assert (again.outcome, again.phase) == ("again", "clean")
        assert 0 < again.again_in <= draining.again_in == 3600
        assert len(processes_of(target.folder)) == 2


def test_a_prediction_under_way_on_an_old_server_is_answered(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1", predict_seconds=2)))
    v2 = target.spec(main=target.model("v2"))

    with ThreadPoolExecutor(1) as pool:
        progress = target.bring(v2, until=loading)
        answer = pool.submit(target.predict)
        target.wait_until(target.predicting)
        progress = target.bring(v2, handle=progress.handle, until=lambda p: "in flight" in p.message)
        assert json.loads(answer.result().body)["predictions"] == ["v1"]

    assert target.bring(v2, handle=progress.handle).outcome == "done"


def test_new_traffic_keeps_every_server(target: LocalTarget) -> None:
    models = {"a": target.model("a"), "b": target.model("b")}
    target.bring(target.spec({"a": 50, "b": 50}, **models))
    before = target.pids()

    target.bring(target.spec({"a": 80, "b": 20}, **models))

    assert target.pids() == before
    drawn = Counter(target.answer() for _ in range(400))
    assert 270 < drawn["a"] < 370  # 320 expected; five standard deviations are 40


def test_a_pinned_prediction_reaches_its_variant_at_no_traffic(target: LocalTarget) -> None:
    target.bring(target.spec({"a": 100, "b": 0}, a=target.model("a"), b=target.model("b")))

    assert target.answer("b") == "b"
    assert target.predict("b").variant == "b"


def test_changing_one_variant_keeps_the_others_server(target: LocalTarget) -> None:
    a, b = target.model("a"), target.model("b")
    target.bring(target.spec({"a": 50, "b": 50}, a=a, b=b))
    a_before = target.route["variants"]["a"]

    target.bring(target.spec({"a": 50, "b": 50}, a=a, b=target.model("c")))

    assert target.route["variants"]["a"] == a_before
    assert target.answer("b") == "c"


def test_other_config_is_another_server(target: LocalTarget) -> None:
    model = target.model("v1")
    target.bring(target.spec(main=model))
    before = target.pids()

    target.bring(target.spec(config={"env": {"THRESHOLD": "0.7"}}, main=model))

    assert not before & target.pids()
    assert json.loads(target.predict().body)["environment"]["THRESHOLD"] == "0.7"


def test_a_model_that_fails_to_load_says_why(target: LocalTarget) -> None:
    progress = target.bring(target.spec(main=target.model("bad", fail="no weights here")))

    assert progress.outcome == "failed"
    assert progress.message.endswith("RuntimeError: no weights here")


def test_a_failed_update_is_taken_back_and_the_old_serves_on(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))
    before = target.servers().keys()
    failed = target.bring(target.spec(main=target.model("bad", fail="x")))

    undone = target.bring(None, "back", failed.handle)

    assert undone.outcome == "done"
    assert target.servers().keys() == before
    assert target.answer() == "v1"


def test_taking_back_a_create_leaves_nothing(target: LocalTarget) -> None:
    started = target.bring(target.spec(main=target.model("v1", hang=True)), until=loading)

    assert target.bring(None, "back", started.handle).outcome == "done"
    assert not processes_of(target.folder)
    assert not (target.folder / "installation/local/here/u-1").exists()


def test_taking_back_what_was_never_begun_is_done(target: LocalTarget) -> None:
    handle = target.plan(target.spec(main=target.model("v1")))

    assert target.bring(None, "back", handle).outcome == "done"


def test_a_model_that_never_gets_ready_fails_at_its_time_limit(target: LocalTarget) -> None:
    desired = target.spec(config={"startup_timeout_seconds": 0.1}, main=target.model("v1", hang=True))

    progress = target.bring(desired)

    assert progress.outcome == "failed"
    assert "not ready in 0.1 s" in progress.message


def test_a_switch_whose_answer_was_lost_is_found_before_the_old_is_stopped(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))
    v2 = target.spec(main=target.model("v2"))
    before = target.bring(v2, until=loading)
    target.bring(v2, handle=before.handle, until=lambda p: p.route is not None)

    found = target.step(before.handle)

    assert (found.outcome, found.phase) == ("again", "clean")
    assert found.route == target.route
    assert len(processes_of(target.folder)) == 2


def test_a_switch_whose_answer_was_lost_is_taken_back(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))
    route = target.route
    v2 = target.spec(main=target.model("v2"))
    before = target.bring(v2, until=loading)
    target.bring(v2, handle=before.handle, until=lambda p: p.route is not None)

    undone = target.bring(None, "back", before.handle)

    assert (undone.outcome, target.route) == ("done", route)
    assert target.answer() == "v1"
    assert len(processes_of(target.folder)) == 1


def test_a_switch_on_record_cannot_be_taken_back(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))
    switched = target.bring(target.spec(main=target.model("v2")), until=lambda p: p.route is not None)

    undone = target.bring(None, "back", switched.handle)

    assert undone.outcome == "landed"
    assert [leftover.kind for leftover in undone.leftovers] == ["server"]
    assert target.answer() == "v2"


def test_a_restart_that_failed_is_tried_anew_by_the_next_operation(target: LocalTarget) -> None:
    model = target.model("v1")
    desired = target.spec(main=model)
    target.bring(desired)
    os.kill(next(iter(target.pids())), signal.SIGKILL)
    target.model("v1", fail="disk on fire")
    failed = target.bring(desired)
    assert failed.outcome == "failed"
    target.bring(None, "back", failed.handle)

    again = target.step(target.plan(desired))

    assert (again.outcome, again.message) == ("again", "starting the server of variant main")


def test_the_next_operation_removes_what_was_left(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))
    v2 = target.spec(main=target.model("v2"))
    target.bring(v2, until=lambda p: p.route is not None)

    target.bring(v2)

    assert len(processes_of(target.folder)) == 1


def test_delete_leaves_nothing_and_is_done_twice(target: LocalTarget) -> None:
    target.bring(target.spec({"a": 50, "b": 50}, a=target.model("a"), b=target.model("b")))

    assert target.bring(None).outcome == "done"
    assert target.route is None
    assert list(target.adapter.observe_all()) == []
    assert not processes_of(target.folder)
    assert target.bring(None).outcome == "done"


def test_a_delete_that_has_not_begun_is_taken_back(target: LocalTarget) -> None:
    target.bring(target.spec(main=target.model("v1")))

    assert target.bring(None, "back", target.plan(None)).outcome == "done"
    assert target.answer() == "v1"


def test_a_look_that_will_only_be_waited_on_needs_no_write(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1", hang=True))
    handle = target.plan(desired)
    assert target.look(handle).needs_write

    progress = target.bring(desired, until=loading)
    assert not target.look(progress.handle).needs_write
