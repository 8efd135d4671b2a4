"""Plugins as they come: narrow, nameless, endpoints only, blocking, dying, raising whatever they like."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.bridge.adapter import BridgeAdapter
from adapters.bridge.records import everything, root_of
from adapters.bridge.stop import stop_all
from adapters.contract import Conflict, Fence, Permanent, Temporary, Unreachable
from adapters.local.launch import read_json
from tests.adapters.bridge_target import BridgeTarget, end
from tests.fakes import bridge

Open = Callable[..., BridgeTarget]


@pytest.fixture(scope="module")
def shelf_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("bridge")
    (folder / "shelf").mkdir()
    with bridge.installed_in(folder):
        yield folder / "shelf"


@pytest.fixture(scope="module")
def ended(shelf_folder: Path) -> Iterator[list[BridgeTarget]]:
    """Every target of the module; the process that holds a plugin is shared by the tests and ends with the last."""
    targets: list[BridgeTarget] = []
    yield targets
    for target in targets:
        end(target.place)


@pytest.fixture
def shelf(shelf_folder: Path) -> Path:
    for path in shelf_folder.iterdir():
        path.unlink()
    return shelf_folder


@pytest.fixture
def open_target(tmp_path: Path, shelf: Path, ended: list[BridgeTarget]) -> Iterator[Open]:
    def open_(uri: str, **settings: Any) -> BridgeTarget:
        ended.append(BridgeTarget(tmp_path, uri, {"SHELF": str(shelf)}, **settings))
        return ended[-1]

    yield open_
    stop_all(tmp_path / "installation")


def called(shelf: Path, *verbs: str) -> list[str]:
    log = shelf / "calls.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[0] for line in lines if line.split()[0] in (verbs or ("create", "update", "delete"))]


def running(progress: Any) -> bool:
    return bool(progress.handle["calls"]) and progress.again_in > 0


# a blocking call


def test_a_blocking_create_holds_nobody_up_and_its_answer_is_found_by_another_worker(
    open_target: Open, shelf: Path
) -> None:
    target = open_target("shelf")
    progress = target.bring(target.spec("models:/hang/1"), until=running)
    assert "create" in progress.message

    target.adapter = BridgeAdapter(target.place)
    target.fence += 1
    (shelf / "go").touch()
    done = target.bring(handle=progress.handle)

    assert (done.outcome, done.route) == ("done", {"name": "d", "family": "deployments"})
    assert called(shelf) == ["create"]
    assert json.loads(target.predict().body)["predictions"] == ["models:/hang/1"]


def test_the_same_step_again_begins_no_second_call(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    intended = target.step(target.plan(target.spec("models:/hang/1"))).handle
    seen = target.look(intended)
    for adapter in (target.adapter, BridgeAdapter(target.place), target.adapter):
        adapter.step(intended, seen, "forward", Fence(target.fence))
    (shelf / "go").touch()

    assert target.bring(handle=intended).outcome == "done"
    assert called(shelf) == ["create"]


def test_a_lost_worker_that_wakes_up_begins_nothing(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    intended = target.step(target.plan(target.spec("models:/a/1"))).handle
    seen = target.look(intended)
    lost = Fence(target.fence)
    target.fence += 1
    assert target.bring(handle=intended, toward="back").message == "nothing was changed"

    with pytest.raises(Temporary, match="newer worker"):
        target.adapter.step(intended, seen, "forward", lost)
    assert called(shelf) == []


def test_a_call_that_was_asked_for_and_taken_back_does_not_begin_later(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    intended = target.step(target.plan(target.spec("models:/a/1"))).handle
    folder = target.call(intended)
    folder.mkdir(parents=True)
    target.step(intended, "back")

    assert target.ask(verb="call", folder=str(folder)) == "over"
    assert called(shelf) == []


def test_a_process_that_died_without_an_answer_and_left_something_is_looked_for(open_target: Open, shelf: Path) -> None:
    target = open_target("versioned")
    progress = target.bring(target.spec("models:/hang/1"), until=running)
    target.wait_until(lambda: list(shelf.glob("*.versioned")))
    os.kill(pid(target, progress.handle), signal.SIGKILL)

    done = target.bring(handle=progress.handle)
    assert done.outcome == "done"
    assert "gave no answer" in done.message
    assert called(shelf) == ["create"]


def test_a_process_that_died_without_a_trace_has_an_unknown_outcome(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    failed = target.bring(target.spec("models:/die/1"))
    assert failed.outcome == "failed"
    assert "outcome unknown" in failed.message
    assert "Nothing of that name is there now" in failed.message
    assert "Look on the target" in failed.message

    undone = target.bring(handle=failed.handle, toward="back")
    assert undone.outcome == "done"
    assert called(shelf) == ["create"]


def test_after_a_restart_of_the_machine_the_process_is_not_mistaken_for_another(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    progress = target.bring(target.spec("models:/hang/1"), until=running)
    state = target.call(progress.handle) / "state.json"
    begun = read_json(state)
    assert begun is not None
    state.write_text(json.dumps({**begun, "since_boot": begun["since_boot"] + 1000}))

    assert "outcome unknown" in target.bring(handle=progress.handle).message
    (shelf / "go").touch()


def test_an_update_of_unknown_outcome_is_taken_back_to_what_served(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    target.bring(target.spec("models:/a/1", size=1))
    failed = target.bring(target.spec("models:/die/1"))
    assert "outcome unknown" in failed.message

    undone = target.bring(handle=failed.handle, toward="back")
    assert (undone.outcome, undone.message) == ("done", "the revision before serves")
    assert called(shelf) == ["create", "update", "update"]
    assert json.loads((shelf / "d.json").read_text())["config"] == {"size": 1}


def test_a_call_past_its_deadline_is_ended_and_said_to_be_unknown(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf", call_seconds=0.5)
    failed = target.bring(target.spec("models:/hang/1"))
    assert "did not answer within 0.5 s" in failed.message
    assert "outcome unknown" in failed.message
    assert called(shelf) == ["create"]


def test_calls_under_way_are_limited(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf", calls_at_once=1)
    first = target.bring(target.spec("models:/hang/1"), until=running)
    other = target.adapter.plan(change_of(target, "e"))
    waiting = target.bring(handle=other, until=running)
    assert "waits for one of the plugin's calls" in waiting.message
    assert called(shelf) == ["create"]

    (shelf / "go").touch()
    assert target.bring(handle=first.handle).outcome == "done"
    assert target.bring(handle=waiting.handle).outcome == "done"
    assert called(shelf) == ["create", "create"]


# what a worker may not do


def test_a_worker_with_another_folder_leaves_the_change_alone(open_target: Open, tmp_path: Path) -> None:
    target = open_target("shelf")
    handle = {**target.plan(target.spec("models:/a/1")), "folder": "/elsewhere"}
    with pytest.raises(Temporary, match="share one folder"):
        target.look(handle)


def test_a_target_of_another_machine_is_refused(open_target: Open) -> None:
    with pytest.raises(Permanent, match="belongs to the machine elsewhere"):
        open_target("shelf#host=elsewhere")


def test_what_the_plugin_says_exists_already_is_not_ours_to_touch(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    intended = target.step(target.plan(target.spec("models:/a/1"))).handle
    (shelf / "d.json").write_text('{"name": "d", "model_uri": "models:/theirs/1"}')
    with pytest.raises(Conflict, match="already exists"):
        target.bring(handle=intended)

    undone = target.bring(handle=intended, toward="back")
    assert undone.message == "nothing was changed"
    assert "theirs" in (shelf / "d.json").read_text()


def test_what_is_ours_is_known_without_the_record_on_this_machine(open_target: Open, shelf: Path) -> None:
    target = open_target("versioned")
    target.bring(target.spec("models:/a/1"))
    [record] = everything(root_of(target.place))
    (root_of(target.place) / "u-1" / "deployment.json").unlink()

    target.bring(target.spec("models:/b/1"))
    assert called(shelf) == ["create", "update"]
    assert everything(root_of(target.place)) == [
        {**record, "spec": target.placed["desired"], "content": target.placed["content"]}
    ]


# how plugins differ


def test_narrow_signatures_get_what_they_take(open_target: Open, shelf: Path) -> None:
    target = open_target("narrow")
    assert target.bring(target.spec("models:/a/1")).outcome == "done"
    assert json.loads(target.predict().body) == {"predictions": "models:/a/1"}
    assert target.bring(None).outcome == "done"
    assert target.bring(None).outcome == "done"
    assert called(shelf) == ["create", "delete"]


def test_what_a_narrow_signature_does_not_take_is_refused_and_not_left_out(open_target: Open, shelf: Path) -> None:
    target = open_target("narrow")
    failed = target.bring(target.spec("models:/a/1", "sklearn", size=1))
    assert failed.message == "create_deployment of this plugin takes no flavor and no config: this is not supported"
    assert called(shelf) == []
    assert target.bring(handle=failed.handle, toward="back").outcome == "done"


def test_a_plugin_that_cannot_update_leaves_what_serves(open_target: Open, shelf: Path) -> None:
    target = open_target("narrow")
    target.bring(target.spec("models:/a/1"))
    failed = target.bring(target.spec("models:/b/1"))
    assert failed.message == "Updating deployments is not supported"
    undone = target.bring(handle=failed.handle, toward="back")
    assert (undone.outcome, undone.message, undone.route) == ("done", "nothing was changed", target.route)
    assert (shelf / "d.made").read_text() == "models:/a/1\n"


def test_a_plugin_that_cannot_update_may_recreate(open_target: Open, shelf: Path) -> None:
    target = open_target("narrow", updates="recreate")
    target.bring(target.spec("models:/a/1"))
    assert target.bring(target.spec("models:/b/1")).outcome == "done"
    assert called(shelf) == ["create", "delete", "create"]
    assert (shelf / "d.made").read_text() == "models:/b/1\n"


def test_a_recreation_that_fails_brings_back_what_served(open_target: Open, shelf: Path) -> None:
    target = open_target("narrow", updates="recreate")
    target.bring(target.spec("models:/a/1"))
    (shelf / "fail-create").write_text("no room")
    failed = target.bring(target.spec("models:/b/1"))
    assert (failed.outcome, failed.message) == ("failed", "no room")

    undone = target.bring(handle=failed.handle, toward="back")
    assert (undone.outcome, undone.message) == ("done", "the revision before serves")
    assert (shelf / "d.made").read_text() == "models:/a/1\n"
    assert called(shelf) == ["create", "delete", "create", "create"]


def test_odd_shapes_are_understood(open_target: Open, shelf: Path) -> None:
    for name in ("a", "b"):
        (shelf / f"{name}.nameless").write_text("models:/theirs/1")
    target = open_target("nameless", ready={"EndpointStatus": ["InService"]})
    assert target.bring(target.spec("models:/a/1")).message == "serves: EndpointStatus InService"
    assert json.loads(target.predict().body) == {"predictions": ["models:/a/1", None]}
    # ours is past the list's only page
    observed = {each.name: each for each in target.adapter.observe_all()}
    assert {name: each.uid for name, each in observed.items()} == {"a": None, "b": None, "d": "u-1"}
    assert observed["a"].detail["shown"]["ApiToken"] == "***"
    assert target.bring(None).outcome == "done"
    assert not (shelf / "d.nameless").exists()


def test_a_name_with_a_version_is_used_from_then_on(open_target: Open, shelf: Path) -> None:
    target = open_target("versioned")
    assert target.bring(target.spec("models:/a/1")).route == {"name": "d/1", "family": "deployments"}
    assert json.loads(target.predict().body) == {"predictions": "models:/a/1"}
    assert target.bring(target.spec("models:/a/1")).route == target.route
    assert target.bring(target.spec("models:/b/1")).outcome == "done"
    assert [(each.name, each.uid) for each in target.adapter.observe_all()] == [("d", "u-1")]
    assert target.bring(None).outcome == "done"
    assert [line.split()[1] for line in (shelf / "calls.log").read_text().splitlines()] == ["d", "d/1", "d/1"]


# endpoints only

READY = {"ready": {"gate.state": ["open"]}, "failed": {"gate.state": ["jammed"]}}


def test_endpoints_whose_calls_return_at_once_are_waited_for(open_target: Open, shelf: Path) -> None:
    target = open_target("gate", **READY)
    config = {"entities": [{"name": "${model_name}", "version": "${model_version}"}], "uri": "${model_uri}"}
    progress = target.bring(
        target.spec("models:/main.ml.iris/3", **config), until=lambda p: p.message == "getting ready: gate.state closed"
    )
    (shelf / "d.open").touch()
    done = target.bring(handle=progress.handle)
    assert done.route == {"name": "d", "family": "endpoints"}
    filled = {"entities": [{"name": "main.ml.iris", "version": "3"}], "uri": "models:/main.ml.iris/3"}
    answer = json.loads(target.predict(b'{"messages": [], "temperature": 1}').body)
    assert answer == {"endpoint": "d", "config": filled, "inputs": {"messages": [], "temperature": 1}}

    assert target.bring(target.spec("models:/main.ml.iris/4", size=2)).outcome == "done"
    assert [(each.name, each.uid, each.status) for each in target.adapter.observe_all()] == [("d", "u-1", "serving")]
    assert target.bring(None).outcome == "done"
    assert called(shelf) == ["create", "update", "delete"]


def test_an_endpoint_that_gives_up_is_deleted_again(open_target: Open, shelf: Path) -> None:
    target = open_target("gate", **READY)
    failed = target.bring(target.spec("models:/a/1", state="jammed"))
    assert (failed.outcome, failed.message) == ("failed", "the target gave up: gate.state jammed")
    assert target.bring(handle=failed.handle, toward="back").message == "nothing of it is left"
    assert called(shelf) == ["create", "delete"]


def test_an_endpoint_that_is_cancelled_on_its_way_is_deleted(open_target: Open, shelf: Path) -> None:
    target = open_target("gate", **READY)
    progress = target.bring(target.spec("models:/a/1"), until=lambda p: p.message.startswith("getting ready"))
    assert target.bring(handle=progress.handle, toward="back").message == "nothing of it is left"


# failures


def test_a_refusal_for_now_is_tried_again(open_target: Open, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.bridge.rollout.RETRY_SECONDS", 0.02)
    target = open_target("shelf")
    (shelf / "fail-create").write_text("refused at the door")
    target.bring(target.spec("models:/a/1"))
    assert called(shelf) == ["create", "create"]


def test_a_delete_that_fails_says_why(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    target.bring(target.spec("models:/a/1"))
    (shelf / "fail-delete").write_text("the shelf is locked")
    failed = target.bring(None)
    assert (failed.outcome, failed.message) == ("failed", "the shelf is locked")
    assert target.bring(None).outcome == "done"


def test_an_undo_that_fails_names_what_is_left(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    failed = target.bring(target.spec("models:/broken/1"))
    (shelf / "fail-delete").write_text("the shelf is locked")
    left = target.bring(handle=failed.handle, toward="back")
    assert left.outcome == "failed"
    [leftover] = left.leftovers
    assert (leftover.kind, leftover.name, leftover.why) == ("deployment", "d", "the shelf is locked")


def test_a_look_that_fails_is_no_absence(open_target: Open, shelf: Path) -> None:
    target = open_target("shelf")
    target.bring(target.spec("models:/a/1"))
    (shelf / "fail-get").write_text("the lamp is out")
    (shelf / "fail-list").write_text("so is the other")
    with pytest.raises(Temporary, match="the lamp is out"):
        target.bring(None, until=lambda _: True)
    assert target.bring(None).outcome == "done"


def test_a_plugin_that_cannot_be_imported_says_so(open_target: Open) -> None:
    target = open_target("broken")
    with pytest.raises(Temporary, match=r"cannot be imported.*no_such_module"):
        target.adapter.check()
    target.route = {"name": "d", "family": "deployments"}
    with pytest.raises(Unreachable, match="cannot be imported"):
        target.predict()


def pid(target: BridgeTarget, handle: Any) -> int:
    state = read_json(target.call(handle) / "state.json")
    assert state is not None
    return int(state["pid"])


def change_of(target: BridgeTarget, name: str) -> Any:
    from adapters.contract import Change

    return Change("test", f"u-{name}", name, None, target.spec("models:/a/1"), {})
