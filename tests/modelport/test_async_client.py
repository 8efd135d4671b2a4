"""The client that awaits: the same methods, the same core, driven by asyncio."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import modelport
from modelport.async_client import AsyncClient
from modelport.awaiting.handles import AsyncDeployment, AsyncOperation
from modelport.blocking.handles import Deployment, Operation
from modelport.client import Client
from modelport.repeating import Repeats
from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane_records import FAILURE

Script = Callable[[AsyncClient], Coroutine[Any, Any, None]]
Play = Callable[[Script], None]


@pytest.fixture
def play(plane: ControlPlane) -> Play:
    """Runs a script in an event loop of its own, with a client of the fake server."""

    def played(script: Script) -> None:
        async def run() -> None:
            async with AsyncClient(plane.url, timeout=60, repeats=Repeats(first_pause_seconds=0.001)) as client:
                await script(client)

        asyncio.run(run())

    return played


@pytest.mark.parametrize(
    ("blocking", "awaiting"), [(Client, AsyncClient), (Operation, AsyncOperation), (Deployment, AsyncDeployment)]
)
def test_both_clients_have_the_same_methods_with_the_same_arguments(blocking: type, awaiting: type) -> None:
    def methods(kind: type) -> dict[str, str]:
        found = {}
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and method.__module__.startswith("modelport."):
                told = str(inspect.signature(method))
                found[name] = re.sub(r"\bAsync(?=[A-Z])", "", told)
        return found

    assert methods(awaiting) == methods(blocking)
    for name in methods(awaiting):
        method = getattr(awaiting, name)
        streams = str(inspect.signature(method).return_annotation).startswith("AsyncIterator")
        assert inspect.iscoroutinefunction(method) != streams, name


def test_a_life(play: Play) -> None:
    async def script(client: AsyncClient) -> None:
        created = await client.create("local", "iris", model_uri="m:/1")
        assert isinstance(created, AsyncOperation)
        assert (await created.wait(timeout=60)).state == "succeeded"
        assert (await created.refresh()).final
        same = await client.apply("local", "iris", model_uri="m:/1")
        assert isinstance(same, AsyncDeployment)
        assert (await same.wait(timeout=60)).status == "serving"
        assert (await same.predict({"inputs": [1]})).json() == {"predictions": [1]}
        assert (await same.refresh()).name == "iris"
        changed = await client.apply("local", "iris", model_uri="m:/2")
        await changed.wait(timeout=60)
        assert [each.number async for each in client.revisions("local", "iris")] == [1, 2]
        await (await client.delete("local", "iris")).wait(timeout=60)
        with pytest.raises(modelport.NotFound):
            await client.get("local", "iris")

    play(script)


def test_many_at_once_in_one_loop(plane: ControlPlane, play: Play) -> None:
    async def script(client: AsyncClient) -> None:
        begun = await asyncio.gather(*(client.create("local", f"m{n}", model_uri="m:/1") for n in range(20)))
        ended = await asyncio.gather(*(operation.wait(timeout=60) for operation in begun))
        assert [each.state for each in ended] == ["succeeded"] * 20
        plane.page_size = 3
        assert len([each async for each in client.list()]) == 20

    play(script)


def test_waiting_holds_nobody_else_up(plane: ControlPlane, play: Play) -> None:
    plane.by_hand = True

    async def script(client: AsyncClient) -> None:
        operation = await client.create("local", "iris", model_uri="m:/1")
        waiting = asyncio.create_task(operation.wait(timeout=60))
        assert (await client.get("local", "iris")).status == "creating"
        assert not waiting.done()
        plane.end(plane.operations[operation.id], "succeeded", "serves")
        assert (await waiting).state == "succeeded"

    play(script)


def test_events_are_taken_up_where_the_connection_broke(plane: ControlPlane, play: Play) -> None:
    plane.cuts.extend([1, 0, 2])

    async def script(client: AsyncClient) -> None:
        operation = await client.create("local", "iris", model_uri="m:/1")
        events = [event async for event in operation.events()]
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert events[-1].final
        assert [event.number async for event in client.events(operation.id, after=2)] == [e.number for e in events[2:]]

    play(script)


def test_who_stops_reading_gives_the_connection_back(plane: ControlPlane, play: Play) -> None:
    plane.by_hand = True

    async def script(client: AsyncClient) -> None:
        operation = await client.create("local", "iris", model_uri="m:/1")
        async with closing(operation.events()) as events:
            async for event in events:
                assert event.state == "queued"
                break
        assert not any(connection.is_idle() is False for connection in connections(client))

    play(script)


def test_failures_and_timeouts_are_raised(plane: ControlPlane, play: Play) -> None:
    async def script(client: AsyncClient) -> None:
        plane.script = FAILURE
        failing = await client.create("local", "iris", model_uri="m:/1")
        assert [step.state async for step in failing.follow(every=0.01)][-1] == "failed"
        with pytest.raises(modelport.OperationFailed, match="out of memory"):
            await failing.wait(timeout=60)
        plane.by_hand = True
        slow = await failing.retry()
        with pytest.raises(modelport.WaitTimeout):
            await slow.wait(timeout=0.05)
        assert (await slow.cancel()).state == "cancelled"
        with pytest.raises(modelport.OperationCancelled):
            await slow.wait(timeout=60)

    play(script)


def test_what_the_connection_lost_takes_effect_once(plane: ControlPlane, play: Play) -> None:
    async def script(client: AsyncClient) -> None:
        plane.fail_next(drop="after")
        plane.fail_next(status=503, headers={"Retry-After": "0"})
        await client.create("local", "iris", model_uri="m:/1")
        assert plane.effects == 1
        plane.fail_next(drop="after")
        with pytest.raises(modelport.Unreachable):
            await client.predict("local", "iris", {"inputs": [1]})

    play(script)


def test_targets(plane: ControlPlane, play: Play) -> None:
    async def script(client: AsyncClient) -> None:
        assert (await client.put_target("prod", "http://models", limits={"writes": 5})).uri == "http://models"
        assert [each.name async for each in client.targets()] == ["local", "prod"]
        assert [kind.title for kind in await client.target_kinds()] == ["This machine"]
        assert (await client.check_target("prod")).ok
        assert "workers" in await client.target_help("local")
        await client.delete_target("prod")
        with pytest.raises(modelport.NotFound):
            await client.target("prod")

    play(script)


def test_a_handle_without_a_client_says_so() -> None:
    async def script() -> None:
        moment = "2030-01-01T00:00:00Z"
        times = {"created_at": moment, "updated_at": moment}
        bare = AsyncOperation.model_validate(
            {"id": "1", "target": "t", "deployment": "d", "kind": "create", "state": "queued", "final": False, **times}
        )
        with pytest.raises(RuntimeError, match="did not come from a client"):
            await bare.refresh()

    asyncio.run(script())


@asynccontextmanager
async def closing(stream: Any) -> AsyncIterator[Any]:
    try:
        yield stream
    finally:
        closed: Awaitable[None] = stream.aclose()
        await closed


def connections(client: AsyncClient) -> list[Any]:
    return list(client._http._transport._pool.connections)
