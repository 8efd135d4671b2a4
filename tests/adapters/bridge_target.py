"""A bridged target for the tests: a purpose-made plugin in processes of its own, driven as the engine would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from adapters.bridge.adapter import BridgeAdapter
from adapters.bridge.asking import Holder, holder_of
from adapters.bridge.invoke import invoke
from adapters.bridge.stop import stop_all
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

# importing MLflow alone took ten seconds on a busy machine
TIMEOUT_SECONDS = 60.0
DEADLINE_SECONDS = 90.0


class BridgeTarget:
    """One target in ``folder`` and the deployment ``d`` on it. What the engine would store is kept between changes."""

    def __init__(
        self,
        folder: Path,
        uri: str,
        environment: dict[str, str] | None = None,
        *,
        credentials: str | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.place = Place(
            "here",
            uri,
            "test",
            str(folder / "installation"),
            {"environment": environment or {}, "look_seconds": 0.02, **settings},
            credentials,
            call_timeout_seconds=TIMEOUT_SECONDS,
        )
        self.adapter = BridgeAdapter(self.place)
        self.placed: Handle = {}
        self.route: JSON | None = None
        self.fence = 1

    def spec(self, model_uri: str, flavor: str | None = None, **config: Any) -> Spec:
        return Spec((Variant("main", model_uri, flavor, config),), {"main": 100})

    def plan(self, desired: Spec | None) -> Handle:
        self.fence += 1
        return self.adapter.plan(Change("test", "u-1", "d", None, desired, self.placed))

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
        if progress.outcome in ("done", "landed") and (toward == "forward" or progress.outcome == "landed"):
            self.placed = progress.handle if handle["desired"] else {}
        return Progress(**{**vars(progress), "handle": json.loads(json.dumps(progress.handle))})

    def bring(
        self,
        desired: Spec | None = None,
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
            threading.Event().wait(min(progress.again_in, 0.02))
        raise AssertionError(f"not done in {DEADLINE_SECONDS:g} s: {progress.message}")

    def predict(self, body: bytes = b'{"inputs": [1]}', content_type: str = "application/json") -> Answer:
        assert self.route is not None
        return invoke(self.place, self.route, Request(body, content_type), TIMEOUT_SECONDS)

    def ask(self, **request: Any) -> Any:
        return holder_of(self.place).ask(request, TIMEOUT_SECONDS)

    def call(self, handle: Handle) -> Path:
        """The folder of the handle's last call."""
        return Path(handle["folder"]) / handle["uid"] / "calls" / str(handle["calls"][-1]["id"])

    def wait_until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not so in {DEADLINE_SECONDS:g} s"
            threading.Event().wait(0.01)


@contextmanager
def bridge_target(
    folder: Path, uri: str, environment: dict[str, str] | None = None, **settings: Any
) -> Iterator[BridgeTarget]:
    """A target that leaves no process behind."""
    target = BridgeTarget(folder, uri, environment, **settings)
    try:
        yield target
    finally:
        target.adapter.close()
        end(target.place)


def end(place: Place) -> None:
    """End what serves this target here: its calls under way, and the process that holds its plugin."""
    end_holder(holder_of(place), Path(place.folder))


def end_holder(held: Holder, folder: Path = Path("/nowhere")) -> None:
    holder = held.folder
    stop_all(folder, [holder])
    assert not [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(holder) in argument for argument in process.info["cmdline"] or ())
    ]
