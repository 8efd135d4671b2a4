"""``docs/targets/kserve.md``: what it shows is run through the service against the fake cluster, rights included."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from modelport.cli import app
from operations.database import Database
from tests.adapters import kserve_docs
from tests.adapters.kserve_target import VARIABLE as KSERVE_VARIABLE
from tests.adapters.kserve_target import KServeHarness, Life, theirs
from tests.adapters.kubernetes_target import KubernetesHarness
from tests.fakes.kubernetes import TOKEN, Kubernetes
from tests.modelport.real_server import serving

PAGE = Path(__file__).parents[2] / "docs/targets/kserve.md"


@pytest.fixture(scope="module")
def running() -> Iterator[Kubernetes]:
    with Kubernetes(seconds=0.05) as cluster:
        yield cluster


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def cluster(running: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> Kubernetes:
    running.reset()
    monkeypatch.setenv("CLUSTER_TOKEN", TOKEN)
    monkeypatch.setenv(KSERVE_VARIABLE, TOKEN)
    return running


@pytest.fixture
def url(cluster: Kubernetes, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(db, monkeypatch, ["kserve", "kubernetes"]) as url:
        yield url


def commands(target: str) -> list[str]:
    """What the page types at its prompts for this target."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    typed = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in typed if re.search(rf"\b{target}\b", line)]


def run(command: str, url: str, cluster: Kubernetes) -> str:
    command = command.replace("https://kubernetes.example.com:6443", cluster.url)
    command = command.replace("https://models.example.com/{namespace}/{service}", cluster.settings["service_url"])
    command = command.replace("https://models.example.com", cluster.url)
    if " targets add cluster" in command:  # as from inside of the cluster
        command += f" -s service_url={cluster.settings['service_url']}"
    program, *arguments = shlex.split(command)
    assert program == "modelport"
    ran = CliRunner().invoke(app, [*arguments, "--url", url])
    assert ran.exit_code == 0, f"{command}: {ran.output}"
    return ran.stdout


def test_the_commands_do_what_the_page_says(url: str, cluster: Kubernetes, tmp_path: Path) -> None:
    cluster.conduct(mode="Knative")
    told, serves = [], []
    for command in commands("cluster"):
        told.append(run(command, url, cluster))
        serves.append(cluster.serving("iris"))

    _, created, predicted, split, pinned, traffic, rolled_back, deleted = range(len(told))
    first, second = "s3://my-models/iris/1", "s3://my-models/iris/2"
    assert serves[created] == serves[rolled_back] == {first: 100}
    assert serves[split] == {first: 90, second: 10}
    assert serves[traffic] == {first: 50, second: 50}
    assert json.loads(told[predicted])["predictions"] == [first]
    assert json.loads(told[pinned])["predictions"] == [second]
    assert (serves[deleted], cluster.objects("inferenceservices")) == ({}, {})
    assert TOKEN not in everything_kept(tmp_path)


def test_the_commands_without_kserve_do_what_the_page_says(url: str, cluster: Kubernetes, tmp_path: Path) -> None:
    told, serves = [], []
    for command in commands("plain"):
        told.append(run(command, url, cluster))
        serves.append(cluster.serving("iris"))
    assert serves == [{}, {"models:/iris/1": 100}, *[{"models:/iris/2": 100}] * 2, {}]
    assert json.loads(told[3])["predictions"] == ["models:/iris/2"]
    assert cluster.objects("deployments") == cluster.objects("services") == {}
    assert TOKEN not in everything_kept(tmp_path)


def test_adopting_failing_and_being_refused_through_the_service(url: str, cluster: Kubernetes, tmp_path: Path) -> None:
    for target in ("cluster", "plain"):
        run(commands(target)[0], url, cluster)
    cluster.plant("inferenceservices", "wild", theirs())
    run("modelport adopt cluster/wild", url, cluster)
    answer = run("""modelport predict cluster/wild -d '{"inputs": [1]}'""", url, cluster)
    assert json.loads(answer)["predictions"] == ["s3://models/theirs"]

    cluster.conduct(failure=f"no weights for {TOKEN}")
    failed = CliRunner().invoke(app, ["deploy", "cluster/iris", "--model", "s3://m/broken", "--url", url])
    assert failed.exit_code == 1
    assert "ModelLoadFailed: no weights for ***" in failed.output
    assert "iris" not in cluster.objects("inferenceservices")

    calls = cluster.counts()["calls"]
    split = "deploy plain/iris --variant a=models:/i/1 --variant b=models:/i/2 --traffic a=50,b=50"
    assert CliRunner().invoke(app, [*split.split(), "--url", url]).exit_code != 0
    assert cluster.counts()["calls"] == calls
    assert TOKEN not in everything_kept(tmp_path)


Rights = set[tuple[str, str, str]]


def role(name: str) -> Rights:
    """The rights of a Role on the page: verb, group, resource."""
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    (rules,) = (each["rules"] for each in found if each["metadata"]["name"] == name)
    return {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def used(cluster: Kubernetes) -> Rights:
    return {(verb, group, resource) for verb, group, resource in cluster.counts()["rights"]}


def everything(target: Any, life: Life, *specs: Any) -> None:
    """All that a worker ever asks for: few, many, changes, failures, logs, deletions, checks, observing."""
    adapter = target.open()
    adapter.check()
    for spec in specs:
        adapter.resolve(spec)
        life.settle(spec)
        adapter.logs(life.placed, None, 3)
        handles = {str(number): life.plan(spec) for number in range(5)}
        for number, handle in enumerate(handles.values()):
            handle["name"] = life.name if number == 0 else f"other-{number}"
        adapter.look_many(handles)
        list(adapter.observe_all())
        adapter.observe(life.name)
    failed = life.bring(life.plan(target.broken()))
    life.bring(failed.handle, "back")
    life.settle(None)


def test_the_rights_on_the_page_are_those_that_kserve_needs(cluster: Kubernetes) -> None:
    needed: Rights = set()
    for mode in ("Standard", "Knative"):
        cluster.reset()
        cluster.conduct(mode=mode)
        target = KServeHarness(cluster)
        everything(target, Life(target), target.spec("a"), target.split(60, 40), target.spec("b"))
        needed |= used(cluster)
    assert needed == role("modelport-kserve")


def test_the_rights_on_the_page_are_those_that_are_needed_without_kserve(cluster: Kubernetes) -> None:
    target = KubernetesHarness(cluster)
    everything(target, Life(target), target.spec("a"), target.spec("b"))
    assert used(cluster) == role("modelport-kubernetes")


@pytest.mark.parametrize("name", kserve_docs.tables())
def test_the_tables_are_those_of_the_code(name: str) -> None:
    table = kserve_docs.tables()[name]
    assert table in PAGE.read_text(), "python -m tests.adapters.kserve_docs prints the tables anew"


def everything_kept(folder: Path) -> str:
    """All that the service wrote down: its database with every table, and whatever else is in its folder."""
    with sqlite3.connect(folder / "modelport.db") as database:
        dumped = "\n".join(database.iterdump())
    database.close()
    files = [path for path in folder.rglob("*") if path.is_file()]
    return dumped + "".join(path.read_bytes().decode("latin-1") for path in files)
