"""Several API processes over one database, as they run in production: ``python -m api``, with the broker away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from operations.database import Database
from operations.models import Operation

REPOSITORY = Path(__file__).parents[2]
IRIS = "/v1/deployments/local/iris"
BODY = {"model_uri": "models:/iris/1"}
STOP_SECONDS = 20

Start = Callable[[], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(db: Database, database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a process and says where it listens; all of them are gone at the end."""
    processes: list[subprocess.Popen[str]] = []
    environment = {
        **os.environ,
        "MODELPORT_DATABASE_URL": database_url,
        "MODELPORT_FOLDER": str(tmp_path),
        "MODELPORT_TARGETS": json.dumps({"local": {"uri": "local"}}),
        "MODELPORT_API_PORT": "0",
        "MODELPORT_BROKER_URL": f"redis+socket://{tmp_path}/nobody.sock",
    }

    def begin() -> tuple[subprocess.Popen[str], str]:
        log = tmp_path / f"api-{len(processes)}.log"
        with log.open("w") as written:
            process = subprocess.Popen(
                [sys.executable, "-m", "api"],
                env=environment,
                cwd=REPOSITORY,
                stdout=written,
                stderr=written,
                text=True,
            )
        processes.append(process)
        while not (lines := [line for line in log.read_text().splitlines() if '"listening"' in line]):
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"ended with {process.wait(0.05)}: {log.read_text()}")
        return process, f"http://{json.loads(lines[0])['address']}"

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def test_one_key_sent_to_two_processes_at_once_is_one_operation(start: Start, db: Database) -> None:
    urls = [start()[1], start()[1]]
    together = threading.Barrier(20)

    def put(number: int) -> tuple[int, str]:
        with httpx.Client(base_url=urls[number % 2], timeout=60.0, trust_env=False) as client:
            together.wait()
            response = client.put(IRIS, json=BODY, headers={"Idempotency-Key": "one"})
            return response.status_code, response.text

    with ThreadPoolExecutor(20) as threads:
        answers = set(threads.map(put, range(20)))
    assert [status for status, _ in answers] == [202]
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Operation)) == 1


def test_a_process_that_is_told_to_stop_ends_event_streams_and_goes(start: Start) -> None:
    process, url = start()
    with httpx.Client(base_url=url, timeout=90.0, trust_env=False) as client:
        operation = client.put(IRIS, json=BODY).json()["id"]
        with client.stream("GET", f"/v1/operations/{operation}/events", headers={"Accept": "text/event-stream"}) as sse:
            lines = sse.iter_lines()
            assert next(lines) == f"id: {operation}:1"
            process.send_signal(signal.SIGTERM)
            # its end, not an error: the client knows where to resume
            assert not [line for line in lines if line.startswith("id: ")]
    assert process.wait(STOP_SECONDS) in (0, -signal.SIGTERM)
