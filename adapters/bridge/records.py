"""What this machine knows of a bridged target: whose each deployment is, what it serves, and its calls.

Plugins keep no marks of ours, so that all of this is here, under the target's folder:

    <uid>/deployment.json     whose it is, what was last deployed and under which name the plugin knows it
    <uid>/calls/<call>/       see ``calling``
    fences/<uid>              the highest fence that a step carried; it outlives a delete
    slots/                    the places for calls under way
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from adapters.contract import JSON, Conflict, Place, Temporary
from adapters.local.launch import STATE, read_json, running, take_lock, write_json
from adapters.local.record import Record

DEPLOYMENT, CALLS, SLOTS = "deployment.json", "calls", "slots"
REQUEST, ANSWER, VOID = "request.json", "answer.json", "void"


def root_of(place: Place) -> Path:
    """Where the deployments of this target are kept."""
    return Path(place.folder).absolute() / "bridge" / quote(place.name, safe="")


class Book:
    """One deployment's folder. Opening it touches nothing."""

    def __init__(self, root: Path, uid: str, installation: str) -> None:
        self._folder = root / uid
        self._installation = installation
        self._fences = Record(root, uid, installation)

    @contextmanager
    def writing(self, fence: int, timeout: float) -> Iterator[None]:
        """One step at a time on this machine, and none with a lower fence than was seen. Raises Temporary."""
        with self._fences.writing(fence, timeout):
            yield

    def served(self) -> JSON | None:
        """What was last deployed. Raises Conflict where the folder is another installation's."""
        found = read_json(self._folder / DEPLOYMENT)
        if found is not None and found["installation"] != self._installation:
            raise Conflict(f"{self._folder} belongs to installation {found['installation']}")
        return found

    def publish(self, document: JSON) -> None:
        """This is deployed from now on."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self._folder / DEPLOYMENT, {"installation": self._installation, **document})

    def forget(self) -> None:
        """Nothing is deployed any more."""
        (self._folder / DEPLOYMENT).unlink(missing_ok=True)

    def call(self, identity: str) -> Call:
        """The call of this name, there or not."""
        return Call(self._folder / CALLS / identity)

    def tidy(self, kept: set[str]) -> None:
        """Remove the calls that have ended, but for these, and the folder if nothing is left in it."""
        calls = self._folder / CALLS
        for folder in sorted(calls.iterdir()) if calls.is_dir() else ():
            if folder.name not in kept and Call(folder).look()["state"] != "running":
                shutil.rmtree(folder, ignore_errors=True)
        for folder in (calls, self._folder):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


class Call:
    """One call's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def look(self) -> JSON:
        """``new``, ``void``, ``running`` since ``at``, ``answered`` with ``answer``, or ``lost``. Never waits."""
        state = read_json(self.folder / STATE)
        if state is None:
            return {"state": "void" if (self.folder / VOID).exists() else "new"}
        process = running(state)
        # in this order: a process that answers and ends in between has answered
        answer = read_json(self.folder / ANSWER)
        if answer is not None:
            return {"state": "answered", "answer": answer}
        return {"state": "running" if process else "lost", "at": state["at"]}

    def prepare(self, request: JSON) -> None:
        """Write down what to call. Twice is the same as once."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.folder / REQUEST, request)

    def void(self) -> None:
        """It must not begin any more; what began already goes on. Raises Temporary while it is beginning."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            lock = take_lock(self.folder)
        except TimeoutError as error:
            raise Temporary(str(error)) from error
        if lock is None:
            return
        try:
            if not (self.folder / STATE).exists():
                write_json(self.folder / VOID, {"at": time.time()})
        finally:
            os.close(lock)

    def kill(self) -> None:
        """End its process and all that this started. How far the call got stays unknown. Returns at once."""
        process = running(read_json(self.folder / STATE))
        if process is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                _kill(process)


def take_slot(folder: Path, count: int) -> int | None:
    """One of ``count`` places for calls under way, held until this process ends; None where all are taken."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in range(count):
        descriptor = os.open(folder / str(number), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
        else:
            return descriptor
    return None


def full(folder: Path, count: int) -> bool:
    """Whether all places are taken at this moment."""
    slot = take_slot(folder, count)
    if slot is not None:
        os.close(slot)
    return slot is None


def everything(root: Path) -> list[JSON]:
    """What is deployed on this target by these records, with its ``uid``, in the order of their uids."""
    paths = sorted(root.glob(f"*/{DEPLOYMENT}")) if root.is_dir() else []
    found: list[Any] = [(path.parent.name, read_json(path)) for path in paths]
    return [{**document, "uid": uid} for uid, document in found if document is not None]


def _kill(process: psutil.Process) -> None:
    """One that has no group of its own yet."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
