"""Batches with both clients and the command line, against the real HTTP interface over a target in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import modelport
from adapters import registry
from modelport.async_client import AsyncClient
from modelport.batch_errors import BatchFailed, BatchTimeout
from modelport.cli import app
from modelport.client import Client
from modelport.commands import releasing
from modelport.exits import Exit
from modelport.types import Batch
from operations import queue
from operations.database import Database
from tests.fakes.memory.world import WORLDS, World
from tests.modelport.real_server import serving
from tests.modelport.running import documents

WAIT_SECONDS = 60.0
IRIS = {"model": "models:/iris"}
NEW = {"model_uri": "models:/iris/2"}

Invoke = Callable[..., Result]


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
    monkeypatch.setattr(queue, "announce_batch", lambda *_: None)  # as all else that would be sent to a broker
    with serving(db, monkeypatch, ["memory"]) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client, with four deployments of iris: a, b, c and d."""
    with Client(url) as client:
        begun = [client.create("here", name, model_uri="models:/iris/1", labels={"is": name}) for name in "abcd"]
        for operation in begun:
            operation.wait(WAIT_SECONDS)
        yield client


@pytest.fixture
def modelport_command(url: str, client: Client) -> Invoke:
    del client  # only for what it has deployed

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--url", url])

    return invoke


def models(client: Client) -> dict[str, str]:
    return {each.name: each.current.variants[0].model_uri for each in client.list() if each.current}


def until_it_awaits_approval(client: Client, batch_id: str) -> Batch:
    return next(each for each in client.batch_events(batch_id) if each.state == "awaiting_approval")


def test_a_plan_is_started_and_waited_for(client: Client) -> None:
    plan = client.plan_batch(selection=IRIS, change=NEW, strategy={"max_concurrent": 2, "max_failures": 3})
    assert (plan.state, plan.summary, plan.strategy["max_concurrent"]) == ("planned", {"update": 4}, 2)
    assert [(item.name, item.action) for item in plan.items] == [(name, "update") for name in "abcd"]
    assert set(models(client).values()) == {"models:/iris/1"}

    assert client.start_batch(plan.id).state == "running"
    ended = client.wait_for_batch(plan.id, WAIT_SECONDS)
    assert (ended.state, ended.done, ended.counters["succeeded"]) == ("succeeded", 4, 4)
    assert ended.targets == [{"target": "here", "succeeded": 4}]
    assert set(models(client).values()) == {"models:/iris/2"}
    items = list(client.batch_items(plan.id, page_size=3))
    assert [(item.number, item.name, item.from_revision) for item in items] == [
        (number, name, 1) for number, name in enumerate("abcd", start=1)
    ]
    assert client.operation(items[0].operation or "").state == "succeeded"
    assert [each.name for each in client.batch_items(plan.id, state="failed")] == []


def test_it_is_steered_between_waves_and_taken_back(client: Client) -> None:
    strategy: Any = {"waves": [{"labels": {"is": "c"}, "approval": True}]}
    batch = client.create_batch(selection={"target": "here"}, change=NEW, strategy=strategy, key="night")
    assert client.create_batch(selection={"target": "here"}, change=NEW, strategy=strategy, key="night").id == batch.id
    waiting = until_it_awaits_approval(client, batch.id)
    assert models(client) == dict.fromkeys("abd", "models:/iris/1") | {"c": "models:/iris/2"}
    with pytest.raises(modelport.Conflict):
        client.approve_batch(batch.id, 1)
    with pytest.raises(modelport.Conflict):
        client.retry_batch(batch.id)
    assert client.pause_batch(batch.id).state == "paused"
    client.resume_batch(batch.id)
    assert client.adjust_batch(batch.id, max_concurrent="50%").strategy["max_concurrent"] == "50%"
    awaiting = until_it_awaits_approval(client, batch.id)
    assert awaiting.version > waiting.version
    client.approve_batch(batch.id, 0)
    assert client.wait_for_batch(batch.id, WAIT_SECONDS).final

    undoing = client.roll_back_batch(batch.id)
    assert (undoing.parent, undoing.relation) == (batch.id, "roll_back")
    client.wait_for_batch(undoing.id, WAIT_SECONDS)
    assert set(models(client).values()) == {"models:/iris/1"}
    assert [each.id for each in client.batches(page_size=1)] == [undoing.id, batch.id]


