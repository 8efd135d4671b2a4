"""The processes: one folder, one server. Found again by what is on disk, whoever started them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil

from adapters.contract import JSON, Conflict, Permanent, Temporary
from adapters.local.interpreter import Interpreter
from adapters.local.launch import LOG, OLD_LOG, SERVER, STATE, read_json, running, take_lock, write_json

State = Literal["absent", "starting", "ready", "dead"]

# A server that is up answers in milliseconds; one whose model holds the interpreter is asked again at the next look.
PING_SECONDS = 1.0
PINGS_AT_ONCE = 16


@dataclass(frozen=True)
class Server:
    """One server's folder. ``id`` is its name on this target."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    def start(self, wanted: JSON, interpreter: Interpreter, timeout: float) -> None:
        """Start the server unless it runs; back once it has recorded itself, a fraction of a second, never ready.

        Twice is the same as once, also from two processes at once. Raises Conflict where the folder is another
        installation's, Temporary when the launch did not come off within ``timeout`` seconds.
        """
        there = read_json(self.folder / SERVER)
        if there is not None and (there["installation"], there["uid"]) != (wanted["installation"], wanted["uid"]):
            raise Conflict(f"{self.folder} belongs to {there['installation']}'s deployment {there['name']}")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.folder / SERVER, wanted)
        environment = interpreter.environment(
            {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": str(wanted["config"]["request_timeout_seconds"])}
            | wanted["config"]["env"]
        )
        try:
            with (self.folder / LOG).open("ab") as log:
                launched = subprocess.run(
                    interpreter.command("launch.py", str(self.folder)),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=timeout,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise Temporary(f"server {self.id} did not record itself within {timeout:g} s") from error
        except OSError as error:
            raise interpreter.missing(error) from error
        if launched.returncode != 0:
            raise Temporary(f"server {self.id} could not be launched: {self.tail(20)}")

    def look(self) -> JSON:
        """State without asking the server, its address, and when it was launched. Never waits."""
        state = read_json(self.folder / STATE)
        if state is None:
            return {"state": "absent"}
        found: State = "starting" if running(state) else "dead"
        return {"state": found, "url": state["url"], "at": state["at"], "change": state["change"], "pid": state["pid"]}

    def wanted(self) -> JSON | None:
        """What the server was started with, and whose it is."""
        return read_json(self.folder / SERVER)

    def terminate(self) -> None:
        """Ask it to finish what it has and go: it takes no new connection from now on. Returns at once."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it forked, whatever they are doing. Returns at once."""
        process = running(read_json(self.folder / STATE))
        if process is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def remove(self) -> None:
        """Remove the folder of a server that does not run. Raises Temporary while one does."""
        if not self.folder.exists():
            return
        lock = take_lock(self.folder)
        if lock is None:
            raise Temporary(f"server {self.id} runs still")
        try:
            shutil.rmtree(self.folder, onerror=_unless_gone)
        finally:
            os.close(lock)

    def tail(self, lines: int) -> str:
        """The last lines of its log; those of the run before where this one wrote nothing."""
        return _tail(self.folder / LOG, lines) or _tail(self.folder / OLD_LOG, lines)

    def _signal(self, number: signal.Signals) -> None:
        process = running(read_json(self.folder / STATE))
        if process is not None:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                return


def servers_in(folder: Path) -> list[Server]:
    """Every server that has a folder in this one, by name."""
    if not folder.is_dir():
        return []
    return [Server(path) for path in sorted(folder.iterdir()) if path.is_dir()]


def answering(client: httpx.Client, urls: list[str]) -> set[str]:
    """Which of these servers answer /ping; about ``PING_SECONDS`` for every sixteen that hang."""
    if not urls:
        return set()
    with ThreadPoolExecutor(min(PINGS_AT_ONCE, len(urls))) as pool:
        return {
            url for url, answers in zip(urls, pool.map(lambda url: _ping(client, url), urls), strict=True) if answers
        }


def _ping(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/ping", timeout=PING_SECONDS).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _unless_gone(_function: Any, path: str, failure: Any) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise Permanent(f"{path} cannot be removed: {failure[1]}") from failure[1]


def _tail(path: Path, lines: int) -> str:
    """Reads from the end, so that a long log costs what its tail does."""
    if lines <= 0 or not path.exists():
        return ""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        text = b""
        while position > 0 and text.count(b"\n") <= lines:
            block = min(8192, position)
            position = file.seek(position - block)
            text = file.read(block) + text
    return "\n".join(text.decode(errors="replace").splitlines()[-lines:])
