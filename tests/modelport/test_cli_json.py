from __future__ import annotations

import json

import pytest

from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane_records import FAILURE
from tests.modelport.running import Run, documents


@pytest.mark.usefixtures("deployed")
def test_json_is_the_apis_own_document(plane: ControlPlane, run: Run) -> None:
    [shown] = documents(run("show", "local/iris", "--json"))
    found = {**plane.deployments["local", "iris"]}
    del found["revisions"]
    assert shown == found


@pytest.mark.usefixtures("deployed")
def test_json_is_one_document_whatever_happens(plane: ControlPlane, run: Run) -> None:
    operation_id = next(iter(plane.operations))
    kinds = {
        ("deploy", "local/iris", "--model", "m:/2"): "kind",
        ("deploy", "local/iris", "--model", "m:/2", "--no-wait"): "tip",
        ("status", "local/iris"): "tip",
        ("status", "local/iris", "--wait"): "tip",
        ("status", operation_id, "--wait"): "kind",
        ("ls",): "items",
        ("history", "local/iris"): "items",
        ("ops", "ls"): "items",
        ("ops", "show", operation_id): "kind",
        ("ops", "wait", operation_id): "kind",
        ("ops", "cancel", operation_id): "detail",
        ("targets", "ls"): "items",
        ("targets", "show", "local"): "uri",
        ("targets", "check", "local"): "ok",
        ("show", "local/none"): "detail",
        ("rm", "local/iris"): "kind",
    }
    for arguments, field in kinds.items():
        [document] = documents(run(*arguments, "--json"))
        assert field in document, arguments


def test_json_of_a_failure_is_the_operation(plane: ControlPlane, run: Run) -> None:
    plane.script = FAILURE
    [failed] = documents(run("deploy", "local/iris", "--model", "m:/1", "--json"))
    assert failed["error"]["detail"] == "the target ran out of memory"
    plane.by_hand = True
    [late] = documents(run("deploy", "local/iris", "--model", "m:/2", "--timeout", "0.1", "--json"))
    assert late["state"] == "queued"
    plane.by_hand = False
    [waited] = documents(run("status", "local/iris", "--wait", "--json"))
    assert waited["id"] == late["id"]


@pytest.mark.usefixtures("deployed")
def test_json_of_a_stream_is_lines(plane: ControlPlane, run: Run) -> None:
    lines = run("ops", "watch", next(iter(plane.operations)), "--json").stdout.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3, 4]