def test_a_failed_batch_is_raised_with_the_reason_and_tried_again(world: World, client: Client) -> None:
    world.rolls_back = "out of memory"
    batch = client.create_batch(selection=IRIS, change=NEW)
    with pytest.raises(BatchFailed, match=r"stopped: 1 failed, 3 not started; 1 failed") as raised:
        client.wait_for_batch(batch.id, WAIT_SECONDS)
    assert (raised.value.batch.state, raised.value.batch.failures[0]["count"]) == ("stopped", 1)
    world.rolls_back = ""
    [failed] = client.batch_items(batch.id, state="failed")
    again = client.retry_batch(batch.id)
    assert client.wait_for_batch(again.id, WAIT_SECONDS).total == 1
    assert models(client)[failed.name] == "models:/iris/2"


def test_waiting_ends_in_time_and_the_batch_goes_on(world: World, client: Client) -> None:
    world.stuck = True
    batch = client.create_batch(selection={"names": ["a"]}, change=NEW)
    with pytest.raises(BatchTimeout) as late:
        client.wait_for_batch(batch.id, 0)
    assert late.value.batch.id == batch.id
    with pytest.raises(BatchTimeout):
        list(client.batch_events(batch.id, timeout=0))
    world.stuck = False
    client.wait_for_batch(batch.id, WAIT_SECONDS)


def test_the_stream_goes_on_after_what_was_seen(client: Client) -> None:
    batch = client.create_batch(selection=IRIS, change=NEW)
    moves = list(client.batch_events(batch.id))
    versions = [each.version for each in moves]
    assert versions == sorted(set(versions))
    assert [each.final for each in moves] == [False] * (len(moves) - 1) + [True]
    assert list(client.batch_events(batch.id, after=versions[-1])) == []
    assert [each.version for each in client.batch_events(batch.id, after=versions[-1] - 1)] == versions[-1:]


def test_an_unknown_batch_and_an_empty_selection(client: Client) -> None:
    for ask in (client.batch, client.pause_batch, client.wait_for_batch, lambda it: list(client.batch_items(it))):
        with pytest.raises(modelport.NotFound):
            ask("none")
    with pytest.raises(modelport.Invalid):
        client.create_batch(selection={"labels": {"is": "nothing"}}, change=NEW)
    with pytest.raises(modelport.Invalid):
        client.create_batch(selection=IRIS)


def test_explicit_operations_rejected_and_aborted(client: Client) -> None:
    held: Any = {"waves": [{"size": 1, "approval": True}]}
    operations: Any = [
        {"target": "here", "name": "a", "action": "delete"},
        {"target": "here", "name": "b", "variants": {"x": "models:/iris/1", "y": "models:/iris/2"}},
    ]
    batch = client.create_batch(operations=operations, strategy=held)
    assert [item.change for item in client.batch_items(batch.id)] == [
        {"action": "delete"},
        {
            "action": "update",
            "variants": [{"name": "x", "model_uri": "models:/iris/1"}, {"name": "y", "model_uri": "models:/iris/2"}],
        },
    ]
    until_it_awaits_approval(client, batch.id)
    client.abort_batch(batch.id)
    with pytest.raises(BatchFailed, match="aborted: 1 succeeded, 1 not started"):
        client.wait_for_batch(batch.id, WAIT_SECONDS)
    other = client.create_batch(selection=IRIS, change=NEW, strategy=held)
    until_it_awaits_approval(client, other.id)
    client.reject_batch(other.id)
    with pytest.raises(BatchFailed, match="stopped: 1 succeeded, 2 not started"):
        client.wait_for_batch(other.id, WAIT_SECONDS)


