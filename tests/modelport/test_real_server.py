"""Client and command line against the real HTTP interface, over a target in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import modelport
from adapters import registry
from modelport.blocking.handles import Deployment, Operation
from modelport.cli import app
from modelport.client import Client
from modelport.exits import Exit
from operations.database import Database
from tests.fakes.memory.world import WORLDS, Thing, World
from tests.modelport.real_server import serving

WAIT_SECONDS = 60.0


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
    monkeypatch.setenv("MODELPORT_TARGETS", json.dumps({"here": {"uri": "memory:/one"}}))
    WORLDS["memory:/one"] = World()
    yield WORLDS["memory:/one"]
    WORLDS.clear()


@pytest.fixture
def url(world: World, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    del world
    with serving(db, monkeypatch, ["memory"]) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def test_the_life_of_a_deployment(client: Client) -> None:
    created = client.create("here", "iris", model_uri="models:/iris/1", labels={"team": "a"}, key="first")
    assert client.create("here", "iris", model_uri="models:/iris/1", labels={"team": "a"}, key="first").id == created.id
    assert created.wait(WAIT_SECONDS).revision == 1
    with pytest.raises(modelport.TooLate):
        created.cancel()
    found = client.get("here", "iris")
    assert (found.status, found.labels) == ("serving", {"team": "a"})
    assert isinstance(client.apply("here", "iris", model_uri="models:/iris/1"), Deployment)

    split = client.apply(
        "here",
        "iris",
        variants={"a": "models:/iris/1", "b": "models:/iris/2"},
        traffic={"a": 50, "b": 50},
        if_match=found,
    )
    assert isinstance(split, Operation)
    split.wait(WAIT_SECONDS)
    client.traffic("here", "iris", {"a": 80, "b": 20}).wait(WAIT_SECONDS)
    client.rollback("here", "iris", revision=1).wait(WAIT_SECONDS)
    client.update("here", "iris", config={"size": 2}, labels={"team": None}).wait(WAIT_SECONDS)
    serving = client.get("here", "iris").wait(WAIT_SECONDS).current
    assert serving is not None
    assert serving.variants[0].config == {"size": 2}
    assert [each.number for each in client.revisions("here", "iris", page_size=1)] == sorted(
        (each.number for each in client.revisions("here", "iris")), reverse=True
    )
    assert [each.name for each in client.list(target="here", status="serving")] == ["iris"]

    client.delete("here", "iris").wait(WAIT_SECONDS)
    with pytest.raises(modelport.NotFound):
        client.get("here", "iris")
    kinds = [each.kind for each in client.operations(deployment="iris", page_size=2)]
    assert kinds == ["delete", "update", "rollback", "traffic", "update", "create"]


def test_events_are_streamed_and_a_failure_is_raised(world: World, client: Client) -> None:
    world.rolls_back = "out of memory"
    operation = client.create("here", "iris", model_uri="models:/iris/1")
    events = list(operation.events())
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert (events[0].state, events[-1].state) == ("queued", "failed")
    assert [event.number for event in client.events(operation.id, after=1)] == [each.number for each in events[1:]]
    with pytest.raises(modelport.OperationFailed, match="out of memory"):
        operation.wait(WAIT_SECONDS)
    assert operation.retry().wait(WAIT_SECONDS).retry_of == operation.id


def test_what_is_under_way_is_waited_for_in_vain_and_cancelled(world: World, client: Client) -> None:
    world.stuck = True
    operation = client.create("here", "iris", model_uri="models:/iris/1")
    with pytest.raises(modelport.WaitTimeout):
        operation.wait(0.5)
    operation.cancel()
    world.stuck = False
    with pytest.raises(modelport.OperationCancelled):
        operation.wait(WAIT_SECONDS)
    assert operation.cancel().state == "cancelled"  # twice is the same as once


def test_refusals_have_their_own_exceptions(client: Client) -> None:
    client.create("here", "iris", model_uri="models:/iris/1", key="first").wait(WAIT_SECONDS)
    with pytest.raises(modelport.AlreadyExists):
        client.create("here", "iris", model_uri="models:/iris/1")
    with pytest.raises(modelport.KeyReused):
        client.create("here", "iris", model_uri="models:/iris/2", key="first")
    with pytest.raises(modelport.Stale):
        client.delete("here", "iris", if_match=99)
    with pytest.raises(modelport.NoPreviousRevision):
        client.rollback("here", "iris")
    with pytest.raises(modelport.NotFound):
        client.create("nowhere", "iris", model_uri="models:/iris/1")
    with pytest.raises(modelport.TargetInUse):
        client.delete_target("here")
    with pytest.raises(modelport.Invalid) as invalid:
        client.apply("here", "iris", model_uri="models:/iris/1", config={"shape": 1})
    assert [error.field for error in invalid.value.errors] == ["config.shape"]
    with pytest.raises(modelport.Invalid) as unread:
        client.predict("here", "iris", {"rows": []})
    assert unread.value.slug == "invalid-prediction-input"


def test_targets(client: Client) -> None:
    client.put_target("there", "memory:/two", limits={"parallel": 2})
    assert [each.name for each in client.targets()] == ["here", "there"]
    assert client.target("there").limits["parallel"] == 2
    assert "size: int" in client.target_help("there")
    with pytest.raises(modelport.ServerError):
        client.check_target("there")
    client.delete_target("there")
    assert [each.name for each in client.targets()] == ["here"]


def test_the_command_line(url: str) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*arguments, "--url", url])
        return result.exit_code, result.stdout

    code, told = run("deploy", "here/iris", "--model", "models:/iris/1", "-C", "size=2", "--label", "team=a")
    assert (code, told.split(" (")[0]) == (Exit.OK, "here/iris serves revision 1")
    for command in ("show here/iris", "history here/iris", "ls --label team=a", "ops ls", "targets show here"):
        code, told = run(*command.split())
        assert code == Exit.OK, command
        assert told, command
        code, told = run(*command.split(), "--json")
        assert code == Exit.OK, command
        json.loads(told)
    assert run("deploy", "here/Not A Name", "--model", "models:/iris/1")[0] == Exit.REFUSED
    assert run("show", "here/other")[0] == Exit.NOT_FOUND
    assert run("rm", "here/iris")[0] == Exit.OK


def test_what_other_hands_did_is_reconciled_adopted_and_removed(world: World, client: Client, url: str) -> None:
    theirs = {
        "variants": [{"name": "main", "model_uri": "models:/theirs/3", "flavor": None, "config": {}}],
        "traffic": {"main": 100},
    }
    world.things["wild"] = Thing(uid=None, serving=theirs)
    adopted = client.adopt("here", "wild", labels={"team": "fraud"}).wait(WAIT_SECONDS)
    assert adopted.kind == "adopt"
    assert client.get("here", "wild").current.variants[0].model_uri == "models:/theirs/3"

    del world.things["wild"]
    client.reconcile("here", "wild").wait(WAIT_SECONDS)
    assert world.things["wild"].serving == theirs

    with pytest.raises(modelport.errors.NotRetryable):
        client.undo(adopted.id)
    ran = CliRunner().invoke(app, ["reconcile", "here/wild", "--url", url])
    assert ran.exit_code == 0, ran.output


def test_two_hundred_declared_deployments(world: World, client: Client, url: str, tmp_path: Path) -> None:
    def declare(*changed: int) -> None:
        items = [
            {"name": f"m-{n}", "model_uri": f"models:/m/{2 if n in changed else 1}", "config": {"size": 2}}
            for n in range(200)
        ]
        document = {"defaults": {"target": "here", "labels": {"from": "file"}}, "deployments": items}
        file.write_text(json.dumps(document))  # which is YAML too

    def apply(*options: str) -> str:
        ran = CliRunner().invoke(app, ["apply", "-f", str(file), *options, "--url", url])
        assert ran.exit_code == 0, ran.output
        return ran.stdout.splitlines()[-1]

    file = tmp_path / "deployments.yaml"
    declare()
    assert apply("--dry-run") == "200 to create"
    assert apply() == "200 created"
    assert apply() == "200 unchanged"
    assert sum(world.effects.values()) == 200
    declare(3, 77, 199)
    assert apply("--prune", "from=file") == "197 unchanged, 3 updated"
    assert sum(world.effects.values()) == 203
    changed = [each.name for each in client.list(labels={"from": "file"}) if each.tip and each.tip.number == 2]
    assert changed == ["m-3", "m-77", "m-199"]
    assert {each.state for each in client.operations()} == {"succeeded"}
    assert len(list(client.operations())) == 203


def test_logs_are_refused_where_the_target_has_none(client: Client) -> None:
    client.create("here", "iris", model_uri="models:/iris/1").wait(WAIT_SECONDS)
    with pytest.raises(modelport.Invalid) as refused:
        client.logs("here", "iris", lines=10)
    assert refused.value.slug == "not-supported-by-target"
    with pytest.raises(modelport.NotFound):
        client.logs("here", "other")
