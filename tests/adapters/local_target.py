"""A ``local`` target in a folder of a test's own, driven as the engine drives it: its handle and route survive."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from adapters.contract import (
    JSON,
    AdapterError,
    Answer,
    Change,
    Fence,
    Handle,
    Place,
    Progress,
    Request,
    Seen,
    Spec,
    Toward,
    Variant,
)
from adapters.local.adapter import SCORING_SERVER, LocalAdapter
from adapters.local.invoke import invoke
from adapters.local.stop import stop_all
from tests.fakes import light_server
from tests.models import REPOSITORY

LIGHT_SERVER = "tests.fakes.light_server:app"
DEADLINE_SECONDS = 60.0


class LocalTarget:
    """One deployment ``d`` on one target. ``route`` is what the core would have on record."""

    def __init__(self, folder: Path, *, app: str = LIGHT_SERVER, **settings: Any) -> None:
        self.folder = folder
        self.app = app
        settings = {"drain_seconds": 0.2, **settings}
        self.place = Place("here", "local", "test", str(folder / "installation"), settings, call_timeout_seconds=60)
        self.adapter = LocalAdapter(self.place, app)
        self.route: JSON | None = None
        self.placed: Handle = {}
        self.fence = 1

    def spec(self, traffic: dict[str, int] | None = None, config: JSON | None = None, **variants: str) -> Spec:
        """Variants by name and model URI, resolved."""
        if config is None:
            config = {}
        if self.app == LIGHT_SERVER:
            path = {"PYTHONPATH": str(REPOSITORY)}
            config = {**config, "env": {**config.get("env", {}), **path}}
        made = tuple(Variant(name, uri, None, config) for name, uri in variants.items())
        return self.adapter.resolve(Spec(made, traffic or {next(iter(variants)): 100}))

    def model(self, name: str, **behaviour: Any) -> str:
        """A stand-in model that answers its name; behaviours of ``light_server``."""
        return light_server.model(self.folder / "models" / name, **{"answer": name, **behaviour})

    def change(self, desired: Spec | None, installation: str = "test") -> Change:
        return Change(installation, "u-1", "d", None, desired, self.placed)

    def plan(self, desired: Spec | None) -> Handle:
        return self.adapter.plan(self.change(desired))

    def look(self, handle: Handle) -> Seen:
        seen = self.adapter.look_many({"k": handle})["k"]
        if isinstance(seen, AdapterError):
            raise seen
        return seen

    def step(self, handle: Handle, toward: Toward = "forward") -> Progress:
        """Look and step once; what the core would store is stored, and comes back from JSON."""
        progress = self.adapter.step(handle, self.look(handle), toward, Fence(self.fence))
        if progress.route is not None or progress.outcome in ("done", "landed"):
            self.route = progress.route
        if progress.outcome == "done" and toward == "forward":
            self.placed = progress.handle if handle["desired"] else {}
        return Progress(**{**vars(progress), "handle": json.loads(json.dumps(progress.handle))})

    def bring(
        self,
        desired: Spec | None,
        toward: Toward = "forward",
        handle: Handle | None = None,
        until: Callable[[Progress], bool] = lambda progress: progress.outcome != "again",
    ) -> Progress:
        """Step until it ends or ``until`` says so."""
        progress = Progress(handle or self.plan(desired), "again")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            progress = self.step(progress.handle, toward)
            if until(progress):
                return progress
            # the engine's pause between looks
            threading.Event().wait(min(progress.again_in, 0.1))
        raise AssertionError(f"not done in {DEADLINE_SECONDS:g} s: {progress.message}")

    def predict(self, variant: str | None = None, body: bytes = b'{"inputs": [1]}') -> Answer:
        assert self.route is not None
        return invoke(self.place, self.route, Request(body, "application/json", variant), 30.0)

    def wait_until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not so in {DEADLINE_SECONDS:g} s"
            threading.Event().wait(0.01)

    def predicting(self) -> list[Path]:
        """The servers that began a prediction."""
        return list(self.folder.glob("installation/local/here/u-1/*/predicting"))

    def answer(self, variant: str | None = None) -> Any:
        return json.loads(self.predict(variant).body)["predictions"][0]

    def servers(self) -> dict[str, JSON]:
        """The deployment's servers as the target shows them, by id."""
        found = [observed for observed in self.adapter.observe_all() if observed.uid == "u-1"]
        return dict(found[0].detail["servers"]) if found else {}

    def pids(self) -> set[int]:
        return {server["pid"] for server in self.servers().values() if server["state"] != "dead"}


@contextmanager
def local_target(folder: Path, **settings: Any) -> Iterator[LocalTarget]:
    """A target that leaves no process behind."""
    target = LocalTarget(folder, **settings)
    try:
        yield target
    finally:
        target.adapter.close()
        stop_all(folder, grace_seconds=1)
        assert not processes_of(folder)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process on this machine that was launched for a server under this folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in argument for argument in process.info["cmdline"] or ()):
            found.append(process)
    return found


class Load:
    """Predicts all the time from two threads, as two API processes would, and keeps every answer and failure."""

    def __init__(self, predict: Callable[[], Answer]) -> None:
        self._predict = predict
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        self.answers: list[Answer] = []
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, condition: Callable[[Load], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition(self):
            assert time.monotonic() < deadline, "the load never got there"
            threading.Event().wait(0.01)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            try:
                answer = self._predict()
            except Exception as error:
                self.failures.append(repr(error))
            else:
                if answer.status == 200:
                    self.answers.append(answer)
                else:
                    self.failures.append(f"{answer.status} {answer.body!r}")


__all__ = ["LIGHT_SERVER", "SCORING_SERVER", "Load", "LocalTarget", "local_target", "processes_of"]
