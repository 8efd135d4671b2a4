"""Asks the process that holds a target's plugin, and starts it where there is none. Imports no MLflow and no plugin."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from adapters.bridge.describe import BridgeSettings
from adapters.bridge.installed import name_in, plugin_uri
from adapters.bridge.serve import READY, SERVER, SOCKET
from adapters.contract import JSON, AdapterError, Denied, Permanent, Place, Temporary
from adapters.credentials import resolve
from adapters.local.launch import write_json

ROOT = Path(__file__).parents[2]

HELP_SECONDS = 60.0
HELP_IDLE_SECONDS = 30.0
CONNECT_PAUSE_SECONDS = 0.02
STARTS = 3

# Ours, and what supervisors and shells give each process another of: the same plugin would be held once for each.
NOT_PASSED = ("MODELPORT_", "HONCHO_", "CELERY_", "SYSTEMD_", "FORKED_BY_MULTIPROCESSING", "PYTEST_")
NOISE = {"_", "PWD", "OLDPWD", "SHLVL", "PORT", "INVOCATION_ID", "JOURNAL_STREAM", "LINES", "COLUMNS"}


class TooLate(Temporary):
    """The plugin gave no answer, in time or at all; what it was asked may still be under way."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Refused(Exception):
    """The plugin, or what is behind it, said no: ``kind`` as in ``failures``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    def of_read(self) -> AdapterError:
        """The same as one of the contract's errors. What a read raises may be anything, and reading again is safe."""
        if self.kind == "denied":
            return Denied(self.message)
        return Permanent(self.message) if self.kind == "unsupported" else Temporary(self.message)


@dataclass(frozen=True)
class Holder:
    """The process that holds one target's plugin: shared by all processes of this user with the same environment.

    ``secret`` is the variable that holds the target's credentials.
    """

    uri: str
    environment: dict[str, str]
    idle_seconds: float
    secret: str | None = None

    def ask(self, request: JSON, timeout: float) -> Any:
        """What the plugin answers. Blocks for at most about ``timeout`` seconds, the plugin's first import included.

        Asked once: raises Temporary where it cannot be asked, TooLate where no answer came. Raises Refused.
        """
        until = time.monotonic() + timeout
        with self._connected(until) as connection:
            try:
                connection.settimeout(max(0.01, until - time.monotonic()))
                sent = {**request, "uri": self.uri, "secret": self.secret, "timeout": timeout}
                connection.sendall(json.dumps(sent).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    line = lines.readline()
            except TimeoutError as error:
                raise TooLate(f"the plugin gave no answer within {timeout:g} s", timed_out=True) from error
            except OSError as error:
                raise TooLate(f"the plugin's process ended before it answered: {error}") from error
        if not line.endswith(b"\n"):
            raise TooLate("the plugin's process ended before it answered")
        answer: JSON = json.loads(line)
        if "failure" in answer:
            raise Refused(answer["failure"]["kind"], answer["failure"]["message"])
        return answer["value"]

    @property
    def folder(self) -> Path:
        """Where it listens: short, because a socket's path is, and named by all that makes it another process."""
        told = json.dumps([self.uri, self.environment, self.idle_seconds, sys.executable, str(ROOT)], sort_keys=True)
        return private_folder() / hashlib.sha256(told.encode()).hexdigest()[:16]

    def _connected(self, until: float) -> socket.socket:
        """A connection on which it waits for our request; until then nothing has been asked, so this may be tried."""
        failures = 0
        while time.monotonic() < until:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(max(0.01, until - time.monotonic()))
                connection.connect(str(self.folder / SOCKET))
                if _read(connection, len(READY)) == READY:
                    return connection
            except TimeoutError as error:
                connection.close()
                raise Temporary("the plugin's process does not answer; it may be importing the plugin") from error
            except OSError:
                # nobody is there: never was, or went for want of work, in which case its folder goes while ours comes
                failure = self._start(until)
                failures += failure is not None
                if failures == STARTS:
                    connection.close()
                    raise Temporary(f"the plugin's process did not start: {failure}") from None
            connection.close()
            time.sleep(CONNECT_PAUSE_SECONDS)
        raise Temporary("the plugin's process could not be reached in time")

    def _start(self, until: float) -> str | None:
        """Why it could not be started, or None. Blocks until it listens, or another one does."""
        path = [str(ROOT), self.environment.get("PYTHONPATH", "")]
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(self.folder / SERVER, {"uri": self.uri, "idle_seconds": self.idle_seconds})
            started = subprocess.run(
                [sys.executable, "-P", "-m", "adapters.bridge.serve", str(self.folder)],
                env={**self.environment, "PYTHONPATH": os.pathsep.join(filter(None, path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=max(0.01, until - time.monotonic()),
                check=False,
                text=True,
            )
        except subprocess.TimeoutExpired:
            return "not in time"
        except OSError as error:
            return str(error)
        return None if started.returncode == 0 else started.stderr.strip()[-500:]


def holder_of(place: Place) -> Holder:
    """The process for this target. Raises Denied where its credentials cannot be had here."""
    settings = BridgeSettings.model_validate(place.settings)
    environment = {**_passed(), **settings.environment}
    if place.credentials is not None:
        if settings.credential_variable is None:
            raise Denied(f"target {place.name} has credentials, and no setting credential_variable that says for what")
        environment[settings.credential_variable] = resolve(place.credentials)
    secret = settings.credential_variable if place.credentials is not None else None
    return Holder(plugin_uri(place.uri), environment, settings.idle_seconds, secret)


def help_holder(plugin: str) -> Holder:
    """The process that is asked for a plugin's help, which no target's settings or credentials concern."""
    return Holder(plugin, _passed(), HELP_IDLE_SECONDS)


@cache
def _help(plugin: str) -> str:
    return str(help_holder(plugin).ask({"verb": "help", "plugin": plugin}, HELP_SECONDS))


def target_help(plugin: str) -> str:
    """The plugin's own help, asked for once per process; why there is none, where there is none."""
    try:
        return _help(name_in(plugin))
    except (AdapterError, Refused) as error:
        return f"The plugin's help cannot be had here: {error}"


def _passed() -> dict[str, str]:
    """The environment of this process without what is ours. MLflow repeats a refused request for minutes and a POST
    too; the engine repeats the step instead.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED) and name not in NOISE}
    return {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", **kept, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUNBUFFERED": "1"}


def private_folder() -> Path:
    """A folder that only this user can enter, as nobody else may hold a socket that gets our credentials."""
    folder = Path(tempfile.gettempdir()) / f"modelport-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Permanent(f"{folder} is not this user's alone: remove it, or set TMPDIR")
    return folder


def _read(connection: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count and (more := connection.recv(count - len(read))):
        read += more
    return read
