"""Become the server of one variant: ``python -P launch.py FOLDER``.

It runs with the interpreter of the target's settings and imports nothing of ours, so that a model's code never meets
our packages under their short names. The folder belongs to this one server:

    server.json  what to serve and whose it is; written by the adapter before the launch
    state.json   pid, start and address; written here, before anything slow or fallible
    lock         held by the serving process for its whole life: of two launches at once, one serves
    log, log.1   what this run and the run before it wrote
    model/       the model, downloaded
    own/         of the user that the server runs as, where it runs as another; the model is in there then

The command returns 0 as soon as one server of the folder is recorded, whether this launch or an earlier one began it;
the server itself goes on in a session of its own, with no parent to wait for it. Loading a model runs its code.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import ipaddress
import json
import os
import pwd
import resource
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

# Where MLflow's scoring server looks for its model's path
MODEL_PATH = "__pyfunc_model_path__"

SERVER, STATE, LOCK, LOG, OLD_LOG, MODEL, OWN = "server.json", "state.json", "lock", "log", "log.1", "model", "own"

# Another launch writes its state within milliseconds of taking the lock; a machine under load may need seconds.
LOCK_SECONDS = 10.0

# Longer than any client keeps an idle connection, so that the client is always the one who closes it.
KEEP_ALIVE_SECONDS = 120


def main(folder: Path) -> int:
    """Fork the server and wait until it is recorded; the waiting process is the one that the adapter reaps."""
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
    """Serve until told to stop. Blocks; returns at once where the folder's server is running already."""
    lock = take_lock(folder)
    if lock is None:
        os.write(report, b"running")
        return
    _write_to_log(folder)
    wanted = read_json(folder / SERVER) or {}
    listener, url = _bind(wanted["bind"])
    process = psutil.Process()
    started = {"pid": process.pid, "since_boot": since_boot(process), "at": time.time()}
    write_json(folder / STATE, {**started, "url": url, "change": wanted["change"]})
    os.write(report, b"started")
    os.close(report)

    folder = confine(folder, wanted.get("run_as"), wanted.get("limits") or {})
    os.environ[MODEL_PATH] = str(_model(folder, wanted))
    os.chdir(folder)

    import uvicorn

    config = uvicorn.Config(
        wanted["app"],
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=wanted["config"]["request_timeout_seconds"],
    )
    config.load()  # here and not in run(), which would hold back SIGTERM until the model is loaded
    uvicorn.Server(config).run(sockets=[listener])


def confine(folder: Path, user: str | None, limits: dict[str, int | None]) -> Path:
    """Give up what the model's code shall not have, for good; the folder that is left to it.

    What the worker reads of this server stays the worker's: the other user gets a folder within, and so cannot make the
    worker signal a process of its choice. Ends the process where the user cannot be become.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, most in limits.items():
        if most is not None:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    if user is None:
        return folder
    try:
        known = pwd.getpwnam(user)
        own = folder / OWN
        own.mkdir(mode=0o700, exist_ok=True)
        os.chown(own, known.pw_uid, known.pw_gid)
        folder.chmod(0o711)
        os.initgroups(user, known.pw_gid)
        os.setgid(known.pw_gid)
        os.setuid(known.pw_uid)
    except (KeyError, OSError) as error:
        sys.exit(f"This server cannot run as {user}: {error}. The worker must be root, and the user must be there.")
    os.environ.update(HOME=str(own), USER=user)
    return own


def take_lock(folder: Path) -> int | None:
    """The folder's lock, which the kernel takes back when this process ends; None where a living server has it.

    A POSIX record lock: helpers that a model forks do not inherit it and so cannot keep it after the server's end.
    Raises FileNotFoundError when the folder was removed, TimeoutError when the lock's holder shows no server.
    """
    until = time.monotonic() + LOCK_SECONDS
    while True:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        if _locked(descriptor, folder / LOCK):
            return descriptor
        os.close(descriptor)
        if running(read_json(folder / STATE)):
            return None
        if time.monotonic() > until:
            raise TimeoutError(f"{folder / LOCK} is held, but by no server that recorded itself")
        time.sleep(0.02)


def running(state: dict[str, Any] | None) -> psutil.Process | None:
    """The recorded process, if it is still that one: by pid and start, counted from boot so that a clock may be set."""
    if state is None:
        return None
    try:
        process = psutil.Process(state["pid"])
        same = abs(since_boot(process) - state["since_boot"]) < 0.1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def since_boot(process: psutil.Process) -> float:
    """When the process started, in seconds since the machine did."""
    return round(process.create_time() - psutil.boot_time(), 2)


def fingerprint(model: Path) -> str:
    """Twelve hex digits that change with a model's files: the bytes of MLmodel; names, sizes and times of the rest.

    Cheap for models of many gigabytes, and blind to a change that keeps a file's size and time.
    """
    told = hashlib.sha256((model / "MLmodel").read_bytes())
    for path in sorted(model.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            stat = path.stat()
            told.update(f"\0{path.relative_to(model)}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    return told.hexdigest()[:12]


def read_json(path: Path) -> dict[str, Any] | None:
    """The document, or None where there is none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace the file in one go: a reader sees the old document or the new, never a part. Readable by us alone."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _locked(descriptor: int, path: Path) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:  # removed between open and lock
        return False


def _write_to_log(folder: Path) -> None:
    log = folder / LOG
    if log.exists() and log.stat().st_size:
        log.replace(folder / OLD_LOG)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _bind(address: str) -> tuple[socket.socket, str]:
    """A socket on a free port. It listens only once the model is loaded, so that until then callers are refused."""
    version = ipaddress.ip_address(address).version
    # asyncio switches Nagle's delay off only where the socket says that it is TCP: else 40 ms for every prediction
    listener = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, proto=socket.IPPROTO_TCP)
    listener.bind((address, 0))
    port = listener.getsockname()[1]
    host = socket.gethostname() if ipaddress.ip_address(address).is_unspecified else address
    return listener, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _model(folder: Path, wanted: dict[str, Any]) -> Path:
    uri, _, expected = wanted["model_uri"].partition("#files=")
    if expected:
        if fingerprint(Path(uri)) != expected:
            sys.exit(f"The files of {uri} are no longer those that this revision was made of; deploy the path again.")
        return Path(uri)
    model = folder / MODEL
    if not model.exists():
        import mlflow.artifacts

        arriving = folder / f"{MODEL}.part"
        shutil.rmtree(arriving, ignore_errors=True)
        arriving.mkdir()
        sys.stderr.write(f"Downloading {uri}\n")
        found = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(arriving)))
        found.rename(model)  # either arriving itself or a folder within it
        shutil.rmtree(arriving, ignore_errors=True)
    return model


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
