"""Stop every model's server recorded under a folder: ``python -m adapters.local.stop FOLDER``.

For the end of a demonstration or a test; what the deployments serve stays on record. Twice is the same as once.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from adapters.local.launch import STATE, read_json, running
from adapters.local.servers import Server


def stop_all(folder: Path, grace_seconds: float = 10.0) -> int:
    """Stop them and return how many ran. Blocks until all have ended, at most a little more than ``grace_seconds``.

    Raises TimeoutError when one did not end although it was killed.
    """
    stopping = _running(folder)
    for server in stopping:
        server.terminate()
    if not _ended(folder, grace_seconds):
        for server in _running(folder):
            server.kill()
        if not _ended(folder, grace_seconds):
            raise TimeoutError(f"servers under {folder} did not end: {', '.join(s.id for s in _running(folder))}")
    return len(stopping)


def _ended(folder: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while _running(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _running(folder: Path) -> list[Server]:
    return [Server(path.parent) for path in sorted(folder.rglob(STATE)) if running(read_json(path))]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grace-seconds", type=float, default=10.0)
    given = parser.parse_args()
    print(f"stopped {stop_all(given.folder, given.grace_seconds)} model servers")  # noqa: T201  # a command's answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
