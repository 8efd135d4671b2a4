"""Amazon SageMaker, faked: its control plane, its runtime, and what S3, STS, tagging and logs it needs.

``python -m tests.fakes.sagemaker --create-seconds 20`` serves one and prints ``{"url": ...}``; give that address to any
AWS client as ``endpoint_url``. ``with SageMaker(create_seconds=20) as fake`` does so in a process of its own.
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

from tests.fakes.sagemaker_front import FakeSageMaker

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("create_seconds", "update_seconds", "weights_seconds", "delete_seconds", "latency")


class SageMaker:
    """A fake SageMaker in a process of its own, which ends with this one at the latest."""

    def __init__(self, **conduct: Any) -> None:
        self._conduct = conduct

    def __enter__(self) -> SageMaker:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.sagemaker", "--attached", "--conduct", json.dumps(self._conduct)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError(f"the fake SageMaker ended with {self._process.returncode} before it served")
        self.url: str = json.loads(line)["url"]
        self._client = httpx.Client(base_url=self.url, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.communicate(timeout=30)

    def conduct(self, **changes: Any) -> None:
        """Change what ``Conduct`` has: create_seconds, looks, keys and so on, from the next call on."""
        self._ask("conduct", changes)

    def faults(self, *faults: dict[str, Any]) -> None:
        """These faults and no others from now on."""
        self._ask("faults", list(faults))

    def pending(self) -> list[dict[str, Any]]:
        """The faults that are not used up."""
        return list(self._ask("faults"))

    def log(self, *actions: str) -> list[dict[str, Any]]:
        """Every call in its order, or those of these actions."""
        return [call for call in self._ask("log") if not actions or call["action"] in actions]

    def counts(self) -> dict[str, Any]:
        """Calls and effects by action, predictions by variant, roles assumed."""
        return dict(self._ask("counts"))

    def things(self) -> dict[str, Any]:
        """Models, configurations, endpoints as they are described, and tags by ARN."""
        return dict(self._ask("things"))

    def objects(self) -> dict[str, Any]:
        """S3's objects by URL, with size and what was said about them."""
        return dict(self._ask("objects"))

    def maintain(self, name: str, seconds: float) -> None:
        """Have the vendor maintain this endpoint for so long."""
        self._ask("maintain", {"name": name, "seconds": seconds})

    def populate(self, count: int, installation: str, ending: str) -> None:
        """So many endpoints at once that bear this installation's mark; their configurations' names end so."""
        self._ask("populate", {"count": count, "tags": {"modelport:installation": installation}, "ending": ending})

    def release(self, name: str, kind: str = "rolls_back", words: str = "it took too long") -> None:
        """Let a change that is stuck end at once."""
        self._ask("release", {"name": name, "kind": kind, "words": words})

    def reset(self) -> None:
        """As it was when it started, its conduct too."""
        self._ask("reset", {})

    def _ask(self, what: str, body: Any = None) -> Any:
        method = "GET" if body is None else "POST"
        return self._client.request(method, f"/_fake/{what}", json=body).raise_for_status().json()


def serve(conduct: dict[str, Any], port: int, *, attached: bool, announce: Callable[[str], None]) -> None:
    """Serve until a signal; ``attached``: also until standard input ends, which it does with the parent."""
    # named as TCP, asyncio switches off the delay of small packets, which costs 40 ms an answer
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
        config = uvicorn.Config(
            FakeSageMaker(**conduct),
            http="h11",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
            # a connection that idles for a look's pause is still good
            timeout_keep_alive=75,
        )
        if attached:
            threading.Thread(target=_end_with_parent, daemon=True).start()
        announce(f"http://127.0.0.1:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--attached", action="store_true", help="end when standard input does")
    parser.add_argument("--conduct", type=json.loads, default={}, help="JSON of all that can be set")
    for name in TIMES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=float)
    given = parser.parse_args()
    times = {name: value for name in TIMES if (value := getattr(given, name)) is not None}
    serve(
        {**times, **given.conduct},
        given.port,
        attached=given.attached,
        announce=lambda url: print(json.dumps({"url": url}), flush=True),
    )


if __name__ == "__main__":
    main()
