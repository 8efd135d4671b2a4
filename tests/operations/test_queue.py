"""What goes over the broker, and where it ends up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from operations import queue
from operations.settings import settings
from operations.states import Lane
from tests.stack.waiting import until


@pytest.fixture
def app(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    monkeypatch.setenv("MODELPORT_BROKER_URL", broker_url)
    settings.cache_clear()
    app = queue.make_app()
    monkeypatch.setattr(queue, "app", app)
    monkeypatch.setattr(queue, "_senders", {})
    yield app
    app.close()
    settings.cache_clear()


def waiting(app: Celery, lane: Lane) -> int:
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        return int(channel.client.llen(lane.value))


@pytest.mark.parametrize("lane", Lane)
def test_a_hint_reaches_the_queue_of_its_lane_and_no_other(app: Celery, lane: Lane) -> None:
    before = {each: waiting(app, each) for each in Lane}
    queue.hint(lane)
    until(lambda: waiting(app, lane) > before[lane])
    assert {each: waiting(app, each) - before[each] for each in Lane} == {each: int(each == lane) for each in Lane}


def test_a_broker_that_is_away_neither_blocks_nor_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPORT_BROKER_URL", "redis://127.0.0.1:1/0")
    settings.cache_clear()
    monkeypatch.setattr(queue, "app", queue.make_app())
    monkeypatch.setattr(queue, "_senders", {})
    queue.hint(Lane.WRITE)
    assert not queue.ping(0.2)
    settings.cache_clear()
