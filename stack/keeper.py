"""The process that ends what a stack started, however the stack itself ended.

The supervisor keeps a pipe to its keeper open. When the pipe closes (a normal stop, an exception, SIGKILL), the keeper
stops every process group that it was told of, then runs the closing commands and removes the folders it was told of.
There is no other way in which a stack is stopped, so the rare one is tested by every run.

It reads one JSON object a line: ``{"watch": pid, "stage": n}`` (the highest stage is stopped first),
``{"forget": pid}``, ``{"run": [arguments]}``, ``{"remove": path}``.
SIGTERM to the keeper ends its patience: what still runs is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from typing import Any

CLOSING_COMMAND_SECONDS = 30.0
"""How long one closing command may take before it is given up."""


class Keeper:
    """What is to be stopped, run and removed at the end."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._stages: dict[int, int] = {}
        self._commands: list[list[str]] = []
        self._folders: list[str] = []

    def note(self, lines: Iterable[str]) -> None:
        """Take what the supervisor says, until it says no more."""
        for line in lines:
            match json.loads(line):
                case {"watch": pid, "stage": stage}:
                    self._stages[pid] = stage
                case {"forget": pid}:
                    self._stages.pop(pid, None)
                case {"run": command}:
                    self._commands.append(command)
                case {"remove": folder}:
                    self._folders.append(folder)

    def close(self) -> None:
        """Stop, run, remove, in this order; blocks for the grace of every stage at most, and the commands' time."""
        by_stage = sorted(self._stages.items(), key=lambda item: -item[1])
        for _, group in groupby(by_stage, key=lambda item: item[1]):
            self._stop([pid for pid, _ in group])
        for command in self._commands:
            _run(command)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def lose_patience(self, *_: Any) -> None:
        """From now on what still runs is killed; a signal handler."""
        self._grace_seconds = 0.0

    def _stop(self, pids: list[int]) -> None:
        """TERM the leaders (Celery's children must not be told by others), then KILL what is left of their groups."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        started = time.monotonic()
        while any(map(_runs, pids)) and time.monotonic() - started < self._grace_seconds:
            time.sleep(0.02)
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS: a group of nothing but dead processes that nobody has waited for
        return False
    return True


def _run(command: list[str]) -> None:
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=CLOSING_COMMAND_SECONDS, check=False
        )


def main(grace_seconds: float) -> None:
    """Keep until the standard input closes; the terminal's and the group's signals are the supervisor's business."""
    keeper = Keeper(grace_seconds)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, keeper.lose_patience)
    keeper.note(sys.stdin)
    keeper.close()


if __name__ == "__main__":
    main(float(sys.argv[1]))
