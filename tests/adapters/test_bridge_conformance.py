"""The conformance suite over a bridged target: a well-behaved plugin of MLflow, its calls in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from adapters.bridge import describe
from adapters.bridge.adapter import BridgeAdapter
from adapters.bridge.invoke import invoke
from adapters.bridge.records import Book, everything, root_of
from adapters.bridge.rollout import Effect
from adapters.bridge.stop import stop_all
from adapters.contract import Adapter, Handle, Place, Progress, Request, Spec, Variant
from tests.adapters.bridge_target import TIMEOUT_SECONDS, end
from tests.adapters.conformance import Conformance
from tests.adapters.harness import INSTALLATION, Count
from tests.fakes import bridge


class AnswerLost(Exception):
    """The call began, and then the worker died."""


class Shelf:
    """Counts what the adapters opened here began; what the plugin was really asked is in its own log."""

    failure_words = "no weights in the cellar"
    deadline_seconds = 60.0

    def __init__(self, folder: Path, shelf: Path) -> None:
        self.capabilities = describe.describe("shelf").capabilities
        self.shelf = shelf
        self.place = Place(
            "here",
            "shelf",
            INSTALLATION,
            str(folder / "installation"),
            {"environment": {"SHELF": str(self.shelf)}, "look_seconds": 0.02},
            call_timeout_seconds=TIMEOUT_SECONDS,
        )
        self.losing = False
        self.calls = self.writes = 0
        self.begun: set[str] = set()
        self._opened: list[Watched] = []

    def open(self) -> Adapter:
        self._opened.append(Watched(self))
        return self._opened[-1]

    def spec(self, which: Literal["a", "b"]) -> Spec:
        return Spec((Variant("main", f"models:/{which}/1", None, {"size": which}),), {"main": 100})

    def split(self, a: int, b: int) -> Spec:
        raise AssertionError(f"a plugin has no traffic to split: {a} {b}")

    def broken(self) -> Spec:
        return Spec((Variant("main", "models:/broken/1"),), {"main": 100})

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        answer = invoke(self.place, route, Request(b'{"inputs": [1]}', "application/json", variant), TIMEOUT_SECONDS)
        return str(json.loads(answer.body)["predictions"][0])

    def count(self) -> Count:
        return Count(self.calls, self.writes, len(self.begun))

    def things(self, name: str) -> set[str]:
        there = {str(path) for path in self.shelf.glob(f"{name}.json")}
        return there | {
            f"record {record['uid']}" for record in everything(root_of(self.place)) if record["name"] == name
        }

    def occupy(self, name: str) -> Any:
        (self.shelf / f"{name}.json").write_text(json.dumps({"name": name, "model_uri": "models:/theirs/1"}))
        return self.occupant(name)

    def occupant(self, name: str) -> Any:
        return (self.shelf / f"{name}.json").read_bytes()

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.losing = True
        try:
            yield
        finally:
            self.losing = False

    def really_called(self) -> int:
        """How often the plugin was asked to change something, by its own account."""
        log = self.shelf / "calls.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return sum(line.split()[0] in ("create", "update", "delete") for line in lines)


class Watched(BridgeAdapter):
    """Tells the harness what it does. A call is one effect, however often it is asked to begin."""

    def __init__(self, harness: Shelf) -> None:
        super().__init__(harness.place)
        self._harness = harness

    def _perform(self, effect: Effect, book: Book, progress: Progress) -> None:
        self._harness.calls += 1
        super()._perform(effect, book, progress)
        if effect.verb == "begin":
            self._harness.writes += 1
            self._harness.begun.add(f"{progress.handle['uid']} {effect.call}")
            if self._harness.losing:
                raise AnswerLost

    def plan(self, change: Any) -> Handle:
        before = self._harness.really_called()
        handle = super().plan(change)
        assert self._harness.really_called() == before
        return handle

    def __getattribute__(self, name: str) -> Any:
        if name in ("resolve", "look_many", "observe_all", "check", "logs"):
            self._harness.calls += 1
        return super().__getattribute__(name)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One for all, so that MLflow and the plugin are imported once."""
    folder = tmp_path_factory.mktemp("bridge")
    (folder / "shelf").mkdir()
    with bridge.installed_in(folder):
        yield folder / "shelf"
        end(Shelf(folder, folder / "shelf").place)


class TestBridge(Conformance):
    @pytest.fixture
    def harness(self, tmp_path: Path, shelf: Path) -> Iterator[Shelf]:
        for path in shelf.iterdir():
            path.unlink()
        harness = Shelf(tmp_path, shelf)
        yield harness
        stop_all(tmp_path / "installation")
        assert harness.really_called() == len(harness.begun), "a call was made twice, or not at all"
