"""The system as parts that a test can kill, freeze and start again; the commands are the Procfile's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import httpx
from honcho.environ import parse_procfile

from stack.ports import free_port
from stack.redis import Redis
from stack.up import CHECKOUT
from tests.stack.waiting import until

COMMANDS = dict(parse_procfile((CHECKOUT / "Procfile").read_text()).processes)
FLOWER_AUTH = ("tests", "tests")


class Parts:
    """Redis, the API, worker nodes and Flower, each a process group of its own. Leaving ends all of them."""

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        nodes: Sequence[str] = ("write", "look"),
        flower: bool = False,
    ) -> None:
        self.folder = folder
        self.redis = Redis()
        self.api_port, self.flower_port = free_port(), free_port()
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        self.flower_url = f"http://127.0.0.1:{self.flower_port}"
        self.nodes = list(nodes)
        self._flower = flower
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self._env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONUNBUFFERED": "1",
            "MODELPORT_FOLDER": str(folder),
            "MODELPORT_BROKER_URL": self.redis.url,
            "MODELPORT_DATABASE_URL": database_url or "",
            "MODELPORT_API_PORT": str(self.api_port),
            # outside of the tests of who may do what, also where no conftest says so
            "MODELPORT_ANONYMOUS_ROLE": "admin",
            "CELERY_BROKER_URL": self.redis.url,
            "FLOWER_PORT": str(self.flower_port),
            "FLOWER_BASIC_AUTH": ":".join(FLOWER_AUTH),
            "FLOWER_DB": str(folder / "flower.db"),
            **(env or {}),
        }

    def __enter__(self) -> Parts:
        try:
            self.start("redis")
            subprocess.run([sys.executable, "-m", "operations", "migrate"], env=self._env, cwd=CHECKOUT, check=True)
            for name in ("api", *self.nodes, *(["flower"] if self._flower else [])):
                self.start(name)
            until(lambda: self._answers(f"{self.api_url}/readyz"), seconds=90)
            if self._flower:
                until(lambda: self._answers(f"{self.flower_url}/healthcheck"), seconds=90)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in [name for name in self._running if name != "redis"]:
            self.signal(name, signal.SIGCONT)
            self.signal(name, signal.SIGTERM)
        for name in [name for name in self._running if name != "redis"]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running[name].wait(20)
            self.kill(name)
        if "redis" in self._running:
            self.kill("redis")
        self.redis.remove()
        for log in self._logs:
            log.close()

    def start(self, name: str) -> None:
        """Start a part; a node's name may carry a number (``write2``), which makes it another node of that kind."""
        if name == "redis":
            command = list(self.redis.command)
        else:
            kind = name.rstrip("0123456789")
            text = COMMANDS[kind].replace(f"-n {kind}@%h", f"-n {name}@%h")
            command = ["sh", "-c", f"exec {text}"]
        log = (self.folder / f"{name}.log").open("ab")
        self._logs.append(log)
        self._running[name] = subprocess.Popen(
            command, env=self._env, cwd=CHECKOUT, stdout=log, stderr=log, start_new_session=True
        )
        if name == "redis":
            until(self.redis.ready)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the part's whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running[name].pid, number)

    def terminate(self, name: str) -> None:
        """SIGTERM to the part's own process, as a supervisor asks it to stop; it tells its children itself."""
        os.kill(self._running[name].pid, signal.SIGTERM)

    def kill(self, name: str) -> None:
        """SIGKILL the part and every process of it, and reap it."""
        self.signal(name, signal.SIGKILL)
        self._running.pop(name).wait()

    def children(self, name: str) -> list[int]:
        """The processes that the part's own process has forked."""
        import psutil

        return [child.pid for child in psutil.Process(self._running[name].pid).children()]

    def running(self, name: str) -> bool:
        """Whether the part's process is there."""
        return name in self._running and self._running[name].poll() is None

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False