def test_the_client_that_awaits(url: str, client: Client) -> None:
    async def run() -> str:
        async with AsyncClient(url) as awaiting:
            plan = await awaiting.plan_batch(selection={"target": "here"}, change={"model_uri": "models:/iris/2"})
            await awaiting.start_batch(plan.id)
            moves = [each async for each in awaiting.batch_events(plan.id)]
            assert moves[-1].state == "succeeded"
            ended = await awaiting.wait_for_batch(plan.id, WAIT_SECONDS)
            assert [each.name async for each in awaiting.batch_items(plan.id)] == list("abcd")
            assert [each.id async for each in awaiting.batches()] == [plan.id]
            return ended.state

    assert asyncio.run(run()) == "succeeded"
    assert set(models(client).values()) == {"models:/iris/2"}


def test_the_command_line(world: World, client: Client, modelport_command: Invoke) -> None:
    """Planned, begun, watched, held, approved, aborted, failed, tried again, rolled back: with ``modelport`` alone."""
    iris = ("redeploy", "--model", "models:/iris/2", "--serving", "models:/iris", "--below-version", "2")
    planned = modelport_command(*iris, "--max-concurrent", "2", "--max-failures", "50%", "--plan")
    assert planned.exit_code == Exit.OK, planned.output
    shown = planned.stdout.splitlines()
    assert shown[0].split() == ["DEPLOYMENT", "ACTION", "CHANGE", "NOTE"]
    assert shown[1].startswith('here/a      update  variants.main.model_uri: "models:/iris/1" -> "models:/iris/2"')
    assert shown[5] == "4 selected: 4 update"
    assert shown[6].startswith("takes about ")
    assert set(models(client).values()) == {"models:/iris/1"}
    identity = planned.stderr.split("modelport batch start ")[1].split()[0]

    started = modelport_command("batch", "start", identity)
    assert started.exit_code == Exit.OK, started.output
    assert started.stdout.startswith(f"{identity}: succeeded  4 of 4  4 succeeded")
    assert "4 of 4" in started.stderr
    [document] = documents(modelport_command("batch", "show", identity, "--json"))
    assert (document["state"], document["strategy"]["max_failures"]) == ("succeeded", "50%")
    [listed] = documents(modelport_command("batch", "items", identity, "--state", "succeeded", "--json"))
    assert [item["name"] for item in listed["items"]] == list("abcd")
    watched = documents(modelport_command("batch", "watch", identity, "--json"))
    assert watched[-1]["final"]
    undone = modelport_command("batch", "rollback", identity)
    assert undone.exit_code == Exit.OK, undone.output
    assert set(models(client).values()) == {"models:/iris/1"}

    waves = ("--wave", "label=is=a:soak=0", "--wave", "approve", "--wave", "50%")
    begun = modelport_command(*iris, *waves, "--no-wait", "--json")
    assert begun.exit_code == Exit.OK, begun.output
    [document] = documents(begun)
    identity = document["id"]
    assert [(wave["labels"], wave["size"], wave["approval"]) for wave in document["strategy"]["waves"]] == [
        ({"is": "a"}, None, True),
        (None, "50%", False),
    ]
    until_it_awaits_approval(client, identity)
    late = modelport_command("batch", "watch", identity, "--timeout", "0")
    assert late.exit_code == Exit.TIMED_OUT
    assert f"modelport batch abort {identity}" in late.stderr
    assert "paused" in modelport_command("batch", "pause", identity).stdout
    assert modelport_command("batch", "set", identity, "--max-concurrent", "1").exit_code == Exit.OK
    resumed = modelport_command("batch", "resume", identity)
    assert resumed.exit_code == Exit.OK, resumed.output
    until_it_awaits_approval(client, identity)
    approved = modelport_command("batch", "approve", identity)
    assert approved.exit_code == Exit.OK, approved.output
    assert modelport_command("batch", "watch", identity).exit_code == Exit.OK
    assert set(models(client).values()) == {"models:/iris/2"}

    world.rolls_back = "out of memory"
    failed = modelport_command("redeploy", "-C", "size=3", "--name", "a", "--name", "b", "--max-failures", "1")
    assert failed.exit_code == Exit.FAILED, failed.output
    assert "out of memory" in failed.stdout
    assert "modelport batch retry " in failed.stderr
    world.rolls_back = ""
    newest = json.loads(modelport_command("batch", "ls", "--limit", "1", "--json").stdout)["items"][0]["id"]
    shown = modelport_command("batch", "show", newest).stdout
    assert "stopped" in shown
    assert "out of memory" in shown
    assert modelport_command("batch", "retry", newest).exit_code == Exit.OK

    later = ("--start", "2099-01-01T00:00Z", "--end", "2099-01-01T03:00+01:00")
    back = modelport_command(
        "redeploy", "--action", "rollback", "--target", "here", "--name", "a", *later, "--plan", "--json"
    )
    [document] = documents(back)
    assert [item["action"] for item in document["items"]] == ["rollback"]
    assert (document["strategy"]["start"], document["strategy"]["end"]) == (4070908800.0, 4070916000.0)
    held = modelport_command("redeploy", "-C", "size=2", "--target", "here", "--wave", "1:approve", "--no-wait")
    identity = held.stdout.split(":")[0]
    until_it_awaits_approval(client, identity)
    aborted = modelport_command("batch", "abort", identity)
    assert aborted.exit_code == Exit.OK, aborted.output
    assert modelport_command("batch", "watch", identity).exit_code == Exit.FAILED
    rows = modelport_command("batch", "ls").stdout.splitlines()
    assert rows[0].split() == ["BATCH", "CHANGE", "STATE", "DONE", "ITEMS", "AGE"]
    assert len(rows) == 8  # two plans, a rolling back, one in waves, one that failed and its retry, one held
    assert modelport_command("batch", "reject", identity).exit_code == Exit.OK  # twice is the same as once


