"""The conformance suite over the ``local`` target: real processes that serve a stand-in for MLflow's scoring server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from adapters.contract import Adapter, Fence, Handle, Place, Progress, Request, Seen, Spec, Toward, Variant
from adapters.local.adapter import LocalAdapter
from adapters.local.describe import DESCRIPTION
from adapters.local.invoke import invoke
from adapters.local.launch import read_json, running, write_json
from adapters.local.record import DEPLOYMENT, Record, everything, root_of
from adapters.local.rollout import Effect
from tests.adapters.conformance import Conformance, assert_done, plan, prepare
from tests.adapters.harness import INSTALLATION, Count, drive
from tests.adapters.local_target import LIGHT_SERVER, local_target
from tests.fakes import light_server
from tests.models import REPOSITORY


class AnswerLost(Exception):
    """The step took effect, and then its worker died."""


class Local:
    """Counts what the adapters opened here did to the machine. Things are folders, documents and processes."""

    capabilities = DESCRIPTION.capabilities
    failure_words = "no weights here"
    deadline_seconds = 30.0

    def __init__(self, folder: Path) -> None:
        self.place = Place("here", "local", INSTALLATION, str(folder / "installation"), {"drain_seconds": 0.02})
        self.losing = False
        self.calls = self.writes = 0
        self.effects: set[object] = set()
        self.route: dict[str, Any] = {}
        self._models = folder / "models"
        self._opened: list[Watched] = []
        for name in ("a", "b"):
            light_server.model(self._models / name, answer=name)
        light_server.model(self._models / "broken", fail=self.failure_words)
        self._uris = {name: self._variant(name, name).model_uri for name in ("a", "b")}

    def open(self) -> Adapter:
        self._opened.append(Watched(self))
        return self._opened[-1]

    def close(self) -> None:
        for adapter in self._opened:
            adapter.close()

    def spec(self, which: Literal["a", "b"]) -> Spec:
        return Spec((self._variant("main", which),), {"main": 100})

    def split(self, a: int, b: int) -> Spec:
        return Spec((self._variant("a", "a"), self._variant("b", "b")), {"a": a, "b": b})

    def broken(self) -> Spec:
        return Spec((self._variant("main", "broken"),), {"main": 100})

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        answer = invoke(self.place, route, Request(b'{"inputs": [1]}', "application/json", variant), 10)
        return self._uris[json.loads(answer.body)["predictions"][0]]

    def count(self) -> Count:
        return Count(self.calls, self.writes, len(self.effects))

    def things(self, name: str) -> set[str]:
        found = [found for found in everything(root_of(self.place)) if found.name == name]
        things = {str(found.folder / DEPLOYMENT) for found in found if found.serves}
        for server in (server for each in found for server in each.servers):
            things.add(str(server.folder))
            if running(state := read_json(server.folder / "state.json")):
                things.add(f"{server.folder} pid {state and state['pid']}")
        return things

    def occupy(self, name: str) -> Any:
        folder = root_of(self.place) / f"uid-of-{name}-elsewhere"
        (folder / "main-0123").mkdir(parents=True)
        whose = {"installation": "elsewhere", "name": name}
        write_json(folder / "main-0123" / "server.json", {**whose, "uid": folder.name})
        served = {
            "spec": self.spec("a").to_json(),
            "content": "0123",
            "change": "0123",
            "previous": None,
            "servers": {"main": "main-0123"},
        }
        write_json(folder / DEPLOYMENT, {**whose, **served, "uid": folder.name, "route": {"variants": {}}})
        return self.occupant(name)

    def occupant(self, name: str) -> Any:
        folder = root_of(self.place) / f"uid-of-{name}-elsewhere"
        return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.losing = True
        try:
            yield
        finally:
            self.losing = False

    def _variant(self, name: str, model: str) -> Variant:
        config = {"env": {"PYTHONPATH": str(REPOSITORY)}}
        made = Spec((Variant(name, str(self._models / model), None, config),), {name: 100})
        adapter = LocalAdapter(self.place, LIGHT_SERVER)
        try:
            return adapter.resolve(made).variants[0]
        finally:
            adapter.close()


class Watched(LocalAdapter):
    """Tells the harness what it does. An effect is known by what it left, so that the same one again is none."""

    def __init__(self, harness: Local) -> None:
        super().__init__(harness.place, LIGHT_SERVER)
        self._harness = harness

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:
        progress = super().step(handle, seen, toward, fence)
        self._harness.route = progress.route or self._harness.route
        return progress

    def _perform(self, effect: Effect, record: Record, progress: Progress) -> None:
        self._harness.calls += 1
        self._harness.writes += 1
        before = _state(record, effect)
        super()._perform(effect, record, progress)
        after = _state(record, effect)
        if effect.verb in ("terminate", "kill"):
            self._harness.effects.add((effect.verb, before))
        elif before != after:
            self._harness.effects.add((effect.verb, len(self._harness.effects)))
        if self._harness.losing:
            raise AnswerLost

    def __getattribute__(self, name: str) -> Any:
        if name in ("resolve", "look_many", "observe_all", "check", "logs"):
            self._harness.calls += 1
        return super().__getattribute__(name)


def _state(record: Record, effect: Effect) -> object:
    """What this kind of effect changes."""
    reads: dict[str, Callable[[], object]] = {
        "start": lambda: sorted(str(server.look().get("pid")) for server in record.servers()),
        "publish": record.serves,
        "restore": record.serves,
        "withdraw": record.serves,
        "terminate": lambda: record.server(effect.on).look().get("pid"),
        "kill": lambda: record.server(effect.on).look().get("pid"),
        "remove": record.server(effect.on).folder.exists,
        "close": record.folder.exists,
    }
    return json.dumps(reads[effect.verb](), sort_keys=True)


class TestLocal(Conformance):
    def test_update_answers_throughout(self, harness: Local) -> None:
        """Along the recorded route: another revision has another server, and so another address."""
        case = prepare(harness, "update")
        answers: list[str] = []
        end = drive(harness, plan(harness, case), meanwhile=lambda: answers.append(harness.answering(harness.route)))
        assert_done(end)
        a, b = (harness.spec(which).variants[0].model_uri for which in ("a", "b"))
        assert answers[0] == a
        assert answers[-1] == b
        assert set(answers) == {a, b}

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[Local]:
        with local_target(tmp_path):
            harness = Local(tmp_path)
            yield harness
            harness.close()
