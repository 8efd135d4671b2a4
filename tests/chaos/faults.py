"""What is done to the running system. Each fault leaves it able to go on by itself."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import psycopg
import redis

from tests.fakes.platform import Platform
from tests.stack.parts import Parts
from tests.stack.waiting import until


class Faults:
    """Commits random faults against ``parts``, one after the other, and counts them."""

    def __init__(
        self,
        parts: Parts,
        platform: Platform,
        *,
        lease_seconds: float,
        postgresql: str | None,
        late_writes: int,
        seed: int,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._parts = parts
        self._platform = platform
        self._lease_seconds = lease_seconds
        self._postgresql = postgresql
        self._random = random.Random(seed)
        self._kinds: list[tuple[int, Callable[[], None]]] = [
            (8, self.kill_child),
            (6, self.kill_node),
            (3, self.freeze_node),
            (3, self.terminate_node),
            (late_writes, self.late_write),
            (1, self.restart_redis),
            (1, self.wipe_redis),
            (1, self.restart_api),
        ]
        if postgresql:
            self._kinds.append((2, self.end_postgresql_backends))

    def commit(self) -> None:
        """Commit one, whichever comes."""
        kind = self._random.choices([k for _, k in self._kinds], [weight for weight, _ in self._kinds])[0]
        kind()
        self.counts[kind.__name__] += 1

    def kill_child(self) -> None:
        """SIGKILL one process in which tasks run."""
        children = self._parts.children(self._node())
        if children:
            _signal(self._random.choice(children), signal.SIGKILL)

    def kill_node(self) -> None:
        node = self._node()
        self._parts.kill(node)
        self._parts.start(node)

    def freeze_node(self) -> None:
        """SIGSTOP past its lease, then SIGCONT: it goes on where it was, not knowing that time has passed."""
        node = self._node()
        self._parts.signal(node, signal.SIGSTOP)
        time.sleep(self._lease_seconds * self._random.uniform(1.1, 1.6))
        self._parts.signal(node, signal.SIGCONT)

    def terminate_node(self) -> None:
        node = self._node()
        self._parts.signal(node, signal.SIGTERM)
        until(lambda: not self._parts.running(node), seconds=60)
        self._parts.kill(node)
        self._parts.start(node)

    def late_write(self) -> None:
        """The next write is lost on its way, and reaches the platform when others have gone on without it."""
        seconds = self._lease_seconds * self._random.uniform(1.5, 5.0)
        self._platform.add_fault(kind="late", verb=self._random.choice(["PUT", "PUT", "DELETE"]), late_seconds=seconds)

    def restart_redis(self) -> None:
        self._parts.kill("redis")
        time.sleep(self._random.uniform(0.0, 3.0))
        self._parts.start("redis")

    def wipe_redis(self) -> None:
        with redis.from_url(self._parts.redis.client_url) as client:
            client.flushall()

    def restart_api(self) -> None:
        self._parts.kill("api")
        self._parts.start("api")

    def end_postgresql_backends(self) -> None:
        assert self._postgresql is not None
        with psycopg.connect(self._postgresql, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def _node(self) -> str:
        return self._random.choice(self._parts.nodes)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