def test_what_the_command_line_refuses(modelport_command: Invoke) -> None:
    for arguments, code in (
        (("redeploy", "--model", "models:/iris/2"), Exit.USAGE),
        (("redeploy", "--target", "here"), Exit.USAGE),
        (("redeploy", "--model", "m:/1", "--target", "here", "--below-version", "3"), Exit.USAGE),
        (("redeploy", "--model", "m:/1", "--target", "here", "--max-failures", "few"), Exit.USAGE),
        (("redeploy", "--model", "m:/1", "--target", "here", "--start", "tonight"), Exit.USAGE),
        (("redeploy", "--model", "m:/1", "--target", "here", "--on-failure", "cry"), Exit.REFUSED),
        (("redeploy", "--model", "m:/1", "--label", "is=nothing"), Exit.REFUSED),
        (("redeploy", "--model", "m:/1", "--target", "nowhere"), Exit.NOT_FOUND),
        (("batch", "set", "none"), Exit.USAGE),
        (("batch", "watch", "none"), Exit.NOT_FOUND),
        (("batch", "approve", "none"), Exit.NOT_FOUND),
    ):
        ran = modelport_command(*arguments)
        assert ran.exit_code == code, (arguments, ran.output)


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        ([], []),
        (["1", "10%"], [{"size": 1}, {"size": "10%"}]),
        (["50:soak=600:approve"], [{"size": 50, "soak_seconds": 600.0, "approval": True}]),
        (["1", "soak=1.5", "approve"], [{"size": 1, "soak_seconds": 1.5, "approval": True}]),
        (["label=team=a:label=zone=b:2.5%"], [{"labels": {"team": "a", "zone": "b"}, "size": "2.5%"}]),
    ],
)
def test_waves_are_read(texts: list[str], read: list[dict[str, Any]]) -> None:
    assert releasing.waves(texts) == read


@pytest.mark.parametrize("text", ["approve", "", "1:2", "ten", "1:soak=", "1:soak=soon", "label=team", "1::approve"])
def test_a_bad_wave_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        releasing.waves([text])
