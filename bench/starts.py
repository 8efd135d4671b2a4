"""How many operations a second the embedded worker topology starts, beside how many calls a second the target takes.

1,000 operations are accepted while no worker runs; then the three worker processes of the Procfile start, against the
http fake that answers every call in 200 ms and needs 20 s. *Started* is an operation's first event in `waiting`: its
call was made and its answer recorded. The floor, measured in the same run against the same fake, is a plain client
that makes the same PUTs with as many threads as the workers have, and records nothing.

    python -m bench.starts [--operations N] [--latency SECONDS] [--seconds SECONDS] [--database postgresql]
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import sqlalchemy

from tests.fakes.platform import Platform
from tests.servers import postgresql
from tests.stack.parts import Parts
from tests.stack.waiting import until

NODES = ("write", "look")
THREADS = 32
MIDDLE = (0.1, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--profile", nargs=2, metavar=("PY_SPY", "FILE"), help="profile the first write process")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelport-bench-")))
        url = None
        if asked.database == "postgresql":
            url = stack.enter_context(postgresql()).new_database()
        platform = stack.enter_context(Platform(seconds=asked.seconds, latency=asked.latency))
        floor = plain(platform.url, min(asked.operations, 500))
        with Parts(folder, url) as parts:
            accepted = accept(parts, platform.url, asked.operations)
            for node in NODES:
                parts.start(node)
            if asked.profile:
                until(lambda: len(parts.children("write")) > 0)
                profiler(*asked.profile, parts.children("write")[0])
            engine = sqlalchemy.create_engine(url or f"sqlite:///{folder}/modelport.db")
            until(lambda: left(engine) == 0, seconds=300)
            started = rate(engine, "select min(at) from events where state = 'waiting' group by operation_id")
            ended = rate(engine, "select finished_at from operations")
            wall = all_in(engine)
            calls = platform.counts()["calls"]
            engine.dispose()
    print(f"{asked.operations} operations, calls of {asked.latency:g} s, {asked.database}")
    print(f"accepted    {accepted:6.1f} a second (8 clients)")
    print(f"started     {started:6.1f} a second (middle 80 %)")
    print(f"ended       {ended:6.1f} a second (middle 80 %)")
    print(f"plain PUTs  {floor:6.1f} a second with {THREADS} threads; started/plain = {started / floor:.2f}")
    print(f"from the first event after acceptance to the last end {wall:.1f} s; calls {calls}")


def accept(parts: Parts, url: str, count: int) -> float:
    """Submit everything while no worker is there; submissions a second."""
    with httpx.Client(base_url=parts.api_url, timeout=30, trust_env=False) as api:
        api.put("/v1/targets/platform", json={"uri": url}).raise_for_status()
        for node in NODES:
            parts.kill(node)

        def submit(number: int) -> int:
            body = {"target": "platform", "name": f"model-{number}", "model_uri": "models:/m/1"}
            return api.post("/v1/deployments", json=body).status_code

        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(submit, range(count)))
        if statuses != {202}:
            raise SystemExit(f"submissions answered {statuses}")
        return count / (time.monotonic() - began)


def plain(url: str, count: int) -> float:
    """The same PUTs with nothing around them; calls a second."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:

        def put(number: int) -> int:
            body = {
                "owner": {"installation": "plain", "uid": f"plain-{number}"},
                "content": f"plain-{number}",
                "variants": [{"name": "main", "model_uri": "models:/m/1"}],
                "traffic": {"main": 100},
                "labels": {},
            }
            key = {"Idempotency-Key": f"plain-{number}", "If-None-Match": "*", "Modelport-Fence": "1"}
            return client.put(f"/deployments/plain-{number}", json=body, headers=key).status_code

        began = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            statuses = set(pool.map(put, range(count)))
        if statuses - {200, 201, 202}:
            raise SystemExit(f"plain PUTs answered {statuses}")
        return count / (time.monotonic() - began)


def left(engine: sqlalchemy.Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(
            sqlalchemy.text("select count(*) from operations where finished_at is null")
        ).scalar_one()


def rate(engine: sqlalchemy.Engine, query: str) -> float:
    """Instants a second over the middle of them all."""
    with engine.connect() as connection:
        at = sorted(row[0] for row in connection.execute(sqlalchemy.text(query)))
    first, last = (int(len(at) * part) for part in MIDDLE)
    return (last - first) / (at[last] - at[first])


def all_in(engine: sqlalchemy.Engine) -> float:
    with engine.connect() as connection:
        first, last = connection.execute(
            sqlalchemy.text("select min(started_at), max(finished_at) from operations")
        ).one()
    return last - first


def profiler(path: str, file: str, pid: int) -> None:
    command = [path, "record", "-d", "15", "-r", "100", "-f", "raw", "-o", file, "-p", str(pid), "--gil"]
    threading.Thread(target=subprocess.run, args=(command,), daemon=True).start()


if __name__ == "__main__":
    main()
