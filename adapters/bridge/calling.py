"""One create, update or delete of a plugin: begun once, whoever asks again, and answered in a file.

The folder of a call, which belongs to it alone:

    request.json  what to call; written by the worker that asks for it
    void          it must not begin any more
    state.json    pid and start of the process that carries it out; written before the plugin is called
    lock          held by that process for its whole life
    answer.json   what the plugin returned or raised
    log           what it printed

A folder with ``state.json`` was begun and is never begun again. Without a living process and without an answer nobody
knows how the call ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from adapters.bridge.client import Client
from adapters.bridge.failures import failure
from adapters.bridge.records import ANSWER, REQUEST, VOID, take_slot
from adapters.bridge.serve import write_to
from adapters.bridge.shapes import name_of, plain
from adapters.credentials import redact
from adapters.local.launch import STATE, read_json, since_boot, take_lock, write_json

LOG = "log"


def carry_out(folder: str, report: Callable[[str], None], secret: str) -> None:
    """Report how the folder stands, and if it is for us to carry out, do so and leave the answer. Blocks until then.

    Reports ``begun``, ``running`` (another does), ``over`` (it was begun before, or must not begin), or ``full``
    (as many are under way as may be; nothing was begun).
    """
    here = Path(folder)
    lock = take_lock(here)
    if lock is None:
        return report("running")
    if (here / STATE).exists() or (here / VOID).exists():
        return report("over")
    request = read_json(here / REQUEST) or {}
    slot = take_slot(Path(request["slots"]), request["calls_at_once"])
    if slot is None:
        return report("full")
    _begin(here)
    report("begun")
    os.setsid()
    write_to(here / LOG)
    deadline = threading.Timer(request["seconds"], _end_late, (here, request["seconds"]))
    deadline.daemon = True
    deadline.start()
    answer = _called(request)
    deadline.cancel()
    if "message" in answer:
        answer["message"] = redact(answer["message"], secret or None)
    write_json(here / ANSWER, answer)
    return None


def _begin(folder: Path) -> None:
    process = psutil.Process()
    write_json(folder / STATE, {"pid": process.pid, "since_boot": since_boot(process), "at": time.time()})
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)  # a machine that loses its power must not forget that it began
    os.close(directory)


def _called(request: dict[str, Any]) -> dict[str, Any]:
    try:
        opened = Client(request["uri"], request["family"], request["endpoint"])
        if request["verb"] == "delete":
            returned = opened.delete(request["name"], request["delete_config"])
        else:
            returned = getattr(opened, request["verb"])(request["name"], request["variant"])
        return {"kind": "ok", "name": name_of(returned), "family": opened.family, "at": time.time()}
    except BaseException as error:  # a plugin that exits has answered too
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return {**failure(error), "at": time.time()}


def _end_late(folder: Path, seconds: float) -> None:
    """What the plugin started dies with it; how far it got is unknown."""
    message = f"the plugin did not answer within {seconds:g} s and was ended"
    write_json(folder / ANSWER, plain({"kind": "unknown", "message": message, "at": time.time()}))
    os.killpg(os.getpid(), signal.SIGKILL)
