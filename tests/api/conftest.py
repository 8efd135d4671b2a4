"""A server over a target in memory, with the broker's side written down instead of sent."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import structlog

from adapters import registry
from api.app import create_app
from operations import queue
from operations.database import Database
from operations.models import Operation
from operations.states import Lane
from tests.api.serving import serving

TARGETS = {"here": {"uri": "memory:/one"}, "there": {"uri": "memory:/two"}}


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of target that these tests use, registered twice at the start."""
    monkeypatch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
    monkeypatch.setenv("MODELPORT_TARGETS", json.dumps(TARGETS))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[Lane]:
    """What was said over the broker, which is not there."""
    said: list[Lane] = []
    monkeypatch.setattr(queue, "hint", said.append)
    return said


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The operations that were shown in Flower, each with the worker under whose name."""
    shown: list[tuple[str, str]] = []

    def announce(operations: list[Operation], worker: str) -> None:
        shown.extend((operation.id, worker) for operation in operations)

    monkeypatch.setattr(queue, "announce", announce)
    return shown


@pytest.fixture
def url(db: Database, hints: Any, announced: Any) -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it comes: nobody without a key, and no key believed from memory. Before ``db``, which reads the settings."""
    monkeypatch.delenv("MODELPORT_ANONYMOUS_ROLE")
    monkeypatch.setenv("MODELPORT_KEY_CACHE_SECONDS", "0")


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
        yield client


@pytest.fixture
def iris(http: httpx.Client) -> dict[str, Any]:
    """The operation that creates a deployment, queued."""
    response = http.post("/v1/deployments", json={"target": "here", "name": "iris", "model_uri": "models:/iris/1"})
    assert response.status_code == 202, response.text
    return dict(response.json())


@pytest.fixture
def offline() -> Callable[[str], httpx.Response]:
    """GETs from the application without its database, what it says about itself."""

    async def get(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(create_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://offline") as client:
            return await client.get(path)

    return lambda path: asyncio.run(get(path))
