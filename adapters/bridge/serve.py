"""The process that holds one target's plugin: ``python -P -m adapters.bridge.serve FOLDER``.

Importing MLflow and a plugin takes seconds and a hundred megabytes, so it is done once; every request is answered by a
fork of this process, which may hang or die without harm to any other. It serves a unix socket in a folder of its own:

    server.json  what to serve: the target's URI for MLflow, and how long to stay without being asked
    state.json   pid and start
    lock         held for the process's whole life: of two at once, one serves
    socket, log

A line of JSON comes in, a line of JSON goes out, preceded by ``ready``: who has not read that has had nothing done.
The command returns 0 once the folder is served, by whomever; the server itself goes on in a session of its own.
Writes are forks too, but go on by themselves once they have recorded that they began: see ``calling``.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import psutil

from adapters.bridge.learning import Learning
from adapters.local.launch import LOCK, STATE, read_json, since_boot, take_lock, write_json

SERVER, SOCKET, LOG = "server.json", "socket", "log"
READY = b"ready\n"
BACKLOG = 256

# A plugin that could not be imported says so to whoever asks soon, and is imported anew for who asks later.
BROKEN_SECONDS = 1.0


def main(folder: Path) -> int:
    """Fork the server and wait until its socket listens; the waiting process is the one that the starter reaps."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        os.setsid()
        serve(folder, writing)
        return 0
    os.close(writing)
    with os.fdopen(reading) as report:
        return 0 if report.read() else 1


def serve(folder: Path, report: int) -> None:
    """Serve until nobody asked for long enough. Returns at once where the folder is served already."""
    lock = take_lock(folder)
    if lock is None:
        os.write(report, b"served already")
        return
    write_to(folder / LOG)
    process = psutil.Process()
    write_json(folder / STATE, {"pid": process.pid, "since_boot": since_boot(process), "at": time.time()})
    wanted = read_json(folder / SERVER) or {}
    address = folder / SOCKET
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(address))
        listener.listen(BACKLOG)
        os.write(report, b"listening")
        os.close(report)
        _forget_ourselves()
        failure = _import(wanted["uri"])
        # its forks are reaped by the kernel; each of them puts this back, for the plugin's own children
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        _answer_all(listener, BROKEN_SECONDS if failure else wanted["idle_seconds"], failure, lock)
    shutil.rmtree(folder, ignore_errors=True)


def write_to(log: Path) -> None:
    """What this process and its children print goes to a file from now on."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _answer_all(listener: socket.socket, idle_seconds: float, failure: dict[str, str] | None, lock: int) -> None:
    learning = Learning()
    listener.setblocking(False)
    while readable := select.select([listener, learning.inbox], [], [], idle_seconds)[0]:
        if learning.inbox in readable:
            learning.take()
            continue
        try:
            connection, _ = listener.accept()
        except OSError:  # who asked went again
            continue
        if os.fork() == 0:
            listener.close()
            os.close(lock)
            _answer_one(connection, failure, learning)
        connection.close()


def _answer_one(connection: socket.socket, failure: dict[str, str] | None, learning: Learning) -> NoReturn:
    """In the fork: one request, and the end of this process."""
    from adapters.bridge import answering

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    learning.in_fork()
    status = 1
    try:
        connection.settimeout(None)
        connection.sendall(READY)
        with connection.makefile("rb") as lines:
            request: dict[str, Any] = json.loads(lines.readline() or b"{}")
        if request:
            answering.answer(request, connection, failure)
        status = 0
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        learning.tell()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _import(uri: str) -> dict[str, str] | None:
    """The plugin, and what answers for it, imported once for all forks. What went wrong, if anything did."""
    try:
        from adapters.bridge import answering

        answering.load(uri)
    except Exception as error:
        kind = f"{type(error).__name__}: {error}"
        return {"kind": "unavailable", "message": f"the plugin cannot be imported: {kind}"}
    return None


def _forget_ourselves() -> None:
    """Take our packages off the module path, so that a plugin never meets them under their short names."""
    ours = str(Path(__file__).parents[2])
    sys.path[:] = [path for path in sys.path if path != ours]
    kept = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != ours]
    os.environ["PYTHONPATH"] = os.pathsep.join(kept)


__all__ = ["LOCK", "LOG", "READY", "SERVER", "SOCKET", "STATE", "main", "serve", "write_to"]

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
