"""A fake service in a process of its own: started, found by its URL, gone with its parent at the latest."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx
import uvicorn

ROOT = Path(__file__).resolve().parents[2]


class Served:
    """``module`` is run with ``--attached`` and its conduct; it prints ``{"url": ...}`` once it serves."""

    module: ClassVar[str]

    def __init__(self, **conduct: Any) -> None:
        self._conduct = conduct

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, "--attached", "--conduct", json.dumps(self._conduct)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError(f"{self.module} ended with {self._process.returncode} before it served")
        self.url: str = json.loads(line)["url"]
        self._client = httpx.Client(base_url=self.url, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.communicate(timeout=30)


def main(
    description: str | None, app: Callable[..., Any], options: Mapping[str, float | None], **uvicorn_options: Any
) -> None:
    """Serve from the command line; ``options`` are numbers of the conduct that have a flag, with their defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--attached", action="store_true", help="end when standard input does")
    parser.add_argument("--conduct", type=json.loads, default={}, help="JSON of all that can be set")
    for name, default in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default)
    given = parser.parse_args()
    numbers = {name: value for name in options if (value := getattr(given, name)) is not None}
    serve(app(**{**numbers, **given.conduct}), given.port, attached=given.attached, **uvicorn_options)


def serve(app: Any, port: int, *, attached: bool, **uvicorn_options: Any) -> None:
    """Serve until a signal; ``attached``: also until standard input ends, which it does with the parent."""
    # named as TCP, asyncio switches off the delay of small packets, which costs 40 ms an answer
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
        config = uvicorn.Config(
            app,
            http="h11",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
            **uvicorn_options,
        )
        server = uvicorn.Server(config)
        if attached:
            threading.Thread(target=_end_with_parent, daemon=True).start()
        print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
        server.run(sockets=[listener])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
