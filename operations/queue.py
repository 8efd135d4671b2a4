"""The Celery application, and what is said over the broker: *there is work*, and how each operation stands.

Nothing here blocks its caller or raises: a thread of this process sends, and what cannot be sent is made up for by the
workers' own question to the database. No message says anything that the database does not know already.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from celery import Celery
from kombu.entity import Exchange, Queue

from operations.batches.models import Batch, ItemState
from operations.flower import batch_picture, picture
from operations.models import Operation
from operations.settings import settings
from operations.states import Lane

ADVANCE = "modelport.advance"
HINT_EXPIRES_SECONDS = 30
PICTURES_KEPT = 20_000
GATHER_SECONDS = 0.03  # the first goes out at once; what comes within this time after it goes out together

log = structlog.get_logger(__name__)


def make_app() -> Celery:
    """The application as workers and producers share it; each setting that is not Celery's default has its reason."""
    app = Celery("modelport", broker=settings().broker_url, set_as_current=True)
    app.conf.update(
        task_default_queue=Lane.WRITE.value,
        task_queues=[_queue(lane) for lane in Lane],
        task_create_missing_queues=False,
        # outcomes live in the database; a result backend would be a second truth that leaks
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # a message names work and carries nothing, so JSON is enough and pickle would let the broker run code
        task_serializer="json",
        accept_content=["json"],
        event_serializer="json",
        # rows in Flower are operations, not messages
        worker_send_task_events=False,
        task_send_sent_event=False,
        # a hint is worth nothing after the worker that took it died: the sweep sends another
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_time_limit=int(settings().advance_budget_seconds + 2 * settings().lease_seconds),
        worker_max_memory_per_child=500_000,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        # a broker that is away for an hour is waited for
        broker_connection_max_retries=None,
        broker_connection_timeout=2.0,
        broker_transport_options={
            "socket_timeout": 10.0,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        timezone="UTC",
    )
    return app


def _queue(lane: Lane) -> Queue:
    # named on both sides: by Celery's default all queues would be bound to one key, and each get every message
    return Queue(lane.value, Exchange(lane.value), routing_key=lane.value)  # type: ignore[no-untyped-call]


app = make_app()


def hint(lane: Lane) -> None:
    """Say that there is work in this lane. Returns at once; many calls in a moment become one message."""
    _sender().hint(lane)


def announce(operations: Iterable[Operation], worker: str) -> None:
    """Show these operations in Flower as they are now, under the worker of this name. Returns at once."""
    _sender().show([picture(operation, worker) for operation in operations])


def announce_batch(batch: Batch, counts: Mapping[ItemState, int], worker: str) -> None:
    """Show this batch in Flower as it is now. Returns at once."""
    _sender().show([batch_picture(batch, counts, worker)])


def ping(timeout_seconds: float = 1.0) -> bool:
    """Whether the broker answers; blocks for ``timeout_seconds`` at most."""
    try:
        with app.connection_for_write(connect_timeout=timeout_seconds) as connection:
            connection.transport_options = {
                **app.conf.broker_transport_options,
                "socket_timeout": timeout_seconds,
                "socket_connect_timeout": timeout_seconds,
            }
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=timeout_seconds)
            return True
    except Exception:
        return False


class _Sender(threading.Thread):
    """Sends for one process. Daemonic: what is unsent when the process ends is found by the sweep."""

    def __init__(self) -> None:
        super().__init__(name="modelport-sender", daemon=True)
        self.pid = os.getpid()
        self._lanes: set[Lane] = set()
        self._pictures: deque[dict[str, Any]] = deque(maxlen=PICTURES_KEPT)
        self._lock = threading.Lock()
        self._work = threading.Event()

    def hint(self, lane: Lane) -> None:
        with self._lock:
            self._lanes.add(lane)
        self._work.set()

    def show(self, pictures: list[dict[str, Any]]) -> None:
        with self._lock:
            self._pictures.extend(pictures)
        self._work.set()

    def run(self) -> None:
        pause = 0.0
        while True:
            self._work.wait()
            self._work.clear()
            with self._lock:
                lanes, pictures = set(self._lanes), list(self._pictures)
                self._lanes.clear()
                self._pictures.clear()
            try:
                self._send(lanes, pictures)
                pause = GATHER_SECONDS
            except Exception as error:
                log.warning("broker_unreachable", error=type(error).__name__, unsent=len(pictures))
                with self._lock:
                    self._lanes |= lanes
                    self._pictures.extendleft(reversed(pictures[-PICTURES_KEPT + len(self._pictures) :]))
                self._work.set()
                pause = min(max(pause * 2, 0.1), 5.0)
            time.sleep(pause)

    def _send(self, lanes: set[Lane], pictures: list[dict[str, Any]]) -> None:
        with app.producer_pool.acquire(block=True, timeout=5) as producer:
            for lane in lanes:
                app.send_task(
                    ADVANCE,
                    args=[lane.value],
                    queue=lane.value,
                    producer=producer,
                    expires=HINT_EXPIRES_SECONDS,
                    retry=False,
                )
            for start in range(0, len(pictures), 200):
                dispatcher = app.events.Dispatcher(producer.connection, enabled=False)
                producer.publish(
                    pictures[start : start + 200],
                    routing_key="task.multi",
                    exchange=dispatcher.exchange.name,
                    declare=[dispatcher.exchange],
                    serializer="json",
                    delivery_mode=1,
                    retry=False,
                )


_senders: dict[int, _Sender] = {}
_senders_lock = threading.Lock()


def _sender() -> _Sender:
    with _senders_lock:
        sender = _senders.get(os.getpid())
        if sender is None:
            # after a fork the parent's thread is not here, and its connections are not ours
            _senders.clear()
            sender = _senders[os.getpid()] = _Sender()
            sender.start()
        return sender
