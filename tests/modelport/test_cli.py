from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from modelport.exits import Exit
from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane_records import FAILURE
from tests.modelport.running import Run, documents


def test_deploy_waits_and_tells_the_revision(plane: ControlPlane, run: Run) -> None:
    plane.stepwise = True
    result = run("deploy", "local/iris", "--model", "m:/1")
    assert result.exit_code == Exit.OK, result.stderr
    assert result.stdout == "local/iris serves revision 1 (create took 42s)\n"
    told = [line.split("  ", 1)[1].strip() for line in result.stderr.splitlines()]
    assert [line.split("s  ")[-1] for line in told] == [
        "starting  asked the target",
        "waiting  1 of 2 ready",
        "succeeded  serves",
    ]


def test_deploy_sends_what_was_given(plane: ControlPlane, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("workers = 1\n[resources]\ncpu = 2\nmemory = '1Gi'\n")
    options = ["--flavor", "python_function", "--config-file", str(file), "--label", "team=a=b", "--deadline", "90"]
    values = ["-C", "resources.cpu=4", "-C", "name=iris v1", "-C", "debug=true", "-C", 'tags=["x"]', "-C", "limit=NaN"]
    result = run("deploy", "local/iris", "--model", "m:/1", "--no-wait", *options, *values)
    assert result.exit_code == Exit.OK, result.stderr
    assert plane.requests[-1].document == {
        "model_uri": "m:/1",
        "flavor": "python_function",
        "config": {
            "workers": 1,
            "resources": {"cpu": 4, "memory": "1Gi"},
            "name": "iris v1",
            "debug": True,
            "tags": ["x"],
            "limit": "NaN",
        },
        "labels": {"team": "a=b"},
        "deadline_seconds": 90.0,
    }


def test_deploy_of_variants(plane: ControlPlane, run: Run) -> None:
    variants = ["--variant", "a=m:/1", "--variant", "b=m:/2?x=y", "-C", "workers=2"]
    assert run("deploy", "local/iris", *variants, "--traffic", "a=80, b=20%", "--no-wait").exit_code == Exit.OK
    assert plane.requests[-1].document == {
        "variants": [
            {"name": "a", "model_uri": "m:/1", "config": {"workers": 2}},
            {"name": "b", "model_uri": "m:/2?x=y", "config": {"workers": 2}},
        ],
        "traffic": {"a": 80, "b": 20},
    }


@pytest.mark.usefixtures("deployed")
def test_deploy_of_what_is_so_already(run: Run) -> None:
    result = run("deploy", "local/iris", "--model", "m:/1")
    assert result.exit_code == Exit.OK
    assert "as asked for already, revision 1" in result.stdout


def test_no_wait_gives_the_id_and_how_to_follow(plane: ControlPlane, run: Run) -> None:
    plane.by_hand = True
    result = run("deploy", "local/iris", "--model", "m:/1", "--no-wait")
    operation_id = result.stdout.split()[0]
    assert operation_id in plane.operations
    assert f"modelport status {operation_id} --wait" in result.stderr


def test_a_failed_operation_exits_1_with_the_targets_words_and_what_to_do(plane: ControlPlane, run: Run) -> None:
    plane.script = FAILURE
    result = run("deploy", "local/iris", "--model", "m:/1")
    assert result.exit_code == Exit.FAILED
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: create of local/iris failed: the target ran out of memory.")
    assert "modelport ops retry " in last


def test_a_timeout_exits_6_and_says_that_it_goes_on(plane: ControlPlane, run: Run) -> None:
    plane.by_hand = True
    result = run("deploy", "local/iris", "--model", "m:/1", "--timeout", "0.1")
    assert result.exit_code == Exit.TIMED_OUT
    [operation_id] = plane.operations
    assert f"Error: operation {operation_id} is still queued after 0.1 s. The operation goes on." in result.stderr
    assert f"modelport ops cancel {operation_id}" in result.stderr


def test_a_refusal_exits_3_with_the_field_and_the_remedy_in_one_paragraph(run: Run) -> None:
    result = run("deploy", "local/iris", "--variant", "a=m:/1", "--traffic", "a=90")
    assert result.exit_code == Exit.REFUSED
    assert result.stderr == (
        "Error: The request is invalid; traffic: sums to 90 (make it sum to 100) (request req-1)\n"
    )


def test_what_does_not_exist_exits_4(run: Run) -> None:
    for arguments in (
        ["show", "local/none"],
        ["deploy", "moon/iris", "--model", "m:/1"],
        ["rm", "local/none"],
        ["ops", "show", "none"],
        ["targets", "show", "none"],
    ):
        assert run(*arguments).exit_code == Exit.NOT_FOUND, arguments


def test_no_server_exits_5(run: Run) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        result = run("ls", "--url", f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert result.exit_code == Exit.UNREACHABLE
    assert "MODELPORT_URL" in result.stderr
    assert "Traceback" not in result.output


def test_a_server_in_trouble_exits_5(plane: ControlPlane, run: Run) -> None:
    plane.fail_next(status=500)
    assert run("ls").exit_code == Exit.UNREACHABLE


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["deploy", "iris", "--model", "m:/1"], "TARGET/NAME"),
        (["deploy", "local/a/b", "--model", "m:/1"], "TARGET/NAME"),
        (["deploy", "local/iris"], "--variant"),
        (["deploy", "local/iris", "--model", "m:/1", "--variant", "a=m:/1"], "either"),
        (["deploy", "local/iris", "--model", "m:/1", "-C", "workers"], "key=value"),
        (["deploy", "local/iris", "--model", "m:/1", "-C", "a=1", "-C", "a.b=2"], "has a value already"),
        (["deploy", "local/iris", "--model", "m:/1", "-C", "a..b=2"], "empty part"),
        (["deploy", "local/iris", "--model", "m:/1", "--label", "a=1", "--label", "a=2"], "twice"),
        (["deploy", "local/iris", "--model", "m:/1", "--config-file", "/does/not/exist"], "cannot be read"),
        (["traffic", "local/iris", "a=most"], "whole percent"),
        (["traffic", "local/iris", ","], "no traffic"),
        (["predict", "local/iris", "-d", "@/does/not/exist"], "cannot be read"),
        (["ls", "--url", "localhost"], "no server's URL"),
        (["status", "neither"], "TARGET/NAME"),
    ],
)
def test_wrong_use_exits_2_and_sends_nothing(
    plane: ControlPlane, run: Run, arguments: list[str], complaint: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == Exit.USAGE
    assert complaint in result.stderr
    assert plane.requests == []


@pytest.mark.usefixtures("deployed")
def test_status_of_a_deployment_and_of_an_operation(plane: ControlPlane, run: Run) -> None:
    assert run("status", "local/iris").stdout == "local/iris: serving, serves revision 1\n"
    operation_id = next(iter(plane.operations))
    assert run("status", operation_id).stdout == f"{operation_id}: create local/iris: succeeded  serves\n"


def test_status_wait_follows_what_is_under_way(plane: ControlPlane, run: Run) -> None:
    plane.by_hand = True
    run("deploy", "local/iris", "--model", "m:/1", "--no-wait")
    plane.by_hand = False
    assert run("status", "local/iris", "--wait").stdout == "local/iris: serving, serves revision 1\n"
    plane.by_hand = True
    run("rm", "local/iris", "--no-wait")
    plane.by_hand = False
    assert "delete local/iris: succeeded" in run("status", "local/iris", "--wait").stdout


def test_status_wait_exits_1_when_it_failed(plane: ControlPlane, run: Run) -> None:
    plane.script = FAILURE
    for what in ("local/iris", "{id}"):
        plane.by_hand = True
        run("deploy", "local/iris", "--model", f"m:/{what}", "--no-wait")
        plane.by_hand = False
        assert run("status", what.format(id=list(plane.operations)[-1]), "--wait").exit_code == Exit.FAILED


@pytest.mark.usefixtures("deployed")
def test_ls_is_aligned_text_when_piped(run: Run) -> None:
    heading, row = run("ls").stdout.splitlines()
    assert heading.split() == ["DEPLOYMENT", "STATUS", "REVISION", "MODEL", "TRAFFIC", "CHANGED"]
    assert row.split()[:5] == ["local/iris", "serving", "1", "m:/1", "main=100"]
    assert heading.index("STATUS") == row.index("serving")


def test_empty_lists_say_so_aside(run: Run) -> None:
    result = run("ls")
    assert (result.exit_code, result.stdout, result.stderr) == (Exit.OK, "", "No deployments.\n")


@pytest.mark.usefixtures("deployed")
def test_show_history_and_ops_tell_the_facts(plane: ControlPlane, run: Run) -> None:
    assert {"local/iris", "serving", "m:/1", "100%"} <= set(run("show", "local/iris").stdout.split())
    assert {"1", "m:/1", "main=100"} <= set(run("history", "local/iris").stdout.split())
    operation_id = next(iter(plane.operations))
    assert {operation_id, "create", "local/iris", "succeeded"} <= set(run("ops", "ls").stdout.split())
    assert {operation_id, "create", "local/iris", "succeeded"} <= set(run("ops", "show", operation_id).stdout.split())


@pytest.mark.usefixtures("deployed")
def test_ops_ls_is_limited(run: Run) -> None:
    run("deploy", "local/iris", "--model", "m:/2")
    [listed] = documents(run("ops", "ls", "--limit", "1", "--json"))
    assert len(listed["items"]) == 1


@pytest.mark.usefixtures("deployed")
def test_traffic_and_rollback(plane: ControlPlane, run: Run) -> None:
    assert run("traffic", "local/iris", "a=80", "b=20").exit_code == Exit.OK
    assert plane.requests[-1].method == "GET"
    assert [sent.document for sent in plane.requests if sent.method == "PUT"][-1] == {"traffic": {"a": 80, "b": 20}}
    assert run("rollback", "local/iris", "--to", "1").exit_code == Exit.OK
    assert [sent.document for sent in plane.requests if sent.method == "POST"][-1] == {"revision": 1}


@pytest.mark.usefixtures("deployed")
def test_if_match(plane: ControlPlane, run: Run) -> None:
    result = run("deploy", "local/iris", "--model", "m:/2", "--if-match", "7")
    assert result.exit_code == Exit.REFUSED
    assert "It is of generation 1 now" in result.stderr
    assert plane.effects == 1


@pytest.mark.usefixtures("deployed")
def test_predict_reads_an_argument_a_file_and_standard_input(plane: ControlPlane, run: Run, tmp_path: Path) -> None:
    csv = tmp_path / "rows.CSV"
    csv.write_bytes(b"a,b\n\xff,2\n")
    for arguments, given, sent, content_type in (
        (["-d", '{"inputs": [1]}'], None, b'{"inputs": [1]}', "application/json"),
        (["-d", f"@{csv}"], None, b"a,b\n\xff,2\n", "text/csv"),
        (["-d", "-", "--content-type", "text/csv"], b"a\n1\n", b"a\n1\n", "text/csv"),
        ([], b'{"inputs": [2]}', b'{"inputs": [2]}', "application/json"),
    ):
        result = run("predict", "local/iris", *arguments, input=given)
        assert (result.exit_code, result.stdout) == (Exit.OK, '{"predictions": [1]}\n')
        assert plane.requests[-1].body == sent
        assert plane.requests[-1].headers["Content-Type"] == content_type


@pytest.mark.usefixtures("deployed")
def test_predict_keeps_the_models_error_apart(plane: ControlPlane, run: Run) -> None:
    plane.model = (400, b'{"error_code": "BAD_REQUEST"}')
    result = run("predict", "local/iris", "-d", "{}", "--verbose")
    assert result.exit_code == Exit.FAILED
    assert result.stdout == '{"error_code": "BAD_REQUEST"}\n'
    assert result.stderr.splitlines()[0] == "revision 1, variant main"
    assert "the model behind local/iris answered with HTTP status 400" in result.stderr


def test_ops_cancel_retry_wait_and_watch(plane: ControlPlane, run: Run) -> None:
    plane.by_hand = True
    run("deploy", "local/iris", "--model", "m:/1", "--no-wait")
    [operation_id] = plane.operations
    assert "cancelled" in run("ops", "cancel", operation_id).stdout
    assert run("ops", "cancel", operation_id).exit_code == Exit.REFUSED
    assert run("ops", "wait", operation_id).exit_code == Exit.FAILED
    assert run("ops", "watch", operation_id).exit_code == Exit.FAILED
    plane.by_hand = False
    [retried] = documents(run("ops", "retry", operation_id, "--json"))
    assert (retried["retry_of"], retried["state"]) == (operation_id, "succeeded")
    watched = run("ops", "watch", retried["id"])
    assert watched.exit_code == Exit.OK
    assert [line.split("  ")[1] for line in watched.stdout.splitlines()] == [
        "queued",
        "starting",
        "waiting",
        "succeeded",
    ]


def test_targets(plane: ControlPlane, run: Run) -> None:
    arguments = ["-s", "verify=false", "--limit", "writes=5", "--credentials", "env:TOKEN"]
    assert run("targets", "add", "prod", "http://models", *arguments).exit_code == Exit.OK
    assert plane.requests[-1].document == {
        "uri": "http://models",
        "settings": {"verify": False},
        "limits": {"writes": 5},
        "credentials": "env:TOKEN",
    }
    assert {"local", "prod"} <= set(run("targets", "ls").stdout.split())
    assert "This machine" in run("targets", "kinds").stdout
    assert json.loads(run("targets", "kinds", "--json").stdout)["items"][0]["scheme"] == "local"
    assert "http://models" in run("targets", "show", "prod").stdout
    assert run("targets", "help", "local").stdout.splitlines() == [
        "Config of a variant:",
        "  workers: int (default 1).",
    ]
    assert run("targets", "check", "local").stdout == "local: ok: 3 models served\n"
    plane.check = {"ok": False, "message": "no route to host"}
    assert run("targets", "check", "local").exit_code == Exit.FAILED
    assert run("targets", "rm", "prod").exit_code == Exit.OK
    assert list(plane.targets) == ["local"]


def test_a_terminal_does_not_obey_the_targets_words(plane: ControlPlane, run: Run) -> None:
    plane.script = [("failed", "\x1b[2Jall\x07 is\nwell")]
    result = run("deploy", "local/iris", "--model", "m:/1")
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


def test_the_api_key_is_sent_and_never_shown(plane: ControlPlane, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPORT_API_KEY", "s3cret")
    run("ls")
    assert plane.requests[-1].headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in run("ls", "--help").output
