"""``python -m bench.turns``: writers of one SQLite database with and without turns taken outside of SQLite.

Three processes of four threads write transactions of six rows for five seconds; printed for each process are the
transactions that it got, and how long one took from asking to commit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from operations.database import Database

SECONDS = 5.0
PROCESSES = 3
THREADS = 4


def main() -> int:
    """Without, with, and once more, so that the machine's moods show."""
    if len(sys.argv) == 3:
        return write(sys.argv[1], sys.argv[2])
    for mode in ("without", "with", "without", "with"):
        with tempfile.TemporaryDirectory(prefix="mp-turns-") as folder:
            url = f"sqlite:///{Path(folder) / 'turns.db'}"
            database = Database(url)
            with database.write() as session:
                session.execute(text("CREATE TABLE t (x INTEGER)"))
            database.close()
            command = [sys.executable, "-m", "bench.turns", mode, url]
            for process in [subprocess.Popen(command) for _ in range(PROCESSES)]:
                process.wait()
    return 0


def write(mode: str, url: str) -> int:
    """One process of writers."""
    database = Database(url)
    if mode == "without":
        database._turn.taken = contextmanager(lambda: (yield))  # type: ignore[method-assign]
    took: list[float] = []
    until = time.monotonic() + SECONDS

    def run() -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            with database.write() as session:
                for _ in range(6):
                    session.execute(text("INSERT INTO t VALUES (1)"))
            took.append(time.monotonic() - began)
            time.sleep(0.003)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took.sort()
    p99, longest = took[int(len(took) * 0.99)], took[-1]
    print(f"{mode:8}{len(took):6} transactions, p99 {p99 * 1000:6.1f} ms, at most {longest * 1000:6.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
