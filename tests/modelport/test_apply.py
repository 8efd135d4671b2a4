"""``modelport apply``: what is declared, what has to change, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from modelport.exits import Exit
from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane_records import FAILURE
from tests.modelport.running import Run, documents

FILE = """
defaults:
  target: local
  labels: {team: vision}
  config: {replicas: 2, limits: {cpu: 1}}
deployments:
  - name: iris
    model_uri: m:/1
    config: {replicas: 3}
  - name: fraud
    labels: {stage: prod}
    variants: {stable: m:/7, next: m:/8}
    traffic: {stable: 90, next: 10}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "deployments.yaml"
    path.write_text(FILE)
    return path


def edit(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def submitted(plane: ControlPlane) -> list[str]:
    return [sent.method for sent in plane.requests if sent.method != "GET"]


def test_what_is_declared_is_sent_with_the_defaults_in_it(plane: ControlPlane, run: Run, file: Path) -> None:
    result = run("apply", "-f", str(file))
    assert result.exit_code == Exit.OK, result.output
    sent = {each.path.rpartition("/")[2]: each.document for each in plane.requests if each.method == "PUT"}
    assert sent == {
        "iris": {
            "variants": [
                {"name": "main", "model_uri": "m:/1", "flavor": None, "config": {"replicas": 3, "limits": {"cpu": 1}}}
            ],
            "labels": {"team": "vision"},
        },
        "fraud": {
            "variants": [
                {"name": name, "model_uri": uri, "flavor": None, "config": {"replicas": 2, "limits": {"cpu": 1}}}
                for name, uri in (("stable", "m:/7"), ("next", "m:/8"))
            ],
            "traffic": {"stable": 90, "next": 10},
            "labels": {"team": "vision", "stage": "prod"},
        },
    }
    assert result.stdout.splitlines() == [
        "+ local/iris  create  succeeded",
        "+ local/fraud  create  succeeded",
        "2 created",
    ]
    assert sorted(line.split("s  ", 1)[1] for line in result.stderr.splitlines()) == [
        "local/fraud  create  succeeded",
        "local/iris  create  succeeded",
    ]


def test_a_second_run_changes_nothing_and_sends_nothing(plane: ControlPlane, run: Run, file: Path) -> None:
    run("apply", "-f", str(file))
    plane.requests.clear()
    result = run("apply", "--file", str(file))
    assert (result.exit_code, result.stdout, result.stderr) == (Exit.OK, "2 unchanged\n", "")
    assert submitted(plane) == []


def test_dry_run_shows_every_difference_and_sends_nothing(plane: ControlPlane, run: Run, file: Path) -> None:
    run("apply", "-f", str(file))
    edit(file, "m:/8", "m:/9")
    edit(file, "cpu: 1", "gpu: true")
    edit(file, "replicas: 3", "replicas: 4")
    plane.requests.clear()
    result = run("apply", "-f", str(file), "--dry-run")
    assert result.exit_code == Exit.OK
    assert result.stdout.splitlines() == [
        "~ local/iris  update",
        "    ~ variants.main.config.replicas: 3 -> 4",
        "    + variants.main.config.limits.gpu: true",
        "    - variants.main.config.limits.cpu: 1",
        "~ local/fraud  update",
        "    + variants.stable.config.limits.gpu: true",
        '    ~ variants.next.model_uri: "m:/8" -> "m:/9"',
        "    + variants.next.config.limits.gpu: true",
        "    - variants.stable.config.limits.cpu: 1",
        "    - variants.next.config.limits.cpu: 1",
        "2 to update",
    ]
    assert submitted(plane) == []
    [told] = documents(run("apply", "-f", str(file), "--dry-run", "--json"))
    assert told["dry_run"] is True
    assert told["changes"][0]["differences"][0] == {
        "path": "variants.main.config.replicas",
        "before": 3,
        "after": 4,
    }


def test_what_an_operation_is_bringing_there_is_waited_for(plane: ControlPlane, run: Run, file: Path) -> None:
    plane.by_hand = True
    begun = run("apply", "-f", str(file), "--no-wait")
    assert begun.exit_code == Exit.OK
    assert begun.stdout.splitlines()[-1] == "2 under way"
    assert set(plane.operations) == {line.split("  ")[-1] for line in begun.stdout.splitlines()[:-1]}
    plane.by_hand = False
    result = run("apply", "-f", str(file))
    assert (result.exit_code, result.stdout) == (Exit.OK, "2 unchanged\n")
    assert plane.effects == 2
    assert [each["state"] for each in plane.operations.values()] == ["succeeded"] * 2


def test_prune_deletes_what_has_the_label_and_is_not_declared(plane: ControlPlane, run: Run, file: Path) -> None:
    run("apply", "-f", str(file))
    run("deploy", "local/other", "--model", "m:/1", "--label", "team=speech")
    edit(file, "name: iris", "name: lily")
    told = run("apply", "-f", str(file), "--prune", "team=vision", "--dry-run")
    assert told.stdout.splitlines()[-2:] == ["- local/iris  delete", "1 to create, 1 unchanged, 1 to delete"]
    result = run("apply", "-f", str(file), "--prune", "team=vision")
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.splitlines()[-1] == "1 created, 1 unchanged, 1 deleted"
    assert {name for _, name in plane.deployments} == {"lily", "fraud", "other"}


def test_one_that_fails_keeps_no_other_from_its_end(plane: ControlPlane, run: Run, file: Path) -> None:
    plane.script = FAILURE
    result = run("apply", "-f", str(file))
    assert result.exit_code == Exit.FAILED
    assert result.stdout.splitlines()[-1] == "2 failed"
    assert "local/iris: Error: create of local/iris failed: the target ran out of memory." in result.stderr


def test_a_refusal_has_its_own_exit_code_and_remedy(run: Run, file: Path) -> None:
    edit(file, "next: 10", "next: 5")
    result = run("apply", "-f", str(file))
    assert result.exit_code == Exit.REFUSED
    assert result.stdout.splitlines() == [
        "+ local/iris  create  succeeded",
        "+ local/fraud  create  refused",
        "1 created, 1 refused",
    ]
    assert "local/fraud: Error: The request is invalid; traffic: sums to 90" in result.stderr
    [told] = documents(run("apply", "-f", str(file), "--json"))
    assert told["changes"][1]["problem"]["status"] == 422


def test_no_more_waiting_than_asked_for(plane: ControlPlane, run: Run, file: Path) -> None:
    plane.by_hand = True
    result = run("apply", "-f", str(file), "--timeout", "0.2")
    assert result.exit_code == Exit.TIMED_OUT
    assert result.stdout.splitlines()[-1] == "2 under way"
    assert "modelport ops cancel" in result.stderr


def test_no_server_is_one_paragraph(run: Run, file: Path) -> None:
    result = run("apply", "-f", str(file), "--url", "http://127.0.0.1:1")
    assert result.exit_code == Exit.UNREACHABLE
    assert len(result.stderr.splitlines()) == 1


def test_labels_alone_need_no_operation_and_are_told(plane: ControlPlane, run: Run, file: Path) -> None:
    run("apply", "-f", str(file))
    edit(file, "team: vision", "team: speech")
    plane.requests.clear()
    result = run("apply", "-f", str(file))
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (Exit.OK, "2 updated")
    assert submitted(plane) == ["PUT", "PUT"]
    assert plane.effects == 2


@pytest.mark.parametrize(("name", "text"), [
    ("a.json", json.dumps({"deployments": [{"target": "local", "name": "iris", "model_uri": "m:/1"}]})),
    ("a.toml", '[[deployments]]\ntarget = "local"\nname = "iris"\nmodel_uri = "m:/1"\n'),
    ("a.yml", "deployments: [{target: local, name: iris, model_uri: 'm:/1'}]\n---\n"),
])  # fmt: skip
def test_other_formats(run: Run, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert run("apply", "-f", str(tmp_path / name)).stdout.splitlines()[-1] == "1 created"


def test_several_files_and_standard_input(plane: ControlPlane, run: Run, tmp_path: Path, file: Path) -> None:
    result: Result = run(
        "apply", "-f", str(file), "-f", "-", input=b"deployments: [{target: local, name: x, model_uri: m}]"
    )
    assert result.stdout.splitlines()[-1] == "3 created"
    assert len(plane.deployments) == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no deployment is declared"),
        ("deployments: []", "no deployment is declared"),
        ("[1]", "should be an object"),
        ("deployments: {iris: {}}", "deployments should be a list"),
        ("deployment: []", "deployment is not known"),
        ("deployments: [{target: local, name: iris}]", "model_uri, or variants"),
        ("deployments: [{target: local, name: iris, model_uri: m, variants: {a: m}}]", "either model_uri or variants"),
        ("deployments: [{name: iris, model_uri: m}]", "deployments[0] (iris): target: Field required"),
        ("deployments: [{target: local, name: iris, model_uri: m, replicas: 2}]", "replicas: Extra inputs"),
        (
            "deployments: [{target: local, name: iris, model_uri: m, labels: {v: 1}}]",
            "labels.v: Input should be a valid",
        ),
        (
            "deployments: [{target: t, name: a, model_uri: m}, {target: t, name: a, model_uri: m}]",
            "t/a is declared twice",
        ),
        ("deployments: [{target: t, target: u, name: a, model_uri: m}]", "'target' is there twice"),
        ("deployments: [}", "cannot be read"),
        ("deployments: [iris]", "should be an object with target"),
        ("deployments: [{target: t, name: a, variants: [m]}]", "variants should be"),
    ],
)
def test_files_that_declare_nothing_of_use(
    plane: ControlPlane, run: Run, tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    result = run("apply", "-f", str(tmp_path / "bad.yaml"))
    assert result.exit_code == Exit.USAGE
    assert complaint in " ".join(result.stderr.replace("│", " ").split()), result.stderr
    assert plane.requests == []


def test_what_would_never_be_pruned_is_refused(plane: ControlPlane, run: Run, file: Path) -> None:
    result = run("apply", "-f", str(file), "--prune", "stage=prod")
    assert result.exit_code == Exit.USAGE
    assert "local/iris" in result.stderr
    assert run("apply", "-f", "/does/not/exist").exit_code == Exit.USAGE
    assert plane.requests == []
