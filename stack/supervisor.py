"""Child processes that live and die together, with their output in files and, if wanted, prefixed on the terminal.

Why not honcho's Manager, whose Procfile and printer are used here: ``docs/decisions/0001-the-stacks-supervisor.md``.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from honcho.colour import get_colours
from honcho.printer import Message, Printer

TAIL_LINES = 20

LAST_WORDS_SECONDS = 2.0
"""How long a dead process's output is waited for: a detached grandchild may hold the pipe for ever."""


class ChildEnded(RuntimeError):
    """A process that the stack cannot do without has ended; the message has its last lines."""

    def __init__(self, child: Child) -> None:
        self.name = child.name
        self.code = child.process.returncode
        how = (
            f"was ended by {signal.Signals(-self.code).name}" if self.code < 0 else f"ended with exit code {self.code}"
        )
        super().__init__(f"{child.name} {how}; its last lines ({child.log}):\n{child.tail()}")


class Child:
    """One process of the stack, its group's leader."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.needed = False
        self.ended = threading.Event()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Supervisor:
    """Starts processes, and stops them all when one that is needed ends, when told to, or when this process dies.

    ``logs``: a folder for one file per process, emptied at its start. ``echo``: also print every line with its name.
    ``cwd`` is where they all run. ``pass_fds`` stay open until the last process is gone, even if this one is killed:
    a lock is held for so long.
    """

    def __init__(
        self, logs: Path, *, cwd: Path, echo: bool, grace_seconds: float, pass_fds: Sequence[int] = ()
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._cwd = cwd
        self._logs = logs
        self._echo = echo
        self._printer = Printer(sys.stdout)
        self._colours = get_colours()
        self._lock = threading.RLock()
        self._stopping = False
        self._happened = threading.Event()
        self._first: Child | None = None
        self._keeper = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("keeper.py")), str(grace_seconds)],
            stdin=subprocess.PIPE,
            text=True,
            cwd=cwd,
            start_new_session=True,
            pass_fds=pass_fds,
        )

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], stage: int = 1) -> Child:
        """Start a process in a group of its own; lower stages are stopped later. Raises RuntimeError once stopping."""
        log = self._logs / f"{name}.log"
        with self._lock:
            if self._stopping:
                raise RuntimeError("the stack is stopping")
            process = subprocess.Popen(
                command,
                env=env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._tell(watch=process.pid, stage=stage)
        child = Child(name, process, log)
        self._printer.width = max(self._printer.width, len(name))
        output = log.open("wb", buffering=0)
        copier = threading.Thread(target=self._copy, args=(child, output, next(self._colours)), daemon=True)
        copier.start()
        threading.Thread(target=self._reap, args=(child, copier), daemon=True).start()
        return child

    def need(self, child: Child) -> None:
        """From now on this process's end stops all the others."""
        with self._lock:
            child.needed = True
            if child.ended.is_set():
                self._fail(child)

    def finally_run(self, command: Sequence[str]) -> None:
        """Run this once every process is gone, even if this process was killed."""
        self._tell(run=list(command))

    def finally_remove(self, folder: Path) -> None:
        """Remove this folder once every process is gone, even if this process was killed."""
        self._tell(remove=str(folder))

    def check(self) -> None:
        """Raises ChildEnded if a needed process has ended."""
        if self._first is not None:
            raise ChildEnded(self._first)

    def wait(self) -> None:
        """Block until a needed process ends, and raise ChildEnded; return when stopping was asked for."""
        self._happened.wait()
        self.check()

    def stop(self) -> None:
        """Stop every process: SIGTERM, then SIGKILL after the grace. Blocks until all is gone. Twice is as once."""
        self._begin_to_stop()
        try:
            self._keeper.wait()
        except BaseException:
            self._keeper.terminate()
            self._keeper.wait()
            raise

    def _begin_to_stop(self) -> None:
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            self._happened.set()
            assert self._keeper.stdin is not None  # noqa: S101  # it was made with a pipe
            with suppress(BrokenPipeError):
                self._keeper.stdin.close()

    def _tell(self, **words: Any) -> None:
        with self._lock:
            if self._stopping:
                return
            assert self._keeper.stdin is not None  # noqa: S101  # it was made with a pipe
            self._keeper.stdin.write(json.dumps(words) + "\n")
            self._keeper.stdin.flush()

    def _copy(self, child: Child, output: IO[bytes], colour: str) -> None:
        assert child.process.stdout is not None  # noqa: S101  # it was made with a pipe
        with output, child.process.stdout as lines:
            for line in lines:
                output.write(line)
                if self._echo:
                    now = datetime.datetime.now().astimezone()
                    with self._lock:
                        self._printer.write(Message("line", line, now, child.name, colour))

    def _reap(self, child: Child, copier: threading.Thread) -> None:
        """The dead leader keeps its number taken until what is left of its group has been killed."""
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        self._tell(forget=child.process.pid)
        child.process.wait()
        copier.join(LAST_WORDS_SECONDS)
        with self._lock:
            child.ended.set()
            if child.needed:
                self._fail(child)

    def _fail(self, child: Child) -> None:
        if not self._stopping:
            self._first = child
            self._begin_to_stop()
