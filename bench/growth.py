"""``python -m bench.growth``: what is asked all the time, with 100, 10,000 and 1,000,000 finished operations.

Median milliseconds of the tick's question, an empty claim, a submission, and the first page of the list, on SQLite and
PostgreSQL; beside each the ratio to 100.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import insert, text

from operations import ledger, queries, submit
from operations.database import Database
from operations.ids import new_id
from operations.migrate import migrate
from operations.models import Deployment, Event, Operation
from operations.states import Kind, Lane, State
from operations.submit import Asked
from tests import rows
from tests.operations.test_submit import RULES
from tests.servers import postgresql

REPEATS = 60
PORTION = 10_000


def main() -> int:
    """Measure on both databases."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=main.__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000, 1_000_000])
    sizes = parser.parse_args().sizes
    with tempfile.TemporaryDirectory(prefix="mp-growth-") as folder:
        measure("SQLite", f"sqlite:///{Path(folder) / 'growth.db'}", sizes)
    with postgresql() as server:
        measure("PostgreSQL", server.new_database(), sizes)
    return 0


def measure(name: str, url: str, sizes: list[int]) -> None:
    """Fill one database step by step and print what each question takes."""
    database = Database(url)
    migrate(database)
    with database.write() as session:
        target = rows.target(session)
        deployment = Deployment(target_id=target.id, name="old")
        session.add(deployment)
        session.flush()
        places = (target.id, deployment.id)
    first: dict[str, float] = {}
    there = 0
    for size in sizes:
        fill(database, places, there, size)
        there = size
        for what, act in questions(database).items():
            seconds = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                act()
                seconds.append(time.perf_counter() - began)
            median = statistics.median(seconds) * 1000
            first.setdefault(what, median)
            print(f"{name:11}{size:>10} finished  {what:8}{median:8.2f} ms  {median / first[what]:5.2f}x", flush=True)
    database.close()


def fill(database: Database, places: tuple[str, str], there: int, size: int) -> None:
    """Finished operations with three events each, up to ``size``."""
    for start in range(there, size, PORTION):
        portion = [
            {
                "id": new_id(),
                "target_id": places[0],
                "deployment_id": places[1],
                "seq": number + 1,
                "kind": Kind.UPDATE,
                "state": State.SUCCEEDED,
                "deadline_seconds": 1.0,
                "principal": "bench",
                "created_at": float(number),
                "updated_at": float(number),
                "finished_at": float(number) + 1,
            }
            for number in range(start, min(start + PORTION, size))
        ]
        with database.write() as session:
            session.execute(insert(Operation), portion)
            events = [
                {"operation_id": row["id"], "number": number, "state": State.SUCCEEDED, "by": "bench", "at": 1.0}
                for row in portion
                for number in (1, 2, 3)
            ]
            session.execute(insert(Event), events)
    with database.engine.execution_options(begin_to_write=True).begin() as connection:
        connection.execute(text("ANALYZE"))


def questions(database: Database) -> dict[str, Callable[[], object]]:
    """What is measured."""

    def tick() -> object:
        with database.read() as session:
            return ledger.due_lanes(session)

    def claim() -> object:
        with database.write() as session:
            return ledger.claim(
                session, worker="bench", lanes=[Lane.WRITE], offers=["memory"], limit=64, lease_seconds=60
            )

    def submission() -> object:
        # taken back, so that the next one finds the same
        with database.write() as session:
            target = rows.target(session)
            accepted = submit.create(session, target, RULES, f"m-{new_id()}", rows.spec(), {}, Asked("bench"))
            session.rollback()
            return accepted

    def page() -> object:
        with database.read() as session:
            return queries.operations(session, page_size=100)

    return {"tick": tick, "claim": claim, "submit": submission, "list": page}


if __name__ == "__main__":
    sys.exit(main())
