from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelport.exits import Exit
from tests.fakes.control_plane import ControlPlane

COMMAND = [sys.executable, "-W", "error", "-m", "modelport"]
ROOT = Path(__file__).parents[2]


def environment(plane: ControlPlane) -> dict[str, str]:
    return {**os.environ, "MODELPORT_URL": plane.url, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}


def run(plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(plane),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_deploy_predict_rm(plane: ControlPlane) -> None:
    assert run(plane, "deploy", "local/iris", "--model", "m:/1").returncode == Exit.OK
    answer = run(plane, "predict", "local/iris", "-d", '{"inputs": [1]}')
    assert json.loads(answer.stdout) == {"predictions": [1]}
    assert run(plane, "rm", "local/iris").returncode == Exit.OK
    gone = run(plane, "show", "local/iris")
    assert gone.returncode == Exit.NOT_FOUND
    assert gone.stderr.startswith("Error: ")
    assert "Traceback" not in gone.stderr


def test_ctrl_c_leaves_the_operation_running_and_says_how_to_go_on(plane: ControlPlane) -> None:
    plane.by_hand = True
    process = subprocess.Popen(
        [*COMMAND, "deploy", "local/iris", "--model", "m:/1"],
        env=environment(plane),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    plane.when_requested(3, lambda: process.send_signal(signal.SIGINT)).join()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED
    [operation_id] = plane.operations
    assert f"modelport status {operation_id} --wait" in stderr
    assert f"modelport ops cancel {operation_id}" in stderr
    assert "Traceback" not in stderr
    assert plane.operations[operation_id]["state"] == "queued"


def test_on_a_terminal_progress_is_one_live_line_and_lists_are_tables(plane: ControlPlane) -> None:
    plane.stepwise = True
    assert "waiting  1 of 2 ready" in on_a_terminal(plane, "deploy", "local/iris", "--model", "m:/1")
    table = on_a_terminal(plane, "ls")
    assert "Deployment" in table
    assert "local/iris" in table


def test_apply_shows_one_bar_on_a_terminal(plane: ControlPlane, tmp_path: Path) -> None:
    shown = on_a_terminal(plane, "apply", "-f", declared(tmp_path))
    assert "2/2" in shown
    assert "2 created" in shown


def test_ctrl_c_leaves_all_that_was_applied_running(plane: ControlPlane, tmp_path: Path) -> None:
    plane.by_hand = True
    process = subprocess.Popen(
        [*COMMAND, "apply", "-f", declared(tmp_path)],
        env=environment(plane),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # two looks, two submissions, two first looks at the operations, and two that wait
    plane.when_requested(7, lambda: process.send_signal(signal.SIGINT)).join()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED, stderr
    assert "Interrupted. 2 operations go on." in stderr
    assert "Traceback" not in stderr
    assert [each["state"] for each in plane.operations.values()] == ["queued", "queued"]


def declared(folder: Path) -> str:
    file = folder / "deployments.yaml"
    file.write_text("deployments: [{target: local, name: a, model_uri: m}, {target: local, name: b, model_uri: m}]")
    return str(file)


def test_a_reader_that_goes_away_is_no_error_of_ours(plane: ControlPlane) -> None:
    assert run(plane, "deploy", "local/iris", "--model", "m:/1").returncode == Exit.OK
    process = subprocess.Popen(
        [*COMMAND, "ls"], env=environment(plane), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=30)


@pytest.mark.parametrize("arguments", [["--help"], ["apply", "--help"], ["ops", "--help"], ["config", "--help"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from modelport.cli import app\n"
        f"app({arguments!r}, standalone_mode=False)\n"
        "heavy = {'httpx', 'rich', 'yaml', 'asyncio', 'modelport.types', 'operations', 'api', 'worker', 'adapters'}\n"
        "sys.exit(', '.join(sorted(heavy & sys.modules.keys())) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_client_loads_none_of_the_servers_packages() -> None:
    program = (
        "import sys, modelport\n"
        "modelport.Client\n"
        "ours = {'operations', 'api', 'worker', 'adapters', 'stack', 'sqlalchemy', 'mlflow', 'fastapi', 'celery'}\n"
        "sys.exit(', '.join(sorted(ours & sys.modules.keys())) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def on_a_terminal(plane: ControlPlane, *arguments: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, *arguments], env=environment(plane), cwd=ROOT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:
        pass  # how Linux says that the other side of a terminal is closed
    finally:
        os.close(ours)
    assert process.wait(timeout=30) == Exit.OK, shown
    return shown.decode()


def test_the_shell_completes_commands_and_options(plane: ControlPlane) -> None:
    def completed(line: str) -> list[str]:
        asked = {"_MODELPORT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        done = subprocess.run(
            COMMAND, env={**environment(plane), **asked}, cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert completed("modelport app") == ["apply"]
    assert completed("modelport apply --dry") == ["--dry-run"]
    assert completed("modelport config s") == ["show", "set"]
