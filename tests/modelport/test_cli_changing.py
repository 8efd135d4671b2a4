"""``update``, ``logs`` and ``diff``."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelport.exits import Exit
from modelport.types import JSON
from tests.fakes.control_plane import ControlPlane
from tests.modelport.running import Run, documents


@pytest.mark.usefixtures("deployed")
def test_update_sends_only_what_is_given(plane: ControlPlane, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("workers: 2\nlimits: {cpu: 1}\n")
    options = ["-C", "limits.cpu=2", "-C", "old=null", "--config-file", str(file), "--label", "team=a", "--label", "x="]
    assert run("update", "local/iris", "--model", "m:/2", *options, "--deadline", "60").exit_code == Exit.OK
    [sent] = [each for each in plane.requests if each.method == "PATCH"]
    assert sent.document == {
        "model_uri": "m:/2",
        "config": {"workers": 2, "limits": {"cpu": 2}, "old": None},
        "labels": {"team": "a", "x": None},
        "deadline_seconds": 60.0,
    }


@pytest.mark.usefixtures("deployed")
def test_update_of_labels_needs_no_operation(plane: ControlPlane, run: Run) -> None:
    result = run("update", "local/iris", "--label", "team=a")
    assert result.exit_code == Exit.OK
    assert "no operation was needed" in result.stdout
    assert plane.deployments["local", "iris"]["labels"] == {"team": "a"}
    assert run("update", "local/iris").exit_code == Exit.USAGE
    assert run("update", "local/none", "--model", "m:/1").exit_code == Exit.NOT_FOUND


def test_logs_are_lines_that_no_terminal_obeys(plane: ControlPlane, run: Run) -> None:
    plane.fail_next(status=200, headers={"Content-Type": "text/plain"}, body=b"one\nt\x1b[31mwo\n")
    result = run("logs", "local/iris", "--variant", "main", "-n", "2")
    assert (result.exit_code, result.stdout) == (Exit.OK, "one\nt [31mwo\n")
    assert plane.requests[-1].path == "/v1/deployments/local/iris/logs"
    assert plane.requests[-1].query == {"variant": ["main"], "lines": ["2"]}
    plane.fail_next(status=200, headers={"Content-Type": "text/plain"}, body=b"one\n")
    assert documents(run("logs", "local/iris", "--json")) == ["one\n"]


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("observed", "told"),
    [
        ({"state": "in_sync", "difference": {}}, "in sync ("),
        ({"state": "drifted", "difference": {"traffic": {}}}, "drifted: traffic ("),
        ({"state": "unknown", "message": "no answer"}, "unknown: no answer ("),
    ],
)
def test_show_tells_what_was_seen_on_the_target(plane: ControlPlane, run: Run, observed: JSON, told: str) -> None:
    found = plane.deployments["local", "iris"]
    assert "On the target" not in run("show", "local/iris").stdout
    found |= {"observed": observed, "observed_at": found["updated_at"]}
    [line] = [line for line in run("show", "local/iris").stdout.splitlines() if line.startswith("On the target")]
    assert told in line
    assert ("modelport reconcile" in line) == (observed["state"] == "drifted")


@pytest.mark.usefixtures("deployed")
def test_diff_of_revisions(plane: ControlPlane, run: Run) -> None:
    alone = run("diff", "local/iris")
    assert (alone.stdout, alone.stderr) == ("local/iris: revision 1 -> 1\n", "No differences.\n")
    run("deploy", "local/iris", "--model", "m:/2", "-C", "workers=2")
    run("deploy", "local/iris", "--variant", "a=m:/2", "--variant", "b=m:/3", "--traffic", "a=80,b=20")
    assert run("diff", "local/iris", "1", "2").stdout.splitlines() == [
        "local/iris: revision 1 -> 2",
        '    ~ variants.main.model_uri: "m:/1" -> "m:/2"',
        "    + variants.main.config.workers: 2",
    ]
    [told] = documents(run("diff", "local/iris", "--json"))
    assert (told["from"], told["to"]) == (2, 3)
    assert {"path": "traffic.a", "after": 80} in told["differences"]
    assert {"path": "variants.main.model_uri", "before": "m:/2"} in told["differences"]
    assert run("diff", "local/iris", "1", "9").exit_code == Exit.USAGE
    assert len(plane.deployments) == 1
