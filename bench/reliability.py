"""``python -m bench.reliability``: workers are killed while operations run, beside a plain Celery task that polls.

Both deploy the same number of models on the same fake platform, and in both a worker process is killed with SIGKILL
every half second; every fourth time it is a whole worker, its main process included, which is started again. With
``--wipes`` Redis loses everything so many times on the way. Counted in the end: models that never came to serve
although they were submitted (lost), and contents that the platform put into effect more than once (duplicated).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from redis import from_url

from stack.redis import Redis
from stack.up import CHECKOUT
from tests.fakes.platform import Platform
from tests.stack.parts import Parts
from tests.stack.waiting import until

SECONDS = 3.0
PAUSE_SECONDS = 0.5
WHOLE_EVERY = 4
QUIET_SECONDS = 90.0  # beyond Redis' visibility timeout here, so that everything that would come back has come back


def main() -> int:
    """Run both, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.reliability", description=main.__doc__)
    parser.add_argument("--operations", type=int, default=300)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--wipes", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(
        f"{asked.operations} deployments of {SECONDS:g} s each, {asked.kills} SIGKILLs, Redis wiped {asked.wipes} times"
    )
    print(f"{'':24}{'lost':>8}{'duplicated':>12}{'seconds':>10}")
    for name, measure in (("modelport", modelport), ("plain Celery task", plain_celery)):
        lost, duplicated, seconds = measure(asked.operations, asked.kills, asked.wipes, random.Random(asked.seed))
        print(f"{name:24}{lost:>8}{duplicated:>12}{seconds:>10.0f}", flush=True)
    return 0


def modelport(operations: int, kills: int, wipes: int, chance: random.Random) -> tuple[int, int, float]:
    """Through the API and the embedded topology, with a lease of six seconds."""
    env = {"MODELPORT_LEASE_SECONDS": "6", "MODELPORT_ADVANCE_BUDGET_SECONDS": "5"}
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder, Platform(seconds=SECONDS) as platform:
        began = time.monotonic()
        with Parts(Path(folder), env=env) as parts, httpx.Client(base_url=parts.api_url, timeout=30.0) as api:
            body = {"uri": platform.url, "settings": {"look_seconds": 1.0}}
            api.put("/v1/targets/platform", json=body).raise_for_status()
            for number in range(operations):
                document = {"target": "platform", "name": f"model-{number}", "model_uri": f"models:/m/{number}"}
                api.post("/v1/deployments", json=document).raise_for_status()
            for number in range(kills):
                if number in _moments(kills, wipes):
                    _wipe(parts.redis)
                if number % WHOLE_EVERY == 0:
                    node = chance.choice(parts.nodes)
                    parts.kill(node)
                    parts.start(node)
                    time.sleep(PAUSE_SECONDS)
                else:
                    _kill([pid for node in parts.nodes for pid in parts.children(node)], chance)
            _until_quiet(platform, operations)
            return *_count(platform, operations), time.monotonic() - began


def plain_celery(operations: int, kills: int, wipes: int, chance: random.Random) -> tuple[int, int, float]:
    """A task that blocks and polls, with late acknowledgement, on a worker of 32 processes."""
    with Redis() as redis, Platform(seconds=SECONDS) as platform:
        began = time.monotonic()
        env = {**os.environ, "PLAIN_BROKER_URL": redis.url, "PYTHONPATH": str(CHECKOUT)}
        os.environ["PLAIN_BROKER_URL"] = redis.url
        from bench.plain_celery import deploy

        for number in range(operations):
            name, body = f"model-{number}", _body(number)
            deploy.delay(platform.url, name, body["content"], body)
        worker = _celery(env)
        try:
            until(lambda: platform.counts()["calls"].get("PUT", 0) > 0, seconds=60)
            for number in range(kills):
                if number in _moments(kills, wipes):
                    _wipe(redis)
                if number % WHOLE_EVERY == 0:
                    os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
                if worker.poll() is not None:  # as a supervisor would
                    worker = _celery(env)
                _kill([child.pid for child in psutil.Process(worker.pid).children()], chance)
            if worker.poll() is not None:
                worker = _celery(env)
            _until_quiet(platform, operations)
            return *_count(platform, operations), time.monotonic() - began
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


def _celery(env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "bench.plain_celery", "worker", "-c", "32", "-l", "error"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=env, cwd=CHECKOUT, start_new_session=True, stdout=quiet, stderr=quiet)


def _body(number: int) -> dict[str, Any]:
    variants = [{"name": "main", "model_uri": f"models:/m/{number}", "flavor": None, "config": {}}]
    content = hashlib.sha256(str(number).encode()).hexdigest()
    return {
        "owner": {"installation": "plain", "uid": f"u-{number}"},
        "content": content,
        "variants": variants,
        "traffic": {"main": 100},
        "labels": {},
    }


def _moments(kills: int, wipes: int) -> set[int]:
    return {(place + 1) * kills // (wipes + 1) for place in range(wipes)}


def _wipe(redis: Redis) -> None:
    with from_url(redis.client_url) as client:
        client.flushall()


def _kill(pids: list[int], chance: random.Random) -> None:
    if pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
    time.sleep(PAUSE_SECONDS)


def _until_quiet(platform: Platform, operations: int) -> None:
    """Until all serve, or nothing new came to serve for a long time."""
    serving, since = 0, time.monotonic()
    while serving < operations and time.monotonic() - since < QUIET_SECONDS:
        time.sleep(1.0)
        now = sum(bool(there["variants"]) for there in platform.deployments())
        if now != serving:
            serving, since = now, time.monotonic()


def _count(platform: Platform, operations: int) -> tuple[int, int]:
    serving = sum(bool(there["variants"]) for there in platform.deployments())
    effects = platform.counts()["effects"]
    again = sum(times - 1 for contents in effects.values() for times in contents.values())
    return operations - serving, again


if __name__ == "__main__":
    sys.exit(main())
