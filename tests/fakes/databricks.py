"""A Databricks workspace, faked: the endpoints of ``databricks_endpoints``, the faults of ``databricks_conduct``.

``python -m tests.fakes.databricks --seconds 20`` serves one and prints ``{"url": ...}``;
``with Databricks(seconds=20) as workspace`` does so in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.fakes.databricks_server import FakeDatabricks

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "dapi-fake"


class Databricks:
    """A fake workspace in a process of its own, which ends with this one at the latest."""

    def __init__(self, **conduct: Any) -> None:
        self._conduct = conduct

    def __enter__(self) -> Databricks:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.databricks", "--attached", "--conduct", json.dumps(self._conduct)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError(f"the fake workspace ended with {self._process.returncode} before it served")
        self.url: str = json.loads(line)["url"]
        self._client = httpx.Client(base_url=self.url, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.communicate(timeout=30)

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A call as another user of the workspace makes it; it is counted like all others."""
        return self._client.request(method, path, json=body, headers={"Authorization": f"Bearer {TOKEN}"})

    def conduct(self, **changes: Any) -> None:
        """Change what ``Conduct`` has: seconds, latency, token and so on, from the next call on."""
        self._ask("POST", "/_fake/conduct", changes)

    def faults(self, *faults: dict[str, Any]) -> None:
        """These faults and no others from now on."""
        self._ask("POST", "/_fake/faults", {"faults": list(faults)})

    def pending(self) -> list[dict[str, Any]]:
        """The faults that are not used up."""
        return list(self._ask("GET", "/_fake/faults"))

    def log(self, *verbs: str) -> list[dict[str, Any]]:
        """Every call in its order, or those of these verbs."""
        return [call for call in self._ask("GET", "/_fake/log") if not verbs or call["verb"] in verbs]

    def counts(self) -> dict[str, Any]:
        """Calls by verb, and by endpoint what was really changed."""
        return dict(self._ask("GET", "/_fake/counts"))

    def endpoint(self, name: str) -> dict[str, Any] | None:
        """An endpoint with all that it has, rate limits too, without counting as a call; None where there is none."""
        found: dict[str, Any] | None = self._ask("POST", "/_fake/endpoint", {"name": name})
        return found

    def plant(self, *endpoints: dict[str, Any]) -> None:
        """Serve these at once, as bodies of a create: somebody else's."""
        self._ask("POST", "/_fake/plant", {"endpoints": list(endpoints)})

    def cancel(self, name: str) -> None:
        """Press the button that stops an update."""
        self._ask("POST", "/_fake/cancel", {"name": name})

    def reset(self) -> None:
        """As it was when it started, its conduct too."""
        self._ask("POST", "/_fake/reset", {})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self._client.request(method, path, json=body).raise_for_status().json()


def serve(conduct: dict[str, Any], port: int, *, attached: bool, announce: Callable[[str], None]) -> None:
    """Serve until a signal; ``attached``: also until standard input ends, which it does with the parent."""
    # named as TCP, asyncio switches off the delay of small packets, which costs 40 ms an answer
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
        config = uvicorn.Config(
            FakeDatabricks(**conduct),
            http="h11",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        if attached:
            threading.Thread(target=_end_with_parent, daemon=True).start()
        announce(f"http://127.0.0.1:{listener.getsockname()[1]}")
        server.run(sockets=[listener])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--attached", action="store_true", help="end when standard input does")
    parser.add_argument("--conduct", type=json.loads, default={}, help="JSON of all that can be set")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a create or an update takes")
    given = parser.parse_args()
    serve(
        {"seconds": given.seconds, **given.conduct},
        given.port,
        attached=given.attached,
        announce=lambda url: print(json.dumps({"url": url}), flush=True),
    )


if __name__ == "__main__":
    main()
