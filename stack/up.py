"""The whole system on this machine, from one ``with``: bundled broker, migrations, API, two worker nodes, Flower.

What is run is the ``Procfile``; here it gets its ports, passwords and folder. Secrets travel in environments and in
files of mode 0600 only.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx
from honcho.environ import parse_procfile

from stack.ports import free_port
from stack.redis import Redis
from stack.supervisor import Child, ChildEnded, Supervisor

CHECKOUT = Path(__file__).resolve().parents[1]
API_PORT = 8000
FLOWER_PORT = 5555
BIND_ATTEMPTS = 5
BIND_FAILED = "address already in use"
DECIDED_HERE = {"MODELPORT_DATABASE_URL", "CELERY_BROKER_URL"}
"""Not inherited: an empty one means SQLite, and Celery would prefer the other to the broker that the settings name."""


class StackFailed(RuntimeError):
    """The system did not come up; the message says which part, and has its last lines."""


class Stack:
    """The system with its data in ``folder``. Entering blocks until it serves; leaving, until nothing of it runs.

    ``database_url`` and ``broker_url``: None means SQLite in the folder, and the bundled broker.
    ``env`` is added to every process's environment. ``echo`` prints every line of every process, with its name.
    A part that ends unexpectedly stops all others: ``wait()`` and ``check()`` then raise ``ChildEnded``.
    One folder runs one stack at a time. Raises StackFailed.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        broker_url: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        echo: bool = False,
        procfile: Path = CHECKOUT / "Procfile",
        start_timeout_seconds: float = 120.0,
        grace_seconds: float = 15.0,
    ) -> None:
        self.folder = folder.absolute()
        self.api_port = 0
        self.flower_port = 0
        self.new_password = False
        self.new_key = False
        self._database_url = database_url
        self._broker_url = broker_url
        self._env = dict(env or {})
        self._echo = echo
        self._start_timeout_seconds = start_timeout_seconds
        self._grace_seconds = grace_seconds
        self._commands = dict(parse_procfile(procfile.read_text()).processes)
        self._children: dict[str, Child] = {}
        self._cleanup = ExitStack()

    @property
    def api_url(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def flower_url(self) -> str:
        """Where Flower listens."""
        return f"http://127.0.0.1:{self.flower_port}"

    @property
    def flower_password_file(self) -> Path:
        """``user:password`` for Flower, one line, mode 0600; made at the first start in this folder."""
        return self.folder / "flower.password"

    @property
    def flower_auth(self) -> tuple[str, str]:
        """User and password for Flower."""
        user, _, password = self.flower_password_file.read_text().strip().partition(":")
        return user, password

    @property
    def admin_key_file(self) -> Path:
        """The first administrator's API key, one line, mode 0600; made where the database has none yet."""
        return self.folder / "admin.key"

    @property
    def admin_key(self) -> str | None:
        """That key; None where the database had an administrator before this folder."""
        return self.admin_key_file.read_text().strip() if self.admin_key_file.exists() else None

    @property
    def logs(self) -> Path:
        """One file per process, emptied at its start."""
        return self.folder / "logs"

    def __enter__(self) -> Stack:
        with self._cleanup:
            self._begin()
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def wait(self) -> None:
        """Block for as long as everything runs. Raises ChildEnded with the last lines of the part that ended first."""
        self._supervisor.wait()

    def check(self) -> None:
        """Raises ChildEnded if a part has ended."""
        self._supervisor.check()

    def pids(self) -> dict[str, int]:
        """The processes by name; each leads a group of its own."""
        return {name: child.process.pid for name, child in self._children.items()}

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_password()
        lock = self._cleanup.enter_context(_lock(self.folder / "stack.lock"))
        self._supervisor = Supervisor(
            self.logs,
            cwd=CHECKOUT,
            echo=self._echo,
            grace_seconds=self._grace_seconds,
            pass_fds=[lock.fileno()],
        )
        self._cleanup.callback(self._supervisor.stop)
        self._supervisor.finally_run([sys.executable, "-m", "adapters.local.stop", str(self.folder)])
        broker_url = self._broker_url or self._start_redis()
        env = self._environment(broker_url)
        before = self.admin_key
        self._migrate(env)
        self.new_key = self.admin_key != before
        self._start("write", env)
        self._start("look", env)
        self._start_serving(env, broker_url)
        for child in self._children.values():
            self._supervisor.need(child)
        try:
            self.check()
        except ChildEnded as reason:
            raise StackFailed(str(reason)) from reason

    def _start_redis(self) -> str:
        redis = Redis()
        self._supervisor.finally_remove(redis.folder)
        child = self._supervisor.start("redis", redis.command, env=os.environ, stage=0)
        self._children["redis"] = child
        self._until(redis.ready, child)
        return redis.url

    def _environment(self, broker_url: str) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        python_path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        inherited = {name: value for name, value in os.environ.items() if name not in DECIDED_HERE}
        database = {"MODELPORT_DATABASE_URL": self._database_url} if self._database_url else {}
        return {
            **inherited,
            **database,
            "PATH": path,
            "PYTHONPATH": python_path,
            "PYTHONUNBUFFERED": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MODELPORT_FOLDER": str(self.folder),
            "MODELPORT_BROKER_URL": broker_url,
            "MODELPORT_API_HOST": "127.0.0.1",
            "MODELPORT_FIRST_KEY_FILE": str(self.admin_key_file),
            **self._env,
        }

    def _migrate(self, env: dict[str, str]) -> None:
        child = self._start("release", env)
        if not child.ended.wait(self._start_timeout_seconds):
            raise StackFailed(f"migrating the database takes too long:\n{child.tail()}")
        del self._children["release"]
        if child.process.returncode != 0:
            raise StackFailed(str(ChildEnded(child)))

    def _start_serving(self, env: dict[str, str], broker_url: str) -> None:
        flower_env = {
            **env,
            "CELERY_BROKER_URL": broker_url,
            "FLOWER_BASIC_AUTH": ":".join(self.flower_auth),
            "FLOWER_DB": str(self.folder / "flower.db"),
        }

        def start_api(port: int) -> Child:
            self.api_port = port
            return self._start("api", {**env, "MODELPORT_API_PORT": str(port)})

        def start_flower(port: int) -> Child:
            self.flower_port = port
            return self._start("flower", {**flower_env, "FLOWER_PORT": str(port)})

        api, flower = start_api(free_port(API_PORT)), start_flower(free_port(FLOWER_PORT))
        self._until_serving(start_api, api, lambda: _answers(f"{self.api_url}/readyz"))
        self._until_serving(start_flower, flower, lambda: _answers(f"{self.flower_url}/healthcheck"))

    def _until_serving(self, start: Callable[[int], Child], child: Child, serves: Callable[[], bool]) -> None:
        """Whoever took the port between our look and the child's bind may keep it: another one is tried."""
        for _ in range(BIND_ATTEMPTS):
            try:
                return self._until(serves, child)
            except StackFailed:
                if not child.ended.is_set() or BIND_FAILED not in child.tail(200).lower():
                    raise
            child = start(free_port())
        return self._until(serves, child)

    def _start(self, name: str, env: Mapping[str, str]) -> Child:
        command = ["sh", "-c", f"exec {self._commands[name]}"]
        self._children[name] = self._supervisor.start(name, command, env=env)
        return self._children[name]

    def _until(self, holds: Callable[[], bool], child: Child) -> None:
        """Wait until it holds. Raises StackFailed when the child ends, another part does, or the time is over."""
        deadline = time.monotonic() + self._start_timeout_seconds
        while not holds():
            for one in (child, *self._children.values()):
                if one.ended.is_set() and (one is child or one.name not in ("api", "flower")):
                    raise StackFailed(str(ChildEnded(one)))
            if time.monotonic() > deadline:
                raise StackFailed(f"{child.name} is not ready after {self._start_timeout_seconds:g} s:\n{child.tail()}")
            child.ended.wait(0.05)

    def _make_password(self) -> None:
        try:
            file = os.open(self.flower_password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(file, "w") as output:
            output.write(f"modelport:{secrets.token_urlsafe(18)}\n")
        self.new_password = True


def _lock(path: Path) -> IO[str]:
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise StackFailed(f"a stack already runs in {path.parent}, or is still stopping") from None
    return file


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
