"""A platform of your own, faked: the contract of ``platform_contract``, the faults of ``platform_faults``.

``python -m tests.fakes.platform --seconds 20 --latency 0.1`` serves one and prints ``{"url": ...}``;
``with Platform(seconds=20) as platform`` does so in a process of its own.
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
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.fakes.platform_faults import Conduct, FakePlatform

ROOT = Path(__file__).resolve().parents[2]


class Platform:
    """A fake platform in a process of its own, which ends with this one at the latest."""

    def __init__(self, **conduct: Any) -> None:
        self._conduct = conduct

    def __enter__(self) -> Platform:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.platform", "--attached", "--conduct", json.dumps(self._conduct)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError(f"the fake platform ended with {self._process.returncode} before it served")
        self.url: str = json.loads(line)["url"]
        self._client = httpx.Client(base_url=self.url, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.communicate(timeout=30)

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A call as another user of the platform makes it."""
        return self._client.request(method, path, json=body)

    def conduct(self, **changes: Any) -> None:
        """Change what ``Conduct`` has: seconds, latency, token and so on, from the next call on."""
        self._ask("POST", "/_fake/conduct", changes)

    def faults(self, *faults: dict[str, Any]) -> None:
        """These faults and no others from now on."""
        self._ask("POST", "/_fake/faults", {"faults": list(faults)})

    def add_fault(self, **fault: Any) -> None:
        """One more fault."""
        self.faults(*self.pending(), fault)

    def pending(self) -> list[dict[str, Any]]:
        """The faults that are not used up."""
        return list(self._ask("GET", "/_fake/faults"))

    def log(self, *verbs: str) -> list[dict[str, Any]]:
        """Every call in its order, or those of these verbs."""
        return [call for call in self._ask("GET", "/_fake/log") if not verbs or call["verb"] in verbs]

    def counts(self) -> dict[str, Any]:
        """Calls by verb; by deployment the contents put into effect, creations and deletions; writes by second."""
        return dict(self._ask("GET", "/_fake/counts"))

    def deployments(self) -> list[dict[str, Any]]:
        """What is there, page by page, as the contract lists it."""
        found: list[dict[str, Any]] = []
        token: str | None = ""
        while token is not None:
            page = self._ask(
                "GET", f"/deployments?page_size=1000&page_token={token}" if token else "/deployments?page_size=1000"
            )
            found += page["deployments"]
            token = page["next_page_token"]
        return found

    def plant(self, name: str, variants: list[dict[str, Any]], traffic: dict[str, int]) -> None:
        """Deploy something that is not modelport's."""
        self._ask("POST", "/_fake/plant", {"name": name, "variants": variants, "traffic": traffic})

    def reset(self) -> None:
        """As it was when it started, its conduct too."""
        self._ask("POST", "/_fake/reset", {})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self.request(method, path, body).raise_for_status().json()


def serve(conduct: dict[str, Any], port: int, *, attached: bool, announce: Callable[[str], None]) -> None:
    """Serve until a signal; ``attached``: also until standard input ends, which it does with the parent."""
    # named as TCP, asyncio switches off the delay of small packets, which costs 40 ms an answer
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
        config = uvicorn.Config(
            FakePlatform(**conduct),
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
    for name in ("seconds", "latency", "delete_seconds"):
        default = next(f.default for f in fields(Conduct) if f.name == name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default)
    given = parser.parse_args()
    conduct = {"seconds": given.seconds, "latency": given.latency, "delete_seconds": given.delete_seconds}
    serve(
        {**conduct, **given.conduct},
        given.port,
        attached=given.attached,
        announce=lambda url: print(json.dumps({"url": url}), flush=True),
    )


if __name__ == "__main__":
    main()
